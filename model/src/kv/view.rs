//! A sequence's finished KV, read-only.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use secateur_kernels::KvGeometry;

use crate::kv::pool::{BLOCK_POSITIONS, Block, row_bytes};

// The wire is little-endian and memory goes out as it lies.
#[cfg(target_endian = "big")]
compile_error!("big-endian machines are not supported");

/// KV of the first positions of a sequence. It keeps the blocks alive; clones share them.
#[derive(Clone, Debug)]
pub struct KvView {
    blocks: Arc<[Arc<Block>]>,
    geometry: KvGeometry,
    positions: usize,
}

impl KvView {
    pub(crate) fn new(blocks: Arc<[Arc<Block>]>, geometry: KvGeometry, positions: usize) -> KvView {
        KvView { blocks, geometry, positions }
    }

    /// Positions in it.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// A copy of one layer's K and V, each [positions, kv_heads, head_dim], row-major, little-endian, in the pool's
    /// format; keys are turned to their absolute positions. The layer must have been computed for every position.
    pub fn layer(&self, layer_slot: usize) -> (Bytes, Bytes) {
        let row = row_bytes(&self.geometry);
        let mut k = BytesMut::with_capacity(self.positions * row);
        let mut v = BytesMut::with_capacity(self.positions * row);
        for (at, block) in self.blocks.iter().enumerate() {
            let rows = BLOCK_POSITIONS.min(self.positions - at * BLOCK_POSITIONS);
            let address = block.address(layer_slot);
            // SAFETY: the rows lie inside the block's planes; they are written, by the contract above, and rows are
            // written once, so nobody writes them now.
            unsafe {
                k.extend_from_slice(std::slice::from_raw_parts(address.k, rows * row));
                v.extend_from_slice(std::slice::from_raw_parts(address.v, rows * row));
            }
        }
        (k.freeze(), v.freeze())
    }
}
