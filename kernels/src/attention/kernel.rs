//! The parts of attention over one partition of slots: packing, scores, softmax, weighted sums, merging.
//!
//! Shapes: K is packed as [chunk][unit of the head][CHUNK slots], V as [unit of slots][padded head_dim]. Scores, and
//! the weights that replace them in place, are rows of [`LINE`] * 4 bytes, one per query.
//!
//! The unsafe functions here need the instruction set of their arithmetic, and memory of these shapes.

// Tiles are indexed by row and column throughout.
#![allow(clippy::needless_range_loop)]

use super::math::Math;
use crate::simd::{Simd, exp2, prefetch};

/// Number of slots of a partition, counted from slot 0. Softmax is taken over a partition, and partitions are merged in
/// order.
pub(super) const PARTITION: usize = 256;
/// Number of slots that are packed and scored together.
pub(super) const CHUNK: usize = 64;
/// Distance, in numbers, from one query's scores to the next one's. Not a power of two, which would put all of them
/// into one set of the cache.
pub(super) const LINE: usize = PARTITION + 16;
/// Most queries of a panel.
pub(super) const PANEL: usize = 6;
/// Multiple to which the head is padded: the width of the widest vector.
const PAD: usize = 16;

/// Width of a head with padding.
pub(super) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(PAD)
}

/// Distance from one packed query to the next, in units.
pub(super) fn query_stride(dim: usize) -> usize {
    padded(dim)
}

/// Packs a query as units, with zeros after it.
#[inline(always)]
pub(super) unsafe fn pack_query<M: Math>(q: *const f32, dim: usize, into: *mut u32) {
    let width = M::S::WIDTH;
    let mut i = 0;
    while i < dim {
        // SAFETY: `q` has `dim` numbers, and `into` has room for the padded query.
        unsafe {
            let v = M::S::load_part(q.add(i), (dim - i).min(width));
            M::narrow(into.cast::<u8>().add(i * 4 / M::UNIT), v);
        }
        i += width;
    }
}

/// Addresses of a chunk's slots; null for slots that do not exist.
pub(super) type Slots = [*const u8; CHUNK];

/// Packs the keys of one head of a chunk. Meanwhile as many bytes are prefetched from `next`, a few at a time: a
/// processor may drop prefetches that are issued all at once.
#[inline(always)]
pub(super) unsafe fn pack_keys<M: Math>(slots: &Slots, head: usize, dim: usize, into: *mut f32, next: Option<&Slots>) {
    let offset = head * dim * M::FORMAT.bytes();
    let width = M::S::WIDTH;
    let units = dim / M::UNIT;
    let bytes = M::FORMAT.bytes() * M::UNIT;
    // SAFETY: every slot that is not null has `dim` numbers of the head, and `into` has room for the padded units; a
    // partial vector goes through `last`, which has room for one.
    unsafe {
        let mut rows = [M::S::zero(); 16];
        for first in (0..CHUNK).step_by(width) {
            let mut unit = 0;
            while unit < units {
                let count = (units - unit).min(width);
                if let Some(next) = next
                    && (unit * bytes).is_multiple_of(64)
                {
                    for next in &next[first..first + width] {
                        prefetch(next.wrapping_add(unit * bytes));
                    }
                }
                let slots = &slots[first..first + width];
                if count == width && slots.iter().all(|slot| !slot.is_null()) {
                    for i in 0..width {
                        rows[i] = M::key(slots[i].add(offset + unit * bytes));
                    }
                } else {
                    for i in 0..width {
                        let mut last = [0u8; 64];
                        if !slots[i].is_null() {
                            let from = slots[i].add(offset + unit * bytes);
                            std::ptr::copy_nonoverlapping(from, last.as_mut_ptr(), count * bytes);
                        }
                        rows[i] = M::key(last.as_ptr());
                    }
                }
                M::S::store_transposed(rows.as_ptr(), into.add(unit * CHUNK + first), CHUNK);
                unit += width;
            }
        }
    }
}

