//! A sequence's finished KV, read-only.

use std::ops::Range;
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

    /// A copy of one layer's K and V at some positions, each [positions, kv_heads, head_dim], row-major, little-endian, in
    /// the pool's format; keys are turned to their absolute positions. The layer must have been computed for every
    /// position; spans that reach beyond them are cut.
    pub fn layer(&self, layer_slot: usize, spans: impl IntoIterator<Item = Range<usize>>) -> (Bytes, Bytes) {
        let row = row_bytes(&self.geometry);
        let (mut k, mut v) = (BytesMut::new(), BytesMut::new());
        for span in spans {
            let (mut at, end) = (span.start, span.end.min(self.positions));
            while at < end {
                let (block, first) = (at / BLOCK_POSITIONS, at % BLOCK_POSITIONS);
                let rows = (BLOCK_POSITIONS - first).min(end - at);
                let address = self.blocks[block].address(layer_slot);
                // SAFETY: the rows lie inside the block's planes; they are written, by the contract above, and rows are
                // written once, so nobody writes them now.
                unsafe {
                    k.extend_from_slice(std::slice::from_raw_parts(address.k.add(first * row), rows * row));
                    v.extend_from_slice(std::slice::from_raw_parts(address.v.add(first * row), rows * row));
                }
                at += rows;
            }
        }
        (k.freeze(), v.freeze())
    }
}
