//! `POST /v1/embeddings`: one vector for each text, computed by prefill nodes.
//!
//! The texts of a request share out among a few lanes, each with a permit to run at the nodes, as answers have.

use std::{
    iter::Enumerate,
    slice::Iter,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use futures::future::try_join_all;
use secateur_common::ids;
use secateur_proto::{ServiceError, v1};
use tokio::time::Instant;

use super::{
    body::{self, Raw},
    deadline, error, models,
};
use crate::{
    admission::{Held, Rank, Ticket},
    app::{App, unix_seconds},
    cluster::{Facts, PAIR_PATIENCE},
    fit::{fits, too_long_after_all},
    keys::Caller,
    legs::{EmbedOrder, RequestIds, embed, of_other_length},
    openai::embeddings::{self, Embeddings, VectorStyle, wrong_dimensions},
    prompt,
    request::{Class, Pooling},
};

/// Most texts of one request that are computed at the same time.
const LANES: usize = 8;
/// Bytes of a vector's number until the reply is written: the number itself, and its digits.
const NUMBER_BYTES: usize = 20;
/// Copies of each token: in the text, and in the request to the node.
const TOKEN_COPIES: usize = 2;

/// A text as tokens, and the field that it came from.
struct Input {
    tokens: Vec<u32>,
    param: String,
}

/// A request that is ready for the nodes.
struct Prepared {
    inputs: Vec<Input>,
    pooling: v1::Pooling,
    dimensions: Option<u32>,
    style: VectorStyle,
}

/// Answers with the vectors, or with a refusal, which is counted and logged.
pub async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(ids): Extension<RequestIds>,
    request: Request,
) -> Response {
    let request_id = ids.request_id.clone();
    handle(&app, ids, request).await.unwrap_or_else(|failure| error::refused(&app, &request_id, &failure))
}

async fn handle(app: &Arc<App>, ids: RequestIds, request: Request) -> Result<Response, ServiceError> {
    app.accepting()?;
    let accepted = Instant::now();
    let deadline = accepted + deadline::timeout(request.headers(), app.request_timeout)?;
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    let (raw, held) = body::receive(app, request, deadline).await?;
    let ticket = app.admission.enter(held)?;
    let shared = app.clone();
    let (ticket, prepared) = app.admission.work(ticket, deadline, move |held| prepare(&shared, raw, held)).await?;
    let prepared = prepared?;
    let facts = app.cluster.facts_by(Instant::now() + PAIR_PATIENCE).await?;
    for input in &prepared.inputs {
        fits(input.tokens.len(), &facts, &input.param)?;
    }
    let style = prepared.style;
    let tokens = prepared.inputs.iter().map(|input| input.tokens.len()).sum::<usize>();
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    // To the key, a request for vectors is one answer whose prompt is all of its texts.
    let mut charges = caller.answers(std::iter::once(tokens), 1)?;
    let rank = Rank::new(caller.class(), Class::Interactive, 0);
    let lanes = Lanes { app: app.clone(), ids, facts, deadline, rank, prepared, length: OnceLock::new() };
    let vectors = tokio::select! {
        vectors = lanes.run(ticket) => vectors?,
        () = app.overdue.cancelled() => return Err(App::cut()),
    };
    charges.iter_mut().for_each(|charge| charge.finished(tokens));
    app.metrics.embedded(tokens, accepted.elapsed());
    let model = app.model.name.clone();
    let write = move || {
        let reply = (&*ids::time_ordered(), unix_seconds(), &*model);
        error::json(StatusCode::OK, &Embeddings::new(reply, vectors, style, tokens))
    };
    error::write_apart(write, "the vectors").await
}

