//! The path of a request from its body to its answer, the same for chat and text.
//!
//! ```text
//! arrive ▸ body ▸ enter ▸ JSON, validate, prompts ▸ fit into context ▸ [ wait for turn ▸ legs ▸ first token ▸ answer ]
//!                         └─────── a worker ──────┘                    └───────────── for each choice ─────────────┘
//! ```
//!
//! Where pictures are given by URL, and the operator allows it, they are fetched between the request's validation and
//! its prompts, and a second worker makes the prompts.
//!
//! Until the first token of any choice, every failure becomes an HTTP status of its own; only then does a stream begin.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use secateur_common::ids;
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value;
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
    reply::{Format, ReplyId},
    request::{Fetched, Generation, Limits, PictureUrl},
};

/// Most bytes of pictures sent to prefill for one request with several answers.
const PICTURE_BYTES_MAX: usize = 128 << 20;

/// A kind of request, validated.
pub trait Job: Sized + Send + 'static {
    /// Reads and validates a body.
    fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError>;

    /// The validated request without its prompt.
    fn generation(&self) -> &Generation;

    /// The format of the reply.
    fn format(&self, reply: ReplyId) -> Box<dyn Format>;

    /// The pictures that the request gives by URL, each URL once.
    fn urls(&self) -> Vec<PictureUrl> {
        Vec::new()
    }

    /// Tokenizes the request's prompts, whose pictures by URL are among `fetched` or refused. Takes time in proportion
    /// to them, so do not call it on an async task.
    fn prepare(self, app: &App, fetched: &Fetched) -> Result<(Generation, Vec<Prepared>), ServiceError>;
}

/// A request whose body has been read.
enum Read<J> {
    /// It is complete.
    Ready(Box<Ready>),
    /// Its pictures at these URLs are to be fetched.
    Wants(Box<Wanting<J>>),
}

/// A validated request whose pictures are missing.
struct Wanting<J> {
    job: J,
    reply: ReplyId,
    urls: Vec<PictureUrl>,
}

/// Ids and times of a request that has arrived.
struct Arrival {
    ids: RequestIds,
    /// Epoch of the request's first answer.
    epoch: String,
    caller: Caller,
    accepted: Instant,
    /// Deadline of the request.
    deadline: Instant,
}

impl Arrival {
    /// Brings the deadline forward to the time after which the client has no use for the answer.
    fn hurry(&mut self, timeout: Option<Duration>) {
        let asked = timeout.and_then(|timeout| self.accepted.checked_add(timeout));
        self.deadline = asked.map_or(self.deadline, |asked| asked.min(self.deadline));
    }
}

impl<J: Job> Read<J> {
    /// The time after which the client has no use for the answer.
    fn timeout(&self) -> Option<Duration> {
        match self {
            Read::Ready(ready) => ready.generation.urgency.timeout,
            Read::Wants(wanting) => wanting.job.generation().urgency.timeout,
        }
    }
}

/// A request that is ready for the nodes.
struct Ready {
    generation: Generation,
    prompts: Vec<Prepared>,
    format: Box<dyn Format>,
}

/// Handles a request of kind `J`: returns the answer, or a refusal, which is counted and logged.
pub async fn route<J: Job>(
    State(app): State<Arc<App>>,
    Extension(ids): Extension<RequestIds>,
    request: Request,
) -> Response {
    let request_id = ids.request_id.clone();
    handle::<J>(&app, ids, request).await.unwrap_or_else(|failure| error::refused(&app, &request_id, &failure))
}

async fn handle<J: Job>(app: &Arc<App>, ids: RequestIds, request: Request) -> Result<Response, ServiceError> {
    app.accepting()?;
    let accepted = Instant::now();
    let timeout = deadline::timeout(request.headers(), app.request_timeout)?;
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    let epoch = ids::time_ordered();
    let mut arrival = Arrival { ids, epoch, caller, accepted, deadline: accepted + timeout };
    let (raw, held) = body::receive(app, request, arrival.deadline).await?;
    let ticket = app.admission.enter(held)?;
    let reply = ReplyId { epoch: arrival.epoch.clone(), created: unix_seconds(), model: app.model.name.clone() };
    let shared = app.clone();
    let job = move |held: &Held| read::<J>(&shared, raw, reply, held);
    let (ticket, read) = app.admission.work(ticket, arrival.deadline, job).await?;
    arrival.hurry(read.as_ref().ok().and_then(Read::timeout));
    let (ticket, ready) = match read? {
        Read::Ready(ready) => (ticket, *ready),
        Read::Wants(wanting) => complete(app, ticket, *wanting, arrival.deadline).await?,
    };
    answer(app, arrival, ticket, ready).await
}

