//! V: each group of values of one position has its smallest value and a step.
//!
//! Layout: a pair (smallest value, step) as f16 for each position's groups, `[positions, groups]`, then the codes,
//! `[positions, width]`.

use super::{
    convert::all_finite,
    channels::{SCALE_BYTES, Scale, levels},
    pack::{pack, packed_len, unpack},
    part::CodeError,
};

/// Largest group.
const GROUP_MAX: usize = 128;
/// Groups smaller than this would be mostly scales.
const GROUP_MIN: usize = 16;

/// Values of a group: the largest divisor of `width` up to 128, or all of them where that is less than 16.
pub fn group(width: usize) -> usize {
    let divisor = (1..=width.min(GROUP_MAX)).rev().find(|&size| width.is_multiple_of(size)).unwrap_or(width);
    if divisor < GROUP_MIN { width } else { divisor }
}

/// Bytes of `[positions, width]` values.
pub fn coded_len(width: usize, positions: usize, bits: u32) -> usize {
    positions * (width / group(width).max(1)) * SCALE_BYTES + packed_len(width * positions, bits)
}

/// Appends `values`, `[positions, width]`. `None`, and nothing appended that counts: a value is beyond f16.
pub fn encode(values: &[f32], width: usize, bits: u32, codes: &mut Vec<u8>, into: &mut Vec<u8>) -> Option<()> {
    if !all_finite(values) {
        return None;
    }
    let levels = levels(bits);
    codes.clear();
    for group in values.chunks_exact(group(width)) {
        let (low, high) = bounds(group);
        let scale = Scale::over(low, high, bits)?;
        into.extend_from_slice(&scale.to_bytes());
        let (base, inverse) = (scale.low(), scale.inverse());
        codes.extend(group.iter().map(|value| ((value - base) * inverse + 0.5).min(levels) as u8));
    }
    pack(codes, bits, into);
    Some(())
}

fn bounds(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

/// Appends the values of `bytes`, which [`coded_len`] says the length of.
pub fn decode(
    bytes: &[u8],
    width: usize,
    positions: usize,
    bits: u32,
    codes: &mut Vec<u8>,
    into: &mut Vec<f32>,
) -> Result<(), CodeError> {
    let group = group(width);
    let (scales, packed) = bytes.split_at(bytes.len() - packed_len(width * positions, bits));
    codes.clear();
    unpack(packed, bits, width * positions, codes);
    for (codes, scale) in codes.chunks_exact(group).zip(scales.chunks_exact(SCALE_BYTES)) {
        let scale = Scale::from_bytes(scale).ok_or(CodeError::Scale)?;
        into.extend(codes.iter().map(|&code| scale.value(code)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_divide_the_row() {
        assert_eq!([64, 128, 512, 1_024, 2_560, 96, 640].map(group), [64, 128, 128, 128, 128, 96, 128]);
        assert_eq!([7, 131, 262].map(group), [7, 131, 262], "a prime has no group but itself");
    }

    proptest! {
        #[test]
        fn the_error_is_half_a_step(width in 1usize..300, positions in 1usize..10, bits in 2u32..=8, seed: u64) {
            let mut state = seed | 1;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            };
            let values: Vec<f32> = (0..width * positions).map(|_| random()).collect();
            let (mut codes, mut coded) = (Vec::new(), Vec::new());
            encode(&values, width, bits, &mut codes, &mut coded).unwrap();
            prop_assert_eq!(coded.len(), coded_len(width, positions, bits));
            let mut back = Vec::new();
            decode(&coded, width, positions, bits, &mut codes, &mut back).unwrap();
            prop_assert_eq!(back.len(), values.len());
            for (values, back) in values.chunks(group(width)).zip(back.chunks(group(width))) {
                let (low, high) = bounds(values);
                for (value, back) in values.iter().zip(back) {
                    prop_assert!((value - back).abs() <= 0.501 * (high - low) / levels(bits) + 0.002);
                }
            }
        }
    }

    #[test]
    fn no_number_is_said() {
        let (mut codes, mut coded) = (Vec::new(), Vec::new());
        assert!(encode(&[0.0, f32::NAN, 1.0], 3, 4, &mut codes, &mut coded).is_none());
    }
}
