//! Paged attention: the interface, and the division of work.

mod kernel;
mod math;
mod params;
mod slots;
mod step;
mod tile;

use crate::scratch::with_local;
use crate::simd::dispatch;
use crate::{Cpu, SendMut, from_f32};
use math::with_math;
pub use params::{Attention, BlockAddress, KvGeometry, Run};
use slots::{partitions, seen};
use step::{Merge, Step};
use tile::{Tile, tile_rows};

/// Multiply-adds up to which a call is not worth waking other threads (some microseconds of one core).
const SMALL: usize = 256 << 10;

impl Cpu {
    /// Writes K and V columns (f32, at columns k_offset and v_offset of rows of `stride` numbers) of every run into its
    /// blocks, in their format (rounded to nearest even).
    ///
    /// # Safety
    ///
    /// The blocks' addresses must be valid for the geometry, and no other thread may access the runs' slots meanwhile.
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
            assert!(run.rows_end().saturating_mul(stride) <= x.len(), "a run reaches past the rows");
            assert!(run.slots_end() <= run.blocks.len() * geometry.block_tokens, "a run reaches past its blocks");
            self.rows(run.rows, 2 * width, 32 * 1024, &|row| {
                let slot = run.slot + row;
                let block = &run.blocks[slot / geometry.block_tokens];
                let at = slot % geometry.block_tokens * bytes;
                let x = &x[(run.row + row) * stride..][..stride];
                for (offset, start) in [(k_offset, block.k), (v_offset, block.v)] {
                    // SAFETY: these are the bytes of this row's own slot, inside the run's blocks as asserted above;
                    // the caller guarantees that the address is valid and that no other thread accesses the slot.
                    let into = unsafe { std::slice::from_raw_parts_mut(start.add(at), bytes) };
                    from_f32(geometry.format, &x[offset..offset + width], into);
                }
            });
        }
    }

    /// Computes causal grouped-query attention: the row at slot s sees slots 0..=s (its own KV must have been stored).
    /// The heads of q are at columns from q_offset on of rows of `stride` numbers; out is [rows, heads * head_dim].
    ///
    /// # Safety
    ///
    /// The blocks' addresses must be valid for the geometry, every slot up to a run's last row must have been stored,
    /// and no thread may write to these slots meanwhile. No two runs may share rows, since their results are written in
    /// parallel.
    pub unsafe fn attend(&self, attention: &Attention<'_>, q: &[f32], stride: usize, q_offset: usize, out: &mut [f32]) {
        let Attention { geometry, heads, window, runs, .. } = *attention;
        let dim = geometry.head_dim;
        assert!(dim.is_multiple_of(2), "head_dim {dim} is odd");
        assert!(q_offset + heads * dim <= stride, "q reaches past the row");
        let group = heads / geometry.kv_heads.max(1);
        assert_eq!(group * geometry.kv_heads, heads, "heads are a multiple of kv_heads");
        let mut work = 0;
        for run in runs {
            let (rows, end) = (run.rows_end(), run.slots_end());
            assert!(rows.saturating_mul(stride) <= q.len(), "a run reaches past the rows of q");
            assert!(rows.saturating_mul(heads * dim) <= out.len(), "a run reaches past the rows of out");
            assert!(end <= run.blocks.len() * geometry.block_tokens, "a run reaches past its blocks");
            work += 2 * run.rows * end * heads * dim;
        }
        if work == 0 {
            return;
        }
        // The plan says where each run's pieces and results start. Runs of many rows come first, since their pieces are
        // long.
        let mut plan = self.scratch();
        let plan = plan.reserve(runs.len() * size_of::<Start>()).cast::<Start>();
        // SAFETY: the scratch has room for that many `Start`, is aligned to a cache line and initialised, and any bits
        // are a valid `Start`.
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
                // SAFETY: shapes were asserted above; the caller guarantees the blocks; every piece writes rows and
                // heads of `out`, or results, of its own.
                unsafe { shared.piece(self, piece, memory.get(), into.get(), scratch.cast()) };
            });
        };
        let merge = |at: usize| {
            let Start { run, result, .. } = shared.plan[at];
            for row in 0..runs[run].rows {
                if runs[run].rows <= step::ROWS {
                    // SAFETY: all pieces have written their results; the row of `out` is inside it, as asserted above,
                    // and written by this run alone.
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

/// Indices of the first piece of work and the first result of a run.
#[derive(Clone, Copy)]
struct Start {
    run: usize,
    piece: usize,
    result: usize,
}

/// Data that the pieces of one call share.
struct Shared<'a> {
    attention: &'a Attention<'a>,
    /// The runs that have rows, in the order of their pieces.
    plan: &'a [Start],
    q: *const f32,
    stride: usize,
}

// SAFETY: `q` points into a slice that outlives the call, and is only read through.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    unsafe fn piece(&self, cpu: &Cpu, piece: usize, memory: *mut f32, out: *mut f32, scratch: *mut f32) {
        let &Shared { attention, plan, q, stride } = self;
        let Attention { geometry, heads, window, runs, .. } = *attention;
        let group = heads / geometry.kv_heads;
        let (isa, format) = (cpu.isa(), geometry.format);
        // Every run of the plan has at least one piece, and the first run's first piece is 0, so the search finds one.
        let start = plan[plan.partition_point(|start| start.piece <= piece) - 1];
        let (index, run, piece) = (start.run, &runs[start.run], piece - start.piece);
        if run.rows > step::ROWS {
            let step = tile_rows(group);
            let tiles = run.rows.div_ceil(step);
            // The last rows see the most slots and come first, so that the last pieces are short.
            let tile = tiles - 1 - piece / geometry.kv_heads;
            let rows = tile * step..run.rows.min((tile + 1) * step);
            let kv_head = piece % geometry.kv_heads;
            let tile = Tile { attention, run: index, rows, kv_head, q, stride, out, scratch };
            // SAFETY: the caller guarantees the blocks, memory and scratch; this tile writes rows and heads of `out` of
            // its own.
            return unsafe { with_math(isa, format, tile) };
        }
        let partition = partitions(&seen(run, window, 0..run.rows)).start + piece;
        // SAFETY: the caller guarantees the blocks, memory and scratch; the results of this piece are inside `memory`
        // and its own.
        unsafe {
            let results = start.result + piece * run.rows * heads * step::result_stride(geometry.head_dim);
            let results = memory.add(results);
            with_math(isa, format, Step { attention, run: index, partition, q, stride, results, scratch });
        }
    }
}

#[cfg(test)]
mod tests;
