//! HTTP: routes, request bodies, and answers in OpenAI's and Anthropic's formats. Every failure is answered with
//! OpenAI's error body, and with Anthropic's on the routes of its API.

mod auth;
mod begin;
mod body;
mod chat;
mod cluster_view;
mod completions;
mod connection;
mod connections;
mod cors;
mod deadline;
mod embeddings;
mod error;
mod generate;
mod health;
mod limit;
mod messages;
mod metrics_page;
mod models;
mod openapi;
mod page;
mod protocol;
mod rate_headers;
mod request_ids;
mod responses;
mod rest;
mod scoring;
mod served;
mod server;
mod sse;
mod stall;
mod tls;
mod tokenize;
mod visit;
mod whole;
mod wire;

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    http::{Method, Uri},
    middleware,
    response::Response,
    routing::{get, post},
};
use secateur_proto::{ErrorCode, ServiceError};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    anthropic::MessagesJob, app::App, config::Origin, keys::Cost, openai::completion::CompletionJob, request::ChatJob,
    responses::ResponsesJob,
};

pub use server::run;
pub use tls::certificate;

/// All routes; scripts of pages of the given origins may call them.
pub fn routes(app: Arc<App>, origins: &[Origin]) -> Router {
    let asks_for_keys = |routes: Router<Arc<App>>, cost: Cost| {
        routes.route_layer(middleware::from_fn_with_state(auth::Gate { app: app.clone(), cost }, auth::check))
    };
    let answers = Router::new()
        .route("/v1/chat/completions", post(generate::route::<ChatJob>))
        .route("/v1/completions", post(generate::route::<CompletionJob>))
        .route("/v1/responses", post(generate::route::<ResponsesJob>))
        .route("/v1/messages", post(generate::route::<MessagesJob>))
        .route("/v1/embeddings", post(embeddings::embeddings));
    let requests = Router::new()
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/score", post(scoring::no_head))
        .route("/v1/rerank", post(scoring::no_head))
        .route("/rerank", post(scoring::no_head))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one));
    let looks = Router::new().route("/v1/cluster", get(cluster_view::show));
    let api = asks_for_keys(answers, Cost::Answers)
        .merge(asks_for_keys(requests, Cost::Request))
        .merge(asks_for_keys(looks, Cost::Nothing));
    // The last layer is the outermost: even the answer to a panic can be read by scripts, carries the request's id, and
    // reaches the client.
    let routes = api
        .route("/", get(page::show))
        .route("/health", get(health::health))
        .route("/live", get(health::live))
        .route("/openapi.json", get(openapi::show))
        .route("/metrics", get(metrics_page::show))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(limit::check))
        .layer(middleware::from_fn(messages::in_its_words));
    let routes = match cors::layer(origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(middleware::from_fn(request_ids::carry)).layer(middleware::from_fn(rest::settle)).with_state(app)
}

async fn no_such_route(uri: Uri) -> Response {
    // Quotes only the beginning of the path, since paths may be long.
    let path: String = uri.path().chars().take(200).collect();
    error::response(&ServiceError::new(ErrorCode::NotFound, format!("there is nothing at {path}")))
}

async fn no_such_method(method: Method) -> Response {
    error::response(&ServiceError::new(ErrorCode::MethodNotAllowed, format!("{method} is not allowed here")))
}

/// The answer after a panic. The hook has written the panic to standard error; the client sees no panic text.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request handler panicked");
    error::response(&ServiceError::new(ErrorCode::Internal, "something went wrong here; the failure is logged"))
}
