//! Number formats of stored weights and KV, and conversion between them and f32.

use half::bf16;

use crate::Isa;
use crate::simd::{Simd, Task, dispatch};

/// Number format of stored weights and KV (little endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl Format {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
        }
    }
}

/// Converts stored numbers to f32, exactly. Both slices must hold the same count of numbers.
pub fn to_f32(format: Format, from: &[u8], into: &mut [f32]) {
    assert_eq!(from.len(), into.len() * format.bytes(), "bytes and numbers must match");
    let task = Widen { format, from: from.as_ptr(), into: into.as_mut_ptr(), count: into.len() };
    // SAFETY: the machine has the detected instruction set, and both slices have `count` numbers.
    unsafe { dispatch(Isa::detect(), task) };
}

/// Converts f32 to stored numbers, rounded to nearest even. Both slices must hold the same count of numbers.
pub fn from_f32(format: Format, from: &[f32], into: &mut [u8]) {
    assert_eq!(into.len(), from.len() * format.bytes(), "bytes and numbers must match");
    let task = Narrow { format, from: from.as_ptr(), into: into.as_mut_ptr(), count: from.len() };
    // SAFETY: the machine has the detected instruction set, and both slices have `count` numbers.
    unsafe { dispatch(Isa::detect(), task) };
}

/// Loads one vector of stored numbers as f32. The format is a constant wherever this is inlined into a loop.
///
/// The caller guarantees the instruction set of `S` and a vector of numbers in the format at `from`.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(format: Format, from: *const u8) -> S::V {
    // SAFETY: the caller guarantees the instruction set and a vector of numbers in the format at `from`.
    unsafe {
        match format {
            Format::F32 => S::load(from.cast()),
            Format::F16 => S::load_f16(from),
            Format::Bf16 => S::load_bf16(from),
        }
    }
}

/// Stores one vector of f32 as numbers in a format.
///
/// The caller guarantees the instruction set of `S` and room for a vector of numbers in the format at `into`.
#[inline(always)]
unsafe fn store<S: Simd>(format: Format, into: *mut u8, v: S::V) {
    // SAFETY: the caller guarantees the instruction set and room for a vector of numbers in the format at `into`.
    unsafe {
        match format {
            Format::F32 => S::store(into.cast(), v),
            Format::F16 => S::store_f16(into, v),
            Format::Bf16 => S::store_bf16(into, v),
        }
    }
}

/// Task that converts `count` stored numbers to f32. It is sound if both ranges are valid.
pub(crate) struct Widen {
    pub(crate) format: Format,
    pub(crate) from: *const u8,
    pub(crate) into: *mut f32,
    pub(crate) count: usize,
}

impl Task for Widen {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Widen { format, from, into, count } = self;
        let bytes = format.bytes();
        let (whole, rest) = (count - count % S::WIDTH, count % S::WIDTH);
        // SAFETY: whole vectors are inside both ranges, and the rest goes through `last`, which has room for a vector.
        unsafe {
            for i in (0..whole).step_by(S::WIDTH) {
                S::store(into.add(i), load::<S>(format, from.add(i * bytes)));
            }
            if rest > 0 {
                let mut last = [0u8; 64];
                std::ptr::copy_nonoverlapping(from.add(whole * bytes), last.as_mut_ptr(), rest * bytes);
                S::store_part(into.add(whole), load::<S>(format, last.as_ptr()), rest);
            }
        }
    }
}

/// Task that converts `count` f32 to stored numbers. It is sound if both ranges are valid.
pub(crate) struct Narrow {
    pub(crate) format: Format,
    pub(crate) from: *const f32,
    pub(crate) into: *mut u8,
    pub(crate) count: usize,
}

impl Task for Narrow {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Narrow { format, from, into, count } = self;
        let bytes = format.bytes();
        let (whole, rest) = (count - count % S::WIDTH, count % S::WIDTH);
        // SAFETY: whole vectors are inside both ranges, and the rest goes through `last`, which has room for a vector.
        unsafe {
            for i in (0..whole).step_by(S::WIDTH) {
                store::<S>(format, into.add(i * bytes), S::load(from.add(i)));
            }
            if rest > 0 {
                let mut last = [0u8; 64];
                store::<S>(format, last.as_mut_ptr(), S::load_part(from.add(whole), rest));
                std::ptr::copy_nonoverlapping(last.as_ptr(), into.add(whole * bytes), rest * bytes);
            }
        }
    }
}

/// Bits of the bf16 that is nearest to `x`, ties to even.
#[inline(always)]
pub(crate) fn round_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return bf16::from_f32(x).to_bits();
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for format in [Format::F16, Format::Bf16] {
            for bits in 0..=u16::MAX {
                let mut x = [0f32];
                to_f32(format, &bits.to_le_bytes(), &mut x);
                if x[0].is_nan() {
                    continue;
                }
                let mut back = [0u8; 2];
                from_f32(format, &x, &mut back);
                assert_eq!(u16::from_le_bytes(back), bits, "{format:?}");
            }
        }
    }

    #[test]
    fn every_set_rounds_as_half_does() {
        let numbers: Vec<f32> = (0..200_003u32)
            .map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1) ^ (i << 7)))
            .chain([1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX, f32::INFINITY])
            .collect();
        for isa in Isa::all_here() {
            let (mut b, mut h) = (vec![0u16; numbers.len()], vec![0u16; numbers.len()]);
            for (format, into) in [(Format::Bf16, &mut b), (Format::F16, &mut h)] {
                let (from, into) = (numbers.as_ptr(), into.as_mut_ptr().cast());
                // SAFETY: the machine has the instruction set, and both ranges have that many numbers.
                unsafe { dispatch(isa, Narrow { format, from, into, count: numbers.len() }) };
            }
            for ((x, b), h) in numbers.iter().zip(&b).zip(&h) {
                let (ours, theirs) = (bf16::from_bits(*b), bf16::from_f32(*x));
                assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{isa} {x}");
                let (ours, theirs) = (half::f16::from_bits(*h), half::f16::from_f32(*x));
                assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{isa} {x}");
            }
        }
    }
}
