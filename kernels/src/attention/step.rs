//! Attention for one or a few rows of one sequence: a piece of work is one partition with all heads, so that every byte
//! of K and V is read once, in memory order. The partitions' results are merged after all pieces are done.

use super::kernel::{
    CHUNK, LINE, PANEL, PARTITION, Panel, Total, pack_keys, pack_query, pack_values, padded, query_stride, softmax,
};
use super::math::{Math, MathTask};
use super::params::Attention;
use super::slots::{Side, addresses, chunks, fetches, partitions, seen, within};
use crate::simd::{Simd, Task};

/// Most rows of a run whose work is divided by partitions.
pub(super) const ROWS: usize = 4;

/// Number of f32s of one query's result over a partition: the sums and the [`Total`].
pub(super) fn result_stride(dim: usize) -> usize {
    padded(dim) + 16
}

/// Bytes of scratch that a [`Step`] needs: packed keys or values of a chunk, queries, scores.
pub(super) fn scratch_bytes(queries: usize, dim: usize) -> usize {
    (CHUNK * padded(dim) + queries * (query_stride(dim) + LINE)) * 4
}

pub(super) struct Step<'a> {
    pub(super) attention: &'a Attention<'a>,
    pub(super) run: usize,
    pub(super) partition: usize,
    /// Start of the query heads of row 0.
    pub(super) q: *const f32,
    pub(super) stride: usize,
    /// Results of this partition, [kv head][row][head of its group].
    pub(super) results: *mut f32,
    pub(super) scratch: *mut f32,
}

impl MathTask for Step<'_> {
    #[inline(always)]
    unsafe fn run<M: Math>(self) {
        let Attention { geometry, heads, scale, window, runs } = *self.attention;
        let run = &runs[self.run];
        let (dim, group) = (geometry.head_dim, heads / geometry.kv_heads);
        let (each, line) = (run.rows * group, result_stride(dim));
        let queries = run.rows * heads;
        let scale = scale * std::f32::consts::LOG2_E;
        let all = seen(run, window, 0..run.rows);
        let there = within(&all, self.partition);
        let range = chunks(&there);
        let base = self.partition * PARTITION;
        // SAFETY: all accesses are inside the scratch (of `scratch_bytes`), the rows of q, this partition's results,
        // and slots that have been stored, as the caller promises.
        unsafe {
            let packed = self.scratch;
            let q = packed.add(CHUNK * padded(dim)).cast::<u32>();
            let scores = packed.add(CHUNK * padded(dim) + queries * query_stride(dim));
            for query in 0..queries {
                let (row, head) = (query % each / group, query / each * group + query % group);
                let from = self.q.add((run.row + row) * self.stride + head * dim);
                pack_query::<M>(from, dim, q.add(query * query_stride(dim)));
                self.results.add(query * line).write_bytes(0, line);
            }
            // A panel of one KV head; its sums are the partition's results. This closure only computes pointers: vector
            // code in a closure would be compiled without the instruction set.
            let panel = |kv_head: usize, first: usize| {
                let query = kv_head * each + first;
                Panel {
                    queries: (each - first).min(PANEL),
                    dim,
                    q: q.add(query * query_stride(dim)),
                    scores: scores.add(query * LINE),
                    sums: self.results.add(query * line),
                    line,
                }
            };
            // While a head of a chunk is packed, a part of the next chunk is prefetched, in memory order.
            let at = |side: Side, chunk: usize| addresses(run, &geometry, side, base + chunk * CHUNK, &all);
            for chunk in range.clone() {
                let slots = at(Side::K, chunk);
                let next = if chunk + 1 < range.end { at(Side::K, chunk + 1) } else { at(Side::V, range.start) };
                for kv_head in 0..geometry.kv_heads {
                    let fetch = fetches(&geometry, &next, kv_head);
                    pack_keys::<M>(&slots, kv_head, dim, packed, Some(&fetch));
                    for first in (0..each).step_by(PANEL) {
                        panel(kv_head, first).score::<M>(packed, chunk * CHUNK);
                    }
                }
            }
            for query in 0..queries {
                let row = query % each / group;
                let own = within(&seen(run, window, row..row + 1), self.partition);
                let columns = range.start * CHUNK..range.end * CHUNK;
                let own = if own.is_empty() { columns.start..columns.start } else { own };
                let (largest, sum) = softmax::<M>(scores.add(query * LINE), columns, own, scale);
                let total = self.results.add(query * line + padded(dim)).cast::<Total>();
                total.write(Total { largest, sum });
            }
            for chunk in range.clone() {
                let from = there.start.max(chunk * CHUNK) - chunk * CHUNK;
                let to = there.end.min((chunk + 1) * CHUNK) - chunk * CHUNK;
                let (from, to) = (from / M::UNIT, to.div_ceil(M::UNIT));
                let slots = at(Side::V, chunk);
                // After the last chunk, the keys of the next partition are prefetched, if there is one.
                let next = at(if chunk + 1 < range.end { Side::V } else { Side::K }, chunk + 1);
                for kv_head in 0..geometry.kv_heads {
                    let fetch = fetches(&geometry, &next, kv_head);
                    pack_values::<M>(&slots, kv_head, dim, packed, Some(&fetch));
                    for first in (0..each).step_by(PANEL) {
                        panel(kv_head, first).weigh::<M>(chunk * CHUNK / M::UNIT, packed, from, to);
                    }
                }
            }
        }
    }
}

/// Task that merges the partitions' results of one row.
pub(super) struct Merge<'a> {
    pub(super) attention: &'a Attention<'a>,
    pub(super) run: usize,
    pub(super) row: usize,
    /// Results of the run's first partition; those of the others follow.
    pub(super) results: *mut f32,
    /// Start of row 0 of the output.
    pub(super) out: *mut f32,
}

impl Task for Merge<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention { geometry, heads, window, runs, .. } = *self.attention;
        let run = &runs[self.run];
        let (dim, group) = (geometry.head_dim, heads / geometry.kv_heads);
        let (each, line) = (run.rows * group, result_stride(dim));
        let count = partitions(&seen(run, window, 0..run.rows)).len();
        for head in 0..heads {
            let query = head / group * each + self.row * group + head % group;
            // SAFETY: all accesses are inside the run's results, which have been written, and this row of the output,
            // as the caller promises.
            unsafe {
                let result = |partition: usize| self.results.add((partition * run.rows * heads + query) * line);
                let mut total = Total::NOTHING;
                // The other results are merged into the first one: merging it into `Total::NOTHING` would give the same
                // bits.
                let mut into = None;
                for partition in 0..count {
                    let sums = result(partition);
                    let next = sums.add(padded(dim)).cast::<Total>().read();
                    match into {
                        _ if next.sum <= 0.0 => {}
                        None => (total, into) = (next, Some(sums)),
                        Some(into) => total.merge::<S>(into, next, sums, dim),
                    }
                }
                let out = self.out.add(((run.row + self.row) * heads + head) * dim);
                total.finish::<S>(into.unwrap_or(result(0)), dim, out);
            }
        }
    }
}
