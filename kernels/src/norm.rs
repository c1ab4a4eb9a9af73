//! Root-mean-square norms.

use crate::simd::{Simd, Task, dispatch};
use crate::{Cpu, SendMut};

/// Count of numbers up to which a call is not worth waking other threads.
const SMALL: usize = 32 * 1024;

impl Cpu {
    /// Computes y = x / rms(x) * weight per row; x and y are [rows, weight.len()].
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
        let width = weight.len();
        assert_eq!(x.len(), y.len(), "x and y have one shape");
        assert!(width > 0 && x.len().is_multiple_of(width), "rows of {width} numbers, not {} in all", x.len());
        let into = SendMut(y.as_mut_ptr());
        self.rows(x.len() / width, width, SMALL, &|row| {
            let (x, y) = (x[row * width..].as_ptr(), into.get().wrapping_add(row * width));
            // SAFETY: the machine has the Cpu's instruction set; x and y have a row of `width` numbers here, and no
            // other piece touches this row of y.
            unsafe { dispatch(self.isa(), Norm { x, y, weight, epsilon }) };
        });
    }

    /// RMS-normalises, in place and each by itself, `heads` heads of `weight.len()` numbers that start at column
    /// `offset` of rows of `stride` numbers (Qwen3's norm of q and k).
    pub fn head_norm(&self, x: &mut [f32], stride: usize, offset: usize, heads: usize, weight: &[f32], epsilon: f32) {
        let width = weight.len();
        assert!(offset.saturating_add(heads.saturating_mul(width)) <= stride, "heads reach past the row");
        assert!(x.len().is_multiple_of(stride.max(1)), "rows of {stride} numbers, not {} in all", x.len());
        let rows = x.len() / stride.max(1);
        let x = SendMut(x.as_mut_ptr());
        self.rows(rows, heads * width, SMALL, &|row| {
            for head in 0..heads {
                let x = x.get().wrapping_add(row * stride + offset + head * width);
                // SAFETY: the machine has the Cpu's instruction set; the head is inside this piece's own row, as
                // asserted above.
                unsafe { dispatch(self.isa(), Norm { x, y: x, weight, epsilon }) };
            }
        });
    }
}

/// Task that normalises one row. x and y may be the same memory.
struct Norm<'a> {
    x: *const f32,
    y: *mut f32,
    weight: &'a [f32],
    epsilon: f32,
}

impl Task for Norm<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Norm { x, y, weight, epsilon } = self;
        let width = weight.len();
        let weight = weight.as_ptr();
        let (whole, rest) = (width - width % S::WIDTH, width % S::WIDTH);
        // SAFETY: all accesses are inside rows of `width` numbers.
        unsafe {
            let mut sum = S::zero();
            for i in (0..whole).step_by(S::WIDTH) {
                let v = S::load(x.add(i));
                sum = S::fma(v, v, sum);
            }
            if rest > 0 {
                let v = S::load_part(x.add(whole), rest);
                sum = S::fma(v, v, sum);
            }
            let scale = S::splat(1.0 / (S::sum(sum) / width as f32 + epsilon).sqrt());
            for i in (0..whole).step_by(S::WIDTH) {
                let v = S::mul(S::mul(S::load(x.add(i)), scale), S::load(weight.add(i)));
                S::store(y.add(i), v);
            }
            if rest > 0 {
                let v = S::mul(S::load_part(x.add(whole), rest), scale);
                S::store_part(y.add(whole), S::mul(v, S::load_part(weight.add(whole), rest)), rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{close, cpus, numbers};

    #[test]
    fn norm_is_norm() {
        for cpu in cpus() {
            for (rows, width) in [(0, 8), (1, 1), (3, 17), (5, 64), (70, 2048)] {
                let (x, w) = (numbers(1, rows * width), numbers(2, width));
                let mut y = vec![0.0; x.len()];
                cpu.rms_norm(&x, &w, 1e-5, &mut y);
                for (x, y) in x.chunks(width).zip(y.chunks(width)) {
                    let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                    let want = x.iter().zip(&w).map(|(x, w)| f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w));
                    close(y, want, 1e-5, &cpu);
                }
            }
        }
    }

    #[test]
    fn heads_are_normalised_where_they_are() {
        for cpu in cpus() {
            let (rows, stride, offset, heads, width) = (3, 50, 7, 2, 20);
            let w = numbers(5, width);
            let x = numbers(6, rows * stride);
            let mut y = x.clone();
            cpu.head_norm(&mut y, stride, offset, heads, &w, 1e-6);
            for row in 0..rows {
                for c in 0..stride {
                    if c < offset || c >= offset + heads * width {
                        assert_eq!(x[row * stride + c], y[row * stride + c]);
                    }
                }
                for head in 0..heads {
                    let at = row * stride + offset + head * width;
                    let mut want = vec![0.0; width];
                    cpu.rms_norm(&x[at..at + width], &w, 1e-6, &mut want);
                    assert_eq!(want, y[at..at + width]);
                }
            }
        }
    }
}
