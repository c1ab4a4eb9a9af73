//! Quantization of values to codes and back: a code is a value in steps, rounded to the nearest, ties to even.

use half::f16;

use super::instructions::by_instructions;
use crate::dtype::DType;

/// Largest code: codes lie in `-CODE_MAX..=CODE_MAX`, and values beyond are clamped.
const CODE_MAX: f32 = 32_000.0;
/// The number `1.5 x 2^23`: adding it to a small float rounds it to a whole number.
const ROUNDER: f32 = 12_582_912.0;

#[inline(always)]
fn code(value: f32, steps_per_unit: f32) -> i16 {
    // The code of a NaN is arbitrary: parts with one are not coded in steps.
    let steps = (value * steps_per_unit).clamp(-CODE_MAX, CODE_MAX);
    // A float of this size has no bits for fractions, and its lowest bits are the whole number.
    (steps + ROUNDER).to_bits() as i16
}

#[inline(always)]
fn rows<'a, const BYTES: usize>(
    values: &'a [u8],
    codes: &'a mut [i16],
    width: usize,
) -> impl Iterator<Item = (&'a [[u8; BYTES]], &'a mut [i16])> {
    values.as_chunks::<BYTES>().0.chunks_exact(width).zip(codes.chunks_exact_mut(width))
}

by_instructions! {
    /// Codes of values of `dtype`, both `[positions, width]`; a step of each channel is `1 / steps_per_unit`.
    pub fn quantize(dtype: DType, values: &[u8], steps_per_unit: &[f32], codes: &mut [i16]) {
        let width = steps_per_unit.len();
        match dtype {
            DType::F32 => for (values, codes) in rows::<4>(values, codes, width) {
                for ((to, bytes), steps) in codes.iter_mut().zip(values).zip(steps_per_unit) {
                    *to = code(f32::from_le_bytes(*bytes), *steps);
                }
            },
            DType::Bf16 => for (values, codes) in rows::<2>(values, codes, width) {
                for ((to, bytes), steps) in codes.iter_mut().zip(values).zip(steps_per_unit) {
                    *to = code(f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16), *steps);
                }
            },
            DType::F16 => for (values, codes) in rows::<2>(values, codes, width) {
                for ((to, bytes), steps) in codes.iter_mut().zip(values).zip(steps_per_unit) {
                    *to = code(f16::from_le_bytes(*bytes).to_f32(), *steps);
                }
            },
        }
    }
}

#[inline(always)]
fn to_bf16(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    // Rounds to nearest, ties to even. `value` is finite, and a code times a step is too small to round to infinity.
    (((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes()
}

by_instructions! {
    /// Values of `dtype` from codes, both `[positions, width]`.
    pub fn restore(dtype: DType, codes: &[i16], steps: &[f32], values: &mut [u8]) {
        let width = steps.len();
        match dtype {
            DType::F32 => for (codes, values) in codes.chunks_exact(width).zip(values.as_chunks_mut::<4>().0.chunks_exact_mut(width)) {
                for ((to, code), step) in values.iter_mut().zip(codes).zip(steps) {
                    *to = (f32::from(*code) * step).to_le_bytes();
                }
            },
            DType::Bf16 => for (codes, values) in codes.chunks_exact(width).zip(values.as_chunks_mut::<2>().0.chunks_exact_mut(width)) {
                for ((to, code), step) in values.iter_mut().zip(codes).zip(steps) {
                    *to = to_bf16(f32::from(*code) * step);
                }
            },
            DType::F16 => for (codes, values) in codes.chunks_exact(width).zip(values.as_chunks_mut::<2>().0.chunks_exact_mut(width)) {
                let most = f16::MAX.to_f32();
                for ((to, code), step) in values.iter_mut().zip(codes).zip(steps) {
                    *to = f16::from_f32((f32::from(*code) * step).clamp(-most, most)).to_le_bytes();
                }
            },
        }
    }
}

by_instructions! {
    /// Sets `found` to whether any value of `dtype` is infinite or NaN.
    pub fn find_non_finite(dtype: DType, values: &[u8], found: &mut bool) {
        let all_ones = |bits: u32, mask: u32| u32::from(bits & mask == mask);
        let any = match dtype {
            DType::F32 => values.as_chunks::<4>().0.iter().fold(0, |any, b| any | all_ones(u32::from_le_bytes(*b), 0x7f80_0000)),
            DType::Bf16 => values.as_chunks::<2>().0.iter().fold(0, |any, b| any | all_ones(u16::from_le_bytes(*b).into(), 0x7f80)),
            DType::F16 => values.as_chunks::<2>().0.iter().fold(0, |any, b| any | all_ones(u16::from_le_bytes(*b).into(), 0x7c00)),
        };
        *found = any != 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::convert::{from_f32, to_f32};
    use half::bf16;
    use proptest::prelude::*;

    #[test]
    fn bfloats_are_rounded_as_everywhere() {
        for value in [0.0f32, 1.0, -1.003_906_3, 3.3, 1e-39, 65_504.0, -2.5e30] {
            assert_eq!(to_bf16(value), bf16::from_f32(value).to_le_bytes());
        }
    }

    proptest! {
        #[test]
        fn values_come_back_within_half_a_step(
            (dtype, wanted) in (prop::sample::select(vec![DType::F32, DType::Bf16, DType::F16]), prop::sample::select(vec![DType::F32, DType::Bf16, DType::F16])),
            given in prop::collection::vec(-100.0f32..100.0, 3..90), step in 0.01f32..4.0,
        ) {
            let mut bytes = Vec::new();
            from_f32(dtype, &given[..given.len() / 3 * 3], &mut bytes);
            let mut exact = Vec::new();
            to_f32(dtype, &bytes, &mut exact);
            let steps = [step, 2.0 * step, step];
            let mut codes = vec![0; exact.len()];
            quantize(dtype, &bytes, &steps.map(f32::recip), &mut codes);
            let mut back = vec![0; exact.len() * wanted.size_bytes()];
            restore(wanted, &codes, &steps, &mut back);
            let mut values = Vec::new();
            to_f32(wanted, &back, &mut values);
            for ((exact, value), step) in exact.iter().zip(values).zip(steps.iter().cycle()) {
                prop_assert!((exact - value).abs() <= 0.5 * step + 0.005 * exact.abs() + 1e-3, "{exact} {value} {step}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_found() {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            for (value, expected) in [(f32::NAN, true), (f32::INFINITY, true), (-7.0, false)] {
                let bytes = match dtype {
                    DType::F32 => value.to_le_bytes().to_vec(),
                    DType::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
                    DType::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                };
                let mut found = false;
                find_non_finite(dtype, &bytes, &mut found);
                assert_eq!(found, expected, "{dtype:?} {value}");
            }
        }
    }
}
