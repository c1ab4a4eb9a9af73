//! The `KvTransfer.Ship` call: claim the epoch, check the manifest, lease blocks, place frame after frame, check the
//! digests, and hand the KV over to the waiting request. A shipment that does not match is refused, and the waiting
//! request fails with that, so that the router has its prompt recomputed.

use std::sync::Arc;

use secateur_node::{Identity, handshake::model_failure};
use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{self, ShipReply, kv_transfer_server, ship_frame::Frame, ship_reply::Reply},
};
use secateur_transfer::{
    Manifest, Receiver, Refusal,
    codec::Rows,
    receive::{Expectation, KvSink},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    epochs::{Claim, Epochs, Placed, ShipmentLimits},
    kept::{HeldKv, is_whole},
    messages::Messages,
    space::BlockSpace,
};

/// Largest manifest in bytes, enough for a million positions.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Largest message after the manifest, in bytes: a frame's payload and its overhead.
const FRAME_BYTES_MAX: u64 = 8 << 20;
/// Bytes that a frame may have besides its share of the KV: runs, digests, the form of each part.
const FRAME_OVERHEAD_BYTES: u64 = 64 << 10;
/// Replies buffered between a shipment and the transport.
const REPLIES_IN_FLIGHT: usize = 4;

/// The gRPC service.
#[derive(Clone)]
pub struct ReceiveService {
    identity: Arc<Identity>,
    space: Arc<BlockSpace>,
    epochs: Arc<Epochs>,
}

/// Channel for a shipment's replies.
struct Replies(mpsc::Sender<Result<ShipReply, Status>>);

impl Replies {
    async fn send(&self, reply: Reply) -> Result<(), ServiceError> {
        let gone = |_| ServiceError::new(ErrorCode::Cancelled, "prefill went away");
        self.0.send(Ok(ShipReply { reply: Some(reply) })).await.map_err(gone)
    }
}

/// Sink that writes received rows into the blocks of an answer.
struct Sink<'a> {
    identity: &'a Identity,
    kv: &'a mut HeldKv,
}

impl KvSink for Sink<'_> {
    type Error = ServiceError;

    fn place(&mut self, layer: u32, first_row: u32, rows: Rows<'_>) -> Result<(), ServiceError> {
        // Cannot fail: the manifest was checked to list exactly the layers of this node.
        let slot = self.identity.kv_layers.binary_search(&layer).map_err(|_| Refusal::LayerMismatch)?;
        self.kv.write_layer(slot, first_row as usize, rows.k, rows.v).map_err(model_failure)
    }
}

impl ReceiveService {
    /// Creates the service, which places KV for the open epochs in `epochs`.
    pub fn new(identity: Arc<Identity>, space: Arc<BlockSpace>, epochs: Arc<Epochs>) -> Self {
        Self { identity, space, epochs }
    }

    fn expectation(&self, room: ShipmentLimits) -> Expectation {
        Expectation {
            model_fingerprint: self.identity.model.fingerprint.clone(),
            plan_id: self.identity.plan_id.clone(),
            shape: self.identity.kv_shape(),
            layers: self.identity.kv_layers.clone(),
            plan: self.identity.plan.clone(),
            policy: room.transfer,
            emitted: room.emitted,
            positions_max: room.prompt_positions_max,
        }
    }

    /// Checks the manifest, leases blocks and receives the frames that follow.
    async fn place(
        &self,
        manifest: Manifest,
        room: ShipmentLimits,
        frames: &mut Messages,
        replies: &Replies,
    ) -> Result<Placed, ServiceError> {
        let expectation = self.expectation(room);
        expectation.check(&manifest)?;
        // Blocks may take long to become free. A sender that does not even get this reply knows that something was
        // lost.
        replies.send(Reply::Received(v1::Received { frames: 0 })).await?;
        let positions = manifest.extent.positions as usize;
        let held_max = manifest.policy.held_max(self.identity.plan.as_deref(), manifest.extent);
        // One more position, for the answer's first step. Prefill sends no frame until the blocks are leased.
        let begin = || self.space.kept().begin(self.space.pool(), &manifest, held_max);
        let mut kv = tokio::select! {
            biased;
            kv = self.space.room_for(positions + 1, begin) => kv?,
            early = frames.next() => return Err(too_early(early).into()),
        };
        let held = kv.len() as u32;
        replies.send(Reply::Ready(v1::Ready { held })).await?;
        let mut receiver = Receiver::new(manifest.clone(), &expectation, held);
        loop {
            match frames.next().await.map_err(unreadable)?.ok_or(Refusal::Truncated)?.frame {
                Some(Frame::Kv(frame)) => {
                    // A copy of about a mebibyte is short enough for the async task; further frames wait in the
                    // transport.
                    receiver.frame(&frame, &mut Sink { identity: &self.identity, kv: &mut kv })?;
                    replies.send(Reply::Received(v1::Received { frames: receiver.frames() })).await?;
                }
                Some(Frame::Closing(closing)) => {
                    let accepted = receiver.close(&closing)?;
                    let model = &self.identity.model;
                    let beyond = accepted.next_position as usize > model.max_positions;
                    if accepted.first_token as usize >= model.vocab || beyond {
                        return Err(Refusal::FrameMismatch.into());
                    }
                    self.complete(&mut kv, &manifest)?;
                    return Ok(Placed { kv, accepted });
                }
                Some(Frame::Manifest(_)) | None => return Err(Refusal::OutOfOrder.into()),
            }
        }
    }

