//! Shipments of KV that no model computed, through all that a real one passes: for measuring what shipping costs.

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
    job::Job,
    progress::{Closed, Laid, progress},
    ship::Shipment,
    stall::{Patience, Shortage},
};

/// How long a shipment waits for a receiver that takes nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A prompt's KV, made up, as the engine leaves a computed one.
pub struct Rehearsal {
    identity: Arc<Identity>,
    table: BlockTable,
}

/// What is shipped of it, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The epoch that the receiver has opened, attempt 0.
    pub epoch: &'a str,
    /// The transfer policy.
    pub transfer: TransferPolicy,
    /// Of what is shipped as it is.
    pub packing: Packing,
}

/// A rehearsed shipment that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Payload and framing, bytes.
    pub bytes_sent: u64,
    /// The same before coding and framing.
    pub bytes_raw: u64,
}

impl Rehearsal {
    /// KV of `positions` positions in `pool`, all of which it takes; `plane(layer, is_key)` gives K or V of a layer in the
    /// pool's format.
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

    /// Ships it once.
    pub async fn ship(&self, channel: Link, part: Part<'_>) -> Result<Sent, ServiceError> {
        let positions = self.table.len();
        let job = self.job(part);
        let (reporter, follower) = progress();
        // Keys of their own, so that nothing of an earlier shipment is held.
        let keys = (0..self.table.full_blocks().len()).map(|block| {
            *blake3::Hasher::new().update(part.epoch.as_bytes()).update(&block.to_le_bytes()).finalize().as_bytes()
        });
        let (count, keys) = (positions as u32, keys.collect());
        reporter.laid(
            Laid { positions: count, next_position: count, keys, view: self.table.view(positions).into() },
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
