//! `POST /tokenize`: the tokens of a prompt, with one token for each picture.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use secateur_proto::ServiceError;
use serde_json::json;
use tokio::time::Instant;

use super::{body, deadline, error};
use crate::{
    app::App,
    openai::tokenize::{self, TokenizeJob},
    prompt,
};

/// Answers with the prompt's tokens, their number, and the longest context.
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
    let deadline = Instant::now() + deadline::timeout(request.headers(), app.request_timeout)?;
    let (raw, held) = body::receive(app, request, deadline).await?;
    let ticket = app.admission.enter(held)?;
    let shared = app.clone();
    let (_ticket, tokens) = app
        .admission
        .work(ticket, deadline, move |held| tokenized(&shared, tokenize::parse(&raw.json(held)?, &shared.limits)?))
        .await?;
    tokens
}

fn tokenized(app: &App, job: TokenizeJob) -> Result<Vec<u32>, ServiceError> {
    match job {
        TokenizeJob::Chat(job) => prompt::build(&app.model, &job, app.max_positions()).map(|prompt| prompt.tokens),
        TokenizeJob::Text { text, adds_special_tokens } => {
            prompt::tokenize(&app.model, &text, adds_special_tokens, app.max_positions())
        }
    }
}
