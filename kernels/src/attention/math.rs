//! Arithmetic of attention: f32 throughout, or products of bf16 pairs.
//!
//! Keys, queries, weights and values are packed in units of four bytes: an f32, or two bf16 that are multiplied with
//! two others at once. A unit of keys or queries is one or two entries of a head; a unit of weights or values is one or
//! two slots.

use std::marker::PhantomData;

use crate::Format;
use crate::Isa;
use crate::format::load;
use crate::product::Stored;
use crate::simd::{Simd, Task, dispatch};

/// A kind of arithmetic for attention.
///
/// # Safety
///
/// The functions need the instruction set of [`Math::S`], and valid memory for whole vectors.
pub(super) trait Math: Copy {
    /// The vectors in use.
    type S: Simd;
    /// Count of numbers in a unit.
    const UNIT: usize;
    /// Format of K and V.
    const FORMAT: Format;

    /// Adds a * b, for each unit, to sums.
    unsafe fn mac(sums: <Self::S as Simd>::V, a: <Self::S as Simd>::V, b: <Self::S as Simd>::V)
    -> <Self::S as Simd>::V;
    /// Loads a vector of units of a stored key.
    unsafe fn key(from: *const u8) -> <Self::S as Simd>::V;
    /// Stores a vector of f32 as units.
    unsafe fn narrow(into: *mut u8, v: <Self::S as Simd>::V);
    /// Loads as many entries of `UNIT` consecutive slots as make one vector of sums, as units. `slots` has the
    /// addresses of the first and the last of these slots.
    unsafe fn values(slots: [*const u8; 2]) -> <Self::S as Simd>::V;
}

/// Arithmetic in f32, with K and V widened to it.
#[derive(Clone, Copy)]
pub(super) struct Wide<S, T>(PhantomData<(S, T)>);

impl<S: Simd, T: Stored> Math for Wide<S, T> {
    type S = S;
    const UNIT: usize = 1;
    const FORMAT: Format = T::FORMAT;

    #[inline(always)]
    unsafe fn mac(sums: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller guarantees the instruction set of `S`.
        unsafe { S::fma(a, b, sums) }
    }
    #[inline(always)]
    unsafe fn key(from: *const u8) -> S::V {
        // SAFETY: the caller guarantees the instruction set and a vector of stored numbers at `from`.
        unsafe { load::<S>(T::FORMAT, from) }
    }
    #[inline(always)]
    unsafe fn narrow(into: *mut u8, v: S::V) {
        // SAFETY: the caller guarantees the instruction set and room for a vector at `into`.
        unsafe { S::store(into.cast(), v) }
    }
    #[inline(always)]
    unsafe fn values(slots: [*const u8; 2]) -> S::V {
        // SAFETY: the caller guarantees the instruction set and a vector of stored numbers at the slot.
        unsafe { load::<S>(T::FORMAT, slots[0]) }
    }
}

/// Products of bf16 pairs (`vdpbf16ps`), for bf16 K and V, with q and the weights rounded to bf16.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use crate::Format;
    use crate::attention::math::{Math, Pairs};
    use crate::simd::{Avx512, Simd};

    impl Math for Pairs {
        type S = Avx512;
        const UNIT: usize = 2;
        const FORMAT: Format = Format::Bf16;

        #[inline(always)]
        unsafe fn mac(sums: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with BF16; `__m512` and `__m512bh` have the same size, and any bits
            // are valid in both.
            unsafe {
                let (a, b) = (std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b));
                _mm512_dpbf16_ps(sums, a, b)
            }
        }
        #[inline(always)]
        unsafe fn key(from: *const u8) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with BF16 and 64 readable bytes at `from`.
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn narrow(into: *mut u8, v: __m512) {
            // SAFETY: the caller guarantees AVX-512 with BF16 and room for 32 bytes at `into`.
            unsafe { Avx512::store_bf16(into, v) }
        }
        #[inline(always)]
        unsafe fn values(slots: [*const u8; 2]) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with BF16 and 32 readable bytes at each of the slots.
            unsafe {
                let [a, b] = slots.map(|slot| _mm512_cvtepu16_epi32(_mm256_loadu_si256(slot.cast())));
                _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32::<16>(b)))
            }
        }
    }
}

/// Work that is compiled for each kind of arithmetic.
pub(super) trait MathTask {
    /// Does the work.
    ///
    /// # Safety
    /// The machine must have the instruction set of `M`, and the task's own requirements must hold.
    unsafe fn run<M: Math>(self);
}

struct WithFormat<T>(Format, T);

impl<T: MathTask> Task for WithFormat<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller guarantees the instruction set of `S` and the task's requirements, and arithmetic in `S`
        // needs no more.
        unsafe {
            match self.0 {
                Format::F32 => self.1.run::<Wide<S, crate::product::F32>>(),
                Format::F16 => self.1.run::<Wide<S, crate::product::F16>>(),
                Format::Bf16 => self.1.run::<Wide<S, crate::product::Bf16>>(),
            }
        }
    }
}

/// Runs the task with the arithmetic that the instruction set uses for K and V of a format.
///
/// # Safety
/// The machine must have `isa`, and the task's own requirements must hold.
pub(super) unsafe fn with_math<T: MathTask>(isa: Isa, format: Format, task: T) {
    // SAFETY: the caller guarantees that the machine has `isa` and the task's requirements; `Isa::Avx512Bf16` has all
    // features of `with_pairs`.
    unsafe {
        match (isa, format) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Format::Bf16) => with_pairs(task),
            _ => dispatch(isa, WithFormat(format, task)),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn with_pairs<T: MathTask>(task: T) {
    // SAFETY: the caller guarantees the task's requirements and the features of this function, which are those of
    // `Pairs`.
    unsafe { task.run::<Pairs>() }
}
