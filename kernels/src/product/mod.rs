//! Products of rows with weights: packing of x, division of work, and the gated unit.

mod dot;
mod int8;
mod plain;

use crate::matrix::Store;
use crate::scratch::with_local;
use crate::simd::{Simd, Task, dispatch, silu};
use crate::{Beside, Cpu, Format, Matrix, SendMut};
pub(crate) use dot::{Bf16, F16, F32, Stored};
use plain::{Pack, Packing, packing, with_dot};

/// Multiply-adds up to which a call is not worth waking other threads (some microseconds of one core).
const SMALL: usize = 256 << 10;
impl Cpu {
    /// Computes y = x Wᵀ (+ bias) for matrices that share x; their outputs are side by side in every row of y. x is
    /// [rows, inputs], y is [rows, sum of outputs]. With `add`, the products are added to y (residual).
    pub fn project(&self, x: &[f32], rows: usize, matrices: &[&Matrix], y: &mut [f32], add: bool) {
        self.project_beside(x, rows, matrices, y, add, Beside::NOTHING);
    }

    /// [`Cpu::project`], and the work `beside` it; returns when both are done.
    pub fn project_beside(
        &self,
        x: &[f32],
        rows: usize,
        matrices: &[&Matrix],
        y: &mut [f32],
        add: bool,
        beside: Beside<'_>,
    ) {
        let width: usize = matrices.iter().map(|m| m.outputs).sum();
        assert_eq!(y.len(), rows.saturating_mul(width), "y is [rows, sum of outputs]");
        for matrix in matrices {
            assert_eq!(x.len(), rows.saturating_mul(matrix.inputs), "x is [rows, inputs]");
        }
        let inputs = matrices.first().map_or(0, |m| m.inputs);
        if rows == 0 || width == 0 {
            return self.run(beside.calls, beside.work);
        }
        let inline = rows * inputs * width <= SMALL;
        let mut memory = self.scratch();
        let packed = Packed::new(self, x, rows, inputs, matrices, &mut memory, inline);
        let into = SendMut(y.as_mut_ptr());
        let pieces = |matrix: &Matrix| matrix.outputs.div_ceil(piece_outputs(self, rows, matrix));
        let work = |piece: usize| {
            let (mut piece, mut column) = (piece, 0);
            for matrix in matrices {
                let here = pieces(matrix);
                if piece < here {
                    let step = piece_outputs(self, rows, matrix);
                    let (from, to) = (piece * step, matrix.outputs.min((piece + 1) * step));
                    // SAFETY: the piece's outputs are inside y and its own, and the scratch has room for this matrix.
                    unsafe {
                        let y = into.get().add(column + from);
                        with_local(scratch_bytes(matrix), |scratch| {
                            packed.product(self, matrix, 0..rows, from, to, y, width, add, scratch);
                        });
                    }
                    return;
                }
                piece -= here;
                column += matrix.outputs;
            }
        };
        let own = matrices.iter().map(|m| pieces(m)).sum::<usize>();
        let either = |piece: usize| match piece.checked_sub(beside.calls) {
            Some(piece) => work(piece),
            None => (beside.work)(piece),
        };
        self.pieces(beside.calls + own, inline && beside.calls <= 1, &either);
    }

