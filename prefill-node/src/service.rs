//! The calls of a prefill node. `Prefill.Run` sends the first token as soon as it exists and, when decode has the KV, the
//! account of the shipment. `Prefill.Embed` goes through the same queue and engine, and answers with a vector.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use secateur_channel::Link;
use secateur_grammar::Constraint;
use secateur_model::{KvPool, Picture};
use secateur_node::{Identity, Life, Responses, Terms, handshake, host::Describe, prefix::PictureDigest, respond};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{self, prefill_event::Event, prefill_server},
};
use tokio::sync::{Semaphore, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::{
    engine::{Engine, Prefilled, Work},
    job::Job,
    lines::Lines,
    peers::Peers,
    pictures,
    progress::{Follower, progress},
    reading::Reading,
    ship::{Failed, Shipment, Shipped},
    stall::Patience,
};

/// Events of one response that may wait for the router: the first token, then `Done`, or `Spent` and an error.
const EVENTS: usize = 3;
/// Scores in one event: with as many most likely tokens as there may be, about 120 KB.
const SCORES_PER_EVENT: usize = 512;

/// State shared by all requests of a prefill node.
pub struct Prefiller {
    identity: Arc<Identity>,
    engine: Engine,
    pool: KvPool,
    peers: Peers,
    lines: Lines,
    /// Permits for requests whose decoded pictures are in memory.
    decoding: Arc<Semaphore>,
    /// Patience of every shipment with its receiver.
    patience: Patience,
}

/// Most requests whose pictures may be decoded and wait for the vision tower: decoded pictures are large, so further
/// requests wait with theirs still encoded.
const DECODED_REQUESTS: usize = 4;

impl Prefiller {
    /// Serves requests with a running engine. Stalled shipments are given up after `ship_patience`; `lines` decides
    /// whether losslessly shipped KV is packed.
    pub fn new(
        identity: Arc<Identity>,
        engine: Engine,
        pool: KvPool,
        peers: Peers,
        ship_patience: Duration,
        lines: Lines,
    ) -> Self {
        let patience = Patience { limit: ship_patience, shortage: engine.shortage().clone() };
        let decoding = Arc::new(Semaphore::new(DECODED_REQUESTS));
        Self { identity, engine, pool, peers, lines, decoding, patience }
    }

    /// The life of the engine.
    pub fn life(&self) -> &Life {
        self.engine.life()
    }

    /// Runs one request, from decoding its pictures to the account of its shipment.
    async fn run(&self, job: Arc<Job>, responses: Responses<v1::PrefillEvent>) -> Result<(), ServiceError> {
        let permit = self.engine.take_permit()?;
        let channel = job.decode.as_ref().map(|peer| self.peers.channel(peer)).transpose()?;
        let decoding = if job.images.is_empty() { None } else { self.decoding.clone().acquire_owned().await.ok() };
        let pictures = decode_pictures(job.clone()).await?;
        let (cancelled, _leash) = self.engine.leash();
        let (reporter, follower) = progress();
        let (result, prefilled) = oneshot::channel();
        let reporter = channel.is_some().then_some(reporter);
        let (progress, constraint) = (reporter, constraint(&self.identity, &job).await?);
        let work = Work { job: job.clone(), pictures, decoding, constraint, progress, result, cancelled };
        self.engine.submit(work, permit)?;
        let packing = self.lines.packing(job.decode_address());
        let shipment = Shipment { identity: self.identity.clone(), job, patience: self.patience.clone(), packing };
        let ship = async {
            match channel {
                Some(channel) => self.ship(&shipment, channel, follower, &responses).await.map(Some),
                None => Ok(None),
            }
        };
        // If the engine stops, `announce` returns its error; if the shipment fails, this future ends and the leash
        // cancels the job in the engine.
        let (prefilled, shipped) = tokio::try_join!(announce(&shipment.job, &responses, prefilled), ship)?;
        let done = account(&shipment, prefilled, shipped);
        send(&responses, Event::Done(done)).await
    }

    /// Computes the vector of one prompt.
    async fn embed(&self, job: Arc<Job>) -> Result<v1::EmbedReply, ServiceError> {
        let permit = self.engine.take_permit()?;
        let (cancelled, _leash) = self.engine.leash();
        let (result, prefilled) = oneshot::channel();
        let (pictures, decoding, constraint, progress) = (Vec::new(), None, None, None);
        self.engine.submit(Work { job, pictures, decoding, constraint, progress, result, cancelled }, permit)?;
        let Prefilled { first_token: figures, reading, .. } = done(prefilled).await?;
        let Some(Reading::Vector(pooled)) = reading else {
            return Err(ServiceError::new(ErrorCode::Internal, "the engine made no vector"));
        };
        Ok(v1::EmbedReply {
            values: pooled.vector().map_err(handshake::model_failure)?,
            queue_ms: figures.queue_ms,
            prefill_ms: figures.prefill_ms,
            cached_positions: figures.cached_positions,
        })
    }

    /// Ships the KV; if that fails, reports the bytes that were sent in vain to the router.
    async fn ship(
        &self,
        shipment: &Shipment,
        channel: Link,
        progress: Follower,
        responses: &Responses<v1::PrefillEvent>,
    ) -> Result<Shipped, ServiceError> {
        let parties = &shipment.job.parties;
        let span = tracing::info_span!("ship", epoch = %parties.epoch, attempt = parties.attempt, policy = %shipment.job.transfer);
        match shipment.run(channel, progress).instrument(span.clone()).await {
            Ok(shipped) => {
                let (bytes, raw, held) = (shipped.bytes_sent, shipped.bytes_raw, shipped.positions_held);
                let wire_ms = shipped.timeline.flight.wire().as_secs_f64() * 1e3;
                span.in_scope(|| tracing::debug!(bytes, raw, held, wire_ms, "shipped"));
                let address = shipment.job.decode_address();
                self.lines.learn(address, shipped.bytes_sent, shipped.timeline.flight.wire());
                Ok(shipped)
            }
            Err(Failed { error, bytes_sent }) => {
                send(responses, Event::Spent(shipment.report_failed(bytes_sent))).await?;
                Err(error)
            }
        }
    }
}

/// Decodes a job's pictures on a blocking thread, beside the engine thread.
async fn decode_pictures(job: Arc<Job>) -> Result<Vec<(PictureDigest, Picture)>, ServiceError> {
    if job.images.is_empty() {
        return Ok(Vec::new());
    }
    let stopped = |_| ServiceError::new(ErrorCode::Internal, "decoding a picture failed; the node's log says why");
    tokio::task::spawn_blocking(move || pictures::decode(&job.images, job.visual.view())).await.map_err(stopped)?
}

/// The state of the job's grammar in front of the answer's first token.
async fn constraint(identity: &Identity, job: &Job) -> Result<Option<Constraint>, ServiceError> {
    identity.grammars.constraint(job.sampling.grammar.as_ref(), &job.stop_token_ids).await
}

fn account(shipment: &Shipment, prefilled: Prefilled, shipped: Option<Shipped>) -> v1::PrefillDone {
    let transfer = shipment.report(&prefilled.visual, prefilled.first_token.prompt_positions, shipped.as_ref());
    v1::PrefillDone { visual: Some(prefilled.visual), transfer: Some(transfer) }
}

/// Sends the first token to the router as soon as it exists, behind the scores of the prompt where they are asked for,
/// without waiting for the shipment.
async fn announce(
    job: &Job,
    responses: &Responses<v1::PrefillEvent>,
    prefilled: oneshot::Receiver<Result<Prefilled, ServiceError>>,
) -> Result<Prefilled, ServiceError> {
    let mut prefilled = done(prefilled).await?;
    if let Some(Reading::Scores(scores)) = prefilled.reading.take() {
        for event in score_events(scores.of_tokens(&job.pieces)) {
            send(responses, Event::Scores(event)).await?;
        }
    }
    send(responses, Event::FirstToken(prefilled.first_token.clone())).await?;
    Ok(prefilled)
}

/// Scores cut into messages that stay well below what a router takes.
fn score_events(scores: Vec<v1::PromptScore>) -> impl Iterator<Item = v1::PromptScores> {
    let mut scores = scores.into_iter();
    let mut start = 0;
    std::iter::from_fn(move || {
        let part: Vec<v1::PromptScore> = scores.by_ref().take(SCORES_PER_EVENT).collect();
        let event = v1::PromptScores { start, scores: part };
        start += event.scores.len() as u32;
        (!event.scores.is_empty()).then_some(event)
    })
}

/// The engine's result.
async fn done(prefilled: oneshot::Receiver<Result<Prefilled, ServiceError>>) -> Result<Prefilled, ServiceError> {
    let stopped = |_| ServiceError::new(ErrorCode::Unavailable, "the prefill engine has stopped");
    prefilled.await.map_err(stopped)?
}

async fn send(responses: &Responses<v1::PrefillEvent>, event: Event) -> Result<(), ServiceError> {
    responses.send(v1::PrefillEvent { event: Some(event) }).await
}

impl Describe for Prefiller {
    fn describe(&self, draining: bool) -> v1::NodeDescription {
        let gauges = self.engine.gauges();
        let mut load = handshake::load(&self.pool, self.engine.reclaimable());
        load.running = gauges.running.load(Ordering::Relaxed);
        load.waiting = self.engine.queue().taken();
        load.queue_limit = self.engine.queue().limit();
        load.prefix_queries = gauges.prefix_queries.load(Ordering::Relaxed);
        load.prefix_hits = gauges.prefix_hits.load(Ordering::Relaxed);
        self.identity.describe(&self.pool, load, draining)
    }
}

/// The gRPC service.
pub struct PrefillService(pub Arc<Prefiller>);

#[tonic::async_trait]
impl prefill_server::Prefill for PrefillService {
    type RunStream = ReceiverStream<Result<v1::PrefillEvent, Status>>;

    async fn run(&self, request: Request<v1::PrefillRequest>) -> Result<Response<Self::RunStream>, Status> {
        let job = Arc::new(Job::new(request.into_inner(), &self.0.identity)?);
        let life = self.0.life().clone();
        let terms = Terms { stage: "prefill", request_id: job.request_id.clone(), deadline: job.deadline, life };
        let prefiller = self.0.clone();
        Ok(respond(terms, EVENTS, |responses| async move { prefiller.run(job, responses).await }))
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedReply>, Status> {
        let job = Arc::new(Job::for_vector(request.into_inner(), &self.0.identity)?);
        let life = self.0.life().clone();
        let terms = Terms { stage: "embedding", request_id: job.request_id.clone(), deadline: job.deadline, life };
        Ok(Response::new(terms.keep(self.0.embed(job)).await?))
    }
}

#[cfg(test)]
mod tests;
