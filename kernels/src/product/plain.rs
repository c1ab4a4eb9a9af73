//! Products with weights as they are stored.
//!
//! The sum of one output: blocks of [`BLOCK`] inputs; in a block one vector of sums over steps of the vector's width,
//! then the vector's sum as `Simd::sum` orders it; the blocks' sums are added in order to what y holds (nothing, or the
//! residual, and the bias after the first block). Tiles and threads decide only which sums are made together.

// Tiles are indexed by row and column throughout.
#![allow(clippy::needless_range_loop)]

use super::dot::{Bf16, Dot, F16, F32, Wide};
use crate::format::Widen;
use crate::simd::{Simd, Task, dispatch, prefetch};
use crate::{Format, Isa};

/// Inputs of a block: a panel of x of it lies in the L1 cache.
pub(crate) const BLOCK: usize = 2048;
/// Rows of weights of a register tile.
const TILE: usize = 4;
/// Panels of x from which on a widened copy of the weights pays.
const WIDEN_FROM: usize = 3;
/// Panels of x up to which weights come from memory once, tile by tile, for all panels: a few panels of x stay in L2,
/// and the next tile of weights is fetched during the work on this one.
const FEW: usize = 12;
/// Rows of weights that are kept in L2 while many panels of x go by.
const KEPT: usize = 128;

/// How x is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// f32, for weights that are widened.
    Wide,
    /// bf16.
    Pairs,
}

/// The packing that the instruction set uses for weights of a format.
pub(crate) fn packing(isa: Isa, format: Format) -> Packing {
    if isa == Isa::Avx512Bf16 && format == Format::Bf16 { Packing::Pairs } else { Packing::Wide }
}

/// Something to do with a kind of dot product.
pub(crate) trait DotTask {
    /// # Safety
    /// The instruction set of `D` is there, and what the task itself asks for.
    unsafe fn run<D: Dot>(self);
}

struct WithFormat<T>(Format, T);

impl<T: DotTask> Task for WithFormat<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller promises.
        unsafe {
            match self.0 {
                Format::F32 => self.1.run::<Wide<S, F32>>(),
                Format::F16 => self.1.run::<Wide<S, F16>>(),
                Format::Bf16 => self.1.run::<Wide<S, Bf16>>(),
            }
        }
    }
}

/// Runs the task with the dot product of the instruction set for the format.
///
/// # Safety
/// The machine has `isa`, and what the task itself asks for.
pub(crate) unsafe fn with_dot<T: DotTask>(isa: Isa, format: Format, task: T) {
    // SAFETY: as the caller promises.
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
    // SAFETY: as the caller promises.
    unsafe { task.run::<super::dot::Pairs>() }
}

/// Rows whose panels do not depend on further rows, so that a call can be made of such chunks. A multiple of every
/// tile's rows.
pub(crate) const CHUNK: usize = 192;

/// Rows of x in panels of at most `most` rows, all but equally large in a chunk (8 rows are 4 and 4, not 6 and 2).
#[derive(Clone, Copy)]
struct Panels {
    rows: usize,
    most: usize,
    count: usize,
}

impl Panels {
    #[inline(always)]
    fn new(rows: usize, most: usize) -> Panels {
        // Known when this is compiled; panels would otherwise reach past their chunk.
        assert!(CHUNK.is_multiple_of(most));
        Panels { rows, most, count: rows.div_ceil(most) }
    }

    /// First row and number of rows.
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

/// Panels that packing can be divided into.
pub(crate) fn pack_pieces(rows: usize) -> usize {
    // At least one row each whatever the tile; a piece may be empty.
    rows.div_ceil(2)
}

/// Packs x for tiles: panel by panel, step by step, row by row.
pub(crate) struct Pack {
    pub(crate) x: *const f32,
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) into: *mut u8,
    /// Which panels, of at least as many as there are.
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
                // SAFETY: rows of x, and room for their packed form, as the caller promises.
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

/// Some outputs of one matrix for all rows.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Packed x.
    pub(crate) x: *const u8,
    /// First row, a multiple of [`CHUNK`].
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    /// The matrix.
    pub(crate) weights: *const u8,
    /// One number per output, or null.
    pub(crate) bias: *const f32,
    /// Which outputs.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Where output `from` of the first row goes.
    pub(crate) y: *mut f32,
    pub(crate) stride: usize,
    pub(crate) add: bool,
    /// [`scratch_bytes`] of memory.
    pub(crate) scratch: *mut u8,
}

/// Scratch that a [`Product`] needs.
pub(crate) fn scratch_bytes(format: Format) -> usize {
    if format == Format::F32 { 0 } else { KEPT * BLOCK * 4 }
}

/// Outputs per piece of work, so that a piece is neither small nor the last one long.
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
                // SAFETY: inside the matrix, x, y and the scratch, as the caller promises.
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

/// One block of inputs of some outputs, for every panel.
struct Block<'a> {
    product: &'a Product,
    panels: Panels,
    output: usize,
    count: usize,
    input: usize,
    inputs: usize,
}

impl Block<'_> {
    /// `line`: bytes from one row of weights to the next; `next`: the tile to fetch meanwhile, or null.
    #[inline(always)]
    unsafe fn run<D: Dot>(&self, weights: *const u8, line: usize, next: *const u8) {
        let steps = self.product.inputs.div_ceil(D::STEP);
        let panels = self.panels.count;
        for panel in 0..panels {
            let (first, rows) = self.panels.get(panel);
            // The first panels share the fetching of the next tile's rows.
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
            // SAFETY: as the caller promises.
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

/// One panel of a block.
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
        // SAFETY: as the caller promises.
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

    /// R rows of x with N rows of weights.
    #[inline(always)]
    unsafe fn tile<D: Dot, const R: usize, const N: usize>(&self, done: usize) {
        // SAFETY: as the caller promises; a last short step goes through memory of its own.
        unsafe {
            let zero = D::S::zero();
            let mut sums = [[zero; N]; R];
            let bytes = D::STEP * D::FORMAT.bytes();
            let start = self.weights.add(done * self.line);
            let steps = self.block.inputs / D::STEP;
            let mut x = self.x;
            let mut w = start;
            // Where there is nothing to fetch, this line of x is asked for again and again, which costs nothing.
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
        // SAFETY: as the caller promises.
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
