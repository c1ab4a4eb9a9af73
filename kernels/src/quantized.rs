//! Storage of int8 weights with one scale per output.
//!
//! Layout: panels of 64 outputs (the last one of 16, 32, 48 or 64, padded with zero weights). A panel is a sequence of
//! groups of 256 inputs (the last group shorter, a multiple of 4). A group is
//!
//! ```text
//! [panel width] i32      -128 * sum of the output's weights in the group
//! [inputs / 4][panel width][4] i8
//! ```
//!
//! so that a product reads a panel from front to back, a vector holds 4 inputs of 16 outputs, and no sum across a
//! vector is needed. x is u8 = q + 128; the i32 that each group starts with takes the 128 out again.

use bytes::Bytes;

use crate::format::{Format, to_f32};
use crate::scratch::{Buffer, with_local};
use crate::{Cpu, SendMut};

/// Number of inputs that share a scale of x.
pub(crate) const GROUP: usize = 256;
/// Number of outputs of a panel.
pub(crate) const PANEL: usize = 64;
/// Number of outputs of a vector; the last panel is padded to a multiple of it.
pub(crate) const LANES: usize = 16;

/// int8 weights in the layout that this module describes.
pub(crate) struct Quantized {
    data: Buffer,
    outputs: usize,
    inputs: usize,
    /// Scale of each output, padded with zeros to a whole number of vectors.
    pub(crate) scales: Vec<f32>,
}

impl Quantized {
    /// Bytes of one panel of `width` outputs.
    fn panel_bytes(inputs: usize, width: usize) -> usize {
        inputs.div_ceil(GROUP) * width * 4 + inputs.next_multiple_of(4) * width
    }

    pub(crate) fn bytes(&self) -> usize {
        let panels = self.outputs / PANEL;
        let rest = (self.outputs % PANEL).next_multiple_of(LANES);
        panels * Self::panel_bytes(self.inputs, PANEL) + Self::panel_bytes(self.inputs, rest) + self.outputs * 4
    }

    pub(crate) fn panels(outputs: usize) -> usize {
        outputs.div_ceil(PANEL)
    }

    /// Number of outputs of a panel, padding included.
    pub(crate) fn width(&self, panel: usize) -> usize {
        (self.outputs - panel * PANEL).min(PANEL).next_multiple_of(LANES)
    }

    pub(crate) fn panel(&self, panel: usize) -> *const u8 {
        // SAFETY: the buffer holds all panels, and every panel before this one has `PANEL` outputs.
        unsafe { self.data.pointer().add(panel * Self::panel_bytes(self.inputs, PANEL)) }
    }

    pub(crate) fn row(&self, index: usize, into: &mut [f32]) {
        let (panel, lane) = (index / PANEL, index % PANEL);
        let width = self.width(panel);
        let start = self.panel(panel);
        for (k, into) in into.iter_mut().enumerate() {
            // SAFETY: the weight of input `k` and output `lane` is inside the panel.
            let q = unsafe { *start.add(weight_at(width, k, lane)).cast::<i8>() };
            *into = f32::from(q) * self.scales[index];
        }
    }
}

/// Offset of the weight of input `k` and output `lane` in a panel of `width` outputs.
fn weight_at(width: usize, k: usize, lane: usize) -> usize {
    let group = k / GROUP;
    group * (width * 4 + GROUP * width) + width * 4 + (k % GROUP / 4) * width * 4 + lane * 4 + k % 4
}

/// Quantises plain weights; each panel is a piece of work.
pub(crate) fn quantize(cpu: &Cpu, format: Format, outputs: usize, inputs: usize, data: &Bytes) -> Quantized {
    let mut made =
        Quantized { data: Buffer::empty(), outputs, inputs, scales: vec![0.0; outputs.next_multiple_of(LANES)] };
    let start = SendMut(made.data.reserve(made.bytes()));
    let scales = SendMut(made.scales.as_mut_ptr());
    let row_bytes = inputs * format.bytes();
    let shape = &made;
    cpu.run(Quantized::panels(outputs), &|panel| {
        let width = shape.width(panel);
        // SAFETY: the panel is inside the buffer, which has room for all panels.
        let into = unsafe { start.get().add(panel * Quantized::panel_bytes(inputs, PANEL)) };
        // SAFETY: this piece alone writes this panel, which has that many bytes. Zeroed because padding must be zero.
        unsafe { into.write_bytes(0, Quantized::panel_bytes(inputs, width)) };
        with_local(inputs * 4, |row| {
            // SAFETY: the scratch has `inputs * 4` bytes, is aligned to a cache line, initialised, and this thread's
            // own.
            let row = unsafe { std::slice::from_raw_parts_mut(row.cast::<f32>(), inputs) };
            for lane in 0..(outputs - panel * PANEL).min(PANEL) {
                let output = panel * PANEL + lane;
                to_f32(format, &data[output * row_bytes..][..row_bytes], row);
                let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                // SAFETY: there is one scale per output, and this piece alone writes those of its panel.
                unsafe { *scales.get().add(output) = largest / 127.0 };
                for (group, numbers) in row.chunks(GROUP).enumerate() {
                    let mut sum = 0;
                    for (i, x) in numbers.iter().enumerate() {
                        let q = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                        sum += i32::from(q);
                        // SAFETY: the weight of this input and output is inside the panel.
                        unsafe { *into.add(weight_at(width, group * GROUP + i, lane)).cast::<i8>() = q };
                    }
                    let at = group * (width * 4 + GROUP * width) + lane * 4;
                    // SAFETY: the correction is inside the panel, and aligned, since all parts before it are multiples
                    // of 4 bytes.
                    unsafe { *into.add(at).cast::<i32>() = -128 * sum };
                }
            }
        });
    });
    made
}
