//! Products with weights as they are stored.
//!
//! The sum of one output is made of blocks of [`BLOCK`] inputs. In a block, steps of the vector's width are added to
//! one vector of sums, which is then summed in the order of `Simd::sum`. The blocks' sums are added in order to y,
//! which starts at zero or the residual; the bias is added with the first block. Tiles and threads decide only which
//! sums are computed together.

// Tiles are indexed by row and column throughout.
#![allow(clippy::needless_range_loop)]

use super::dot::{Bf16, Dot, F16, F32, Wide};
use crate::format::Widen;
use crate::simd::{Simd, Task, dispatch, prefetch};
use crate::{Format, Isa};

/// Number of inputs of a block: a panel of x with that many inputs fits into the L1 cache.
pub(crate) const BLOCK: usize = 2048;
/// Number of rows of weights of a register tile.
const TILE: usize = 4;
/// Least number of panels of x for which a widened copy of the weights pays.
const WIDEN_FROM: usize = 3;
/// Most panels of x for which weights are read from memory tile by tile, each tile once for all panels: a few panels of
/// x stay in L2, and the next tile of weights is prefetched during the work on this one.
const FEW: usize = 12;
/// Number of rows of weights that are kept in L2 while many panels of x pass.
const KEPT: usize = 128;

/// Number format of packed x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// x in f32, for weights that are widened.
    Wide,
    /// x in bf16, for products of pairs.
    Pairs,
}

/// The packing that the instruction set uses for weights of a format.
pub(crate) fn packing(isa: Isa, format: Format) -> Packing {
    if isa == Isa::Avx512Bf16 && format == Format::Bf16 { Packing::Pairs } else { Packing::Wide }
}

/// Work that is compiled for each kind of dot product.
pub(crate) trait DotTask {
    /// Does the work.
    ///
    /// # Safety
    /// The machine must have the instruction set of `D`, and the task's own requirements must hold.
    unsafe fn run<D: Dot>(self);
}

struct WithFormat<T>(Format, T);

impl<T: DotTask> Task for WithFormat<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller guarantees the instruction set of `S` and the task's requirements, and dot products in `S`
        // need no more.
        unsafe {
            match self.0 {
                Format::F32 => self.1.run::<Wide<S, F32>>(),
                Format::F16 => self.1.run::<Wide<S, F16>>(),
                Format::Bf16 => self.1.run::<Wide<S, Bf16>>(),
            }
        }
    }
}

/// Runs the task with the dot product that the instruction set uses for the format.
///
/// # Safety
/// The machine must have `isa`, and the task's own requirements must hold.
pub(crate) unsafe fn with_dot<T: DotTask>(isa: Isa, format: Format, task: T) {
    // SAFETY: the caller guarantees that the machine has `isa` and the task's requirements; `packing` gives `Pairs`
    // only for an instruction set with all features of `with_pairs`.
    unsafe {
        match packing(isa, format) {
            #[cfg(target_arch = "x86_64")]
            Packing::Pairs => with_pairs(task),
            _ => dispatch(isa, WithFormat(format, task)),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn with_pairs<T: DotTask>(task: T) {
    // SAFETY: the caller guarantees the task's requirements and the features of this function, which are those of
    // `Pairs`.
    unsafe { task.run::<super::dot::Pairs>() }
}

/// Number of rows of a chunk. The panels of a chunk do not depend on later rows, so that a call can be made chunk by
/// chunk. A multiple of the rows of every tile.
pub(crate) const CHUNK: usize = 192;

/// Division of rows of x into panels of at most `most` rows, as equal in size as possible within a chunk (8 rows are 4
/// and 4, not 6 and 2).
#[derive(Clone, Copy)]
struct Panels {
    rows: usize,
    most: usize,
    count: usize,
}

impl Panels {
    #[inline(always)]
    fn new(rows: usize, most: usize) -> Panels {
        // Both are constants, so this costs nothing. Otherwise panels would reach past their chunk.
        assert!(CHUNK.is_multiple_of(most));
        Panels { rows, most, count: rows.div_ceil(most) }
    }

    /// First row of a panel, and its number of rows.
    #[inline(always)]
    fn get(self, panel: usize) -> (usize, usize) {
        let per_chunk = CHUNK / self.most;
        let (first, panel) = (panel / per_chunk * CHUNK, panel % per_chunk);
        let rows = (self.rows - first).min(CHUNK);
        let count = rows.div_ceil(self.most);
        let (each, more) = (rows / count, rows % count);
        (first + panel * each + panel.min(more), each + usize::from(panel < more))
    }
}

/// Bytes of packed x.
pub(crate) fn packed_bytes(isa: Isa, packing: Packing, rows: usize, inputs: usize) -> usize {
    let (step, bytes) = match (packing, isa) {
        (Packing::Pairs, _) => (32, 64),
        (Packing::Wide, Isa::Portable | Isa::Avx2) => (8, 32),
        (Packing::Wide, _) => (16, 64),
    };
    rows * inputs.div_ceil(step) * bytes
}

/// Number of pieces that packing is divided into.
pub(crate) fn pack_pieces(rows: usize) -> usize {
    // Enough for every tile, since a panel has at least two rows on average; some pieces may be empty.
    rows.div_ceil(2)
}

/// Task that packs x for tiles: panel by panel, step by step, row by row.
pub(crate) struct Pack {
    pub(crate) x: *const f32,
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) into: *mut u8,
    /// Range of panels to pack; it may extend beyond the last panel.
    pub(crate) panels: std::ops::Range<usize>,
}

impl DotTask for Pack {
    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let panels = Panels::new(self.rows, D::ROWS);
        let steps = self.inputs.div_ceil(D::STEP);
        for panel in self.panels.start..self.panels.end.min(panels.count) {
            let (first, rows) = panels.get(panel);
            for row in 0..rows {
                // SAFETY: x has these rows, and `into` has room for their packed form, as the caller promises.
                unsafe {
                    let from = self.x.add((first + row) * self.inputs);
                    let into = self.into.add((first * steps + row) * D::X_BYTES);
                    for step in 0..steps {
                        let count = (self.inputs - step * D::STEP).min(D::STEP);
                        D::pack(from.add(step * D::STEP), count, into.add(step * rows * D::X_BYTES));
                    }
                }
            }
        }
    }
}

/// Task that computes some outputs of one matrix for all rows.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Packed x.
    pub(crate) x: *const u8,
    /// Index of the first row, a multiple of [`CHUNK`].
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    /// Start of the matrix.
    pub(crate) weights: *const u8,
    /// Start of the bias, one number per output, or null.
    pub(crate) bias: *const f32,
    /// First output; the last one is before `to`.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Address of output `from` of the first row.
    pub(crate) y: *mut f32,
    pub(crate) stride: usize,
    pub(crate) add: bool,
    /// Scratch of [`scratch_bytes`] bytes.
    pub(crate) scratch: *mut u8,
}

