//! KV of finished prompts, kept for a conversation's next turn for as long as nobody needs the memory: what is here already
//! is not shipped again.
//!
//! Only what was shipped is kept, as prefill computed it; the answer's own KV comes with the next shipment, so that an
//! answer does not depend on where the conversation was before. A block counts for the policy and the steps that it came
//! under alone, and only where any prompt that begins like this one would bring the same bits.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use secateur_model::{BLOCK_POSITIONS, BlockTable, KvPool};
use secateur_node::prefix::{Key, SharedPrefix, Used};
use secateur_transfer::{BlockKeys, Manifest};

/// An answer's KV, and the right to what it uses of finished prompts.
pub struct HeldKv {
    table: BlockTable,
    // Behind the table: what is given back can be evicted at once, and is to be free then.
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

/// Finished prompts' blocks. Clones share them.
#[derive(Clone)]
pub struct Kept {
    blocks: SharedPrefix,
    is_on: bool,
}

impl Kept {
    /// Nothing yet, or, switched off, ever.
    pub fn new(is_on: bool) -> Self {
        Self { blocks: SharedPrefix::default(), is_on }
    }

    /// A table that begins with what is known of the manifest's prompt, below position `max`.
    pub fn begin(&self, pool: &KvPool, manifest: &Manifest, max: Option<u32>) -> HeldKv {
        let keys = usable(manifest);
        let most = max.filter(|_| self.is_on).map_or(0, |max| max as usize / BLOCK_POSITIONS);
        let (blocks, used) = self.blocks.take(&keys[..most.min(keys.len())]);
        HeldKv { table: BlockTable::with_prefix(pool, blocks), used }
    }

    /// Keeps the full blocks of a prompt that was placed and checked, below position `max`.
    pub fn keep(&self, manifest: &Manifest, kv: &HeldKv, max: Option<u32>) {
        let most = max.filter(|_| self.is_on).map_or(0, |max| max as usize / BLOCK_POSITIONS);
        let (keys, blocks) = (usable(manifest), kv.table.full_blocks());
        let most = most.min(blocks.len()).min(keys.len());
        self.blocks.insert(&keys[..most], &blocks[..most], &kv.used);
    }

    /// Frees up to `count` blocks that nobody uses. False: there is none.
    pub fn evict(&self, count: usize) -> bool {
        self.blocks.evict(count)
    }

    /// Blocks that nobody uses.
    pub fn reclaimable(&self) -> usize {
        self.blocks.reclaimable()
    }

    /// Calls `hook` when there are more of them.
    pub fn on_idle(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.blocks.on_idle(hook);
    }
}

/// The keys of a manifest whose blocks are as large as ours, each with the policy and the steps that its block came under.
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

/// KV of an answer that uses nothing.
#[cfg(test)]
impl From<BlockTable> for HeldKv {
    fn from(table: BlockTable) -> Self {
        HeldKv { table, used: SharedPrefix::default().take(&[]).1 }
    }
}

/// Whether a block can be kept at all: one that lacks positions in some layer is no beginning of another prompt.
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
