//! A sequence's finished KV, read-only.

use std::ops::Range;
use std::sync::Arc;

use secateur_kernels::{BlockAddress, KvGeometry};

use crate::kv::pool::{BLOCK_POSITIONS, Blocks, row_bytes};

// The wire is little-endian and memory goes out as it lies.
#[cfg(target_endian = "big")]
compile_error!("big-endian machines are not supported");

/// KV of the first positions of a sequence. It keeps the blocks alive; clones share them.
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

    /// Positions in it.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Appends one layer's K, or V, of some positions, [positions, kv_heads, head_dim], row-major, little-endian, in the
    /// pool's format; keys are turned to their absolute positions. The layer must have been computed for every one of them;
    /// what reaches beyond the view is cut.
    pub fn copy_keys(&self, layer_slot: usize, positions: Range<usize>, into: &mut Vec<u8>) {
        self.copy(layer_slot, positions, into, |address| address.k);
    }

    /// The same of V.
    pub fn copy_values(&self, layer_slot: usize, positions: Range<usize>, into: &mut Vec<u8>) {
        self.copy(layer_slot, positions, into, |address| address.v);
    }

    /// Both, of all of the view's positions.
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
            // SAFETY: the rows lie inside the block's plane; they are written, by the contract above, and rows are written
            // once, so nobody writes them now.
            into.extend_from_slice(unsafe { std::slice::from_raw_parts(plane.add(first * row), rows * row) });
            at += rows;
        }
    }
}
