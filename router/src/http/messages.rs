//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's Messages API.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use secateur_proto::ServiceError;
use serde_json::{Value, json};

use super::{begin::Prepared, chat, error, generate::Job, models, tokenize};
use crate::{
    anthropic::{MessageFormat, MessagesJob, error_body::ErrorBody},
    app::App,
    legs::RequestIds,
    reply::{Format, ReplyId},
    request::{Fetched, Generation, Limits, PictureUrl},
};

/// The path of the API; everything below it belongs to the API too.
const PATH: &str = "/v1/messages";
/// Header by which Anthropic's clients know a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

impl Job for MessagesJob {
    fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        MessagesJob::parse(body, limits)
    }

    fn generation(&self) -> &Generation {
        &self.chat.generation
    }

    fn format(&self, reply: ReplyId) -> Box<dyn Format> {
        Box::new(MessageFormat::new(reply, self.eager.clone()))
    }

    fn urls(&self) -> Vec<PictureUrl> {
        self.chat.urls()
    }

    fn prepare(self, app: &App, fetched: &Fetched) -> Result<(Generation, Vec<Prepared>), ServiceError> {
        let Self { chat, later, .. } = self;
        chat.prepare(app, fetched).map_err(|error| later.error(error))
    }
}

/// Answers with the number of tokens of a conversation, tools and pictures included.
pub async fn count_tokens(State(app): State<Arc<App>>, request: Request) -> Response {
    let counted = |app: &App, body: &Value| {
        let MessagesJob { mut chat, later, .. } = MessagesJob::counted(body, &app.limits)?;
        models::check(app, chat.generation.model.as_deref())?;
        tokenize::check_urls(app, &chat)?;
        let prompt = chat::prompt(app, &mut chat).map_err(|error| later.error(error))?;
        Ok(json!({"input_tokens": tokens(app, prompt.tokens.len(), chat.pictures.len())}))
    };
    tokenize::answer(&app, request, counted).await
}

/// Tokens of a prompt with its pictures, as `usage` counts them. In `prompt` a picture is one token, and stays one where
/// their number depends on its size, which prefill alone looks at, or where no node is there to say it.
fn tokens(app: &App, prompt: usize, pictures: usize) -> u64 {
    let facts = app.cluster.facts().ok().filter(|facts| !facts.visual_tokens_vary);
    let a_picture = facts.map_or(1, |facts| u64::from(facts.visual_tokens_per_image).max(1));
    prompt as u64 + pictures as u64 * (a_picture - 1)
}

/// Gives every answer of the API the id of its request, and every failure the API's own body, wherever it arose.
pub async fn in_its_words(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return next.run(request).await;
    }
    let id = request.extensions().get::<RequestIds>().map(|ids| ids.request_id.clone());
    let mut response = next.run(request).await;
    if let Some(failure) = response.extensions_mut().remove::<ServiceError>() {
        let (parts, _) = response.into_parts();
        let body = error::json(parts.status, &ErrorBody::new(&failure, id.as_deref())).into_body();
        response = Response::from_parts(parts, body);
    }
    if let Some(value) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
