//! KV memory: one preallocated pool per node, in blocks of [`BLOCK_POSITIONS`] positions.
//!
//! ```text
//! pool.rs    the memory, its free blocks, and the size of one block
//! table.rs   the blocks of one sequence, in order: where forward passes write and read
//! view.rs    a sequence's finished KV, read-only: what shipping and the prefix cache hold on to
//! ```
//!
//! Sharing this memory is sound because a row (layer, slot) is written once, by the one table that owns the slot,
//! before any other thread learns of it, and is not written again until every handle of its block is dropped.

mod pool;
mod table;
mod view;

pub(crate) use pool::block_bytes;
#[cfg(test)]
pub(crate) use pool::tests::pool as tests_pool;
pub use pool::{BLOCK_POSITIONS, Block, KvPool, blocks_for};
pub use table::BlockTable;
pub use view::KvView;
