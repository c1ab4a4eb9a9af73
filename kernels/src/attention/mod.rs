//! Paged attention.

use crate::scratch::with_local;
use crate::{Cpu, Format, SendMut, from_f32, to_f32};

/// Geometry of paged KV of one layer. A block holds K and V, each [block_tokens, kv_heads, head_dim] in `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvGeometry {
    /// Number format of K and V.
    pub format: Format,
    /// Heads of K and V.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Tokens of a block.
    pub block_tokens: usize,
}

/// Where one block's K and V of the layer lie (aligned to 64 bytes).
#[derive(Clone, Copy, Debug)]
pub struct BlockAddress {
    /// Start of K.
    pub k: *mut u8,
    /// Start of V.
    pub v: *mut u8,
}

// SAFETY: an address is a number; `store_kv` and `attend` say what it takes to use it.
unsafe impl Send for BlockAddress {}
// SAFETY: as above.
unsafe impl Sync for BlockAddress {}

/// Consecutive rows of one sequence within a batch.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// First row in q, out and qkv.
    pub row: usize,
    /// How many rows.
    pub rows: usize,
    /// KV slot of the first row.
    pub slot: usize,
    /// Block i holds slots i * block_tokens and on.
    pub blocks: &'a [BlockAddress],
}

/// What [`Cpu::attend`] is to do.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Where and how KV lies.
    pub geometry: KvGeometry,
    /// Query heads, a multiple of the KV heads.
    pub heads: usize,
    /// Factor of q·k, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// The row at slot s sees slots > s - window only.
    pub window: Option<usize>,
    /// The sequences of the batch.
    pub runs: &'a [Run<'a>],
}

impl KvGeometry {
    /// Bytes of K (or of V) of one token.
    pub fn token_bytes(&self) -> usize {
        self.kv_heads * self.head_dim * self.format.bytes()
    }

    /// Bytes of K (or of V) of a block.
    pub fn block_bytes(&self) -> usize {
        self.block_tokens * self.token_bytes()
    }
}

impl Cpu {
    /// Writes K and V columns (f32, at columns k_offset and v_offset of rows of `stride` numbers) of every run into its
    /// blocks, in their format (rounded to nearest even).
    ///
    /// # Safety
    ///
    /// The blocks' addresses are valid for the geometry, and nobody else touches the slots meanwhile.
    pub unsafe fn store_kv(
        &self,
        geometry: KvGeometry,
        x: &[f32],
        stride: usize,
        k_offset: usize,
        v_offset: usize,
        runs: &[Run<'_>],
    ) {
        let width = geometry.kv_heads * geometry.head_dim;
        let bytes = geometry.token_bytes();
        assert!(k_offset.max(v_offset) + width <= stride, "K or V reaches past the row");
        for run in runs {
            assert!((run.row + run.rows) * stride <= x.len(), "a run reaches past the rows");
            let end = run.slot + run.rows;
            assert!(end <= run.blocks.len() * geometry.block_tokens, "a run reaches past its blocks");
            self.rows(run.rows, 2 * width, 32 * 1024, &|row| {
                let slot = run.slot + row;
                let block = &run.blocks[slot / geometry.block_tokens];
                let at = slot % geometry.block_tokens * bytes;
                let x = &x[(run.row + row) * stride..][..stride];
                for (offset, start) in [(k_offset, block.k), (v_offset, block.v)] {
                    // SAFETY: the slot's own bytes, which the caller vouches for.
                    let into = unsafe { std::slice::from_raw_parts_mut(start.add(at), bytes) };
                    from_f32(geometry.format, &x[offset..offset + width], into);
                }
            });
        }
    }

    /// Causal grouped-query attention: the row at slot s sees slots 0..=s (its own KV has been stored). q: heads at
    /// columns q_offset and on of rows of `stride` numbers; out: [rows, heads * head_dim].
    ///
    /// # Safety
    ///
    /// The blocks' addresses are valid for the geometry, every slot up to a run's last row has been stored, and nobody
    /// writes to them meanwhile.
    pub unsafe fn attend(&self, attention: &Attention<'_>, q: &[f32], stride: usize, q_offset: usize, out: &mut [f32]) {
        let Attention { geometry, heads, scale, window, runs } = *attention;
        let dim = geometry.head_dim;
        assert!(q_offset + heads * dim <= stride, "q reaches past the row");
        let group = heads / geometry.kv_heads;
        assert_eq!(group * geometry.kv_heads, heads, "heads are a multiple of kv_heads");
        let out_len = out.len();
        let into = SendMut(out.as_mut_ptr());
        for run in runs {
            assert!((run.row + run.rows) * stride <= q.len(), "a run reaches past the rows of q");
            assert!((run.row + run.rows) * heads * dim <= out_len, "a run reaches past the rows of out");
            let end = run.slot + run.rows;
            assert!(end <= run.blocks.len() * geometry.block_tokens, "a run reaches past its blocks");
            self.run(run.rows * heads, &|item| {
                let (row, head) = (item / heads, item % heads);
                let slot = run.slot + row;
                let first = window.map_or(0, |w| (slot + 1).saturating_sub(w));
                let q = &q[(run.row + row) * stride + q_offset + head * dim..][..dim];
                let at = (run.row + row) * heads * dim + head * dim;
                // SAFETY: inside out; this piece's own part.
                let out = unsafe { std::slice::from_raw_parts_mut(into.get().add(at), dim) };
                let kv = |slot: usize, v: bool, into: &mut [f32]| {
                    let block = &run.blocks[slot / geometry.block_tokens];
                    let start = if v { block.v } else { block.k };
                    let bytes = dim * geometry.format.bytes();
                    let at = slot % geometry.block_tokens * geometry.token_bytes() + head / group * bytes;
                    // SAFETY: as the caller promises.
                    to_f32(geometry.format, unsafe { std::slice::from_raw_parts(start.add(at), bytes) }, into);
                };
                with_local(dim * 4, |line| {
                    // SAFETY: the scratch is that large, aligned, and initialised.
                    let line = unsafe { std::slice::from_raw_parts_mut(line.cast::<f32>(), dim) };
                    let (mut largest, mut sum) = (f32::NEG_INFINITY, 0.0);
                    out.fill(0.0);
                    for slot in first..=slot {
                        kv(slot, false, line);
                        let score = line.iter().zip(q).map(|(k, q)| k * q).sum::<f32>() * scale;
                        let m = largest.max(score);
                        let (old, p) = ((largest - m).exp(), (score - m).exp());
                        largest = m;
                        sum = sum * old + p;
                        kv(slot, true, line);
                        for (o, v) in out.iter_mut().zip(&*line) {
                            *o = *o * old + p * v;
                        }
                    }
                    for o in out {
                        *o /= sum;
                    }
                });
            });
        }
    }
}

#[cfg(test)]
mod tests;