/// Bytes of scratch that a [`Product`] needs.
pub(crate) fn scratch_bytes(format: Format) -> usize {
    if format == Format::F32 { 0 } else { KEPT * BLOCK * 4 }
}

/// Number of outputs per piece of work: large enough for a piece to pay, small enough for the last piece not to take
/// long.
pub(crate) fn piece_outputs(rows: usize, outputs: usize, row_bytes: usize, threads: usize) -> usize {
    let few = rows <= FEW * 2;
    let wanted = if few { (128 << 10) / row_bytes.max(1) } else { KEPT };
    let share = outputs.div_ceil(4 * threads);
    wanted.min(share).max(TILE).next_multiple_of(TILE)
}

impl DotTask for Product {
    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let panels = Panels::new(self.rows, D::ROWS);
        let kept = if panels.count <= FEW { TILE } else { KEPT };
        let row_bytes = self.inputs * D::FORMAT.bytes();
        let mut output = self.from;
        while output < self.to {
            let count = (self.to - output).min(kept);
            let mut input = 0;
            while input < self.inputs {
                let inputs = (self.inputs - input).min(BLOCK);
                // SAFETY: all accesses are inside the matrix, x, y and the scratch, as the caller promises.
                unsafe {
                    let weights = self.weights.add(output * row_bytes + input * D::FORMAT.bytes());
                    let block = Block { product: &self, panels, output, count, input, inputs };
                    if D::WIDENS && panels.count >= WIDEN_FROM {
                        let line = BLOCK * 4;
                        for row in 0..count {
                            let from = weights.add(row * row_bytes);
                            let into = self.scratch.add(row * line).cast();
                            Widen { format: D::FORMAT, from, into, count: inputs }.run::<D::S>();
                        }
                        block.run::<D::Widened>(self.scratch, line, std::ptr::null());
                    } else {
                        let next = if kept != TILE {
                            std::ptr::null()
                        } else if input + inputs < self.inputs {
                            weights.wrapping_add(inputs * D::FORMAT.bytes())
                        } else {
                            self.weights.wrapping_add((output + TILE) * row_bytes)
                        };
                        block.run::<D>(weights, row_bytes, next);
                    }
                }
                input += inputs;
            }
            output += count;
        }
    }
}

/// Work on one block of inputs of some outputs, for every panel.
struct Block<'a> {
    product: &'a Product,
    panels: Panels,
    output: usize,
    count: usize,
    input: usize,
    inputs: usize,
}

