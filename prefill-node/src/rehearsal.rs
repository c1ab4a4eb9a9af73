//! Shipments of made-up KV through the same code as real ones, for measuring the cost of shipping.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use secateur_channel::Link;
use secateur_model::{BlockTable, KvPool, ModelError, Sampling};
use secateur_node::Identity;
use secateur_proto::ServiceError;
use secateur_pruning::VisualPolicy;
use secateur_transfer::{Parties, TransferPolicy, codec::Packing};

use crate::{
    job::{Job, Purpose},
    progress::{Closed, LaidOut, progress},
    ship::Shipment,
    stall::{Patience, Shortage},
};

/// How long a rehearsed shipment waits for a receiver that takes nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Made-up KV of a prompt, stored as the engine stores computed KV.
pub struct Rehearsal {
    identity: Arc<Identity>,
    table: BlockTable,
}

/// Parameters of one rehearsed shipment.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Id of the epoch that the receiver has opened; its attempt is 0.
    pub epoch: &'a str,
    /// The transfer policy.
    pub transfer: TransferPolicy,
    /// Packing of losslessly shipped KV.
    pub packing: Packing,
}

/// A rehearsed shipment that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Bytes sent: payload and framing.
    pub bytes_sent: u64,
    /// Bytes of the same KV before coding and framing.
    pub bytes_raw: u64,
}

impl Rehearsal {
    /// Makes up KV of `positions` positions in blocks leased from `pool`; `plane(slot, is_key)` gives K or V of the
    /// layer at index `slot` of those with KV, in the pool's format.
    pub fn new(
        identity: Arc<Identity>,
        pool: &KvPool,
        positions: usize,
        plane: impl Fn(usize, bool) -> Vec<u8>,
    ) -> Result<Self, ModelError> {
        let mut table = BlockTable::new(pool);
        table.grow(pool.lease(table.missing(positions)).unwrap_or_default());
        for slot in 0..identity.kv_layers.len() {
            table.write_layer(slot, 0, &plane(slot, true), &plane(slot, false))?;
        }
        table.set_len(positions)?;
        Ok(Self { identity, table })
    }

    /// Ships the KV once, over `channel`.
    pub async fn ship(&self, channel: Link, part: Part<'_>) -> Result<Sent, ServiceError> {
        let positions = self.table.len();
        let job = self.job(part);
        let (reporter, follower) = progress();
        // Block keys depend on the epoch, so that the receiver does not hold any of them from an earlier shipment.
        let keys = (0..self.table.full_blocks().len()).map(|block| {
            *blake3::Hasher::new().update(part.epoch.as_bytes()).update(&block.to_le_bytes()).finalize().as_bytes()
        });
        let (count, keys) = (positions as u32, keys.collect());
        reporter.laid(
            LaidOut { positions: count, next_position: count, keys, view: self.table.view(positions).into() },
            count,
        );
        reporter.close(Closed { first_token: 1, compute_end: Instant::now() });
        let shipment = Shipment {
            job: Arc::new(job),
            identity: self.identity.clone(),
            patience: Patience { limit: PATIENCE, shortage: Shortage::default() },
            packing: part.packing,
        };
        let shipped = shipment.run(channel, follower).await.map_err(|failed| failed.error)?;
        Ok(Sent { bytes_sent: shipped.bytes_sent, bytes_raw: shipped.bytes_raw })
    }

    fn job(&self, part: Part<'_>) -> Job {
        Job {
            purpose: Purpose::Answer { score_top: None },
            parties: Parties {
                epoch: part.epoch.to_owned(),
                attempt: 0,
                model_fingerprint: self.identity.model.fingerprint.clone(),
                plan_id: self.identity.plan_id.clone(),
            },
            request_id: part.epoch.to_owned(),
            tokens: Vec::new(),
            pieces: Vec::new(),
            user_tokens: Vec::new(),
            images: Vec::new(),
            visual: VisualPolicy::KEEP_ALL,
            transfer: part.transfer,
            sampling: Sampling::default(),
            stop_token_ids: Vec::new(),
            emitted: Vec::new(),
            decode_dtype: None,
            decode: None,
            deadline: PATIENCE,
            accepted: Instant::now(),
        }
    }
}