    /// Computes y = silu(x gateᵀ) * (x upᵀ); x is [rows, inputs], y is [rows, outputs]. The two products are written
    /// only to scratch that stays in the cache.
    pub fn gated(&self, x: &[f32], rows: usize, gate: &Matrix, up: &Matrix, y: &mut [f32]) {
        let (outputs, inputs) = (gate.outputs, gate.inputs);
        assert_eq!((outputs, inputs), (up.outputs, up.inputs), "gate and up have one shape");
        assert_eq!(y.len(), rows.saturating_mul(outputs), "y is [rows, outputs]");
        assert_eq!(x.len(), rows.saturating_mul(inputs), "x is [rows, inputs]");
        if rows == 0 || outputs == 0 {
            return;
        }
        let inline = 2 * rows * inputs * outputs <= SMALL;
        let mut memory = self.scratch();
        let packed = Packed::new(self, x, rows, inputs, &[gate, up], &mut memory, inline);
        let into = SendMut(y.as_mut_ptr());
        // A whole number of int8 panels, also where only one of the two is int8.
        let step = piece_outputs(self, rows, gate).max(piece_outputs(self, rows, up));
        let step = step.next_multiple_of(crate::quantized::PANEL);
        let chunk = rows.min(plain::CHUNK);
        let work = |piece: usize| {
            let (from, to) = (piece * step, outputs.min((piece + 1) * step));
            let width = to - from;
            let own = scratch_bytes(gate).max(scratch_bytes(up));
            with_local(own + 2 * chunk * width * 4, |scratch| {
                // SAFETY: the scratch has room for the matrices' own scratch and two chunks of products; every piece
                // writes columns of y of its own.
                unsafe {
                    let gates = scratch.add(own).cast::<f32>();
                    let ups = gates.add(chunk * width);
                    for first in (0..rows).step_by(chunk) {
                        let part = first..rows.min(first + chunk);
                        packed.product(self, gate, part.clone(), from, to, gates, width, false, scratch);
                        packed.product(self, up, part.clone(), from, to, ups, width, false, scratch);
                        let y = into.get().add(first * outputs + from);
                        let task = Gate { gates, ups, rows: part.len(), width, y, stride: outputs };
                        dispatch(self.isa(), task);
                    }
                }
            });
        };
        self.pieces(outputs.div_ceil(step), inline, &work);
    }

    fn pieces(&self, pieces: usize, inline: bool, work: &(dyn Fn(usize) + Sync)) {
        if inline {
            (0..pieces).for_each(work);
        } else {
            self.run(pieces, work);
        }
    }
}

/// Number of outputs of a piece of work.
fn piece_outputs(cpu: &Cpu, rows: usize, matrix: &Matrix) -> usize {
    match &matrix.store {
        Store::Plain { format, .. } => {
            plain::piece_outputs(rows, matrix.outputs, matrix.inputs * format.bytes(), cpu.threads())
        }
        Store::Int8(_) => crate::quantized::PANEL,
    }
}

/// Bytes of scratch that a product with the matrix needs.
fn scratch_bytes(matrix: &Matrix) -> usize {
    match &matrix.store {
        Store::Plain { format, .. } => plain::scratch_bytes(*format),
        Store::Int8(_) => 0,
    }
}

/// Packed x, in the forms that the matrices of a call need.
struct Packed {
    wide: *mut u8,
    pairs: *mut u8,
    int8: Option<int8::Rows>,
    inputs: usize,
}

// SAFETY: the pointers are into scratch that outlives the call; pieces of packing write disjoint parts of it, and
// products only read it, after all packing is done.
unsafe impl Sync for Packed {}

impl Packed {
    fn new(
        cpu: &Cpu,
        x: &[f32],
        rows: usize,
        inputs: usize,
        matrices: &[&Matrix],
        memory: &mut crate::scratch::Buffer,
        inline: bool,
    ) -> Packed {
        let isa = cpu.isa();
        let needs = |wanted: Packing| {
            matrices.iter().any(|m| matches!(&m.store, Store::Plain { format, .. } if packing(isa, *format) == wanted))
        };
        let needs_int8 = matrices.iter().any(|m| matches!(m.store, Store::Int8(_)));
        let bytes = |needed: bool, bytes: usize| if needed { bytes.next_multiple_of(64) } else { 0 };
        let wide = bytes(needs(Packing::Wide), plain::packed_bytes(isa, Packing::Wide, rows, inputs));
        let pairs = bytes(needs(Packing::Pairs), plain::packed_bytes(isa, Packing::Pairs, rows, inputs));
        let int8 = bytes(needs_int8, int8::Rows::bytes(rows, inputs));
        let start = memory.reserve(wide + pairs + int8);
        let packed = Packed {
            wide: start,
            pairs: start.wrapping_add(wide),
            int8: needs_int8.then(|| int8::Rows::at(start.wrapping_add(wide + pairs), rows, inputs)),
            inputs,
        };
        let (has_wide, has_pairs) = (wide > 0, pairs > 0);
        let shared = &packed;
        let work = |piece: usize| {
            // SAFETY: x has `rows` rows and the scratch room for their packed forms; every piece writes rows and panels
            // of its own.
            unsafe {
                let panels = piece..piece + 1;
                let pack = |into| Pack { x: x.as_ptr(), rows, inputs, into, panels: panels.clone() };
                if has_wide {
                    with_dot(isa, Format::F32, pack(shared.wide));
                }
                if has_pairs {
                    with_dot(isa, Format::Bf16, pack(shared.pairs));
                }
                if let Some(quantised) = shared.int8 {
                    for row in piece * 2..rows.min(piece * 2 + 2) {
                        let x = x.as_ptr().add(row * inputs);
                        dispatch(isa, int8::Quantise { x, rows: quantised, row });
                    }
                }
            }
        };
        cpu.pieces(plain::pack_pieces(rows), inline || rows * inputs <= 16 << 10, &work);
        packed
    }

