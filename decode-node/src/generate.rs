//! The `Decode.Generate` call: open the epoch, wait for the KV, stream the tokens. Dropping the response cancels the
//! request.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use secateur_grammar::Constraint;
use secateur_model::{Sampler, Sampling};
use secateur_node::{Identity, Life, Permit, Permits, Responses, Terms, handshake, host::Describe, respond};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{self, DecodeDone, Opened, decode_server, generate_event::Event},
};
use secateur_transfer::TransferPolicy;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    engine::{Engine, Running, stopped},
    epochs::{Epochs, Placed, ShipmentLimits},
    sequence::Sequence,
    space::BlockSpace,
};

/// Most events of an answer besides its tokens: opened, done, an error.
const EVENTS_BESIDE_TOKENS: usize = 3;
/// Events buffered between a request and the transport.
const EVENTS_IN_FLIGHT: usize = 16;

/// State shared by all requests of a decode node.
pub struct Generator {
    identity: Arc<Identity>,
    engine: Engine,
    space: Arc<BlockSpace>,
    epochs: Arc<Epochs>,
    /// Permits for requests whose KV has not come yet.
    waiting: Permits,
}

/// A validated request.
struct Validated {
    epoch: v1::Epoch,
    prompt_positions_max: u32,
    max_new_tokens: u32,
    sampling: Sampling,
    stop_token_ids: Vec<u32>,
    prompt_tokens: Vec<u32>,
    emitted: Vec<u32>,
    transfer: TransferPolicy,
}

impl Generator {
    /// Serves requests with a running engine; at most `waiting_max` requests may wait for their KV.
    pub fn new(
        identity: Arc<Identity>,
        engine: Engine,
        space: Arc<BlockSpace>,
        epochs: Arc<Epochs>,
        waiting_max: u32,
    ) -> Self {
        Self { identity, engine, space, epochs, waiting: Permits::new(waiting_max) }
    }

    /// The life of the engine.
    pub fn life(&self) -> &Life {
        self.engine.life()
    }

    /// Most positions that one request can fill.
    fn positions_max(&self) -> u32 {
        self.identity.positions_max(self.space.pool())
    }

