//! Pushing one prompt's KV to decode: one client-streaming call, layer by layer, while later layers still compute.

use std::{sync::Arc, time::Instant};

use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{self, ShipFrame, kv_transfer_client::KvTransferClient},
};
use secateur_transfer::{
    KvShape, Manifest, Sender,
    receipt::{Account, Timeline, dense_bytes},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{engine::ShipStep, job::Job};

/// Frames between the ship task and the transport: enough to keep the transport busy, few enough to bound memory.
const FRAMES_IN_FLIGHT: usize = 4;

/// What is shipped, and from what it is accounted.
pub struct Shipment {
    /// The request.
    pub job: Arc<Job>,
    /// Blocks that prefill computes, ascending.
    pub layers: Vec<u32>,
    /// Geometry of the KV.
    pub shape: KvShape,
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
    pub async fn run(&self, channel: Channel, steps: mpsc::Receiver<ShipStep>) -> Result<Shipped, ServiceError> {
        let (frames, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT);
        let mut client = KvTransferClient::new(channel);
        let call = client.ship(ReceiverStream::new(outgoing));
        let push = self.push(steps, frames);
        tokio::pin!(call, push);
        // Whichever leg ends first decides: an answer before the end is a refusal, and a push that fails ends the call.
        tokio::select! {
            answer = &mut call => {
                answer?;
                Err(ServiceError::new(ErrorCode::KvRefused, "decode acknowledged a shipment that was not complete"))
            }
            pushed = &mut push => {
                let pushed = pushed?;
                let ack = call.await?.into_inner();
                self.acknowledge(pushed, ack)
            }
        }
    }

    /// Turns steps into frames.
    async fn push(
        &self,
        mut steps: mpsc::Receiver<ShipStep>,
        frames: mpsc::Sender<ShipFrame>,
    ) -> Result<Pushed, ServiceError> {
        let Some(ShipStep::Start { positions }) = steps.recv().await else { return Err(ended_early()) };
        let manifest = Manifest::new(self.job.parties.clone(), self.job.transfer, positions, self.shape, &self.layers);
        let payload_bytes = manifest.total_bytes();
        let (mut sender, first) = Sender::new(manifest);
        let first_frame = Instant::now();
        send(&frames, first).await?;
        while let Some(step) = steps.recv().await {
            match step {
                ShipStep::Start { .. } => return Err(ended_early()),
                ShipStep::Layer(kv) => {
                    for frame in sender.layer(kv.layer as u32, kv.k, kv.v).map_err(internal)? {
                        send(&frames, frame).await?;
                    }
                }
                ShipStep::Close { first_token, compute_end } => {
                    send(&frames, sender.close(first_token).map_err(internal)?).await?;
                    return Ok(Pushed { bytes_sent: sender.bytes_sent(), payload_bytes, first_frame, compute_end });
                }
            }
        }
        Err(ended_early())
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
        let blocks = self.layers.len() as u64;
        let pruned = u64::from(visual.tokens_before.saturating_sub(visual.tokens_after));
        let kept = u64::from(positions);
        let account = Account {
            policy: self.job.transfer,
            bytes_sent: shipped.map_or(0, |shipped| shipped.bytes_sent),
            bytes_dense: dense_bytes(kept, blocks, self.shape),
            bytes_unpruned: dense_bytes(kept + pruned, blocks, self.shape),
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

/// Waits for the transport: this is where a slow receiver slows the sender down.
async fn send(frames: &mpsc::Sender<ShipFrame>, frame: ShipFrame) -> Result<(), ServiceError> {
    frames.send(frame).await.map_err(|_| ServiceError::new(ErrorCode::Unavailable, "the connection to decode was lost"))
}

/// The engine stopped before the prompt was done; its own error is the one that counts.
fn ended_early() -> ServiceError {
    ServiceError::new(ErrorCode::Cancelled, "prefill ended before the shipment was complete")
}

fn internal(error: secateur_transfer::send::SendError) -> ServiceError {
    tracing::error!(%error, "the shipment does not fit its manifest");
    ServiceError::new(ErrorCode::Internal, "the shipment does not fit its manifest")
}
