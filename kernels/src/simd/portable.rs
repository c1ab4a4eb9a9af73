//! Vectors in plain Rust: eight numbers, which the compiler puts into the available registers.

use half::f16;

use super::Simd;
use crate::format::round_bf16;

/// Vectors in plain Rust, for every machine.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 8];

#[inline(always)]
fn map(a: V, f: impl Fn(f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// The nearest integer, ties to even, by adding and subtracting 1.5 * 2^23: `f32::round_ties_even` is a library call
/// without SSE4.1.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

impl Simd for Portable {
    const WIDTH: usize = 8;
    const COLUMNS: usize = 2;
    const ROWS: usize = 2;
    type V = V;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: the caller guarantees eight readable numbers at `from`.
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> V {
        let mut v = [0.0; 8];
        for (i, v) in v.iter_mut().enumerate().take(count) {
            // SAFETY: the caller guarantees `count` readable numbers at `from`.
            *v = unsafe { from.add(i).read_unaligned() };
        }
        v
    }
    #[inline(always)]
    unsafe fn store(into: *mut f32, v: V) {
        // SAFETY: the caller guarantees room for eight numbers at `into`.
        unsafe { into.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(into: *mut f32, v: V, count: usize) {
        for (i, v) in v.iter().enumerate().take(count) {
            // SAFETY: the caller guarantees room for `count` numbers at `into`.
            unsafe { into.add(i).write_unaligned(*v) };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> V {
        // SAFETY: the caller guarantees eight readable numbers of two bytes at `from`.
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        bits.map(|b| f32::from_bits(u32::from(b) << 16))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> V {
        // SAFETY: the caller guarantees eight readable numbers of two bytes at `from`.
        let bits = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        bits.map(|b| f16::from_bits(b).to_f32_const())
    }
    #[inline(always)]
    unsafe fn store_bf16(into: *mut u8, v: V) {
        // SAFETY: the caller guarantees room for eight numbers of two bytes at `into`.
        unsafe { into.cast::<[u16; 8]>().write_unaligned(v.map(round_bf16)) }
    }
    #[inline(always)]
    unsafe fn store_f16(into: *mut u8, v: V) {
        // SAFETY: the caller guarantees room for eight numbers of two bytes at `into`.
        unsafe { into.cast::<[u16; 8]>().write_unaligned(v.map(|x| f16::from_f32_const(x).to_bits())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(into: *mut u8, v: V, count: usize) {
        for (i, v) in v.iter().enumerate().take(count) {
            // SAFETY: the caller guarantees room for `count` bytes at `into`.
            unsafe { *into.add(i) = *v as u8 };
        }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // This rounds twice: a fused multiply-add is a library call without the instruction.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        map(a, nearest)
    }
    #[inline(always)]
    unsafe fn power_of_two(n: V) -> V {
        map(n, |n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        let b: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (b[0] + b[2]) + (b[1] + b[3])
    }
    #[inline(always)]
    unsafe fn sum4(a: V, b: V, c: V, d: V) -> [f32; 4] {
        // SAFETY: `sum` is plain arithmetic here and needs nothing.
        [a, b, c, d].map(|v| unsafe { Self::sum(v) })
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn store_transposed(rows: *const V, into: *mut f32, stride: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller guarantees eight vectors at `rows`, and room for eight columns of eight numbers,
                // `stride` apart, at `into`.
                unsafe { into.add(i * stride + j).write((*rows.add(j))[i]) };
            }
        }
    }
}