    /// Computes the outputs from..to for rows of x; `y` is the address of output `from` of the first row.
    ///
    /// # Safety
    /// `y` and `scratch` must be large enough, and no other thread may access them meanwhile. For int8 weights, `from`
    /// must be a multiple of [`crate::quantized::PANEL`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn product(
        &self,
        cpu: &Cpu,
        matrix: &Matrix,
        rows: std::ops::Range<usize>,
        from: usize,
        to: usize,
        y: *mut f32,
        stride: usize,
        add: bool,
        scratch: *mut u8,
    ) {
        let bias = matrix.bias.as_ref().map_or(std::ptr::null(), |b| b.as_ptr());
        match &matrix.store {
            Store::Plain { format, data } => {
                let x = match packing(cpu.isa(), *format) {
                    Packing::Wide => self.wide,
                    Packing::Pairs => self.pairs,
                };
                let product = plain::Product {
                    x,
                    first: rows.start,
                    rows: rows.len(),
                    inputs: self.inputs,
                    weights: data.as_ptr(),
                    bias,
                    from,
                    to,
                    y,
                    stride,
                    add,
                    scratch,
                };
                // SAFETY: as the caller promises; the matrix has as many bytes as its shape says, and x was packed for
                // this format.
                unsafe { with_dot(cpu.isa(), *format, product) };
            }
            Store::Int8(weights) => {
                let Some(x) = self.int8 else { unreachable!("x was quantised for int8 weights") };
                for panel in from / crate::quantized::PANEL..to.div_ceil(crate::quantized::PANEL) {
                    let start = panel * crate::quantized::PANEL;
                    let product = int8::Product {
                        x,
                        first: rows.start,
                        rows: rows.len(),
                        weights,
                        bias,
                        panel,
                        outputs: (to - start).min(crate::quantized::PANEL),
                        y: y.wrapping_add(start - from),
                        stride,
                        add,
                    };
                    // SAFETY: as the caller promises, `from` is the start of a panel, and y is large enough; x was
                    // quantised.
                    unsafe { int8::run(cpu.isa(), product) };
                }
            }
        }
    }
}

/// Task that computes y = silu(gates) * ups for a chunk of rows.
struct Gate {
    gates: *const f32,
    ups: *const f32,
    rows: usize,
    width: usize,
    y: *mut f32,
    stride: usize,
}

impl Task for Gate {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            let mut i = 0;
            while i < self.width {
                let count = (self.width - i).min(S::WIDTH);
                // SAFETY: all accesses are inside the rows of gates, ups and y, as the caller promises.
                unsafe {
                    let gate = S::load_part(self.gates.add(row * self.width + i), count);
                    let up = S::load_part(self.ups.add(row * self.width + i), count);
                    S::store_part(self.y.add(row * self.stride + i), S::mul(silu::<S>(gate), up), count);
                }
                i += S::WIDTH;
            }
        }
    }
}

#[cfg(test)]
mod tests;
