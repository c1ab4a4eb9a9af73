//! The path of a request from its body to its answer, the same for chat and text.
//!
//! ```text
//! arrive ▸ body ▸ enter ▸ JSON, validate, prompts ▸ fit into context ▸ [ wait for turn ▸ legs ▸ first token ▸ answer ]
//!                         └─────── a worker ──────┘                    └───────────── for each choice ─────────────┘
//! ```
//!
//! Until the first token of any choice, every failure becomes an HTTP status of its own; only then does a stream begin.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use secateur_common::ids;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::Instant;

use super::{
    begin::{Prepared, Shared, begins},
    body::{self, Raw},
    deadline, error, models, sse, whole,
};
use crate::{
    admission::{Held, Rank, Ticket},
    answer::{Choices, Total},
    app::{App, unix_seconds},
    cluster::PAIR_PATIENCE,
    fit::{Fitted, fit},
    keys::Caller,
    legs::RequestIds,
    openai::{
        Body, Generation, Limits,
        response::{Completion, Head, Shape},
    },
};

/// Most bytes of pictures sent to prefill for one request with several answers.
const PICTURE_BYTES_MAX: usize = 128 << 20;

/// A kind of request, validated.
pub trait Job: Sized + Send + 'static {
    /// The API whose format the answer has.
    const SHAPE: Shape;

    /// Reads and validates a body.
    fn parse(body: &Body, limits: &Limits) -> Result<Self, ServiceError>;

    /// The validated request without its prompt.
    fn generation(&self) -> &Generation;

    /// Tokenizes the request's prompts. Takes time in proportion to them, so do not call it on an async task.
    fn prepare(self, app: &App) -> Result<(Generation, Vec<Prepared>), ServiceError>;
}

/// Ids and times of a request that has arrived.
struct Arrival {
    ids: RequestIds,
    caller: Caller,
    accepted: Instant,
    /// Deadline of the request.
    deadline: Instant,
}

/// Handles a request of kind `J`: returns the answer, or a refusal, which is counted and logged.
pub async fn route<J: Job>(
    State(app): State<Arc<App>>,
    Extension(ids): Extension<RequestIds>,
    request: Request,
) -> Response {
    let request_id = ids.request_id.clone();
    handle::<J>(&app, ids, request).await.unwrap_or_else(|failure| {
        app.metrics.refused(&request_id, &failure);
        tracing::info!(request_id, code = failure.code.as_str(), error = %failure, "request refused");
        error::response(&failure)
    })
}

async fn handle<J: Job>(app: &Arc<App>, ids: RequestIds, request: Request) -> Result<Response, ServiceError> {
    app.accepting()?;
    let accepted = Instant::now();
    let timeout = deadline::timeout(request.headers(), app.request_timeout)?;
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    let mut arrival = Arrival { ids, caller, accepted, deadline: accepted + timeout };
    let (raw, held) = body::receive(app, request, arrival.deadline).await?;
    let ticket = app.admission.enter(held)?;
    let shared = app.clone();
    let job = move |held: &Held| prepare::<J>(&shared, raw, held);
    let (ticket, prepared) = app.admission.work(ticket, arrival.deadline, job).await?;
    let (generation, prompts) = prepared?;
    if let Some(asked) = generation.urgency.timeout {
        arrival.deadline = accepted + timeout.min(asked);
    }
    answer(app, arrival, ticket, (generation, prompts), J::SHAPE).await
}

/// Makes prompts of a body's bytes. Parsing, tokenizing and hashing pictures take time, so do not call it on an async
/// task.
fn prepare<J: Job>(app: &App, raw: Raw, held: &Held) -> Result<(Generation, Vec<Prepared>), ServiceError> {
    let job = J::parse(&raw.json(held)?, &app.limits)?;
    check_model(app, job.generation())?;
    let (generation, prompts) = job.prepare(app)?;
    check_grammar(app, &generation)?;
    held.resize(prompts.iter().map(Prepared::weight).sum())?;
    Ok((generation, prompts))
}

