//! `POST /v1/chat/completions`: the steps of one request, in order.
//!
//! ```text
//! enter ▸ read body ▸ validate ▸ prompt ▸ fit into the context ▸ wait for a turn ▸ legs ▸ first token ▸ answer
//! ```
//!
//! Until the first token every failure is a status code of its own; only then does a stream begin.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use secateur_common::ids;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::Instant;

use super::{body, error, models, sse};
use crate::{
    admission::Turn,
    answer::{Answer, AnswerContext},
    app::{App, unix_seconds},
    cluster::{Facts, Prefix, prefixes},
    fit::{Fitted, fit, too_long_after_all},
    legs::{Order, RequestIds, Run},
    metrics::RequestClock,
    openai::{
        ChatJob, Picture, StreamOptions, chat,
        logprobs::Logprobs,
        response::{ChatCompletion, Content, FinishReason, Head},
    },
    prompt::{self, Prompt},
    served::penalizes_repetition,
};

/// Handles the route.
pub async fn completions(
    State(app): State<Arc<App>>,
    Extension(ids): Extension<RequestIds>,
    request: Request,
) -> Response {
    let request_id = ids.request_id.clone();
    match answer(&app, ids, request).await {
        Ok(response) => response,
        Err(failure) => {
            app.metrics.error(failure.code.as_str());
            tracing::info!(request_id, code = failure.code.as_str(), error = %failure, "request refused");
            error::response(&failure)
        }
    }
}

async fn answer(app: &Arc<App>, ids: RequestIds, request: Request) -> Result<Response, ServiceError> {
    let accepted = Instant::now();
    let deadline = accepted + app.request_timeout;
    app.accepting()?;
    let ticket = app.admission.enter()?;
    let job = read_job(app, request, deadline).await?;
    let (mut job, prompt, prefixes) = build_prompt(app, job).await?;
    let facts = app.cluster.facts()?;
    let fitted = fit(&job, prompt.tokens.len(), &facts)?;
    let order = Order { prefixes, ..order(app, ids, &mut job, prompt, fitted, &facts, deadline) };

    let prepared = Instant::now();
    let turn = ticket.turn(deadline).await?;
    let context = context(&order, &job, fitted, prepared.elapsed(), accepted);
    let clock = RequestClock::new(app.metrics.clone(), accepted);
    let head = head(app, &order, job.stream);
    let run = Run::start(app.cluster.clone(), app.metrics.clone(), order)
        .await
        .map_err(|error| in_client_terms(too_long_after_all(error, &facts), &job.pictures))?;
    let answer = Answer::new(run, context, app.model.clone(), clock);
    match job.stream {
        Some(options) => Ok(sse::response(answer, head, options, turn, app.metrics.clone())),
        None => whole(answer, head, turn).await,
    }
}

async fn read_job(app: &App, request: Request, deadline: Instant) -> Result<ChatJob, ServiceError> {
    let (parts, body) = request.into_parts();
    let body = body::json(&parts.headers, body, app.body_bytes_max, deadline).await?;
    let job = chat::parse(&body, &app.limits)?;
    match &job.model {
        Some(model) if *model != app.model.name => Err(models::unknown(app, model)),
        _ => Ok(job),
    }
}

/// Rendering and tokenizing may take a while for long texts, and digests for large pictures, so they leave the async
/// threads alone.
async fn build_prompt(app: &Arc<App>, job: ChatJob) -> Result<(ChatJob, Prompt, Vec<Prefix>), ServiceError> {
    let app = app.clone();
    let built = tokio::task::spawn_blocking(move || {
        let prompt = prompt::build(&app.model, &job, app.max_positions())?;
        let image_token = app.model.image_token.as_ref().map(|token| token.id);
        let prefixes = prefixes(&prompt.tokens, image_token, job.pictures.iter().map(|picture| &picture.bytes));
        Ok((job, prompt, prefixes))
    });
    built.await.unwrap_or_else(|error| {
        tracing::error!(%error, "building a prompt failed");
        Err(ServiceError::new(ErrorCode::Internal, "the prompt could not be built; the failure is logged"))
    })
}

