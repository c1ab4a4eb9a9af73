//! The blocks of one sequence.

use std::sync::Arc;

use secateur_kernels::BlockAddress;

use crate::error::{ModelError, Result};
use crate::kv::pool::{BLOCK_POSITIONS, Block, Blocks, KvPool, blocks_for, row_bytes};
use crate::kv::view::KvView;

/// The blocks of one sequence, in order. Slot `i` of the sequence lies in block `i / BLOCK_POSITIONS`.
///
/// The first `len` slots are written in every layer that lacks no positions; later slots are this table's own to write.
/// A layer may lack KV of some positions (a shipment of only first and last tokens): the KV it has lies at its first
/// slots, in order, and keys already carry their positions, so attention is unaffected.
#[derive(Debug)]
pub struct BlockTable {
    pool: KvPool,
    blocks: Blocks,
    len: usize,
    /// How many positions each layer lacks, by layer slot; empty if none lacks any.
    lacking: Vec<u32>,
}

impl BlockTable {
    /// A table without blocks.
    pub fn new(pool: &KvPool) -> BlockTable {
        BlockTable { pool: pool.clone(), blocks: Blocks::default(), len: 0, lacking: Vec::new() }
    }

    /// A table that begins with full blocks of another sequence.
    pub fn with_prefix(pool: &KvPool, prefix: Vec<Arc<Block>>) -> BlockTable {
        assert!(prefix.iter().all(|block| pool.owns(block)));
        let len = prefix.len() * BLOCK_POSITIONS;
        BlockTable { pool: pool.clone(), blocks: Blocks(prefix), len, lacking: Vec::new() }
    }

    /// Number of slots that are written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot is written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of slots that there are blocks for.
    pub fn capacity(&self) -> usize {
        self.blocks.0.len() * BLOCK_POSITIONS
    }

    /// Number of blocks in the table.
    pub fn blocks(&self) -> usize {
        self.blocks.0.len()
    }

    /// Number of blocks to add before the table can hold `positions` positions.
    pub fn missing(&self, positions: usize) -> usize {
        blocks_for(positions).saturating_sub(self.blocks.0.len())
    }

    /// Appends blocks, which must come from the table's pool.
    pub fn grow(&mut self, blocks: Vec<Block>) {
        assert!(blocks.iter().all(|block| self.pool.owns(block)));
        self.blocks.0.extend(blocks.into_iter().map(Arc::new));
    }

    /// The blocks whose slots are all written, for a prefix cache. There are none if a layer lacks positions: its later
    /// rows are written into these slots.
    pub fn full_blocks(&self) -> &[Arc<Block>] {
        let full = if self.lacking.iter().any(|&count| count > 0) { 0 } else { self.len / BLOCK_POSITIONS };
        &self.blocks.0[..full]
    }

    /// The KV of the first `positions` slots, which shipping may hold on to. Slots that are not written yet must not be
    /// read.
    pub fn view(&self, positions: usize) -> KvView {
        assert!(positions <= self.capacity(), "a view of {positions} positions of {}", self.capacity());
        KvView::new(Blocks(self.blocks.0[..blocks_for(positions)].to_vec()), self.pool.geometry(), positions)
    }

    /// Writes K and V of one layer, both [rows, kv_heads, head_dim] in the pool's format, from slot `first` on. The
    /// rows count as written once [`BlockTable::set_len`] covers them.
    pub fn write_layer(&mut self, layer_slot: usize, first: usize, k: &[u8], v: &[u8]) -> Result<(), ModelError> {
        let row = row_bytes(&self.pool.geometry());
        let rows = k.len() / row;
        if k.len() != v.len() || rows * row != k.len() {
            let found = vec![k.len(), v.len()];
            return Err(ModelError::Shape { name: "shipped KV".into(), expected: vec![rows * row; 2], found });
        }
        let end = first.checked_add(rows).filter(|end| *end <= self.capacity());
        if layer_slot >= self.pool.layers() || first < self.len || end.is_none() {
            return Err(ModelError::cache("shipped rows lie outside what was reserved for them"));
        }
        let mut done = 0;
        while done < rows {
            let (block, at) = ((first + done) / BLOCK_POSITIONS, (first + done) % BLOCK_POSITIONS);
            let count = (BLOCK_POSITIONS - at).min(rows - done);
            let BlockAddress { k: to_k, v: to_v } = self.blocks.0[block].address(layer_slot);
            // SAFETY: `count` rows from `at` on lie inside the block's planes, and slots from `len` on are this table's
            // own to write, which `&mut self` guarantees.
            unsafe {
                std::ptr::copy_nonoverlapping(k.as_ptr().add(done * row), to_k.add(at * row), count * row);
                std::ptr::copy_nonoverlapping(v.as_ptr().add(done * row), to_v.add(at * row), count * row);
            }
            done += count;
        }
        Ok(())
    }

    /// Marks every layer as written up to slot `len`.
    pub fn set_len(&mut self, len: usize) -> Result<(), ModelError> {
        if len < self.len || len > self.capacity() {
            return Err(ModelError::cache(format!("{len} slots are not between {} and {}", self.len, self.capacity())));
        }
        self.len = len;
        Ok(())
    }

    /// Records that a layer has KV of all but `count` of the positions written so far.
    pub fn set_lacking(&mut self, layer_slot: usize, count: usize) -> Result<(), ModelError> {
        // This layer's later rows are written below `len`, which is only allowed in blocks that no other table shares.
        let is_own = self.blocks.0.iter().all(|block| Arc::strong_count(block) == 1);
        if layer_slot >= self.pool.layers() || count > self.len || !is_own {
            return Err(ModelError::cache(format!("layer slot {layer_slot} cannot lack {count} of {}", self.len)));
        }
        self.lacking.resize(self.pool.layers(), 0);
        self.lacking[layer_slot] = count as u32;
        Ok(())
    }

