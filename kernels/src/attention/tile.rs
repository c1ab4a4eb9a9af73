//! Attention for many rows of one sequence: a tile of rows, with the query heads of one KV head, passes over the
//! partitions; keys and values are packed once for the tile.

use super::kernel::{
    CHUNK, LINE, PANEL, PARTITION, Panel, Total, pack_keys, pack_query, pack_values, padded, query_stride, softmax,
};
use super::math::{Math, MathTask};
use super::params::Attention;
use super::slots::{Side, addresses, chunks, partitions, seen, within};

/// Approximate number of queries that share packed keys and values: a tile has whole rows, and whole panels if the
/// group divides this.
const QUERIES: usize = 96;

/// Number of rows of a tile.
pub(super) fn tile_rows(group: usize) -> usize {
    (QUERIES / group).max(1)
}

/// Offsets in the scratch, in f32s: keys (at 0), values, queries, scores, a partition's sums, the sums of all
/// partitions, and their totals.
struct Layout {
    values: usize,
    queries: usize,
    scores: usize,
    part: usize,
    sums: usize,
    totals: usize,
    end: usize,
}

impl Layout {
    fn new(group: usize, dim: usize) -> Layout {
        let queries = tile_rows(group) * group;
        let values = PARTITION * padded(dim);
        let at_queries = values * 2;
        let scores = at_queries + queries * query_stride(dim);
        let part = scores + queries * LINE;
        let sums = part + PANEL * padded(dim);
        let totals = sums + queries * padded(dim);
        Layout { values, queries: at_queries, scores, part, sums, totals, end: totals + queries * 2 }
    }
}

/// Bytes of scratch that a [`Tile`] needs.
pub(super) fn scratch_bytes(group: usize, dim: usize) -> usize {
    Layout::new(group, dim).end * 4
}

pub(super) struct Tile<'a> {
    pub(super) attention: &'a Attention<'a>,
    pub(super) run: usize,
    /// Range of rows of the run.
    pub(super) rows: std::ops::Range<usize>,
    pub(super) kv_head: usize,
    /// Start of the query heads of row 0.
    pub(super) q: *const f32,
    pub(super) stride: usize,
    /// Start of row 0 of the output.
    pub(super) out: *mut f32,
    pub(super) scratch: *mut f32,
}

impl MathTask for Tile<'_> {
    #[inline(always)]
    unsafe fn run<M: Math>(self) {
        let Attention { geometry, heads, scale, window, runs } = *self.attention;
        let run = &runs[self.run];
        let (dim, group) = (geometry.head_dim, heads / geometry.kv_heads);
        let (line, first_head) = (padded(dim), self.kv_head * group);
        let queries = self.rows.len() * group;
        let layout = Layout::new(group, dim);
        let scale = scale * std::f32::consts::LOG2_E;
        // SAFETY: all accesses are inside the scratch (laid out by `Layout`), the rows of q and out, and slots that
        // have been stored, as the caller promises.
        unsafe {
            let (keys, values) = (self.scratch, self.scratch.add(layout.values));
            let q = self.scratch.add(layout.queries).cast::<u32>();
            let scores = self.scratch.add(layout.scores);
            let part = self.scratch.add(layout.part);
            let sums = self.scratch.add(layout.sums);
            let totals = self.scratch.add(layout.totals).cast::<Total>();
            for query in 0..queries {
                let row = run.row + self.rows.start + query / group;
                let from = self.q.add(row * self.stride + (first_head + query % group) * dim);
                pack_query::<M>(from, dim, q.add(query * query_stride(dim)));
                totals.add(query).write(Total::NOTHING);
                sums.add(query * line).write_bytes(0, line);
            }
            let all = seen(run, window, self.rows.clone());
            for partition in partitions(&all) {
                let there = within(&all, partition);
                let base = partition * PARTITION;
                for chunk in chunks(&there) {
                    let first = base + chunk * CHUNK;
                    let slots = addresses(run, &geometry, Side::K, first, &all);
                    pack_keys::<M>(&slots, self.kv_head, dim, keys.add(chunk * CHUNK * line), None);
                    let slots = addresses(run, &geometry, Side::V, first, &all);
                    pack_values::<M>(&slots, self.kv_head, dim, values.add(chunk * CHUNK / M::UNIT * line), None);
                }
                for first in (0..queries).step_by(PANEL) {
                    let count = (queries - first).min(PANEL);
                    let row = |query: usize| self.rows.start + query / group;
                    let see = seen(run, window, row(first)..row(first + count - 1) + 1);
                    let see = within(&see, partition);
                    if see.is_empty() {
                        continue;
                    }
                    let panel = Panel {
                        queries: count,
                        dim,
                        q: q.add(first * query_stride(dim)),
                        scores: scores.add(first * LINE),
                        sums: part,
                        line,
                    };
                    let range = chunks(&see);
                    for chunk in range.clone() {
                        panel.score::<M>(keys.add(chunk * CHUNK * line), chunk * CHUNK);
                    }
                    let mut next = [Total::NOTHING; PANEL];
                    for (i, next) in next.iter_mut().enumerate().take(count) {
                        let own = within(&seen(run, window, row(first + i)..row(first + i) + 1), partition);
                        let columns = range.start * CHUNK..range.end * CHUNK;
                        // A row that sees no slot of this partition gets weights of 0 and is not merged.
                        let own = if own.is_empty() { columns.start..columns.start } else { own };
                        let (largest, sum) = softmax::<M>(panel.scores.add(i * LINE), columns, own, scale);
                        *next = Total { largest, sum };
                    }
                    part.write_bytes(0, count * line);
                    panel.weigh::<M>(0, values, see.start / M::UNIT, see.end.div_ceil(M::UNIT));
                    for (i, next) in next.iter().enumerate().take(count) {
                        if next.sum > 0.0 {
                            let total = &mut *totals.add(first + i);
                            total.merge::<M::S>(sums.add((first + i) * line), *next, part.add(i * line), dim);
                        }
                    }
                }
            }
            for query in 0..queries {
                let row = run.row + self.rows.start + query / group;
                let out = self.out.add((row * heads + first_head + query % group) * dim);
                (*totals.add(query)).finish::<M::S>(sums.add(query * line), dim, out);
            }
        }
    }
}
