//! Rotary position embedding.

use crate::simd::{Simd, Task, dispatch};
use crate::{Cpu, SendMut};

/// Count of numbers up to which a call is not worth waking other threads.
const SMALL: usize = 32 * 1024;

impl Cpu {
    /// Applies rotary embedding in place, in Hugging Face's layout (entry i pairs with i + head_dim / 2), to `heads`
    /// heads that start at column `offset` of rows of `stride` numbers. cos and sin are [rows, head_dim / 2], with a
    /// line per row.
    #[allow(clippy::too_many_arguments)]
    pub fn rotate(
        &self,
        x: &mut [f32],
        stride: usize,
        offset: usize,
        heads: usize,
        head_dim: usize,
        cos: &[f32],
        sin: &[f32],
    ) {
        assert!(head_dim.is_multiple_of(2), "head_dim {head_dim} is odd");
        assert!(offset.saturating_add(heads.saturating_mul(head_dim)) <= stride, "heads reach past the row");
        assert!(x.len().is_multiple_of(stride.max(1)), "rows of {stride} numbers, not {} in all", x.len());
        let rows = x.len() / stride.max(1);
        let half = head_dim / 2;
        assert_eq!(cos.len(), rows * half, "cos is [rows, head_dim / 2]");
        assert_eq!(sin.len(), rows * half, "sin is [rows, head_dim / 2]");
        let x = SendMut(x.as_mut_ptr());
        self.rows(rows, heads * head_dim, SMALL, &|row| {
            let task = Rotate {
                x: x.get().wrapping_add(row * stride + offset),
                heads,
                cos: &cos[row * half..][..half],
                sin: &sin[row * half..][..half],
            };
            // SAFETY: the machine has the Cpu's instruction set; the heads are inside this piece's own row, and cos and
            // sin have a line for it, as asserted above.
            unsafe { dispatch(self.isa(), task) };
        });
    }
}

/// The heads of one row.
struct Rotate<'a> {
    x: *mut f32,
    heads: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Task for Rotate<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let half = self.cos.len();
        let (cos, sin) = (self.cos.as_ptr(), self.sin.as_ptr());
        for head in 0..self.heads {
            // SAFETY: all accesses are inside the head and inside the line of cos and sin.
            unsafe {
                let low = self.x.add(head * 2 * half);
                let high = low.add(half);
                let mut i = 0;
                while i + S::WIDTH <= half {
                    let (a, b) = (S::load(low.add(i)), S::load(high.add(i)));
                    let (c, s) = (S::load(cos.add(i)), S::load(sin.add(i)));
                    S::store(low.add(i), S::sub(S::mul(a, c), S::mul(b, s)));
                    S::store(high.add(i), S::add(S::mul(b, c), S::mul(a, s)));
                    i += S::WIDTH;
                }
                let rest = half - i;
                if rest > 0 {
                    let (a, b) = (S::load_part(low.add(i), rest), S::load_part(high.add(i), rest));
                    let (c, s) = (S::load_part(cos.add(i), rest), S::load_part(sin.add(i), rest));
                    S::store_part(low.add(i), S::sub(S::mul(a, c), S::mul(b, s)), rest);
                    S::store_part(high.add(i), S::add(S::mul(b, c), S::mul(a, s)), rest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{close, cpus, numbers};

    #[test]
    fn rotates_pairs_half_a_head_apart() {
        for cpu in cpus() {
            for (rows, heads, dim, offset) in [(0, 1, 4, 0), (1, 1, 2, 0), (3, 2, 38, 5), (40, 8, 64, 64)] {
                let stride = offset + heads * dim + 3;
                let x = numbers(3, rows * stride);
                let (cos, sin) = (numbers(4, rows * dim / 2), numbers(5, rows * dim / 2));
                let mut y = x.clone();
                cpu.rotate(&mut y, stride, offset, heads, dim, &cos, &sin);
                let want = (0..rows * stride).map(|at| {
                    let (row, c) = (at / stride, at % stride);
                    if c < offset || c >= offset + heads * dim {
                        return f64::from(x[at]);
                    }
                    let i = (c - offset) % dim;
                    let angle = row * dim / 2 + i % (dim / 2);
                    let (c, s) = (f64::from(cos[angle]), f64::from(sin[angle]));
                    if i < dim / 2 {
                        f64::from(x[at]) * c - f64::from(x[at + dim / 2]) * s
                    } else {
                        f64::from(x[at]) * c + f64::from(x[at - dim / 2]) * s
                    }
                });
                close(&y, want, 1e-6, &cpu);
            }
        }
    }
}