    /// Makes the placed positions visible in the table, and keeps the prompt's full blocks for later turns if it was
    /// shipped whole.
    fn complete(&self, kv: &mut HeldKv, manifest: &Manifest) -> Result<(), ServiceError> {
        let positions = manifest.extent.positions as usize;
        kv.set_len(positions).map_err(model_failure)?;
        let shipped: Vec<usize> = manifest.layers.iter().map(|entry| entry.tokens() as usize).collect();
        if is_whole(&shipped, positions) {
            let max = manifest.policy.kept_max(self.identity.plan.as_deref(), manifest.extent);
            self.space.kept().keep(manifest, kv, max);
            return Ok(());
        }
        for (slot, shipped) in shipped.into_iter().enumerate() {
            kv.set_lacking(slot, positions - shipped).map_err(model_failure)?;
        }
        Ok(())
    }

    /// Runs a shipment from its manifest to its end.
    async fn receive(self, manifest: Manifest, mut claim: Claim, mut frames: Messages, replies: Replies) {
        let parties = manifest.parties.clone();
        let placed = tokio::select! {
            placed = self.place(manifest, claim.room, &mut frames, &replies) => placed,
            // The request ended first: its blocks are released, so nothing more may be placed for it.
            () = claim.outcome.closed() => Err(Refusal::StaleEpoch.into()),
            () = replies.0.closed() => Err(Refusal::Truncated.into()),
        };
        let last = match &placed {
            Ok(placed) => {
                let reply = Reply::Placed(v1::Placed { bytes: placed.accepted.total_bytes });
                Ok(ShipReply { reply: Some(reply) })
            }
            // The request has ended, for example because its client left: no reason for a warning.
            Err(error) if claim.outcome.is_closed() => {
                tracing::debug!(epoch = %parties.epoch, %error, "a shipment's request has ended");
                Err(error.clone().into())
            }
            Err(error) => {
                tracing::warn!(epoch = %parties.epoch, code = error.code.as_str(), %error, "refused a shipment");
                Err(error.clone().into())
            }
        };
        // Fails only if the request was cancelled at this very moment; the KV is dropped with the value.
        let _ = claim.outcome.send(placed);
        // Fails only if prefill has dropped the call, and then needs no reply.
        let _ = replies.0.send(last).await;
    }
}

#[tonic::async_trait]
impl kv_transfer_server::KvTransfer for ReceiveService {
    type ShipStream = ReceiverStream<Result<ShipReply, Status>>;

    async fn ship(&self, mut request: Request<Streaming<v1::ShipFrame>>) -> Result<Response<Self::ShipStream>, Status> {
        let mut frames = Messages::of(&mut request, MANIFEST_BYTES_MAX)?;
        let unread = |status| if is_from_service(&status) { status } else { refused(unreadable(status)) };
        let first = frames.next().await.map_err(unread)?;
        let first = first.ok_or(Refusal::Truncated).map_err(refused)?;
        let manifest = Receiver::parse_manifest(first).map_err(refused)?;
        frames.set_limit(frame_bytes_max(&manifest));
        let claim = self.epochs.claim(&manifest.parties.epoch, manifest.parties.attempt).map_err(refused)?;
        let (replies, stream) = mpsc::channel(REPLIES_IN_FLIGHT);
        tokio::spawn(self.clone().receive(manifest, claim, frames, Replies(replies)));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Largest message of a shipment, in bytes: no frame has more KV than the whole shipment.
fn frame_bytes_max(manifest: &Manifest) -> usize {
    let all = manifest.total_bytes();
    let most = all.saturating_add(all / 8).saturating_add(FRAME_OVERHEAD_BYTES).min(FRAME_BYTES_MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The refusal for a message, an end or an error that arrived before blocks were leased.
fn too_early(early: Result<Option<v1::ShipFrame>, Status>) -> Refusal {
    match early {
        Ok(Some(_)) => Refusal::OutOfOrder,
        Ok(None) => Refusal::Truncated,
        Err(status) => unreadable(status),
    }
}

/// The refusal for a stream that broke or holds no valid message; the prompt is then recomputed.
fn unreadable(status: Status) -> Refusal {
    tracing::debug!(%status, "a shipment cannot be read");
    match status.code() {
        Code::Internal | Code::OutOfRange | Code::Unimplemented => Refusal::FrameMismatch,
        _ => Refusal::Truncated,
    }
}

fn refused(refusal: Refusal) -> Status {
    let reason = refusal.as_str();
    match refusal {
        // Mostly a request whose client left before its KV came, or a call that ended before its manifest. If a request
        // still waits, it reports the failure itself; and callers that send nothing must not fill the log.
        Refusal::UnknownEpoch | Refusal::Truncated => tracing::debug!(reason, "refused a shipment"),
        _ => tracing::warn!(reason, "refused a shipment"),
    }
    ServiceError::from(refusal).into()
}
