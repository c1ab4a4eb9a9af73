//! V: each group of values of one position has its smallest value and a step.
//!
//! Scales are a pair (smallest value, step) as f16 for each position's groups, `[positions, groups]`; codes
//! `[positions, width]`.

use super::{
    convert::all_finite,
    channels::{CUT_BITS_MAX, CUTS, SCALE_BYTES, Scale, levels},
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

/// Bytes of the scales.
pub fn scales_len(width: usize, positions: usize) -> usize {
    positions * (width / group(width).max(1)) * SCALE_BYTES
}

/// Appends the scales of `values`, `[positions, width]`, and gives their codes. `None`, and nothing that counts: a value is
/// beyond f16.
pub fn encode(values: &[f32], width: usize, bits: u32, codes: &mut Vec<u8>, into: &mut Vec<u8>) -> Option<()> {
    if !all_finite(values) {
        return None;
    }
    let levels = levels(bits);
    codes.clear();
    for group in values.chunks_exact(group(width)) {
        let (low, high) = bounds(group);
        let scale = fitted(group, (low, high), bits)?;
        into.extend_from_slice(&scale.to_bytes());
        codes.extend(group.iter().map(|&value| scale.code(value, levels)));
    }
    Some(())
}

/// The scale under which values lose least; see [`super::channels`].
fn fitted(values: &[f32], (low, high): (f32, f32), bits: u32) -> Option<Scale> {
    let whole = Scale::over(low, high, bits)?;
    if bits > CUT_BITS_MAX {
        return Some(whole);
    }
    let levels = levels(bits);
    let error = |scale: &Scale| -> f32 {
        values.iter().map(|&value| (value - scale.value(scale.code(value, levels))).powi(2)).sum()
    };
    let cut = |cut: &f32| {
        let cut = (high - low) * cut;
        Scale::over(low + cut, high - cut, bits)
    };
    let mut best = (error(&whole), whole);
    for scale in CUTS.iter().filter_map(cut) {
        let found = error(&scale);
        if found < best.0 {
            best = (found, scale);
        }
    }
    Some(best.1)
}

fn bounds(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

/// Appends the values of codes, given the scales' bytes.
pub fn decode(scales: &[u8], codes: &[u8], width: usize, into: &mut Vec<f32>) -> Result<(), CodeError> {
    let group = group(width);
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
            prop_assert_eq!((coded.len(), codes.len()), (scales_len(width, positions), width * positions));
            let mut back = Vec::new();
            decode(&coded, &codes, width, &mut back).unwrap();
            prop_assert_eq!(back.len(), values.len());
            for (values, back) in values.chunks(group(width)).zip(back.chunks(group(width))) {
                let (low, high) = bounds(values);
                for (value, back) in values.iter().zip(back) {
                    let cut = if bits <= CUT_BITS_MAX { 0.2 * (high - low) } else { 0.0 };
                    prop_assert!((value - back).abs() <= 0.501 * (high - low) / levels(bits) + cut + 0.002);
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
