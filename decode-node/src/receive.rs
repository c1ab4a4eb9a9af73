//! `KvTransfer.Ship`: claim the epoch, check the manifest, place layer after layer, check the digests, hand over.
//! Whatever does not match is refused, and the request that waits is told, so that it is recomputed.

use std::sync::Arc;

use secateur_model::BlockTable;
use secateur_node::{Identity, handshake::model_failure};
use secateur_proto::{
    ServiceError,
    v1::{self, kv_transfer_server, ship_frame::Frame},
};
use secateur_transfer::{
    Manifest, Receiver, Refusal,
    receive::{Expectation, ReceivedLayer},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    epochs::{Epochs, Placed, Room},
    space::BlockSpace,
};

/// The gRPC service.
pub struct ReceiveService {
    identity: Arc<Identity>,
    space: Arc<BlockSpace>,
    epochs: Arc<Epochs>,
}

impl ReceiveService {
    /// A service that places KV for the epochs that are open.
    pub fn new(identity: Arc<Identity>, space: Arc<BlockSpace>, epochs: Arc<Epochs>) -> Self {
        Self { identity, space, epochs }
    }

    fn expectation(&self, room: Room) -> Expectation {
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

    /// Writes a layer into its blocks.
    fn load(&self, table: &mut BlockTable, layer: &ReceivedLayer) -> Result<(), ServiceError> {
        // The manifest was checked to list exactly the layers of this node.
        let slot = self.identity.kv_layers.binary_search(&layer.layer).map_err(|_| Refusal::LayerMismatch)?;
        table.write_layer(slot, 0, &layer.k, &layer.v).map_err(model_failure)
    }

    /// Receives everything after the manifest.
    async fn place(
        &self,
        manifest: Manifest,
        room: Room,
        frames: &mut Streaming<v1::ShipFrame>,
    ) -> Result<Placed, ServiceError> {
        self.expectation(room).check(&manifest)?;
        let positions = manifest.extent.positions as usize;
        let shipped: Vec<usize> = manifest.layers.iter().map(|entry| entry.tokens() as usize).collect();
        let mut table = BlockTable::new(self.space.pool());
        // The answer's first step needs a row too. While this waits, so does the sender: frames stay in the transport.
        table.grow(self.space.lease(table.missing(positions + 1)).await?);
        let mut receiver = Receiver::new(manifest);
        loop {
            match frames.message().await?.ok_or(Refusal::Truncated)?.frame {
                Some(Frame::Layer(frame)) => {
                    if let Some(layer) = receiver.layer_frame(frame)? {
                        // A copy of one layer: short enough to do here, and the next frames wait in the transport.
                        self.load(&mut table, &layer)?;
                    }
                }
                Some(Frame::Closing(closing)) => {
                    let accepted = receiver.close(&closing)?;
                    if accepted.first_token as usize >= self.identity.model.vocab {
                        return Err(Refusal::FrameMismatch.into());
                    }
                    table.set_len(positions).map_err(model_failure)?;
                    for (slot, shipped) in shipped.into_iter().enumerate() {
                        table.set_lacking(slot, positions - shipped).map_err(model_failure)?;
                    }
                    return Ok(Placed { table, accepted });
                }
                Some(Frame::Manifest(_)) | None => return Err(Refusal::OutOfOrder.into()),
            }
        }
    }
}

#[tonic::async_trait]
impl kv_transfer_server::KvTransfer for ReceiveService {
    async fn ship(&self, request: Request<Streaming<v1::ShipFrame>>) -> Result<Response<v1::ShipAck>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.ok_or(Refusal::Truncated).map_err(refused)?;
        let manifest = Receiver::parse_manifest(first).map_err(refused)?;
        let parties = manifest.parties.clone();
        let mut claim = self.epochs.claim(&parties.epoch, parties.attempt).map_err(refused)?;
        let placed = tokio::select! {
            placed = self.place(manifest, claim.room, &mut frames) => placed,
            // The request ended first: its memory is given back, so nothing more may be placed for it.
            () = claim.outcome.closed() => Err(Refusal::StaleEpoch.into()),
        };
        let answer = match &placed {
            Ok(placed) => Ok(Response::new(v1::ShipAck { bytes_placed: placed.accepted.payload_bytes })),
            Err(error) => {
                tracing::warn!(epoch = %parties.epoch, code = error.code.as_str(), %error, "refused a shipment");
                Err(error.clone().into())
            }
        };
        // Fails only when the request was cancelled in this very moment; the cache is dropped with the value.
        let _ = claim.outcome.send(placed);
        answer
    }
}

fn refused(refusal: Refusal) -> Status {
    tracing::warn!(reason = refusal.as_str(), "refused a shipment");
    ServiceError::from(refusal).into()
}
