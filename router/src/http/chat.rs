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
    cluster::Facts,
    fit::fit,
    legs::{Order, RequestIds, retry},
    metrics::RequestClock,
    openai::{
        ChatJob, Picture, StreamOptions, chat,
        response::{ChatCompletion, FinishReason, Head},
    },
    prompt::{self, Prompt},
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
    let (mut job, prompt) = build_prompt(app, job).await?;
    let facts = app.cluster.facts()?;
    let images = job.pictures.iter().map(|picture| picture.bytes.clone()).collect();
    let order = order(app, ids, &job, prompt, images, &facts, deadline)?;
    release_bytes(&mut job.pictures);

    let prepared = Instant::now();
    let turn = ticket.turn(deadline).await?;
    let queued = prepared.elapsed();
    let clock = RequestClock::new(app.metrics.clone(), accepted);
    let started = start(app, &order, &job.pictures).await?;
    let head = head(app, &order, job.stream);
    let stream = job.stream;
    let answer = begin(app, job, order, started, queued, accepted, clock);
    match stream {
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

/// Rendering and tokenizing may take a while for long texts, so they leave the async threads alone.
async fn build_prompt(app: &Arc<App>, job: ChatJob) -> Result<(ChatJob, Prompt), ServiceError> {
    let app = app.clone();
    let built = tokio::task::spawn_blocking(move || {
        let prompt = prompt::build(&app.model, &job, app.max_positions())?;
        Ok((job, prompt))
    });
    built.await.unwrap_or_else(|error| {
        tracing::error!(%error, "building a prompt failed");
        Err(ServiceError::new(ErrorCode::Internal, "the prompt could not be built; the failure is logged"))
    })
}

fn order(
    app: &App,
    ids: RequestIds,
    job: &ChatJob,
    prompt: Prompt,
    images: Vec<bytes::Bytes>,
    facts: &Facts,
    deadline: Instant,
) -> Result<Order, ServiceError> {
    let fitted = fit(job, prompt.tokens.len(), facts)?;
    let mut stop_token_ids = [app.model.stop_token_ids.as_slice(), &facts.stop_token_ids, &job.stop.token_ids].concat();
    stop_token_ids.sort_unstable();
    stop_token_ids.dedup();
    Ok(Order {
        epoch: ids::time_ordered(),
        ids,
        tokens: prompt.tokens,
        user_spans: prompt.user_spans,
        images,
        sampling: app.model.defaults.complete(&job.sampling),
        max_new_tokens: fitted.max_new_tokens,
        prompt_positions_max: fitted.prompt_positions,
        stop_token_ids,
        visual: job.visual,
        transfer: job.transfer.to_wire(),
        deadline,
    })
}

/// The order holds the pictures from here on; only their field names are still needed.
fn release_bytes(pictures: &mut [Picture]) {
    for picture in pictures {
        picture.bytes = bytes::Bytes::new();
    }
}

async fn start(app: &App, order: &Order, pictures: &[Picture]) -> Result<retry::Started, ServiceError> {
    match retry::start(&app.cluster, order).await {
        Ok(started) => {
            app.metrics.attempts(started.attempts - 1, 1);
            Ok(started)
        }
        Err(not_started) => {
            app.metrics.attempts(not_started.attempts, 0);
            Err(in_client_terms(not_started.error, pictures))
        }
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

fn begin(
    app: &App,
    job: ChatJob,
    order: Order,
    started: retry::Started,
    queued: Duration,
    accepted: Instant,
    clock: RequestClock,
) -> Answer {
    let context = AnswerContext {
        epoch: order.epoch,
        prompt_tokens: order.prompt_positions_max,
        max_new_tokens: order.max_new_tokens,
        stop_token_ids: order.stop_token_ids.into_iter().collect(),
        queued,
        accepted,
    };
    Answer::new(started, context, app.model.clone(), job.stop.texts, clock)
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
    let mut content = String::new();
    let mut finish = FinishReason::Stop;
    while let Some(piece) = answer.next().await? {
        content.push_str(&piece.text);
        finish = piece.finish.unwrap_or(finish);
    }
    let receipt = answer.receipt(finish).await;
    drop(turn);
    Ok(error::json(StatusCode::OK, &ChatCompletion::new(head, content, finish, answer.usage(), receipt)))
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