impl Block<'_> {
    /// Computes the block. `line` is the distance from one row of weights to the next, in bytes; `next` is the tile of
    /// weights to prefetch meanwhile, or null.
    #[inline(always)]
    unsafe fn run<D: Dot>(&self, weights: *const u8, line: usize, next: *const u8) {
        let steps = self.product.inputs.div_ceil(D::STEP);
        let panels = self.panels.count;
        for panel in 0..panels {
            let (first, rows) = self.panels.get(panel);
            // The first panels share the prefetching of the next tile's rows.
            let row = |row: usize| next.wrapping_add(row * line);
            let fetch = match (next.is_null(), panels, panel) {
                (true, ..) => [std::ptr::null(); TILE],
                (_, 1, _) => [row(0), row(1), row(2), row(3)],
                (_, 2, 0) | (_, 3, 0) => [row(0), row(1), row(0), row(1)],
                (_, 2, _) => [row(2), row(3), row(2), row(3)],
                (_, 3, _) => [row(panel + 1); TILE],
                (_, _, 0..TILE) => [row(panel); TILE],
                _ => [std::ptr::null(); TILE],
            };
            // SAFETY: the caller guarantees the product's pointers and the block's weights; the panel's packed x is
            // inside x.
            unsafe {
                let x = self.product.first + first;
                let x = self.product.x.add((x * steps + self.input / D::STEP * rows) * D::X_BYTES);
                let part = Part { block: self, weights, line, first, x, fetch };
                match rows {
                    1 => part.tiles::<D, 1>(),
                    2 => part.tiles::<D, 2>(),
                    3 if D::ROWS > 2 => part.tiles::<D, 3>(),
                    4 if D::ROWS > 3 => part.tiles::<D, 4>(),
                    5 if D::ROWS > 3 => part.tiles::<D, 5>(),
                    6 if D::ROWS > 3 => part.tiles::<D, 6>(),
                    _ => unreachable!("a panel of {rows} rows"),
                }
            }
        }
    }
}

/// Work on one panel of a block.
struct Part<'a> {
    block: &'a Block<'a>,
    weights: *const u8,
    line: usize,
    first: usize,
    x: *const u8,
    fetch: [*const u8; TILE],
}

impl Part<'_> {
    #[inline(always)]
    unsafe fn tiles<D: Dot, const R: usize>(&self) {
        let mut done = 0;
        let count = self.block.count;
        // SAFETY: the caller guarantees the panel's packed x and the block's weights; all tiles are inside the block.
        unsafe {
            while done + TILE <= count {
                self.tile::<D, R, TILE>(done);
                done += TILE;
            }
            while done < count {
                self.tile::<D, R, 1>(done);
                done += 1;
            }
        }
    }

    /// Computes a tile of R rows of x and N rows of weights.
    #[inline(always)]
    unsafe fn tile<D: Dot, const R: usize, const N: usize>(&self, done: usize) {
        // SAFETY: as the caller promises; a last short step goes through `last`, which has room for a whole one.
        unsafe {
            let zero = D::S::zero();
            let mut sums = [[zero; N]; R];
            let bytes = D::STEP * D::FORMAT.bytes();
            let start = self.weights.add(done * self.line);
            let steps = self.block.inputs / D::STEP;
            let mut x = self.x;
            let mut w = start;
            // If there is nothing to prefetch, the first line of x is prefetched repeatedly, which costs nothing.
            let (mut fetch, forward) = match self.fetch {
                [first, ..] if first.is_null() => ([x; TILE], 0),
                rows => (rows, bytes),
            };
            for _ in 0..steps {
                let mut weights = [zero; N];
                for n in 0..N {
                    weights[n] = D::w(w.add(n * self.line));
                }
                if N == TILE {
                    for fetch in &mut fetch {
                        prefetch(*fetch);
                        *fetch = fetch.wrapping_add(forward);
                    }
                }
                for r in 0..R {
                    let x = D::x(x.add(r * D::X_BYTES));
                    for n in 0..N {
                        sums[r][n] = D::mac(sums[r][n], x, weights[n]);
                    }
                }
                x = x.add(R * D::X_BYTES);
                w = w.add(bytes);
            }
            let rest = self.block.inputs % D::STEP;
            if rest > 0 {
                for n in 0..N {
                    let mut last = [0u8; 64];
                    let from = start.add(n * self.line + steps * bytes);
                    std::ptr::copy_nonoverlapping(from, last.as_mut_ptr(), rest * D::FORMAT.bytes());
                    let weights = D::w(last.as_ptr());
                    for r in 0..R {
                        sums[r][n] = D::mac(sums[r][n], D::x(x.add(r * D::X_BYTES)), weights);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                let mut values = [0f32; N];
                if N == 4 {
                    let four = D::S::sum4(sums[0], sums[1 % N], sums[2 % N], sums[3 % N]);
                    values.copy_from_slice(&four);
                } else {
                    for n in 0..N {
                        values[n] = D::S::sum(sums[n]);
                    }
                }
                self.put(r, done, values);
            }
        }
    }

    #[inline(always)]
    unsafe fn put<const N: usize>(&self, r: usize, done: usize, values: [f32; N]) {
        let Block { product: p, output, input, .. } = *self.block;
        // SAFETY: the caller guarantees y and the bias for these outputs; accesses are unaligned.
        unsafe {
            let y = p.y.add((self.first + r) * p.stride + output - p.from + done).cast::<[f32; N]>();
            let mut new = values;
            if input == 0 {
                if !p.bias.is_null() {
                    let bias = p.bias.add(output + done).cast::<[f32; N]>().read_unaligned();
                    for n in 0..N {
                        new[n] += bias[n];
                    }
                }
                if !p.add {
                    y.write_unaligned(new);
                    return;
                }
            }
            let old = y.read_unaligned();
            for n in 0..N {
                new[n] += old[n];
            }
            y.write_unaligned(new);
        }
    }
}
