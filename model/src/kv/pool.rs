//! The pool: one allocation, cut into blocks that are leased, shared by reference count, and freed on drop.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use memmap2::{MmapOptions, MmapRaw};
use secateur_kernels::{BlockAddress, Format, KvGeometry};

use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// Positions that a block holds in every layer.
pub const BLOCK_POSITIONS: usize = 16;
/// Alignment of every K and every V plane, in bytes: one cache line.
const ALIGNMENT: usize = 64;

type Hook = Box<dyn Fn() + Send + Sync>;

/// All KV memory of one node. Clones share it.
#[derive(Clone)]
pub struct KvPool(Arc<Arena>);

struct Arena {
    /// Anonymous pages: they take memory only once they are touched.
    memory: MmapRaw,
    geometry: KvGeometry,
    /// Number of layers that have KV here; a layer slot is a layer's place among the blocks that this stage runs.
    layers: usize,
    blocks: usize,
    /// Free block indices, a stack: the block freed last is leased first, so a pool that is mostly empty stays small in
    /// memory, since pages count only once touched.
    free: Mutex<Vec<u32>>,
    on_release: OnceLock<Hook>,
}

/// One block of the pool. Dropping it frees it.
pub struct Block {
    arena: Arc<Arena>,
    index: u32,
    /// Set when the block was freed together with others; its own drop then does nothing.
    is_freed: bool,
}

/// Blocks of one sequence, in order, possibly shared with others. Dropping this value frees the blocks that nothing
/// else holds, all at once: with one lock and one call of the pool's hook, however many blocks there are.
#[derive(Debug, Default)]
pub(crate) struct Blocks(pub(crate) Vec<Arc<Block>>);

impl KvPool {
    /// A pool of `blocks` blocks for `layers` layers.
    pub(crate) fn new(geometry: KvGeometry, layers: usize, blocks: usize) -> Result<KvPool> {
        let too_large = || ModelError::cache(format!("{blocks} blocks of KV do not fit this machine's addresses"));
        let blocks = blocks.clamp(1, u32::MAX as usize);
        let bytes = block_bytes(&geometry, layers).checked_mul(blocks).ok_or_else(too_large)?;
        let refused = |error| ModelError::cache(format!("the system gives no {bytes} bytes for KV: {error}"));
        let memory = MmapOptions::new().len(bytes.max(ALIGNMENT)).map_anon().map_err(refused)?.into();
        let free = Mutex::new((0..blocks as u32).rev().collect());
        Ok(KvPool(Arc::new(Arena { memory, geometry, layers, blocks, free, on_release: OnceLock::new() })))
    }

    /// A pool for KV of the given shape, without a model: for simulations.
    pub fn of_shape(
        dtype: FloatType,
        kv_heads: usize,
        head_dim: usize,
        layers: usize,
        blocks: usize,
    ) -> Result<KvPool, ModelError> {
        let geometry = KvGeometry { format: dtype.kernel(), kv_heads, head_dim, block_tokens: BLOCK_POSITIONS };
        KvPool::new(geometry, layers, blocks)
    }

    /// Takes `count` free blocks, or none at all.
    pub fn lease(&self, count: usize) -> Option<Vec<Block>> {
        let mut free = self.0.free();
        let rest = free.len().checked_sub(count)?;
        let taken = free.split_off(rest);
        drop(free);
        Some(taken.into_iter().rev().map(|index| Block { arena: self.0.clone(), index, is_freed: false }).collect())
    }

    /// Number of blocks in the pool.
    pub fn blocks(&self) -> usize {
        self.0.blocks
    }

    /// Number of blocks that are free.
    pub fn free_blocks(&self) -> usize {
        self.0.free().len()
    }

    /// Bytes of one block, all layers together.
    pub fn block_bytes(&self) -> usize {
        block_bytes(&self.0.geometry, self.0.layers)
    }

    /// Sets a hook that is called after blocks became free, on the thread that dropped them: once for all blocks that
    /// were freed together. The hook can be set once, and must be quick.
    pub fn on_release(&self, hook: impl Fn() + Send + Sync + 'static) {
        // A second hook would be a defect of the program that starts the node; the first one stays.
        let _ = self.0.on_release.set(Box::new(hook));
    }

    pub(crate) fn geometry(&self) -> KvGeometry {
        self.0.geometry
    }

    pub(crate) fn layers(&self) -> usize {
        self.0.layers
    }

    pub(crate) fn arena(&self) -> *const u8 {
        self.0.memory.as_ptr()
    }

    /// Whether a block comes from this pool.
    pub(crate) fn owns(&self, block: &Block) -> bool {
        Arc::ptr_eq(&self.0, &block.arena)
    }
}

/// Number of blocks needed for `positions` positions.
pub fn blocks_for(positions: usize) -> usize {
    positions.div_ceil(BLOCK_POSITIONS)
}

/// Bytes of a pool's block, all layers together, for sizing a pool before it exists.
pub(crate) fn block_bytes(geometry: &KvGeometry, layers: usize) -> usize {
    2 * layers * plane_bytes(geometry)
}

