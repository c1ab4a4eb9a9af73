//! Dot products of a row of x with a row of weights, one step at a time: what the instruction sets and formats differ in.

use std::marker::PhantomData;

use crate::Format;
use crate::format::load;
use crate::simd::Simd;

/// A step of a dot product: `STEP` inputs of x (packed) and as many weights (as stored) into a vector of sums.
///
/// # Safety
///
/// The functions need the instruction set and valid memory; weights and x may be unaligned.
pub(crate) trait Dot: Copy {
    /// The vectors in use.
    type S: Simd;
    /// The same with weights that have been widened to f32, for the same packed x and with the same bits.
    type Widened: Dot<S = Self::S>;
    /// Inputs of a step.
    const STEP: usize;
    /// Bytes of a step of packed x.
    const X_BYTES: usize;
    /// Format of the weights.
    const FORMAT: Format;
    /// Rows of x of a register tile (with 4 rows of weights).
    const ROWS: usize;
    /// Whether many rows are worth a widened copy of the weights.
    const WIDENS: bool;

    /// Packs `count` <= STEP inputs; zeros after them.
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

/// f32 x, and weights that are widened as they are loaded.
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
        // SAFETY: as the caller promises.
        unsafe { S::store(into.cast(), S::load_part(from, count)) }
    }
    #[inline(always)]
    unsafe fn x(from: *const u8) -> S::V {
        // SAFETY: as the caller promises.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn w(from: *const u8) -> S::V {
        // SAFETY: as the caller promises.
        unsafe { load::<S>(T::FORMAT, from) }
    }
    #[inline(always)]
    unsafe fn mac(sums: S::V, x: S::V, w: S::V) -> S::V {
        // SAFETY: as the caller promises.
        unsafe { S::fma(x, w, sums) }
    }
}

/// x rounded to bf16, and bf16 weights, two products at a time (`vdpbf16ps`).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use super::{Dot, Pairs};
    use crate::Format;
    use crate::simd::{Avx512, Simd};

    // SAFETY of everything below: the trait's promises are the intrinsics' own.
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
            unsafe {
                let low = Avx512::load_part(from, count.min(16));
                let high = Avx512::load_part(from.wrapping_add(16), count.saturating_sub(16));
                let both = _mm512_cvtne2ps_pbh(high, low);
                _mm512_storeu_si512(into.cast(), std::mem::transmute::<__m512bh, __m512i>(both));
            }
        }
        #[inline(always)]
        unsafe fn x(from: *const u8) -> __m512 {
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn w(from: *const u8) -> __m512 {
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn mac(sums: __m512, x: __m512, w: __m512) -> __m512 {
            unsafe {
                let (x, w) = (std::mem::transmute::<__m512, __m512bh>(x), std::mem::transmute::<__m512, __m512bh>(w));
                _mm512_dpbf16_ps(sums, x, w)
            }
        }
    }
}
