//! Steps of a dot product of a row of x with a row of weights: the part in which instruction sets and formats differ.

use std::marker::PhantomData;

use crate::Format;
use crate::format::load;
use crate::simd::Simd;

/// A step of a dot product: products of `STEP` inputs of x (packed) and as many weights (as stored) are added to a
/// vector of sums.
///
/// # Safety
///
/// The functions need the instruction set of [`Dot::S`], and valid memory for whole steps; weights and x may be
/// unaligned.
pub(crate) trait Dot: Copy {
    /// The vectors in use.
    type S: Simd;
    /// This dot product for weights that have been widened to f32, with the same packed x and the same bits in the
    /// result.
    type Widened: Dot<S = Self::S>;
    /// Number of inputs of a step.
    const STEP: usize;
    /// Size of a step of packed x, in bytes.
    const X_BYTES: usize;
    /// Format of the weights.
    const FORMAT: Format;
    /// Number of rows of x of a register tile (with 4 rows of weights).
    const ROWS: usize;
    /// Whether a widened copy of the weights pays for many rows.
    const WIDENS: bool;

    /// Packs `count` <= STEP inputs, with zeros after them.
    unsafe fn pack(from: *const f32, count: usize, into: *mut u8);
    unsafe fn x(from: *const u8) -> <Self::S as Simd>::V;
    unsafe fn w(from: *const u8) -> <Self::S as Simd>::V;
    unsafe fn mac(sums: <Self::S as Simd>::V, x: <Self::S as Simd>::V, w: <Self::S as Simd>::V)
    -> <Self::S as Simd>::V;
}

/// A storage format as a type.
pub(crate) trait Stored: Copy {
    const FORMAT: Format;
}

macro_rules! stored {
    ($($name:ident)*) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        impl Stored for $name {
            const FORMAT: Format = Format::$name;
        }
    )*};
}
stored!(F32 F16 Bf16);

/// Dot product of x in f32 with weights that are widened as they are loaded.
#[derive(Clone, Copy)]
pub(crate) struct Wide<S, T>(PhantomData<(S, T)>);

impl<S: Simd, T: Stored> Dot for Wide<S, T> {
    type S = S;
    type Widened = Wide<S, F32>;
    const STEP: usize = S::WIDTH;
    const X_BYTES: usize = S::WIDTH * 4;
    const FORMAT: Format = T::FORMAT;
    const ROWS: usize = S::ROWS;
    const WIDENS: bool = !matches!(T::FORMAT, Format::F32);

    #[inline(always)]
    unsafe fn pack(from: *const f32, count: usize, into: *mut u8) {
        // SAFETY: the caller guarantees the instruction set, `count` numbers at `from`, and room for a vector at
        // `into`.
        unsafe { S::store(into.cast(), S::load_part(from, count)) }
    }
    #[inline(always)]
    unsafe fn x(from: *const u8) -> S::V {
        // SAFETY: the caller guarantees the instruction set and a vector at `from`.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn w(from: *const u8) -> S::V {
        // SAFETY: the caller guarantees the instruction set and a vector of stored numbers at `from`.
        unsafe { load::<S>(T::FORMAT, from) }
    }
    #[inline(always)]
    unsafe fn mac(sums: S::V, x: S::V, w: S::V) -> S::V {
        // SAFETY: the caller guarantees the instruction set of `S`.
        unsafe { S::fma(x, w, sums) }
    }
}

/// Dot product of x rounded to bf16 with bf16 weights, two products at a time (`vdpbf16ps`).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use crate::Format;
    use crate::product::dot::{Dot, Pairs};
    use crate::simd::{Avx512, Simd};

    impl Dot for Pairs {
        type S = Avx512;
        type Widened = Pairs;
        const STEP: usize = 32;
        const X_BYTES: usize = 64;
        const FORMAT: Format = Format::Bf16;
        const ROWS: usize = 6;
        const WIDENS: bool = false;

        #[inline(always)]
        unsafe fn pack(from: *const f32, count: usize, into: *mut u8) {
            // SAFETY: the caller guarantees AVX-512 with BF16, `count` readable numbers at `from`, and room for 64
            // bytes at `into`; the masked loads read no more than `count` numbers. `__m512bh` and `__m512i` have the
            // same size, and any bits are valid in both.
            unsafe {
                let low = Avx512::load_part(from, count.min(16));
                let high = Avx512::load_part(from.wrapping_add(16), count.saturating_sub(16));
                let both = _mm512_cvtne2ps_pbh(high, low);
                _mm512_storeu_si512(into.cast(), std::mem::transmute::<__m512bh, __m512i>(both));
            }
        }
        #[inline(always)]
        unsafe fn x(from: *const u8) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with BF16 and 64 readable bytes at `from`.
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn w(from: *const u8) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with BF16 and 64 readable bytes at `from`.
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn mac(sums: __m512, x: __m512, w: __m512) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with BF16; `__m512` and `__m512bh` have the same size, and any bits
            // are valid in both.
            unsafe {
                let (x, w) = (std::mem::transmute::<__m512, __m512bh>(x), std::mem::transmute::<__m512, __m512bh>(w));
                _mm512_dpbf16_ps(sums, x, w)
            }
        }
    }
}
