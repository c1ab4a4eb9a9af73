//! A decode node without a model that receives shipments with the real service into real blocks, for measuring the cost
//! of shipping.

use std::sync::Arc;

use secateur_channel::{Channels, Guard};
use secateur_common::shutdown::CancellationToken;
use secateur_model::KvPool;
use secateur_node::{Host, Identity, host::Describe, intake};
use secateur_proto::{ServiceError, v1};
use secateur_transfer::{TransferPolicy, receive::Accepted};
use tokio::net::TcpListener;

use crate::{
    epochs::{Epochs, Open, ShipmentLimits},
    receive::ReceiveService,
    space::BlockSpace,
    transfer_server,
};

/// Queue limit, the default of a decode node.
const QUEUE_LIMIT: u32 = 256;

/// A decode node that only receives shipments. Clones are the same node.
#[derive(Clone)]
pub struct Rehearsal {
    identity: Arc<Identity>,
    space: Arc<BlockSpace>,
    epochs: Arc<Epochs>,
}

/// An open epoch that waits for its shipment.
pub struct Awaited(Open);

impl Awaited {
    /// Waits for the shipment and releases its KV at once.
    pub async fn accepted(mut self) -> Result<Accepted, ServiceError> {
        self.0.shipment().await.map(|placed| placed.accepted)
    }
}

impl Rehearsal {
    /// Creates a receiver that places KV in `pool`, and keeps it for later prompts if `keeps`.
    pub fn new(identity: Arc<Identity>, pool: KvPool, keeps: bool) -> Self {
        Self { identity, space: BlockSpace::new(pool, keeps), epochs: Arc::default() }
    }

    /// Opens attempt 0 of `epoch` for a shipment of at most `positions` positions.
    pub fn open(&self, epoch: &str, transfer: TransferPolicy, positions: u32) -> Result<Awaited, ServiceError> {
        let room = ShipmentLimits { prompt_positions_max: positions, transfer, emitted: 0 };
        self.epochs.open(epoch, 0, room).map(Awaited)
    }

    /// Serves like a decode node until `shutdown` is cancelled.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
        let receive = ReceiveService::new(self.identity.clone(), self.space.clone(), self.epochs.clone());
        let mut host =
            Host::new(Arc::new(self), Channels::default(), shutdown).with_intake(intake::of_shipments(QUEUE_LIMIT));
        host.routes().add_service(transfer_server(receive));
        host.serve(listener, Guard::default()).await
    }
}

impl Describe for Rehearsal {
    fn describe(&self, draining: bool) -> v1::NodeDescription {
        self.identity.describe(self.space.pool(), v1::Load::default(), draining)
    }
}
