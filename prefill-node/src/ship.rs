//! Pushing one prompt's KV to decode: one client-streaming call, layer by layer, while later layers still compute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use secateur_channel::Link;
use secateur_node::Identity;
use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{self, ShipFrame, kv_transfer_client::KvTransferClient},
};
use secateur_transfer::{
    Extent, Manifest, Sender,
    receipt::{Account, Timeline, dense_bytes},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::{engine::ShipStep, job::Job, stall::Patience};

/// Frames between the ship task and the transport: enough to keep the transport busy, few enough to bound memory.
const FRAMES_IN_FLIGHT: usize = 4;
/// How long a shipment whose stream broke waits for decode to say why.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(500);

/// What is shipped, and from what it is accounted.
pub struct Shipment {
    /// The request.
    pub job: Arc<Job>,
    /// This node: its blocks, its plan and the geometry of its KV.
    pub identity: Arc<Identity>,
    /// With a receiver that takes nothing.
    pub patience: Patience,
}

/// A shipment that decode acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Payload and framing.
    pub bytes_sent: u64,
    /// On this node's clock.
    pub timeline: Timeline,
}

impl Shipment {
    /// Ships what `steps` brings; returns when decode has acknowledged.
    pub async fn run(&self, channel: Link, steps: mpsc::Receiver<ShipStep>) -> Result<Shipped, ServiceError> {
        let (frames, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT);
        let mut client = KvTransferClient::new(channel);
        let call = client.ship(ReceiverStream::new(outgoing));
        let push = self.push(steps, frames);
        tokio::pin!(call, push);
        // An answer before the end is a refusal, which says more than the broken stream that it leaves behind.
        tokio::select! {
            biased;
            answer = &mut call => {
                answer?;
                Err(ServiceError::new(ErrorCode::KvRefused, "decode acknowledged a shipment that was not complete"))
            }
            pushed = &mut push => match pushed {
                Ok(pushed) => self.acknowledge(pushed, call.await?.into_inner()),
                Err(error) => Err(match timeout(REFUSAL_PATIENCE, call).await {
                    Ok(Err(refused)) if is_from_service(&refused) => refused.into(),
                    _ => error,
                }),
            }
        }
    }

    /// Turns steps into frames.
    async fn push(
        &self,
        mut steps: mpsc::Receiver<ShipStep>,
        frames: mpsc::Sender<ShipFrame>,
    ) -> Result<Pushed, ServiceError> {
        let Some(ShipStep::Start { positions, next_position }) = steps.recv().await else {
            return engine_stopped().await;
        };
        let Identity { kv_layers, shipped_layers, plan, .. } = &*self.identity;
        let extent = Extent { prompt: positions - self.job.emitted.len() as u32, positions };
        let chosen = (self.job.transfer, plan.as_deref());
        let (parties, shape) = (self.job.parties.clone(), self.identity.kv_shape());
        let manifest = Manifest::new(parties, chosen, extent, shape, shipped_layers).with_next_position(next_position);
        let payload_bytes = manifest.total_bytes();
        let entries = manifest.layers.clone();
        let (mut sender, first) = Sender::new(manifest);
        let first_frame = Instant::now();
        self.send(&frames, first).await?;
        while let Some(step) = steps.recv().await {
            match step {
                ShipStep::Start { .. } => return engine_stopped().await,
                ShipStep::Layer { slot, view } => {
                    let layer = kv_layers[slot];
                    // What decode leaves out stays here.
                    let Some(entry) = entries.iter().find(|entry| entry.layer == layer) else { continue };
                    // Copied only now: until the transport takes it, the KV waits in its blocks.
                    let (k, v) =
                        view.layer(slot, entry.spans.iter().map(|span| span.start as usize..span.end as usize));
                    for frame in sender.layer(layer, k, v).map_err(internal)? {
                        self.send(&frames, frame).await?;
                    }
                }
                ShipStep::Close { first_token, compute_end } => {
                    self.send(&frames, sender.close(first_token).map_err(internal)?).await?;
                    return Ok(Pushed { bytes_sent: sender.bytes_sent(), payload_bytes, first_frame, compute_end });
                }
            }
        }
        engine_stopped().await
    }

    /// Waits for the transport: this is where a slow receiver slows the sender down.
    async fn send(&self, frames: &mpsc::Sender<ShipFrame>, frame: ShipFrame) -> Result<(), ServiceError> {
        self.patience.wait(frames.send(frame)).await?.map_err(|_| lost())
    }

    fn acknowledge(&self, pushed: Pushed, ack: v1::ShipAck) -> Result<Shipped, ServiceError> {
        if ack.bytes_placed != pushed.payload_bytes {
            return Err(ServiceError::new(ErrorCode::KvRefused, "decode placed fewer bytes than were shipped"));
        }
        let timeline =
            Timeline { first_frame: pushed.first_frame, compute_end: pushed.compute_end, acknowledged: Instant::now() };
        Ok(Shipped { bytes_sent: pushed.bytes_sent, timeline })
    }

    /// The report for the receipt.
    pub fn report(&self, visual: &v1::VisualReport, positions: u32, shipped: Option<Shipped>) -> v1::TransferReport {
        let (blocks, whole) = (self.identity.kv_layers.len() as u64, self.identity.model.layers as u64);
        let shape = self.identity.kv_shape();
        let pruned = u64::from(visual.tokens_before.saturating_sub(visual.tokens_after));
        let kept = u64::from(positions);
        let account = Account {
            policy: self.job.transfer,
            bytes_sent: shipped.map_or(0, |shipped| shipped.bytes_sent),
            bytes_dense: dense_bytes(kept, blocks, shape),
            bytes_unpruned: dense_bytes(kept + pruned, whole, shape),
        };
        account.report(shipped.map(|shipped| shipped.timeline))
    }
}

struct Pushed {
    bytes_sent: u64,
    payload_bytes: u64,
    first_frame: Instant,
    compute_end: Instant,
}

fn lost() -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, "the connection to decode was lost")
}

/// The engine stopped before the prompt was done. It says why on its own way to the response, which then drops this
/// future; an error from here could only hide that one.
async fn engine_stopped<T>() -> T {
    std::future::pending().await
}

fn internal(error: secateur_transfer::send::SendError) -> ServiceError {
    tracing::error!(%error, "the shipment does not fit its manifest");
    ServiceError::new(ErrorCode::Internal, "the shipment does not fit its manifest")
}

#[cfg(test)]
mod tests;