/// The order takes the pictures' bytes over; of the job only their field names are needed from here on.
fn order(
    app: &App,
    ids: RequestIds,
    job: &mut ChatJob,
    prompt: Prompt,
    fitted: Fitted,
    facts: &Facts,
    deadline: Instant,
) -> Order {
    let sampling = app.model.defaults.complete(&job.sampling, job.stop.min_tokens);
    let penalized_tokens = if penalizes_repetition(&sampling) { text_tokens(app, &prompt) } else { Vec::new() };
    Order {
        epoch: ids::time_ordered(),
        ids,
        penalized_tokens,
        tokens: prompt.tokens,
        prefixes: Vec::new(),
        user_spans: prompt.user_spans,
        images: job.pictures.iter_mut().map(|picture| std::mem::take(&mut picture.bytes)).collect(),
        sampling,
        max_new_tokens: fitted.max_new_tokens,
        prompt_positions_max: fitted.prompt_positions_max,
        positions_needed: fitted.positions_needed,
        stop_token_ids: stop_token_ids(app, job, facts),
        visual: job.visual,
        transfer: job.transfer,
        deadline,
    }
}

fn text_tokens(app: &App, prompt: &Prompt) -> Vec<u32> {
    let image = app.model.image_token.as_ref().map(|token| token.id);
    prompt.tokens.iter().copied().filter(|id| Some(*id) != image).collect()
}

/// The client's, and the model's own unless the client ignores those.
fn stop_token_ids(app: &App, job: &ChatJob, facts: &Facts) -> Vec<u32> {
    let mut ids = job.stop.token_ids.clone();
    if !job.stop.ignores_end_tokens {
        ids.extend(app.model.stop_token_ids.iter().chain(&facts.stop_token_ids));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn context(order: &Order, job: &ChatJob, fitted: Fitted, queued: Duration, accepted: Instant) -> AnswerContext {
    AnswerContext {
        epoch: order.epoch.clone(),
        text_tokens: fitted.text_tokens,
        prompt_tokens_max: fitted.prompt_positions_max,
        stop: job.stop.clone(),
        stop_token_ids: order.stop_token_ids.iter().copied().collect(),
        top_logprobs: job.sampling.top_logprobs,
        queued,
        accepted,
    }
}

/// Nodes know pictures by number (`images[1]`), clients by the field they put them in.
fn in_client_terms(error: ServiceError, pictures: &[Picture]) -> ServiceError {
    let index = error
        .param
        .as_deref()
        .and_then(|param| param.strip_prefix("images[")?.split(']').next()?.parse::<usize>().ok());
    match index.and_then(|index| pictures.get(index)) {
        Some(picture) => error.with_param(picture.param.clone()),
        None => error,
    }
}

fn head(app: &App, order: &Order, stream: Option<StreamOptions>) -> Head {
    Head {
        id: format!("chatcmpl-{}", order.epoch),
        object: if stream.is_some() { "chat.completion.chunk" } else { "chat.completion" },
        created: unix_seconds(),
        model: app.model.name.clone(),
    }
}

/// The answer in one piece.
async fn whole(mut answer: Answer, head: Head, turn: Turn) -> Result<Response, ServiceError> {
    let mut text = String::new();
    let mut logprobs = None;
    let mut finish_reason = FinishReason::Stop;
    while let Some(piece) = answer.next().await? {
        text.push_str(&piece.text);
        if let Some(entries) = piece.logprobs {
            logprobs.get_or_insert_with(Vec::new).extend(entries);
        }
        finish_reason = piece.finish.unwrap_or(finish_reason);
    }
    let receipt = answer.receipt(finish_reason).await;
    drop(turn);
    let content = Content { text, logprobs: logprobs.map(Logprobs::from), finish_reason };
    Ok(error::json(StatusCode::OK, &ChatCompletion::new(head, content, answer.usage(), receipt)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_picture_number_becomes_the_clients_field() {
        let picture = |param: &str| Picture { bytes: bytes::Bytes::new(), param: param.to_owned() };
        let pictures = [picture("messages[0].content[0].image_url.url"), picture("messages[1].content[2].image_url")];
        let error = |param| ServiceError::new(ErrorCode::InvalidImage, "broken").with_param(param);
        let mapped = |param| in_client_terms(error(param), &pictures).param;
        assert_eq!(mapped("images[1]").as_deref(), Some("messages[1].content[2].image_url"));
        assert_eq!(mapped("images[0].pixels").as_deref(), Some("messages[0].content[0].image_url.url"));
        assert_eq!(mapped("images[7]").as_deref(), Some("images[7]"));
        assert_eq!(mapped("tokens").as_deref(), Some("tokens"));
    }
}