/// Packs the values of one head of a chunk, and prefetches from `next` like [`pack_keys`].
#[inline(always)]
pub(super) unsafe fn pack_values<M: Math>(
    slots: &Slots,
    head: usize,
    dim: usize,
    into: *mut f32,
    next: Option<&Slots>,
) {
    let offset = head * dim * M::FORMAT.bytes();
    let width = M::S::WIDTH;
    let bytes = M::FORMAT.bytes();
    for (unit, slots) in slots.chunks(M::UNIT).enumerate() {
        let slots = [slots[0], slots[M::UNIT - 1]];
        if let Some(next) = next {
            for next in &next[unit * M::UNIT..(unit + 1) * M::UNIT] {
                for line in (0..dim * bytes).step_by(64) {
                    prefetch(next.wrapping_add(line));
                }
            }
        }
        let whole = if slots.iter().any(|slot| slot.is_null()) { 0 } else { dim - dim % width };
        // SAFETY: every slot that is not null has `dim` numbers of the head, and `into` has room for the padded ones; a
        // partial vector goes through `last`, which has room for one.
        unsafe {
            let into = into.add(unit * padded(dim));
            for i in (0..whole).step_by(width) {
                let from = [slots[0].add(offset + i * bytes), slots[1].add(offset + i * bytes)];
                M::S::store(into.add(i), M::values(from));
            }
            for i in (whole..dim).step_by(width) {
                let mut last = [[0u8; 64]; 2];
                for (last, slot) in last.iter_mut().zip(slots) {
                    if !slot.is_null() {
                        let count = (dim - i).min(width) * bytes;
                        std::ptr::copy_nonoverlapping(slot.add(offset + i * bytes), last.as_mut_ptr(), count);
                    }
                }
                M::S::store(into.add(i), M::values([last[0].as_ptr(), last[1].as_ptr()]));
            }
        }
    }
}

/// Computes the scores of `R` queries with the slots of one chunk; each score is summed entry after entry (or pair
/// after pair).
#[inline(always)]
unsafe fn scores<M: Math, const R: usize, const C: usize>(
    q: *const u32,
    q_stride: usize,
    keys: *const f32,
    units: usize,
    into: *mut f32,
) {
    let width = M::S::WIDTH;
    for column in (0..CHUNK).step_by(C * width) {
        // SAFETY: the caller guarantees packed queries and keys of this shape, and scores of `R` queries at `into`.
        unsafe {
            let mut sums = [[M::S::zero(); C]; R];
            let mut k = keys.add(column);
            for unit in 0..units {
                let mut key = [M::S::zero(); C];
                for c in 0..C {
                    key[c] = M::S::load(k.add(c * width));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let q = M::S::splat(f32::from_bits(*q.add(r * q_stride + unit)));
                    for c in 0..C {
                        sums[c] = M::mac(sums[c], q, key[c]);
                    }
                }
                k = k.add(CHUNK);
            }
            for (r, sums) in sums.iter().enumerate() {
                for c in 0..C {
                    M::S::store(into.add(r * LINE + column + c * width), sums[c]);
                }
            }
        }
    }
}

/// Adds the values of the slot units `units`, with the weights of `R` queries, to `C` vectors of the sums, slot after
/// slot (or pair after pair).
#[inline(always)]
unsafe fn weigh<M: Math, const R: usize, const C: usize>(
    weights: *const u32,
    values: *const f32,
    stride: usize,
    units: std::ops::Range<usize>,
    into: *mut f32,
    line: usize,
) {
    let width = M::S::WIDTH;
    // SAFETY: the caller guarantees weights of `R` queries, packed values of the units, and `C` vectors of sums at
    // `into`.
    unsafe {
        let mut sums = [[M::S::zero(); C]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum = M::S::load(into.add(r * line + c * width));
            }
        }
        let mut v = values.add(units.start * stride);
        for unit in units {
            let mut value = [M::S::zero(); C];
            for c in 0..C {
                value[c] = M::S::load(v.add(c * width));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let weight = M::S::splat(f32::from_bits(*weights.add(r * LINE + unit)));
                for c in 0..C {
                    sums[c] = M::mac(sums[c], weight, value[c]);
                }
            }
            v = v.add(stride);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                M::S::store(into.add(r * line + c * width), *sum);
            }
        }
    }
}

