//! Vectors of f32, with one implementation per instruction set, and dispatch from an instruction set to code compiled
//! for it.
//!
//! A kernel is written once over [`Simd`] with everything `#[inline(always)]`; [`dispatch`] calls it inside a function
//! that has the target features, so that it is compiled with them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::Isa;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// A vector of f32 and its operations.
///
/// # Safety
///
/// Every function needs the instruction set (run it below [`dispatch`]), and loads and stores need valid memory of any
/// alignment. A `count` is at most [`Simd::WIDTH`]. Memory that is `*const u8` or `*mut u8` holds numbers of a storage
/// format, or bytes.
pub(crate) trait Simd: Copy {
    /// Count of numbers in a vector.
    const WIDTH: usize;
    /// Number of vectors of columns that a register tile of 6 rows holds.
    const COLUMNS: usize;
    /// Number of rows of a register tile with 4 columns.
    const ROWS: usize;
    /// The type of a vector.
    type V: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// Loads the first `count` numbers, with zeros after them.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V;
    unsafe fn store(into: *mut f32, v: Self::V);
    unsafe fn store_part(into: *mut f32, v: Self::V, count: usize);
    unsafe fn load_bf16(from: *const u8) -> Self::V;
    unsafe fn load_f16(from: *const u8) -> Self::V;
    /// Stores a vector as bf16, rounded to nearest even.
    unsafe fn store_bf16(into: *mut u8, v: Self::V);
    unsafe fn store_f16(into: *mut u8, v: Self::V);
    /// Stores the first `count` numbers, which are integers in 0..=255, as bytes.
    unsafe fn store_bytes(into: *mut u8, v: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// Computes a * b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Computes 2^n for integers n in -126..=127.
    unsafe fn power_of_two(n: Self::V) -> Self::V;
    /// Sum of all numbers: halves are added to halves until one number is left.
    unsafe fn sum(a: Self::V) -> f32;
    /// Sums of four vectors, each with the same bits as from `sum`.
    unsafe fn sum4(a: Self::V, b: Self::V, c: Self::V, d: Self::V) -> [f32; 4];
    unsafe fn largest(a: Self::V) -> f32;
    /// Stores WIDTH rows as columns: number j of row i goes to into[j * stride + i].
    unsafe fn store_transposed(rows: *const Self::V, into: *mut f32, stride: usize);

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { Self::splat(0.0) }
    }
}

/// Computes e^x with a relative error of about 1e-7; the result is 0 for x below -87.3, and x is clamped to at most 88.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller guarantees the instruction set of `S`.
    unsafe { exp2::<S>(S::mul(x, S::splat(std::f32::consts::LOG2_E))) }
}

/// Computes 2^x with a relative error of about 1e-7, from 2^-126 to 2^127; smaller x give 2^-126 * 0 = 0.
#[inline(always)]
pub(crate) unsafe fn exp2<S: Simd>(x: S::V) -> S::V {
    // Coefficients of a minimax polynomial of 2^f on [-1/2, 1/2].
    const C: [f32; 7] =
        [1.0, std::f32::consts::LN_2, 0.240_226_5, 0.055_504_11, 0.009_618_13, 0.001_333_355_8, 0.000_154_035_3];
    // SAFETY: the caller guarantees the instruction set of `S`; only registers are used.
    unsafe {
        let low = S::splat(-127.0);
        let x = S::min(S::max(x, low), S::splat(127.0));
        let n = S::round(x);
        let f = S::sub(x, n);
        let mut p = S::splat(C[6]);
        p = S::fma(p, f, S::splat(C[5]));
        p = S::fma(p, f, S::splat(C[4]));
        p = S::fma(p, f, S::splat(C[3]));
        p = S::fma(p, f, S::splat(C[2]));
        p = S::fma(p, f, S::splat(C[1]));
        p = S::fma(p, f, S::splat(C[0]));
        // For n = -127 the exponent bits are 0, so the power is 0, as masked scores need.
        S::mul(p, S::power_of_two(n))
    }
}

