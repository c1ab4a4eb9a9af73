//! KV of finished prompts, kept for a conversation's next turn until the memory is needed: blocks that are here already
//! are not shipped again.
//!
//! Only shipped KV is kept, as prefill computed it. The KV of the answer's own tokens comes with the next shipment, so
//! that an answer does not depend on which node had the conversation before. A block is reused only under the transfer
//! policy and quantization steps that it was shipped under, and only if every prompt with the same beginning would ship
//! the same bits.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use secateur_model::{BLOCK_POSITIONS, BlockTable, KvPool};
use secateur_node::prefix::{Key, SharedPrefix, Used};
use secateur_transfer::{BlockKeys, Manifest};

/// An answer's KV, with the cached blocks of finished prompts that it uses.
pub struct HeldKv {
    table: BlockTable,
    // Declared after `table`, so dropped after it: blocks that are given back can be evicted at once, and must not be
    // held by the table any more.
    used: Arc<Used>,
}

impl Deref for HeldKv {
    type Target = BlockTable;

    fn deref(&self) -> &BlockTable {
        &self.table
    }
}

impl DerefMut for HeldKv {
    fn deref_mut(&mut self) -> &mut BlockTable {
        &mut self.table
    }
}

/// Cache of finished prompts' blocks. Clones share it.
#[derive(Clone)]
pub struct Kept {
    blocks: SharedPrefix,
    is_on: bool,
}

impl Kept {
    /// An empty cache; it stays empty unless `is_on`.
    pub fn new(is_on: bool) -> Self {
        Self { blocks: SharedPrefix::default(), is_on }
    }

    /// A table that begins with the cached blocks of the manifest's prompt below position `max`; with none of them if
    /// `max` is `None`.
    pub fn begin(&self, pool: &KvPool, manifest: &Manifest, max: Option<u32>) -> HeldKv {
        let keys = usable(manifest);
        let most = max.filter(|_| self.is_on).map_or(0, |max| max as usize / BLOCK_POSITIONS);
        let (blocks, used) = self.blocks.take(&keys[..most.min(keys.len())]);
        HeldKv { table: BlockTable::with_prefix(pool, blocks), used }
    }

    /// Keeps the full blocks below position `max` of a prompt that was placed and checked; none of them if `max` is
    /// `None`.
    pub fn keep(&self, manifest: &Manifest, kv: &HeldKv, max: Option<u32>) {
        let most = max.filter(|_| self.is_on).map_or(0, |max| max as usize / BLOCK_POSITIONS);
        let (keys, blocks) = (usable(manifest), kv.table.full_blocks());
        let most = most.min(blocks.len()).min(keys.len());
        self.blocks.insert(&keys[..most], &blocks[..most], &kv.used);
    }

    /// Evicts up to `count` blocks without users. Returns false if there was none.
    pub fn evict(&self, count: usize) -> bool {
        self.blocks.evict(count)
    }

    /// Number of cached blocks without users.
    pub fn reclaimable(&self) -> usize {
        self.blocks.reclaimable()
    }

    /// Sets the hook that is called when more blocks can be evicted.
    pub fn on_idle(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.blocks.on_idle(hook);
    }
}

/// The cache keys of a manifest: its block keys, combined with the transfer policy and quantization steps of the
/// shipment. Empty if the sender's blocks have another size than this node's.
fn usable(manifest: &Manifest) -> Vec<Key> {
    let BlockKeys { positions, .. } = manifest.keys;
    let under = |key: Key| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(manifest.policy.to_string().as_bytes()).update(manifest.steps.as_bytes()).update(&key);
        *hasher.finalize().as_bytes()
    };
    let is_ours = positions as usize == BLOCK_POSITIONS;
    manifest.keys.iter().filter(|_| is_ours).map(under).collect()
}

/// KV of an answer that uses no cached block.
#[cfg(test)]
impl From<BlockTable> for HeldKv {
    fn from(table: BlockTable) -> Self {
        HeldKv { table, used: SharedPrefix::default().take(&[]).1 }
    }
}

/// Whether every layer was shipped with all `positions`. Blocks of a prompt that lacks positions in some layer cannot
/// be the beginning of another prompt, so they are not kept.
pub fn is_whole(shipped: &[usize], positions: usize) -> bool {
    shipped.iter().all(|&count| count == positions)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use secateur_model::FloatType;
    use secateur_transfer::{DType, Extent, KvShape, Parties, TransferPolicy};

    pub(crate) fn manifest(policy: TransferPolicy, first_key: u8, positions: u32) -> Manifest {
        let parties = Parties { epoch: "e".into(), attempt: 1, model_fingerprint: "f".into(), plan_id: String::new() };
        let shape = KvShape { kv_heads: 1, head_dim: 2, dtype: DType::F32 };
        let extent = Extent { prompt: positions, positions };
        let keys: Vec<u8> =
            (0..positions as usize / BLOCK_POSITIONS).flat_map(|at| [first_key + at as u8; 32]).collect();
        let keys = BlockKeys { positions: BLOCK_POSITIONS as u32, keys: keys.into() };
        Manifest::new(parties, (policy, None), extent, shape, &[0]).with_keys(keys)
    }

    #[test]
    fn a_later_turn_begins_with_what_an_earlier_one_left() {
        let pool = KvPool::of_shape(FloatType::F32, 1, 2, 1, 8).unwrap();
        let kept = Kept::new(true);
        let first = manifest(TransferPolicy::Dense, 1, 40);
        let mut kv = kept.begin(&pool, &first, Some(39));
        assert_eq!(kv.len(), 0);
        kv.grow(pool.lease(3).unwrap());
        kv.set_len(40).unwrap();
        kept.keep(&first, &kv, Some(40));
        assert_eq!((kept.reclaimable(), kept.evict(1)), (0, false), "it is in use");
        drop(kv);
        assert_eq!((kept.reclaimable(), pool.free_blocks()), (2, 6));
        let longer = manifest(TransferPolicy::Dense, 1, 60);
        assert_eq!(kept.begin(&pool, &longer, Some(59)).len(), 32);
        assert_eq!(kept.begin(&pool, &longer, Some(31)).len(), 16, "the end is always shipped");
        assert_eq!(kept.begin(&pool, &longer, None).len(), 0);
        assert_eq!(kept.begin(&pool, &manifest(TransferPolicy::Tiered, 1, 60), Some(59)).len(), 0, "another policy");
        assert_eq!(kept.begin(&pool, &manifest(TransferPolicy::Dense, 9, 60), Some(59)).len(), 0, "another prompt");
        assert!(kept.evict(1) && kept.evict(5) && !kept.evict(1));
        assert_eq!(pool.free_blocks(), 8);
    }
}
