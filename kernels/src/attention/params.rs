//! Parameters of attention: the shape of KV, the addresses of its blocks, and the runs of rows.

use crate::Format;

/// Shape of paged KV of one layer. A block holds K and V, each [block_tokens, kv_heads, head_dim] in `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvGeometry {
    /// Number format of K and V.
    pub format: Format,
    /// Number of heads of K and V.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of tokens of a block.
    pub block_tokens: usize,
}

/// Addresses of one block's K and V of a layer (aligned to 64 bytes).
#[derive(Clone, Copy, Debug)]
pub struct BlockAddress {
    /// Start of K.
    pub k: *mut u8,
    /// Start of V.
    pub v: *mut u8,
}

// SAFETY: sending an address does nothing; it is used only by `store_kv` and `attend`, whose contracts cover its use.
unsafe impl Send for BlockAddress {}
// SAFETY: sharing an address only allows copying it; it is used only under the contracts of `store_kv` and `attend`.
unsafe impl Sync for BlockAddress {}

/// Consecutive rows of one sequence within a batch.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Index of the first row in q, out and x.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
    /// KV slot of the first row, which is its position in the sequence.
    pub slot: usize,
    /// Blocks of the sequence; block i holds `block_tokens` slots from i * block_tokens on.
    pub blocks: &'a [BlockAddress],
}

impl Run<'_> {
    /// Index after the last row.
    pub(super) fn rows_end(&self) -> usize {
        self.row.saturating_add(self.rows)
    }

    /// Slot after that of the last row.
    pub(super) fn slots_end(&self) -> usize {
        self.slot.saturating_add(self.rows)
    }
}

/// Parameters of [`Cpu::attend`](crate::Cpu::attend).
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Shape and format of KV.
    pub geometry: KvGeometry,
    /// Number of query heads, a multiple of the KV heads.
    pub heads: usize,
    /// Factor of q·k, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// Sliding window: the row at slot s sees only slots > s - window. `None` if it sees all earlier slots.
    pub window: Option<usize>,
    /// Runs of rows, one per sequence of the batch.
    pub runs: &'a [Run<'a>],
}

impl KvGeometry {
    /// Bytes of K, or of V, of one token.
    pub fn token_bytes(&self) -> usize {
        self.kv_heads * self.head_dim * self.format.bytes()
    }

    /// Bytes of K, or of V, of a block.
    pub fn block_bytes(&self) -> usize {
        self.block_tokens * self.token_bytes()
    }
}
