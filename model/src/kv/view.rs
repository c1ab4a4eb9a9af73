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
    /// pool's format; keys are rotated to their absolute positions. Positions beyond the view are cut off.
    ///
    /// # Safety
    ///
    /// No thread may write to these positions in this layer meanwhile: the layer has been computed for every one of
    /// them, which this thread knows from the one that computed it, or no pass runs.
    pub unsafe fn copy_keys(&self, layer_slot: usize, positions: Range<usize>, into: &mut Vec<u8>) {
        // SAFETY: as the caller promises.
        unsafe { self.copy(layer_slot, positions, into, |address| address.k) };
    }

    /// Appends one layer's V of some positions, in the same layout as [`KvView::copy_keys`].
    ///
    /// # Safety
    ///
    /// As for [`KvView::copy_keys`].
    pub unsafe fn copy_values(&self, layer_slot: usize, positions: Range<usize>, into: &mut Vec<u8>) {
        // SAFETY: as the caller promises.
        unsafe { self.copy(layer_slot, positions, into, |address| address.v) };
    }

    /// K and V of one layer, for all of the view's positions.
    ///
    /// # Safety
    ///
    /// As for [`KvView::copy_keys`], for all of the view's positions.
    pub unsafe fn layer(&self, layer_slot: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut k, mut v) = (Vec::new(), Vec::new());
        // SAFETY: as the caller promises.
        unsafe {
            self.copy_keys(layer_slot, 0..self.positions, &mut k);
            self.copy_values(layer_slot, 0..self.positions, &mut v);
        }
        (k, v)
    }

    /// # Safety
    /// As for [`KvView::copy_keys`].
    unsafe fn copy(
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
            // SAFETY: the rows lie inside the block's plane, whose memory is initialised from the start. No thread
            // writes them now, as the caller promises.
            into.extend_from_slice(unsafe { std::slice::from_raw_parts(plane.add(first * row), rows * row) });
            at += rows;
        }
    }
}