    /// Number of positions that a layer has no KV of.
    pub(crate) fn missing_in(&self, layer_slot: usize) -> usize {
        self.lacking.get(layer_slot).map_or(0, |&count| count as usize)
    }

    /// Marks the slots from `len` on as not written.
    pub(crate) fn rewind(&mut self, len: usize) {
        self.len = self.len.min(len);
        // A layer never lacks more positions than are written: a row's slot is computed from the positions written
        // before it.
        self.lacking.iter_mut().for_each(|count| *count = (*count).min(self.len as u32));
    }

    /// Appends the addresses of the layer's blocks to `into`.
    pub(crate) fn addresses(&self, layer_slot: usize, into: &mut Vec<BlockAddress>) {
        into.extend(self.blocks.0.iter().map(|block| block.address(layer_slot)));
    }

    pub(crate) fn is_of(&self, pool: &KvPool) -> bool {
        std::ptr::eq(self.pool.arena(), pool.arena())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::pool::tests::pool;

    fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
        range.flat_map(|slot| [slot as f32, -(slot as f32)]).flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn what_is_written_across_blocks_is_read_back() {
        let pool = pool(3);
        let mut table = BlockTable::new(&pool);
        assert_eq!(table.missing(40), 3);
        table.grow(pool.lease(3).unwrap());
        for layer in 0..2 {
            table.write_layer(layer, 0, &bytes(0..20), &bytes(100..120)).unwrap();
            table.write_layer(layer, 20, &bytes(20..40), &bytes(120..140)).unwrap();
        }
        table.set_len(40).unwrap();
        assert_eq!(table.full_blocks().len(), 2);
        let view = table.view(40);
        let (mut k, mut v) = (bytes(3..5), bytes(103..105));
        // SAFETY: this is the only thread.
        let layer = unsafe {
            view.copy_keys(1, 14..33, &mut k);
            view.copy_values(1, 14..99, &mut v);
            view.layer(1)
        };
        assert_eq!(layer, (bytes(0..40), bytes(100..140)));
        assert_eq!(k, [bytes(3..5), bytes(14..33)].concat());
        assert_eq!(v, [bytes(103..105), bytes(114..140)].concat(), "what reaches beyond the view is cut");
    }

    #[test]
    fn a_prefix_is_shared_and_never_written() {
        let pool = pool(2);
        let mut first = BlockTable::new(&pool);
        first.grow(pool.lease(1).unwrap());
        first.set_len(16).unwrap();
        let mut second = BlockTable::with_prefix(&pool, first.full_blocks().to_vec());
        assert_eq!((second.len(), second.missing(17)), (16, 1));
        drop(first);
        assert_eq!(pool.free_blocks(), 1);
        assert!(second.write_layer(0, 15, &bytes(0..1), &bytes(0..1)).is_err());
        drop(second);
        assert_eq!(pool.free_blocks(), 2);
    }

    #[test]
    fn a_layer_lacks_no_more_than_is_written() {
        let pool = pool(1);
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(1).unwrap());
        assert!(table.set_lacking(0, 1).is_err());
        table.set_len(9).unwrap();
        table.set_lacking(1, 4).unwrap();
        assert_eq!([0, 1].map(|slot| table.missing_in(slot)), [0, 4]);
        assert!(table.set_lacking(2, 0).is_err());
    }

    #[test]
    fn a_table_with_a_layer_that_lacks_positions_shares_no_block() {
        let pool = pool(1);
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(1).unwrap());
        table.set_len(16).unwrap();
        table.set_lacking(1, 0).unwrap();
        assert_eq!(table.full_blocks().len(), 1);
        table.set_lacking(1, 4).unwrap();
        assert!(table.full_blocks().is_empty());
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let pool = pool(1);
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(1).unwrap());
        assert!(table.write_layer(0, 0, &bytes(0..17), &bytes(0..17)).is_err());
        assert!(table.write_layer(2, 0, &bytes(0..1), &bytes(0..1)).is_err());
        assert!(table.write_layer(0, 0, &bytes(0..2), &bytes(0..1)).is_err());
        assert!(table.write_layer(0, 0, &bytes(0..2)[..9], &bytes(0..2)[..9]).is_err());
        assert!(table.set_len(17).is_err());
        assert!(table.write_layer(0, usize::MAX, &bytes(0..1), &bytes(0..1)).is_err());
    }

    #[test]
    #[should_panic(expected = "layer slot 2 of 2")]
    fn a_view_has_no_keys_of_a_layer_that_the_pool_does_not_have() {
        let pool = pool(2);
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(1).unwrap());
        table.set_len(3).unwrap();
        // An unchecked layer slot would read the next block.
        // SAFETY: this is the only thread.
        unsafe { table.view(3).copy_keys(2, 0..3, &mut Vec::new()) };
    }

    #[test]
    #[should_panic(expected = "a view of 17 positions of 16")]
    fn a_view_reaches_no_further_than_the_blocks() {
        let pool = pool(1);
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(1).unwrap());
        table.view(17);
    }

    #[test]
    fn what_is_rewound_lacks_no_more_than_is_left() {
        let pool = pool(1);
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(1).unwrap());
        table.set_len(9).unwrap();
        table.set_lacking(1, 8).unwrap();
        table.rewind(3);
        assert_eq!((table.len(), table.missing_in(1)), (3, 3));
    }
}
