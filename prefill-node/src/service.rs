//! `Prefill.Run`: the first token as soon as it exists, then, when decode has the KV, the account of the shipment.

use std::sync::Arc;

use secateur_common::shutdown::CancellationToken;
use secateur_node::{Identity, KvBudget, Leash, host::Describe};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{self, prefill_event::Event, prefill_server},
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    engine::{Engine, Prefilled, Work},
    job::Job,
    peers::Peers,
    ship::{Shipment, Shipped},
};

/// Events of one response: first token and done, or an error.
const EVENTS: usize = 3;
/// Steps of a shipment besides its layers.
const STEPS_BESIDE_LAYERS: usize = 2;

/// What serves every request.
pub struct Prefiller {
    identity: Arc<Identity>,
    engine: Engine,
    budget: KvBudget,
    peers: Peers,
}

type Events = mpsc::Sender<Result<v1::PrefillEvent, Status>>;

impl Prefiller {
    /// Serves over a running engine.
    pub fn new(identity: Arc<Identity>, engine: Engine, budget: KvBudget) -> Self {
        Self { identity, engine, budget, peers: Peers::default() }
    }

    /// One request from its reservation to the account of its shipment.
    async fn run(&self, job: Arc<Job>, events: &Events) -> Result<(), ServiceError> {
        // KV waits in memory until decode has it, so it is reserved before any is made, and held until it is shipped.
        let positions = job.positions(&self.identity.model) as u64;
        let _reservation = self.budget.reserve(positions * self.identity.kv_bytes_per_position()).await?;
        let channel = job.decode_address.as_deref().map(|address| self.peers.channel(address)).transpose()?;
        let cancelled = CancellationToken::new();
        let _leash = Leash::new(cancelled.clone());
        let (steps, step_queue) = mpsc::channel(self.identity.kept_layers.len() + STEPS_BESIDE_LAYERS);
        let (result, prefilled) = oneshot::channel();
        self.engine.submit(Work { job: job.clone(), steps, result, cancelled })?;
        let (layers, shape) = (self.identity.kept_layers.clone(), self.identity.kv_shape());
        let shipment = Shipment { layers, shape, job };
        let ship = async {
            match channel {
                Some(channel) => shipment.run(channel, step_queue).await.map(Some),
                None => Ok(None),
            }
        };
        // Where the engine stops, its error is the one that ends this; where the shipment fails, dropping its steps
        // stops the engine at the next block.
        let (prefilled, shipped) = tokio::try_join!(announce(events, prefilled), ship)?;
        let done = account(&shipment, prefilled, shipped);
        send(events, Event::Done(done)).await
    }
}

fn account(shipment: &Shipment, prefilled: Prefilled, shipped: Option<Shipped>) -> v1::PrefillDone {
    let transfer = shipment.report(&prefilled.visual, prefilled.first_token.prompt_positions, shipped);
    v1::PrefillDone { visual: Some(prefilled.visual), transfer: Some(transfer) }
}

/// Sends the first token at once, while the shipment may still be on its way.
async fn announce(
    events: &Events,
    prefilled: oneshot::Receiver<Result<Prefilled, ServiceError>>,
) -> Result<Prefilled, ServiceError> {
    let stopped = |_| ServiceError::new(ErrorCode::Unavailable, "the prefill engine has stopped");
    let prefilled = prefilled.await.map_err(stopped)??;
    send(events, Event::FirstToken(prefilled.first_token)).await?;
    Ok(prefilled)
}

async fn send(events: &Events, event: Event) -> Result<(), ServiceError> {
    let gone = |_| ServiceError::new(ErrorCode::Cancelled, "the router went away");
    events.send(Ok(v1::PrefillEvent { event: Some(event) })).await.map_err(gone)
}

impl Describe for Prefiller {
    fn describe(&self, draining: bool) -> v1::NodeDescription {
        let load = v1::Load {
            running: self.engine.running(),
            waiting: self.engine.waiting() + self.budget.waiting(),
            queue_limit: self.budget.waiting_max(),
            kv_bytes_used: self.budget.bytes_used(),
            kv_bytes_total: self.budget.bytes_total(),
        };
        self.identity.describe(load, draining)
    }
}

/// The gRPC service.
pub struct PrefillService(pub Arc<Prefiller>);

#[tonic::async_trait]
impl prefill_server::Prefill for PrefillService {
    type RunStream = ReceiverStream<Result<v1::PrefillEvent, Status>>;

    async fn run(&self, request: Request<v1::PrefillRequest>) -> Result<Response<Self::RunStream>, Status> {
        let job = Arc::new(Job::new(request.into_inner(), &self.0.identity)?);
        let (events, stream) = mpsc::channel(EVENTS);
        let prefiller = self.0.clone();
        tokio::spawn(async move {
            let (request_id, deadline) = (job.request_id.clone(), job.deadline);
            let failed = tokio::select! {
                // The stream is dropped when the router goes away: then nothing is worth finishing.
                () = events.closed() => {
                    tracing::info!(request = %request_id, "prefill was cancelled by the router");
                    return;
                }
                outcome = tokio::time::timeout(deadline, prefiller.run(job, &events)) => match outcome {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(_) => ServiceError::new(ErrorCode::Timeout, "the request's deadline passed during prefill"),
                },
            };
            let _ = events.send(Err(failed.into())).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
