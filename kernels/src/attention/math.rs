//! What attention does with numbers: f32 throughout, or products of bf16 pairs.
//!
//! Keys, queries, weights and values are packed in units of four bytes: an f32, or two bf16 that are multiplied with two
//! others at once. A unit of keys or queries is one or two entries of a head; a unit of weights or values is one or two
//! slots.

use std::marker::PhantomData;

use crate::Format;
use crate::Isa;
use crate::format::load;
use crate::product::Stored;
use crate::simd::{Simd, Task, dispatch};

/// # Safety
///
/// The functions need the instruction set and valid memory.
pub(super) trait Math: Copy {
    /// The vectors in use.
    type S: Simd;
    /// Numbers in a unit.
    const UNIT: usize;
    /// Format of K and V.
    const FORMAT: Format;

    /// sums + a * b for each unit.
    unsafe fn mac(sums: <Self::S as Simd>::V, a: <Self::S as Simd>::V, b: <Self::S as Simd>::V)
    -> <Self::S as Simd>::V;
    /// A vector of units of a key as it is stored.
    unsafe fn key(from: *const u8) -> <Self::S as Simd>::V;
    /// A vector of f32 to be stored as units.
    unsafe fn narrow(into: *mut u8, v: <Self::S as Simd>::V);
    /// As many entries of `UNIT` slots (consecutive in `slots`) as make one vector of sums, as units.
    unsafe fn values(slots: [*const u8; 2]) -> <Self::S as Simd>::V;
}

/// f32, K and V widened.
#[derive(Clone, Copy)]
pub(super) struct Wide<S, T>(PhantomData<(S, T)>);

impl<S: Simd, T: Stored> Math for Wide<S, T> {
    type S = S;
    const UNIT: usize = 1;
    const FORMAT: Format = T::FORMAT;

    #[inline(always)]
    unsafe fn mac(sums: S::V, a: S::V, b: S::V) -> S::V {
        // SAFETY: as the caller promises.
        unsafe { S::fma(a, b, sums) }
    }
    #[inline(always)]
    unsafe fn key(from: *const u8) -> S::V {
        // SAFETY: as the caller promises.
        unsafe { load::<S>(T::FORMAT, from) }
    }
    #[inline(always)]
    unsafe fn narrow(into: *mut u8, v: S::V) {
        // SAFETY: as the caller promises.
        unsafe { S::store(into.cast(), v) }
    }
    #[inline(always)]
    unsafe fn values(slots: [*const u8; 2]) -> S::V {
        // SAFETY: as the caller promises.
        unsafe { load::<S>(T::FORMAT, slots[0]) }
    }
}

/// bf16 K and V, with q and the weights rounded to bf16 (`vdpbf16ps`).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use super::{Math, Pairs};
    use crate::Format;
    use crate::simd::{Avx512, Simd};

    // SAFETY of everything below: the trait's promises are the intrinsics' own.
    impl Math for Pairs {
        type S = Avx512;
        const UNIT: usize = 2;
        const FORMAT: Format = Format::Bf16;

        #[inline(always)]
        unsafe fn mac(sums: __m512, a: __m512, b: __m512) -> __m512 {
            unsafe {
                let (a, b) = (std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b));
                _mm512_dpbf16_ps(sums, a, b)
            }
        }
        #[inline(always)]
        unsafe fn key(from: *const u8) -> __m512 {
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn narrow(into: *mut u8, v: __m512) {
            unsafe { Avx512::store_bf16(into, v) }
        }
        #[inline(always)]
        unsafe fn values(slots: [*const u8; 2]) -> __m512 {
            unsafe {
                let [a, b] = slots.map(|slot| _mm512_cvtepu16_epi32(_mm256_loadu_si256(slot.cast())));
                _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32::<16>(b)))
            }
        }
    }
}

/// Something to do with a kind of math.
pub(super) trait MathTask {
    /// # Safety
    /// The instruction set of `M` is there, and what the task itself asks for.
    unsafe fn run<M: Math>(self);
}

struct WithFormat<T>(Format, T);

impl<T: MathTask> Task for WithFormat<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as the caller promises.
        unsafe {
            match self.0 {
                Format::F32 => self.1.run::<Wide<S, crate::product::F32>>(),
                Format::F16 => self.1.run::<Wide<S, crate::product::F16>>(),
                Format::Bf16 => self.1.run::<Wide<S, crate::product::Bf16>>(),
            }
        }
    }
}

/// Runs the task with the math of the instruction set for K and V of a format.
///
/// # Safety
/// The machine has `isa`, and what the task itself asks for.
pub(super) unsafe fn with_math<T: MathTask>(isa: Isa, format: Format, task: T) {
    // SAFETY: as the caller promises.
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
    // SAFETY: as the caller promises.
    unsafe { task.run::<Pairs>() }
}
