//! `POST /tokenize`: what a prompt is in tokens, each picture being one.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::json;
use tokio::time::Instant;

use super::{body, error};
use crate::{
    app::App,
    openai::tokenize::{self, TokenizeJob},
    prompt,
};

/// Handles the route.
pub async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    match tokens(&app, request).await {
        Ok(tokens) => {
            let body = json!({"count": tokens.len(), "max_model_len": app.max_positions(), "tokens": tokens});
            error::json(StatusCode::OK, &body)
        }
        Err(failure) => error::response(&failure),
    }
}

async fn tokens(app: &Arc<App>, request: Request) -> Result<Vec<u32>, ServiceError> {
    // Held to the end: bodies in memory are bounded, whatever they are for.
    let _ticket = app.admission.enter()?;
    let (parts, body) = request.into_parts();
    let body = body::json(&parts.headers, body, app.body_bytes_max, Instant::now() + app.request_timeout).await?;
    let job = tokenize::parse(&body, &app.limits)?;
    let app = app.clone();
    let tokenized = tokio::task::spawn_blocking(move || match job {
        TokenizeJob::Chat(job) => prompt::build(&app.model, &job, app.max_positions()).map(|prompt| prompt.tokens),
        TokenizeJob::Text { text, adds_special_tokens } => {
            prompt::tokenize(&app.model, &text, adds_special_tokens, app.max_positions())
        }
    });
    tokenized.await.unwrap_or_else(|error| {
        tracing::error!(%error, "tokenizing failed");
        Err(ServiceError::new(ErrorCode::Internal, "the text could not be tokenized; the failure is logged"))
    })
}
