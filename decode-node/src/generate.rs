//! `Decode.Generate`: reserve, open the epoch, wait for the KV, stream the tokens. Dropping the response ends it all.

use std::{sync::Arc, time::Instant};

use secateur_common::shutdown::CancellationToken;
use secateur_model::Sampling;
use secateur_node::{Identity, KvBudget, Leash, Reservation, handshake, host::Describe};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{self, DecodeDone, Opened, decode_server, generate_event::Event},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    engine::{Engine, Running},
    epochs::{Epochs, Open, Placed, Room},
    sequence::Sequence,
};

/// Events besides one per token: opened, done, an error.
const EVENTS_BESIDE_TOKENS: usize = 3;

/// What serves every request.
pub struct Generator {
    identity: Arc<Identity>,
    engine: Engine,
    budget: Arc<KvBudget>,
    epochs: Arc<Epochs>,
}

/// A validated request.
struct Answer {
    epoch: v1::Epoch,
    request_id: String,
    room: Room,
    sampling: Sampling,
    stop_token_ids: Vec<u32>,
    deadline: std::time::Duration,
}

type Responses = mpsc::Sender<Result<v1::GenerateEvent, Status>>;

impl Generator {
    /// Serves over a running engine.
    pub fn new(identity: Arc<Identity>, engine: Engine, budget: Arc<KvBudget>, epochs: Arc<Epochs>) -> Self {
        Self { identity, engine, budget, epochs }
    }

    fn validate(&self, request: v1::GenerateRequest) -> Result<Answer, ServiceError> {
        handshake::check_model(&self.identity, &request.model_fingerprint, &request.plan_id)?;
        let limit = self.identity.model.max_positions as u64;
        let positions = u64::from(request.prompt_positions_max) + u64::from(request.max_new_tokens);
        if request.prompt_positions_max == 0 || request.max_new_tokens == 0 {
            let text = "prompt_positions_max and max_new_tokens must be at least 1";
            return Err(ServiceError::new(ErrorCode::InvalidRequest, text));
        }
        if positions > limit {
            let text = format!("{positions} positions are more than the model's maximum context length of {limit}");
            return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text).with_param("max_tokens"));
        }
        Ok(Answer {
            epoch: handshake::epoch(request.epoch)?,
            request_id: request.request_id,
            room: Room { prompt_positions_max: request.prompt_positions_max, answer_positions: request.max_new_tokens },
            sampling: handshake::sampling(request.sampling),
            stop_token_ids: request.stop_token_ids,
            deadline: handshake::deadline(request.deadline_ms)?,
        })
    }

    /// KV bytes that a request can need at most.
    fn bytes_needed(&self, room: Room) -> u64 {
        let positions = u64::from(room.prompt_positions_max) + u64::from(room.answer_positions);
        positions * self.identity.kv_bytes_per_position()
    }

    /// One request from its reservation to its last token.
    async fn answer(&self, answer: Answer, responses: &Responses) -> Result<(), ServiceError> {
        let reservation = self.budget.reserve(self.bytes_needed(answer.room)).await?;
        let mut open = self.epochs.open(&answer.epoch.id, answer.epoch.attempt, answer.room)?;
        send(responses, Event::Opened(Opened { node_id: self.identity.node_id.clone() })).await?;
        let placed = open.shipment().await?;
        self.generate(answer, placed, reservation, open, responses).await
    }

    async fn generate(
        &self,
        answer: Answer,
        placed: Placed,
        reservation: Reservation,
        _open: Open,
        responses: &Responses,
    ) -> Result<(), ServiceError> {
        let started = Instant::now();
        let max_new_tokens = answer.room.answer_positions;
        let sequence =
            Sequence::new(answer.sampling, answer.stop_token_ids, max_new_tokens, placed.accepted.first_token);
        if let Some(reason) = sequence.ended_at_first() {
            let done = DecodeDone { reason: reason as i32, decode_ms: 0.0, tokens: 0 };
            return send(responses, Event::Done(done)).await;
        }
        let (events, mut generated) = mpsc::channel(max_new_tokens as usize + EVENTS_BESIDE_TOKENS);
        let cancelled = CancellationToken::new();
        let _leash = Leash::new(cancelled.clone());
        self.engine.submit(Running { sequence, cache: placed.cache, reservation, events, cancelled, started }).await?;
        while let Some(event) = generated.recv().await {
            send(responses, event?).await?;
        }
        Ok(())
    }
}

async fn send(responses: &Responses, event: Event) -> Result<(), ServiceError> {
    let gone = |_| ServiceError::new(ErrorCode::Cancelled, "the router went away");
    responses.send(Ok(v1::GenerateEvent { event: Some(event) })).await.map_err(gone)
}

impl Describe for Generator {
    fn describe(&self, draining: bool) -> v1::NodeDescription {
        let load = v1::Load {
            running: self.engine.running(),
            waiting: self.budget.waiting(),
            queue_limit: self.budget.waiting_max(),
            kv_bytes_used: self.budget.bytes_used(),
            kv_bytes_total: self.budget.bytes_total(),
        };
        let mut description = self.identity.describe(load, draining);
        // Routers clamp answers to what can ever fit here, so a small KV budget shortens answers instead of refusing them.
        let fit = self.budget.bytes_total() / self.identity.kv_bytes_per_position().max(1);
        description.max_positions = description.max_positions.min(u32::try_from(fit).unwrap_or(u32::MAX));
        description
    }
}

/// The gRPC service.
pub struct GenerateService(pub Arc<Generator>);

#[tonic::async_trait]
impl decode_server::Decode for GenerateService {
    type GenerateStream = ReceiverStream<Result<v1::GenerateEvent, Status>>;

    async fn generate(&self, request: Request<v1::GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let answer = self.0.validate(request.into_inner())?;
        let (responses, stream) = mpsc::channel(16);
        let service = self.0.clone();
        tokio::spawn(async move {
            let (request_id, deadline) = (answer.request_id.clone(), answer.deadline);
            tokio::select! {
                // The stream is dropped when the router goes away: then nothing is worth finishing.
                () = responses.closed() => tracing::info!(request = %request_id, "decode was cancelled by the router"),
                outcome = tokio::time::timeout(deadline, service.answer(answer, &responses)) => {
                    let failed = match outcome {
                        Ok(Ok(())) => return,
                        Ok(Err(error)) => error,
                        Err(_) => ServiceError::new(ErrorCode::Timeout, "the request's deadline passed during decode"),
                    };
                    tracing::info!(request = %request_id, code = failed.code.as_str(), error = %failed, "decode failed");
                    let _ = responses.send(Err(failed.into())).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