    fn validate(&self, request: v1::GenerateRequest) -> Result<(Validated, Terms), ServiceError> {
        handshake::check_model(&self.identity, &request.model_fingerprint, &request.plan_id)?;
        let invalid = |text: &str| ServiceError::new(ErrorCode::InvalidRequest, text);
        if request.prompt_positions_max == 0 || request.max_new_tokens == 0 {
            return Err(invalid("prompt_positions_max and max_new_tokens must be at least 1"));
        }
        if request.emitted.len() >= request.max_new_tokens as usize {
            return Err(invalid("the whole answer is emitted already").with_param("emitted"));
        }
        let (needed, limit) = (request.prompt_positions_max, self.positions_max());
        if needed > limit {
            let text = format!("{needed} positions are more than the node's maximum context length of {limit}");
            return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text).with_param("messages"));
        }
        let transfer = TransferPolicy::from_proto(request.transfer).ok_or_else(|| {
            invalid(&format!("unknown transfer policy tag {}", request.transfer)).with_param("transfer")
        })?;
        let deadline = handshake::deadline(request.deadline_ms)?;
        let answer = Validated {
            epoch: handshake::epoch(request.epoch)?,
            prompt_positions_max: request.prompt_positions_max,
            max_new_tokens: request.max_new_tokens,
            sampling: handshake::sampling(request.sampling),
            stop_token_ids: request.stop_token_ids,
            prompt_tokens: request.prompt_tokens,
            emitted: request.emitted,
            transfer,
        };
        Ok((answer, Terms { stage: "decode", request_id: request.request_id, deadline, life: self.life().clone() }))
    }

    /// Runs one request, from opening its epoch to its last token.
    async fn answer(&self, answer: Validated, responses: Responses<v1::GenerateEvent>) -> Result<(), ServiceError> {
        let permit = self.take_permit()?;
        let room = ShipmentLimits {
            prompt_positions_max: answer.prompt_positions_max,
            transfer: answer.transfer,
            emitted: answer.emitted.len() as u32,
        };
        let mut open = self.epochs.open(&answer.epoch.id, answer.epoch.attempt, room)?;
        send(&responses, Event::Opened(Opened { node_id: self.identity.node_id.clone() })).await?;
        let grammar = answer.sampling.grammar.as_ref();
        // Compiled while prefill computes.
        let constraint = self.identity.grammars.constraint(grammar, &answer.stop_token_ids).await?;
        let placed = open.shipment().await?;
        drop(permit);
        self.generate(answer, constraint, placed, &responses).await
    }

    async fn generate(
        &self,
        answer: Validated,
        constraint: Option<Constraint>,
        placed: Placed,
        responses: &Responses<v1::GenerateEvent>,
    ) -> Result<(), ServiceError> {
        let started = Instant::now();
        // The prompt's true length is known only now: the answer gets the rest of the context.
        let room = self.positions_max() - placed.accepted.positions.min(self.positions_max());
        let emitted = answer.emitted.len() as u32;
        let max_new_tokens = answer.max_new_tokens.min(emitted.saturating_add(room).max(1));
        let stop = answer.stop_token_ids;
        let (prompt, emitted_tokens) = (&answer.prompt_tokens, &answer.emitted);
        let sampler = Sampler::constrained(answer.sampling, stop.clone(), prompt, emitted_tokens, constraint);
        let sequence = Sequence::new(sampler, stop, max_new_tokens, emitted, placed.accepted.first_token);
        if let Some(reason) = sequence.ended_at_first() {
            let done = DecodeDone { reason: reason as i32, decode_ms: 0.0, tokens: 0 };
            return send(responses, Event::Done(done)).await;
        }
        let (events, mut generated) = mpsc::channel(max_new_tokens as usize + EVENTS_BESIDE_TOKENS);
        let (cancelled, _leash) = self.engine.leash();
        let (order, position) = (answer.epoch.id, placed.accepted.next_position);
        let kv = placed.kv;
        self.engine.submit(Running { order, sequence, kv, position, events, cancelled, started })?;
        while let Some(event) = generated.recv().await {
            let event = event?;
            let is_last = matches!(event, Event::Done(_));
            send(responses, event).await?;
            if is_last {
                return Ok(());
            }
        }
        // The engine drops an answer without a final event only when the engine itself ends.
        Err(stopped())
    }

    fn take_permit(&self) -> Result<Permit, ServiceError> {
        self.waiting.take().ok_or_else(|| {
            let text = format!("{} requests already wait for this node; try again shortly", self.waiting.limit());
            ServiceError::new(ErrorCode::Overloaded, text)
        })
    }
}

async fn send(responses: &Responses<v1::GenerateEvent>, event: Event) -> Result<(), ServiceError> {
    responses.send(v1::GenerateEvent { event: Some(event) }).await
}

impl Describe for Generator {
    fn describe(&self, draining: bool) -> v1::NodeDescription {
        let (gauges, pool) = (self.engine.gauges(), self.space.pool());
        let mut load = handshake::load(pool, self.space.kept().reclaimable());
        load.running = gauges.running.load(Ordering::Relaxed);
        load.waiting = gauges.waiting.load(Ordering::Relaxed).saturating_add(self.waiting.taken());
        load.queue_limit = self.waiting.limit();
        load.preemptions = gauges.preemptions.load(Ordering::Relaxed);
        self.identity.describe(pool, load, draining)
    }
}

/// The gRPC service.
pub struct GenerateService(pub Arc<Generator>);

#[tonic::async_trait]
impl decode_server::Decode for GenerateService {
    type GenerateStream = ReceiverStream<Result<v1::GenerateEvent, Status>>;

    async fn generate(&self, request: Request<v1::GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let (answer, terms) = self.0.validate(request.into_inner())?;
        let service = self.0.clone();
        Ok(respond(terms, EVENTS_IN_FLIGHT, |responses| async move { service.answer(answer, responses).await }))
    }
}