/// Validates a body, and makes prompts of it unless pictures have to be fetched first. Parsing, tokenizing and hashing
/// pictures take time, so do not call it on an async task.
fn read<J: Job>(app: &App, raw: Raw, reply: ReplyId, held: &Held) -> Result<Read<J>, ServiceError> {
    let job = J::parse(&raw.json(held)?, &app.limits)?;
    models::check(app, job.generation().model.as_deref())?;
    let urls = if app.fetcher.is_some() { job.urls() } else { Vec::new() };
    if urls.is_empty() {
        return prepare(app, job, reply, &Fetched::new(), held).map(Box::new).map(Read::Ready);
    }
    Ok(Read::Wants(Box::new(Wanting { job, reply, urls })))
}

/// Fetches a request's pictures, and makes its prompts.
async fn complete<J: Job>(
    app: &Arc<App>,
    ticket: Ticket,
    wanting: Wanting<J>,
    deadline: Instant,
) -> Result<(Ticket, Ready), ServiceError> {
    let Wanting { job, reply, urls } = wanting;
    let fetched = match &app.fetcher {
        Some(fetcher) => fetcher.fetch(urls, ticket.held(), deadline).await?,
        None => Fetched::new(),
    };
    let shared = app.clone();
    let prepare = move |held: &Held| prepare(&shared, job, reply, &fetched, held);
    let (ticket, ready) = app.admission.work(ticket, deadline, prepare).await?;
    Ok((ticket, ready?))
}

/// Makes prompts of a validated request.
fn prepare<J: Job>(app: &App, job: J, reply: ReplyId, fetched: &Fetched, held: &Held) -> Result<Ready, ServiceError> {
    let format = job.format(reply);
    let (generation, prompts) = job.prepare(app, fetched)?;
    check_grammar(app, &generation)?;
    held.resize(prompts.iter().map(|prompt| prompt.weight(&generation.sampling)).sum())?;
    Ok(Ready { generation, prompts, format })
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
async fn answer(app: &Arc<App>, arrival: Arrival, ticket: Ticket, ready: Ready) -> Result<Response, ServiceError> {
    let Arrival { ids, epoch, caller, accepted, deadline } = arrival;
    let Ready { generation, prompts, mut format } = ready;
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
    let is_streamed = generation.stream.is_some();
    let failure: Arc<OnceLock<ErrorCode>> = Arc::default();
    let echoes = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.echo.clone(), per_prompt)).collect();
    let shared =
        Shared { app: app.clone(), generation, facts, ids, accepted, deadline, rank, failure: failure.clone() };
    let shared = Arc::new(shared);
    let mut all = Vec::with_capacity(choices);
    for (index, (prompt, fitted)) in prompts.into_iter().zip(fitted).enumerate() {
        let epoch = if index == 0 { epoch.clone() } else { ids::time_ordered() };
        let rest = tickets.split_off(per_prompt.min(tickets.len()));
        all.extend(begins(&shared, prompt, fitted, epoch, std::mem::replace(&mut tickets, rest)));
    }
    let (choices, total) = (Choices::new(all), Total::new(choices, per_prompt));
    if is_streamed {
        return sse::response(sse::Begin { choices, total, format, echoes, failure }, app).await;
    }
    let (contents, mut total) = whole::gather(choices, total, echoes, (&app.overdue, &failure)).await?;
    let is_scored = contents.iter().any(|content| content.prompt.is_some());
    let write = move || {
        let usage = total.usage();
        error::written(StatusCode::OK, format.whole(contents, usage, total.receipt()))
    };
    if !is_scored {
        return Ok(write());
    }
    // The scores of a long prompt are megabytes of JSON.
    error::write_apart(write, "the answer").await
}
