//! Colour components have fewer samples than the picture has pixels; this is libjpeg's "fancy" way to fill the gaps:
//! each new sample is three parts of the nearer and one of the farther, in each direction, with alternating rounding.

use crate::vision::jpeg::frame::{Component, Frame};
use crate::vision::jpeg::idct;

/// The samples of a component.
pub(crate) struct Plane {
    samples: Vec<u8>,
    /// Bytes from one row to the next.
    stride: usize,
    /// Columns and rows that belong to the picture.
    size: (usize, usize),
    /// Pixels for each sample, across and down.
    ratio: (usize, usize),
}

impl Plane {
    pub fn of(component: &Component, frame: &Frame) -> Option<Plane> {
        let quantization = component.quantization.as_ref()?;
        let (columns, rows) = component.stored;
        let stride = columns * 8;
        let mut samples = vec![0; stride * rows * 8];
        for (index, block) in component.coefficients.iter().enumerate() {
            let corner = index / columns * 8 * stride + index % columns * 8;
            for (row, line) in idct::samples(block, quantization).iter().enumerate() {
                samples[corner + row * stride..][..8].copy_from_slice(line);
            }
        }
        let ratio = (frame.sampling.0 / component.sampling.0, frame.sampling.1 / component.sampling.1);
        Some(Plane { samples, stride, size: component.samples, ratio })
    }

    /// One row of the picture; `out` has its width.
    pub fn row(&self, y: usize, out: &mut [u8]) {
        let near = self.line(y / self.ratio.1);
        let far = || match y % 2 {
            0 => self.line((y / 2).saturating_sub(1)),
            _ => self.line((y / 2 + 1).min(self.size.1 - 1)),
        };
        match self.ratio {
            (1, 1) => out.copy_from_slice(&near[..out.len()]),
            (2, 1) if near.len() > 2 => across(near, out),
            (1, 2) => down(near, far(), if y.is_multiple_of(2) { 1 } else { 2 }, out),
            (2, 2) if near.len() > 2 => both(near, far(), out),
            (columns, _) => out.iter_mut().enumerate().for_each(|(x, out)| *out = near[x / columns]),
        }
    }

    fn line(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..][..self.size.0]
    }
}

fn across(near: &[u8], out: &mut [u8]) {
    let last = near.len() - 1;
    for (x, out) in out.iter_mut().enumerate() {
        let at = x / 2;
        let (one, three) = (|other: usize| u32::from(near[other]), 3 * u32::from(near[at]));
        *out = match (x % 2, at) {
            (0, 0) => near[0],
            (0, _) => ((three + one(at - 1) + 1) >> 2) as u8,
            (_, at) if at == last => near[last],
            (_, _) => ((three + one(at + 1) + 2) >> 2) as u8,
        };
    }
}

fn down(near: &[u8], far: &[u8], rounding: u32, out: &mut [u8]) {
    for ((near, far), out) in near.iter().zip(far).zip(out) {
        *out = ((3 * u32::from(*near) + u32::from(*far) + rounding) >> 2) as u8;
    }
}

fn both(near: &[u8], far: &[u8], out: &mut [u8]) {
    let last = near.len() - 1;
    let sum = |at: usize| 3 * u32::from(near[at]) + u32::from(far[at]);
    for (x, out) in out.iter_mut().enumerate() {
        let at = x / 2;
        let value = match x % 2 {
            0 => 3 * sum(at) + sum(at.saturating_sub(1)) + 8,
            _ => 3 * sum(at) + sum((at + 1).min(last)) + 7,
        };
        *out = (value >> 4) as u8;
    }
}
