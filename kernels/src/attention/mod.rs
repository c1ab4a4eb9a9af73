//! Paged attention: the interface, and how the work is divided.

mod kernel;
mod math;
mod slots;
mod step;
mod tile;

use crate::scratch::with_local;
use crate::simd::dispatch;
use crate::{Cpu, Format, SendMut, from_f32};
use math::with_math;
use slots::{partitions, seen};
use step::{Merge, Step};
use tile::{Tile, tile_rows};

/// Multiply-adds below which a call is not worth waking anyone (some microseconds of one core).
const SMALL: usize = 256 << 10;

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
        let Attention { geometry, heads, window, runs, .. } = *attention;
        let dim = geometry.head_dim;
        assert!(dim.is_multiple_of(2), "head_dim {dim} is odd");
        assert!(q_offset + heads * dim <= stride, "q reaches past the row");
        let group = heads / geometry.kv_heads.max(1);
        assert_eq!(group * geometry.kv_heads, heads, "heads are a multiple of kv_heads");
        let mut work = 0;
        for run in runs {
            assert!((run.row + run.rows) * stride <= q.len(), "a run reaches past the rows of q");
            assert!((run.row + run.rows) * heads * dim <= out.len(), "a run reaches past the rows of out");
            let end = run.slot + run.rows;
            assert!(end <= run.blocks.len() * geometry.block_tokens, "a run reaches past its blocks");
            work += 2 * run.rows * end * heads * dim;
        }
        if work == 0 {
            return;
        }
        // Where each run's pieces and results start. Runs of many rows come first: their pieces are long.
        let mut plan = self.scratch();
        let plan = plan.reserve(runs.len() * size_of::<Start>()).cast::<Start>();
        // SAFETY: the scratch is that large, aligned, and initialised.
        let plan = unsafe { std::slice::from_raw_parts_mut(plan, runs.len()) };
        let (mut planned, mut pieces, mut results) = (0, 0, 0);
        for long in [true, false] {
            for (index, run) in runs.iter().enumerate() {
                if (run.rows > step::ROWS) != long || run.rows == 0 {
                    continue;
                }
                plan[planned] = Start { run: index, piece: pieces, result: results };
                planned += 1;
                if long {
                    pieces += run.rows.div_ceil(tile_rows(group)) * geometry.kv_heads;
                } else {
                    let parts = partitions(&seen(run, window, 0..run.rows)).len();
                    pieces += parts;
                    results += parts * run.rows * heads * step::result_stride(dim);
                }
            }
        }
        let mut memory = self.scratch();
        let memory = SendMut(memory.reserve(results * 4).cast::<f32>());
        let into = SendMut(out.as_mut_ptr());
        let q = q[q_offset..].as_ptr();
        let shared = Shared { attention, plan: &plan[..planned], q, stride };
        let bytes = tile::scratch_bytes(group, dim).max(step::scratch_bytes(step::ROWS * heads, dim));
        let piece = |piece: usize| {
            with_local(bytes, |scratch| {
                // SAFETY: shapes were checked; the caller vouches for the blocks; every piece has rows and heads, or
                // results, of its own.
                unsafe { shared.piece(self, piece, memory.get(), into.get(), scratch.cast()) };
            });
        };
        let merge = |at: usize| {
            let Start { run, result, .. } = shared.plan[at];
            for row in 0..runs[run].rows {
                if runs[run].rows <= step::ROWS {
                    // SAFETY: as above; the results have been written.
                    unsafe {
                        let results = memory.get().add(result);
                        dispatch(self.isa(), Merge { attention, run, row, results, out: into.get() });
                    }
                }
            }
        };
        let few = results < 64 << 10;
        if work <= SMALL {
            (0..pieces).for_each(piece);
        } else {
            self.run(pieces, &piece);
        }
        if few {
            (0..planned).for_each(merge);
        } else {
            self.run(planned, &merge);
        }
    }
}

/// Where a run's pieces of work, and its results, start.
#[derive(Clone, Copy)]
struct Start {
    run: usize,
    piece: usize,
    result: usize,
}

/// What the pieces of one call share.
struct Shared<'a> {
    attention: &'a Attention<'a>,
    /// Runs that have rows, in the order of their pieces.
    plan: &'a [Start],
    q: *const f32,
    stride: usize,
}

// SAFETY: the pointer is to a slice that outlives the call, and only read through.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    unsafe fn piece(&self, cpu: &Cpu, piece: usize, memory: *mut f32, out: *mut f32, scratch: *mut f32) {
        let &Shared { attention, plan, q, stride } = self;
        let Attention { geometry, heads, window, runs, .. } = *attention;
        let group = heads / geometry.kv_heads;
        let (isa, format) = (cpu.isa(), geometry.format);
        // Every run of the plan has at least one piece, and the first one's is 0.
        let start = plan[plan.partition_point(|start| start.piece <= piece) - 1];
        let (index, run, piece) = (start.run, &runs[start.run], piece - start.piece);
        if run.rows > step::ROWS {
            let step = tile_rows(group);
            let tiles = run.rows.div_ceil(step);
            // The last rows see most and come first, so that the last pieces are short.
            let tile = tiles - 1 - piece / geometry.kv_heads;
            let rows = tile * step..run.rows.min((tile + 1) * step);
            let kv_head = piece % geometry.kv_heads;
            let tile = Tile { attention, run: index, rows, kv_head, q, stride, out, scratch };
            // SAFETY: as the caller promises.
            return unsafe { with_math(isa, format, tile) };
        }
        let partition = partitions(&seen(run, window, 0..run.rows)).start + piece;
        // SAFETY: as the caller promises.
        unsafe {
            let results = start.result + piece * run.rows * heads * step::result_stride(geometry.head_dim);
            let results = memory.add(results);
            with_math(isa, format, Step { attention, run: index, partition, q, stride, results, scratch });
        }
    }
}

#[cfg(test)]
mod tests;