/// Makes tokens of a body's texts. Takes time in proportion to them, so do not call it on an async task.
fn prepare(app: &App, raw: Raw, held: &Held) -> Result<Prepared, ServiceError> {
    let job = embeddings::parse(&raw.json(held)?, &app.limits)?;
    models::check(app, job.model.as_deref())?;
    let max_positions = app.max_positions();
    let mut inputs = Vec::with_capacity(job.inputs.len());
    for raw in job.inputs {
        let tokens = prompt::raw(&app.model, &raw, job.adds_special_tokens, max_positions)?.tokens;
        inputs.push(Input { tokens, param: raw.param });
    }
    held.resize(weight(&inputs))?;
    let pooling = match job.pooling {
        Pooling::Last => v1::Pooling::Last,
        Pooling::Mean => v1::Pooling::Mean,
    };
    let style = VectorStyle { normalizes: job.normalizes, is_base64: job.is_base64 };
    Ok(Prepared { inputs, pooling, dimensions: job.dimensions, style })
}

/// Bytes that the texts hold until their vectors are written.
fn weight(inputs: &[Input]) -> usize {
    let of = |input: &Input| input.tokens.len() * size_of::<u32>() * TOKEN_COPIES + input.param.len();
    inputs.iter().map(of).sum()
}

/// The lanes of one request.
struct Lanes {
    app: Arc<App>,
    ids: RequestIds,
    facts: Facts,
    deadline: Instant,
    rank: Rank,
    prepared: Prepared,
    /// Length of the vectors, once there is one.
    length: OnceLock<usize>,
}

/// The inputs that no lane has taken, with their places.
type Left<'a> = Mutex<Enumerate<Iter<'a, Input>>>;

impl Lanes {
    /// The vectors of all inputs in order. The first failure ends all lanes.
    async fn run(&self, ticket: Ticket) -> Result<Vec<Vec<f32>>, ServiceError> {
        let inputs = &self.prepared.inputs;
        let tickets = self.app.admission.share_up_to(ticket, inputs.len().min(LANES));
        let left = Mutex::new(inputs.iter().enumerate());
        let lanes = tickets.into_iter().map(|ticket| self.lane(ticket, &left));
        let mut made: Vec<(usize, Vec<f32>)> = try_join_all(lanes).await?.into_iter().flatten().collect();
        made.sort_unstable_by_key(|(index, _)| *index);
        Ok(made.into_iter().map(|(_, vector)| vector).collect())
    }

    /// Makes vectors of inputs that are left until there are none.
    async fn lane(&self, ticket: Ticket, left: &Left<'_>) -> Result<Vec<(usize, Vec<f32>)>, ServiceError> {
        let turn = ticket.turn(self.rank, self.deadline).await?;
        let mut made = Vec::new();
        while let Some((index, input)) = next(left) {
            let order = EmbedOrder {
                ids: self.ids.clone(),
                tokens: input.tokens.clone(),
                pooling: self.prepared.pooling,
                model_fingerprint: self.facts.model_fingerprint.clone(),
                plan_id: self.facts.plan_id.clone(),
                deadline: self.deadline,
            };
            let reply = embed(&self.app.cluster, &self.app.metrics, &order).await;
            let reply = reply.map_err(|error| in_client_terms(error, &self.facts, input))?;
            self.check(reply.values.len(), turn.held())?;
            made.push((index, reply.values));
        }
        Ok(made)
    }

    /// Checks a vector's length; the first one shows what all of them will hold.
    fn check(&self, length: usize, held: &Held) -> Result<(), ServiceError> {
        if let Some(asked) = self.prepared.dimensions.filter(|asked| *asked as usize != length) {
            return Err(wrong_dimensions(asked, length));
        }
        if self.length.set(length).is_ok() {
            let inputs = &self.prepared.inputs;
            return held.resize(weight(inputs) + inputs.len() * length * NUMBER_BYTES);
        }
        if self.length.get() == Some(&length) { Ok(()) } else { Err(of_other_length()) }
    }
}

/// The next input that is left. The lock is held for one step of an iterator.
fn next<'a>(left: &Left<'a>) -> Option<(usize, &'a Input)> {
    left.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// Rewrites a node's error to the router's own wording and the client's field.
fn in_client_terms(error: ServiceError, facts: &Facts, input: &Input) -> ServiceError {
    let error = too_long_after_all(error, facts, &input.param);
    match error.param {
        Some(_) => error.with_param(input.param.clone()),
        None => error,
    }
}