/// Up to [`PANEL`] queries of one KV head, with their rows of scores and sums.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) queries: usize,
    pub(super) dim: usize,
    /// Packed queries, [`query_stride`] units apart.
    pub(super) q: *const u32,
    /// Scores, which become weights, [`LINE`] numbers apart.
    pub(super) scores: *mut f32,
    /// Weighted sums of values, `line` numbers apart.
    pub(super) sums: *mut f32,
    pub(super) line: usize,
}

impl Panel {
    /// Computes the scores with the chunk at `keys`; they are stored from column `column` on.
    #[inline(always)]
    pub(super) unsafe fn score<M: Math>(&self, keys: *const f32, column: usize) {
        // SAFETY: the caller guarantees the memory of the panel and a packed chunk at `keys`.
        unsafe {
            match M::S::COLUMNS {
                4 => self.score_columns::<M, 4>(keys, column),
                _ => self.score_columns::<M, 2>(keys, column),
            }
        }
    }

    #[inline(always)]
    unsafe fn score_columns<M: Math, const C: usize>(&self, keys: *const f32, column: usize) {
        let (q, stride, units) = (self.q, query_stride(self.dim), self.dim / M::UNIT);
        // SAFETY: the caller guarantees the memory of the panel and a packed chunk at `keys`; the queries are at most
        // `PANEL`.
        unsafe {
            let into = self.scores.add(column);
            match self.queries {
                1 => scores::<M, 1, C>(q, stride, keys, units, into),
                2 => scores::<M, 2, C>(q, stride, keys, units, into),
                3 => scores::<M, 3, C>(q, stride, keys, units, into),
                4 => scores::<M, 4, C>(q, stride, keys, units, into),
                5 => scores::<M, 5, C>(q, stride, keys, units, into),
                _ => scores::<M, 6, C>(q, stride, keys, units, into),
            }
        }
    }

    /// Adds the weighted values of the slot units from..to, which are counted from `values`; `first_weight` is the
    /// index of the weight of unit 0.
    #[inline(always)]
    pub(super) unsafe fn weigh<M: Math>(&self, first_weight: usize, values: *const f32, from: usize, to: usize) {
        let width = M::S::WIDTH;
        let vectors = padded(self.dim) / width;
        let mut column = 0;
        while column < vectors {
            // SAFETY: the caller guarantees the memory of the panel and values of the units; the columns are inside the
            // padded head.
            unsafe {
                let columns = (vectors - column).min(M::S::COLUMNS);
                let at = column * width;
                match columns {
                    1 => self.weigh_columns::<M, 1>(first_weight, values, from, to, at),
                    2 => self.weigh_columns::<M, 2>(first_weight, values, from, to, at),
                    3 => self.weigh_columns::<M, 3>(first_weight, values, from, to, at),
                    _ => self.weigh_columns::<M, 4>(first_weight, values, from, to, at),
                }
                column += columns;
            }
        }
    }

    #[inline(always)]
    unsafe fn weigh_columns<M: Math, const C: usize>(
        &self,
        first_weight: usize,
        values: *const f32,
        from: usize,
        to: usize,
        at: usize,
    ) {
        if C > M::S::COLUMNS {
            return; // Never called with such C; the check keeps the code below from being compiled.
        }
        let (stride, units) = (padded(self.dim), from..to);
        // SAFETY: the caller guarantees the memory of the panel and values of the units; the queries are at most
        // `PANEL`.
        unsafe {
            let weights = self.scores.cast_const().cast::<u32>().add(first_weight);
            let (v, into) = (values.add(at), self.sums.add(at));
            match self.queries {
                1 => weigh::<M, 1, C>(weights, v, stride, units, into, self.line),
                2 => weigh::<M, 2, C>(weights, v, stride, units, into, self.line),
                3 => weigh::<M, 3, C>(weights, v, stride, units, into, self.line),
                4 => weigh::<M, 4, C>(weights, v, stride, units, into, self.line),
                5 => weigh::<M, 5, C>(weights, v, stride, units, into, self.line),
                _ => weigh::<M, 6, C>(weights, v, stride, units, into, self.line),
            }
        }
    }
}

