//! `Prefill.Run`: the first token as soon as it exists, then, when decode has the KV, the account of the shipment.

use std::sync::Arc;

use secateur_common::shutdown::CancellationToken;
use secateur_node::{Identity, Leash, host::Describe};
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

/// The gRPC service.
pub struct PrefillService {
    identity: Arc<Identity>,
    engine: Engine,
    peers: Peers,
}

type Events = mpsc::Sender<Result<v1::PrefillEvent, Status>>;

impl PrefillService {
    /// A service over a running engine.
    pub fn new(identity: Arc<Identity>, engine: Engine) -> Self {
        Self { identity, engine, peers: Peers::default() }
    }

    /// Queues the job and starts the task that carries its events; returns what the response reads.
    fn start(
        &self,
        request: v1::PrefillRequest,
    ) -> Result<ReceiverStream<Result<v1::PrefillEvent, Status>>, ServiceError> {
        let job = Arc::new(Job::new(request, &self.identity)?);
        let cancelled = CancellationToken::new();
        let (steps, step_queue) = mpsc::channel(self.identity.kept_layers.len() + STEPS_BESIDE_LAYERS);
        let (result, prefilled) = oneshot::channel();
        let channel = job.decode_address.as_deref().map(|address| self.peers.channel(address)).transpose()?;
        self.engine.submit(Work { job: job.clone(), steps, result, cancelled: cancelled.clone() })?;
        let shipment =
            Shipment { layers: self.identity.kept_layers.clone(), shape: self.identity.kv_shape(), job: job.clone() };
        let ship = async move {
            match channel {
                Some(channel) => shipment.run(channel, step_queue).await.map(Some),
                None => Ok(None),
            }
            .map(|shipped| (shipment, shipped))
        };
        let (events, stream) = mpsc::channel(EVENTS);
        let leash = Leash::new(cancelled);
        tokio::spawn(async move {
            let _leash = leash;
            // The stream is dropped when the router goes away: then nothing is worth finishing.
            tokio::select! {
                () = events.closed() => tracing::info!(request = %job.request_id, "prefill was cancelled by the router"),
                outcome = tokio::time::timeout(job.deadline, carry(&events, prefilled, ship)) => {
                    let failed = match outcome {
                        Ok(Ok(())) => return,
                        Ok(Err(error)) => error,
                        Err(_) => ServiceError::new(ErrorCode::Timeout, "the request's deadline passed during prefill"),
                    };
                    let _ = events.send(Err(failed.into())).await;
                }
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

/// Carries one request's events: the first token at once, while the shipment may still be on its way.
async fn carry(
    events: &Events,
    prefilled: oneshot::Receiver<Result<Prefilled, ServiceError>>,
    ship: impl Future<Output = Result<(Shipment, Option<Shipped>), ServiceError>>,
) -> Result<(), ServiceError> {
    // The engine comes first: where it stops, it has said why before its shipment ends early because of it. And where
    // the shipment fails first, dropping its steps stops the engine at the next block.
    let (prefilled, (shipment, shipped)) = tokio::try_join!(announce(events, prefilled), ship)?;
    let transfer = shipment.report(&prefilled.visual, prefilled.first_token.prompt_positions, shipped);
    let done = v1::PrefillDone { visual: Some(prefilled.visual), transfer: Some(transfer) };
    send(events, Event::Done(done)).await
}

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

impl Describe for PrefillService {
    fn describe(&self, draining: bool) -> v1::NodeDescription {
        self.identity.describe(self.engine.load(), draining)
    }
}

#[tonic::async_trait]
impl prefill_server::Prefill for PrefillService {
    type RunStream = ReceiverStream<Result<v1::PrefillEvent, Status>>;

    async fn run(&self, request: Request<v1::PrefillRequest>) -> Result<Response<Self::RunStream>, Status> {
        Ok(Response::new(self.start(request.into_inner())?))
    }
}
