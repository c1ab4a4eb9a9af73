//! `POST /tokenize`: the tokens of a prompt, with one token for each picture; and `POST /detokenize`: their text.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use secateur_proto::ServiceError;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{body, deadline, error};
use crate::{
    app::App,
    openai::{
        detokenize,
        tokenize::{self, TokenizeJob},
    },
    prompt,
    request::{ChatJob, not_fetched},
};

/// Answers with the prompt's tokens, their number, and the longest context.
pub async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(&app, request, |app, body| {
        let tokens = tokenized(app, tokenize::parse(body, &app.limits)?)?;
        Ok(json!({"count": tokens.len(), "max_model_len": app.max_positions(), "tokens": tokens}))
    })
    .await
}

/// Answers with the text of tokens, special tokens included.
pub async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(&app, request, |app, body| {
        let tokens = detokenize::parse(body, &app.limits)?;
        Ok(json!({"prompt": prompt::whole_text_of(&app.model, &tokens)}))
    })
    .await
}

/// Answers a request with what `work` makes of its body, away from the async threads.
pub async fn answer(
    app: &Arc<App>,
    request: Request,
    work: impl FnOnce(&App, &Value) -> Result<Value, ServiceError> + Send + 'static,
) -> Response {
    match worked(app, request, work).await {
        Ok(body) => error::json(StatusCode::OK, &body),
        Err(failure) => error::response(&failure),
    }
}

async fn worked(
    app: &Arc<App>,
    request: Request,
    work: impl FnOnce(&App, &Value) -> Result<Value, ServiceError> + Send + 'static,
) -> Result<Value, ServiceError> {
    let deadline = Instant::now() + deadline::timeout(request.headers(), app.request_timeout)?;
    let (raw, held) = body::receive(app, request, deadline).await?;
    let ticket = app.admission.enter(held)?;
    let shared = app.clone();
    let work = app.admission.work(ticket, deadline, move |held| work(&shared, &raw.json(held)?));
    let (_ticket, answer) = work.await?;
    answer
}

fn tokenized(app: &App, job: TokenizeJob) -> Result<Vec<u32>, ServiceError> {
    match job {
        TokenizeJob::Chat(job) => {
            check_urls(app, &job)?;
            prompt::build(&app.model, &job, app.max_positions()).map(|prompt| prompt.tokens)
        }
        TokenizeJob::Text { text, adds_special_tokens } => {
            prompt::tokenize(&app.model, &text, adds_special_tokens, app.max_positions())
        }
    }
}

/// Refuses URLs of pictures that a chat request would not fetch. The others are not fetched here either: whatever is
/// there becomes one token.
pub fn check_urls(app: &App, job: &ChatJob) -> Result<(), ServiceError> {
    let urls = job.urls();
    match (&app.fetcher, urls.first()) {
        (Some(fetcher), _) => fetcher.check(&urls),
        (None, Some(url)) => Err(not_fetched(&url.param)),
        (None, None) => Ok(()),
    }
}