/// Turns one query's scores in the columns `columns` into weights 2^(score * scale - largest), of which only those in
/// `seen` are not zero. `scale` includes log2(e). Returns the largest scaled score and the sum of the weights.
#[inline(always)]
pub(super) unsafe fn softmax<M: Math>(
    scores: *mut f32,
    columns: std::ops::Range<usize>,
    seen: std::ops::Range<usize>,
    scale: f32,
) -> (f32, f32) {
    let width = M::S::WIDTH;
    // SAFETY: as the caller promises, `scores` has all of `columns`. The units of weights are no wider than the scores,
    // so writing from the left never overtakes reading.
    unsafe {
        for column in (columns.start..seen.start).chain(seen.end..columns.end) {
            *scores.add(column) = f32::NEG_INFINITY;
        }
        let factor = M::S::splat(scale);
        let mut largest = M::S::splat(f32::NEG_INFINITY);
        for column in columns.clone().step_by(width) {
            largest = M::S::max(largest, M::S::mul(M::S::load(scores.add(column)), factor));
        }
        let largest = M::S::largest(largest);
        let shift = M::S::splat(largest);
        let mut sum = M::S::zero();
        for column in columns.step_by(width) {
            let score = M::S::mul(M::S::load(scores.add(column)), factor);
            let weight = exp2::<M::S>(M::S::sub(score, shift));
            sum = M::S::add(sum, weight);
            M::narrow(scores.cast::<u8>().add(column * 4 / M::UNIT), weight);
        }
        (largest, M::S::sum(sum))
    }
}

/// Softmax state of one query over some partitions; weights and the weighted sum of values are relative to 2^largest.
#[derive(Clone, Copy)]
pub(super) struct Total {
    pub(super) largest: f32,
    pub(super) sum: f32,
}

impl Total {
    pub(super) const NOTHING: Total = Total { largest: f32::NEG_INFINITY, sum: 0.0 };

    /// Merges the result of the next partition into the result so far.
    #[inline(always)]
    pub(super) unsafe fn merge<S: Simd>(&mut self, sums: *mut f32, next: Total, next_sums: *const f32, dim: usize) {
        let largest = if next.largest > self.largest { next.largest } else { self.largest };
        // SAFETY: `sums` and `next_sums` have `padded(dim)` numbers, a whole number of vectors.
        unsafe {
            let (old, new) = (power::<S>(self.largest - largest), power::<S>(next.largest - largest));
            self.largest = largest;
            self.sum = self.sum * old + next.sum * new;
            let (old, new) = (S::splat(old), S::splat(new));
            for i in (0..padded(dim)).step_by(S::WIDTH) {
                let kept = S::mul(S::load(sums.add(i)), old);
                S::store(sums.add(i), S::fma(S::load(next_sums.add(i)), new, kept));
            }
        }
    }

    /// Writes the weighted mean of the values, which is the output.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(&self, sums: *const f32, dim: usize, out: *mut f32) {
        let mut i = 0;
        while i < dim {
            // SAFETY: `sums` has `padded(dim)` numbers, and `out` has room for `dim`.
            unsafe {
                let scale = S::splat(1.0 / self.sum);
                S::store_part(out.add(i), S::mul(S::load(sums.add(i)), scale), (dim - i).min(S::WIDTH));
            }
            i += S::WIDTH;
        }
    }
}

#[inline(always)]
unsafe fn power<S: Simd>(x: f32) -> f32 {
    let mut one = [0f32];
    // SAFETY: one number is stored, for which `one` has room; the caller guarantees the instruction set.
    unsafe { S::store_part(one.as_mut_ptr(), exp2::<S>(S::splat(x)), 1) };
    one[0]
}