/// Bytes of K, or of V, of one block in one layer: [positions, kv_heads, head_dim], padded to a whole number of cache
/// lines.
fn plane_bytes(geometry: &KvGeometry) -> usize {
    (geometry.block_tokens * row_bytes(geometry)).next_multiple_of(ALIGNMENT)
}

/// Bytes of K, or of V, of one position in one layer.
pub(crate) fn row_bytes(geometry: &KvGeometry) -> usize {
    geometry.kv_heads * geometry.head_dim * format_bytes(geometry.format)
}

fn format_bytes(format: Format) -> usize {
    match format {
        Format::F32 => 4,
        Format::F16 | Format::Bf16 => 2,
    }
}

impl Arena {
    fn free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Returns blocks to the pool. The hook runs after the lock is released, because it queries the pool.
    fn take_back(&self, indices: impl IntoIterator<Item = u32>) {
        self.free().extend(indices);
        if let Some(hook) = self.on_release.get() {
            hook();
        }
    }
}

impl Block {
    /// Frees blocks of one pool together; blocks of another pool among them are freed one by one.
    pub fn free_together(blocks: impl IntoIterator<Item = Block>) {
        let mut blocks: Vec<Block> = blocks.into_iter().collect();
        let Some(arena) = blocks.first().map(|block| block.arena.clone()) else { return };
        let same = blocks.iter_mut().filter(|block| Arc::ptr_eq(&block.arena, &arena));
        let indices: Vec<u32> = same
            .map(|block| {
                block.is_freed = true;
                block.index
            })
            .collect();
        arena.take_back(indices);
    }

    /// Addresses of K and V of one layer.
    pub(crate) fn address(&self, layer_slot: usize) -> BlockAddress {
        // The pointer arithmetic below relies on this check alone, so it also holds in release builds.
        assert!(layer_slot < self.arena.layers, "layer slot {layer_slot} of {}", self.arena.layers);
        let plane = plane_bytes(&self.arena.geometry);
        let start = self.index as usize * block_bytes(&self.arena.geometry, self.arena.layers) + 2 * layer_slot * plane;
        // SAFETY: `start` lies inside the allocation, by the sizes it was made with and the check above; `index` is one
        // of its blocks.
        let k = unsafe { self.arena.memory.as_mut_ptr().add(start) };
        // SAFETY: the V plane follows the K plane of the same layer, inside the same block, so it lies in the
        // allocation too.
        BlockAddress { k, v: unsafe { k.add(plane) } }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.is_freed {
            self.arena.take_back([self.index]);
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        Block::free_together(std::mem::take(&mut self.0).into_iter().filter_map(Arc::into_inner));
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Block({})", self.index)
    }
}

impl fmt::Debug for KvPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KvPool({} of {} blocks free)", self.free_blocks(), self.blocks())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kv::table::BlockTable;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A pool with two layers of one head of two f32 values.
    pub(crate) fn pool(blocks: usize) -> KvPool {
        let geometry = KvGeometry { format: Format::F32, kv_heads: 1, head_dim: 2, block_tokens: BLOCK_POSITIONS };
        KvPool::new(geometry, 2, blocks).unwrap()
    }

    #[test]
    fn blocks_are_leased_all_or_none_and_come_back_on_drop() {
        let pool = pool(3);
        let two = pool.lease(2).unwrap();
        assert!(pool.lease(2).is_none());
        assert_eq!(pool.free_blocks(), 1);
        drop(two);
        assert_eq!(pool.free_blocks(), 3);
        assert_eq!(pool.lease(3).unwrap().len(), 3);
    }

    #[test]
    fn the_hook_runs_once_for_blocks_that_are_freed_together() {
        let pool = pool(8);
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        pool.on_release(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let runs = || count.swap(0, Ordering::Relaxed);
        drop(pool.lease(1));
        assert_eq!(runs(), 1);
        Block::free_together(pool.lease(3).unwrap());
        assert_eq!((runs(), pool.free_blocks()), (1, 8));
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(5).unwrap());
        table.set_len(5 * BLOCK_POSITIONS).unwrap();
        let (view, shared) = (table.view(3 * BLOCK_POSITIONS), table.full_blocks()[0].clone());
        drop(table);
        assert_eq!((runs(), pool.free_blocks()), (1, 5), "what the view has stays");
        drop(view.clone());
        assert_eq!((runs(), pool.free_blocks()), (0, 5), "nothing became free");
        drop(view);
        assert_eq!((runs(), pool.free_blocks()), (1, 7), "what another sequence shares stays");
        drop(shared);
        assert_eq!((runs(), pool.free_blocks()), (1, 8));
    }

    #[test]
    #[should_panic(expected = "layer slot 2 of 2")]
    fn a_layer_that_the_pool_does_not_have_has_no_address() {
        pool(1).lease(1).unwrap()[0].address(2);
    }

    #[test]
    fn no_two_planes_overlap() {
        let pool = pool(4);
        let blocks = pool.lease(4).unwrap();
        let plane = plane_bytes(&pool.geometry());
        let mut starts: Vec<usize> = blocks
            .iter()
            .flat_map(|block| {
                (0..2).flat_map(|layer| [block.address(layer).k as usize, block.address(layer).v as usize])
            })
            .collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= plane));
        assert!(starts.iter().all(|start| start.is_multiple_of(ALIGNMENT)));
    }
}