/// Computes x / (1 + e^-x).
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller guarantees the instruction set of `S`; only registers are used.
    unsafe {
        let e = exp::<S>(S::sub(S::zero(), x));
        S::div(x, S::add(S::splat(1.0), e))
    }
}

/// Prefetches a cache line into L2; any address is allowed.
#[inline(always)]
pub(crate) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address, and SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Work that is compiled for each instruction set.
pub(crate) trait Task {
    /// Does the work.
    ///
    /// # Safety
    /// The machine must have the instruction set of `S`, and the task's own requirements must hold.
    unsafe fn run<S: Simd>(self);
}

/// Runs the task with the vectors of the instruction set.
///
/// # Safety
/// The machine must have `isa`, and the task's own requirements must hold.
#[inline]
pub(crate) unsafe fn dispatch<T: Task>(isa: Isa, task: T) {
    // SAFETY: the caller guarantees that the machine has `isa`, and the task's requirements.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 => with_avx512(task),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => with_avx2(task),
            _ => task.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn with_avx512<T: Task>(task: T) {
    // SAFETY: the caller guarantees the task's requirements and the features of this function, which are those of
    // `Avx512`.
    unsafe { task.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn with_avx2<T: Task>(task: T) {
    // SAFETY: the caller guarantees the task's requirements and the features of this function, which are those of
    // `Avx2`.
    unsafe { task.run::<Avx2>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a [f32], &'a mut [f32]);
    impl Task for Exp<'_> {
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            for (x, y) in self.0.iter().zip(self.1) {
                // SAFETY: `y` has room for the one number that is stored.
                unsafe { S::store_part(y, exp::<S>(S::splat(*x)), 1) };
            }
        }
    }

    struct Transpose<'a>(&'a [f32], &'a mut [f32]);
    impl Task for Transpose<'_> {
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            // SAFETY: both slices have 16 rows of 16 numbers, enough for any width.
            unsafe {
                let mut rows = [S::zero(); 16];
                for (i, row) in rows.iter_mut().enumerate().take(S::WIDTH) {
                    *row = S::load(self.0.as_ptr().add(i * 16));
                }
                S::store_transposed(rows.as_ptr(), self.1.as_mut_ptr(), 16);
                self.1[255] = S::WIDTH as f32;
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        let x: Vec<f32> = (0..256).map(|i| i as f32).collect();
        for isa in Isa::all_here() {
            let mut y = vec![0.0; 256];
            // SAFETY: the machine has the instruction set, and both slices have 256 numbers.
            unsafe { dispatch(isa, Transpose(&x, &mut y)) };
            let width = y[255] as usize;
            for i in 0..width * width - 1 {
                let (row, column) = (i / width, i % width);
                assert_eq!(y[column * 16 + row], x[row * 16 + column], "{isa}");
            }
        }
    }

    #[test]
    fn exp_is_exp() {
        let x: Vec<f32> = (-8600..8700).map(|i| i as f32 * 0.01).collect();
        for isa in Isa::all_here() {
            let mut y = vec![0.0; x.len()];
            // SAFETY: the machine has the instruction set.
            unsafe { dispatch(isa, Exp(&x, &mut y)) };
            for (x, y) in x.iter().zip(&y) {
                let want = f64::from(*x).exp();
                let error = (f64::from(*y) - want).abs() / want;
                // The argument's own rounding grows with its size.
                assert!(error < 3e-7 + 1.2e-7 * f64::from(x.abs()), "{isa} e^{x} = {y}, not {want}");
            }
            let mut y = [1.0; 2];
            // SAFETY: the machine has the instruction set.
            unsafe { dispatch(isa, Exp(&[f32::NEG_INFINITY, -1e4], &mut y)) };
            assert_eq!(y, [0.0, 0.0], "{isa}");
        }
    }
}
