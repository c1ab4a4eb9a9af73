//! A sequence's finished KV, read-only.

use std::ops::Range;
use std::sync::Arc;

use secateur_kernels::{BlockAddress, KvGeometry};

use crate::kv::pool::{BLOCK_POSITIONS, Blocks, row_bytes};

// The wire format is little-endian, and KV is sent without conversion.
#[cfg(target_endian = "big")]
compile_error!("big-endian machines are not supported");

/// KV of the first positions of a sequence. A view keeps the blocks alive; clones share them.
#[derive(Clone, Debug)]
pub struct KvView {
    blocks: Arc<Blocks>,
    geometry: KvGeometry,
    positions: usize,
}

impl KvView {
    pub(crate) fn new(blocks: Blocks, geometry: KvGeometry, positions: usize) -> KvView {
        KvView { blocks: Arc::new(blocks), geometry, positions }
    }

    /// Number of positions in the view.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Appends one layer's K of some positions, [positions, kv_heads, head_dim], row-major, little-endian, in the
    /// pool's format; keys are rotated to their absolute positions. The layer must have been computed for every one of
    /// them; positions beyond the view are cut off.
    pub fn copy_keys(&self, layer_slot: usize, positions: Range<usize>, into: &mut Vec<u8>) {
        self.copy(layer_slot, positions, into, |address| address.k);
    }

    /// Appends one layer's V of some positions, in the same layout and under the same condition as
    /// [`KvView::copy_keys`].
    pub fn copy_values(&self, layer_slot: usize, positions: Range<usize>, into: &mut Vec<u8>) {
        self.copy(layer_slot, positions, into, |address| address.v);
    }

    /// K and V of one layer, for all of the view's positions.
    pub fn layer(&self, layer_slot: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut k, mut v) = (Vec::new(), Vec::new());
        self.copy_keys(layer_slot, 0..self.positions, &mut k);
        self.copy_values(layer_slot, 0..self.positions, &mut v);
        (k, v)
    }

    fn copy(
        &self,
        layer_slot: usize,
        positions: Range<usize>,
        into: &mut Vec<u8>,
        plane: impl Fn(BlockAddress) -> *mut u8,
    ) {
        let row = row_bytes(&self.geometry);
        let (mut at, end) = (positions.start, positions.end.min(self.positions));
        while at < end {
            let (block, first) = (at / BLOCK_POSITIONS, at % BLOCK_POSITIONS);
            let rows = (BLOCK_POSITIONS - first).min(end - at);
            let plane = plane(self.blocks.0[block].address(layer_slot));
            // SAFETY: the rows lie inside the block's plane. They are written, as the caller guarantees, and every row
            // is written only once, so no thread writes them now.
            into.extend_from_slice(unsafe { std::slice::from_raw_parts(plane.add(first * row), rows * row) });
            at += rows;
        }
    }
}