/// Refuses a request for another model.
fn check_model(app: &App, generation: &Generation) -> Result<(), ServiceError> {
    match &generation.model {
        Some(model) if *model != app.model.name => Err(models::unknown(app, model)),
        _ => Ok(()),
    }
}

/// Refuses a form of the answer that the nodes could not compile.
fn check_grammar(app: &App, generation: &Generation) -> Result<(), ServiceError> {
    let Some(structured) = &generation.sampling.structured else { return Ok(()) };
    app.model.check(&structured.grammar).map_err(|error| {
        let message = format!("{} cannot be used: {error}", structured.param);
        ServiceError::new(ErrorCode::InvalidRequest, message).with_param(structured.param.clone())
    })
}

/// Bounds the total bytes of pictures, which are sent to prefill once for each choice.
fn check_bulk(prompts: &[Prepared], per_prompt: usize) -> Result<(), ServiceError> {
    let bytes: usize = prompts.iter().flat_map(|prompt| &prompt.pictures).map(|picture| picture.bytes.len()).sum();
    if per_prompt == 1 || bytes.saturating_mul(per_prompt) <= PICTURE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("n times the pictures' {bytes} bytes must be at most {PICTURE_BYTES_MAX}");
    Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param("n"))
}

/// Generates the requested number of answers to each of `prompts`.
async fn answer(
    app: &Arc<App>,
    arrival: Arrival,
    ticket: Ticket,
    (generation, prompts): (Generation, Vec<Prepared>),
    shape: Shape,
) -> Result<Response, ServiceError> {
    let Arrival { ids, caller, accepted, deadline } = arrival;
    let rank = Rank::new(caller.class(), generation.urgency.class, generation.urgency.priority);
    let facts = app.cluster.facts_by(Instant::now() + PAIR_PATIENCE).await?;
    let bound = app.model.defaults.bound(&generation.max_tokens);
    let fitted: Vec<Fitted> = prompts
        .iter()
        .map(|one| fit(&bound, &one.pictures, one.prompt.tokens.len(), &facts, &one.param))
        .collect::<Result<_, _>>()?;
    let per_prompt = generation.choices as usize;
    let choices = prompts.len() * per_prompt;
    check_bulk(&prompts, per_prompt)?;
    let charges = caller.answers(fitted.iter().map(|one| one.prompt_positions_max), per_prompt)?;
    let mut tickets: Vec<_> = app.admission.share(ticket, choices)?.into_iter().zip(charges).collect();
    let (stream, epoch) = (generation.stream, ids::time_ordered());
    let head = Head {
        id: format!("{}-{epoch}", shape.id_prefix()),
        object: shape.object(stream.is_some()),
        created: unix_seconds(),
        model: app.model.name.clone(),
    };
    let echoes = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.echo.clone(), per_prompt)).collect();
    let shared = Shared { app: app.clone(), generation, facts, ids, accepted, deadline, rank, failure: Arc::default() };
    let shared = Arc::new(shared);
    let mut all = Vec::with_capacity(choices);
    for (index, (prompt, fitted)) in prompts.into_iter().zip(fitted).enumerate() {
        let epoch = if index == 0 { epoch.clone() } else { ids::time_ordered() };
        let rest = tickets.split_off(per_prompt.min(tickets.len()));
        all.extend(begins(&shared, prompt, fitted, epoch, std::mem::replace(&mut tickets, rest)));
    }
    let (choices, total) = (Choices::new(all), Total::new(choices, per_prompt));
    match stream {
        Some(options) => sse::response(choices, total, sse::Writing { head, shape, options, echoes }, app).await,
        None => {
            let (contents, mut total) = whole::gather(choices, total, echoes, &app.overdue).await?;
            let usage = total.usage();
            Ok(error::json(StatusCode::OK, &Completion::new(head, shape, contents, usage, total.receipt())))
        }
    }
}
