//! Shipments that no request waits for, taken by the real service into real blocks: for measuring what shipping costs.

use std::sync::Arc;

use secateur_channel::{Channels, Guard};
use secateur_common::shutdown::CancellationToken;
use secateur_model::KvPool;
use secateur_node::{Host, Identity, host::Describe, intake};
use secateur_proto::{ServiceError, v1};
use secateur_transfer::{TransferPolicy, receive::Accepted};
use tokio::net::TcpListener;

use crate::{
    epochs::{Epochs, Open, Room},
    receive::ReceiveService,
    space::BlockSpace,
    transfer_server,
};

/// A decode node's own default.
const QUEUE_LIMIT: u32 = 256;

/// A decode node that only receives. Clones are the same one.
#[derive(Clone)]
pub struct Rehearsal {
    identity: Arc<Identity>,
    space: Arc<BlockSpace>,
    epochs: Arc<Epochs>,
}

/// A shipment that may come.
pub struct Awaited(Open);

impl Awaited {
    /// Waits for it; its KV is given back at once.
    pub async fn accepted(mut self) -> Result<Accepted, ServiceError> {
        self.0.shipment().await.map(|placed| placed.accepted)
    }
}

impl Rehearsal {
    /// A receiver that places KV in `pool`, and keeps it for later prompts if `keeps`.
    pub fn new(identity: Arc<Identity>, pool: KvPool, keeps: bool) -> Self {
        Self { identity, space: BlockSpace::new(pool, keeps), epochs: Arc::default() }
    }

    /// Opens `epoch`, attempt 0, for a shipment of at most `positions` positions.
    pub fn open(&self, epoch: &str, transfer: TransferPolicy, positions: u32) -> Result<Awaited, ServiceError> {
        let room = Room { prompt_positions_max: positions, transfer, emitted: 0 };
        self.epochs.open(epoch, 0, room).map(Awaited)
    }

    /// Serves as a decode node does until `shutdown` is cancelled.
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
