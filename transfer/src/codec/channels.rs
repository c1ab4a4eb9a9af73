//! K: each channel has its smallest value and a step, over the positions of the part.
//!
//! Scales are `width` pairs (smallest value, step) as f16; codes `[positions, width]`. A value is
//! `smallest + code x step`.

use half::f16;

use super::{convert::all_finite, part::CodeError};

/// Bytes of a smallest value and a step.
pub const SCALE_BYTES: usize = 4;
/// With so many bits or fewer it pays to cut ranges.
pub const CUT_BITS_MAX: u32 = 2;
/// Shares of the range that are tried to be cut off at each end.
pub const CUTS: [f32; 4] = [0.05, 0.1, 0.15, 0.2];

/// Bytes of the scales.
pub fn scales_len(width: usize) -> usize {
    width * SCALE_BYTES
}

/// Appends the scales of `values`, `[positions, width]`, and gives their codes. `None`, and nothing that counts: a value is
/// beyond f16.
pub fn encode(values: &[f32], width: usize, bits: u32, codes: &mut Vec<u8>, into: &mut Vec<u8>) -> Option<()> {
    if !all_finite(values) {
        return None;
    }
    let (mut low, mut high) = (vec![f32::INFINITY; width], vec![f32::NEG_INFINITY; width]);
    for row in values.chunks_exact(width) {
        for ((low, high), &value) in low.iter_mut().zip(&mut high).zip(row) {
            *low = low.min(value);
            *high = high.max(value);
        }
    }
    let scales = fitted(values, width, bits, &low, &high)?;
    into.extend(scales.iter().flat_map(|scale| scale.to_bytes()));
    let levels = levels(bits);
    codes.clear();
    for row in values.chunks_exact(width) {
        codes.extend(row.iter().zip(&scales).map(|(&value, scale)| scale.code(value, levels)));
    }
    Some(())
}

/// The scales under which values lose least: of few bits the outermost codes are worth more inside the range than at its
/// ends, so some of the range is cut.
fn fitted(values: &[f32], width: usize, bits: u32, low: &[f32], high: &[f32]) -> Option<Vec<Scale>> {
    let over = |cut: f32| -> Option<Vec<Scale>> {
        let one = |(&low, &high): (&f32, &f32)| {
            let cut = (high - low) * cut;
            Scale::over(low + cut, high - cut, bits)
        };
        low.iter().zip(high).map(one).collect()
    };
    let mut best = over(0.0)?;
    if bits > CUT_BITS_MAX {
        return Some(best);
    }
    let mut least = errors(values, width, bits, &best);
    for cut in CUTS {
        let other = over(cut)?;
        let found = errors(values, width, bits, &other);
        for (((best, least), other), found) in best.iter_mut().zip(&mut least).zip(other).zip(found) {
            if found < *least {
                (*best, *least) = (other, found);
            }
        }
    }
    Some(best)
}

/// Squared errors of each channel.
fn errors(values: &[f32], width: usize, bits: u32, scales: &[Scale]) -> Vec<f32> {
    let levels = levels(bits);
    let mut errors = vec![0.0; width];
    for row in values.chunks_exact(width) {
        for ((error, &value), scale) in errors.iter_mut().zip(row).zip(scales) {
            let lost = value - scale.value(scale.code(value, levels));
            *error += lost * lost;
        }
    }
    errors
}

/// Appends the values of codes, given the scales' bytes.
pub fn decode(scales: &[u8], codes: &[u8], width: usize, into: &mut Vec<f32>) -> Result<(), CodeError> {
    let scales: Vec<Scale> = scales.chunks_exact(SCALE_BYTES).map(Scale::from_bytes).collect::<Option<_>>().ok_or(CodeError::Scale)?;
    for row in codes.chunks_exact(width) {
        into.extend(row.iter().zip(&scales).map(|(&code, scale)| scale.value(code)));
    }
    Ok(())
}

/// Largest code.
pub fn levels(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

/// A smallest value and a step, both as f16 holds them.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f32,
    step: f32,
    /// 1 / step; 0 where all values are the same.
    inverse: f32,
}

impl Scale {
    /// Covers `low..=high` with codes of so many bits; none: not in f16.
    pub fn over(low: f32, high: f32, bits: u32) -> Option<Scale> {
        let (limit_low, limit_high) = (f16::MIN.to_f32(), f16::MAX.to_f32());
        if !(low >= limit_low && high <= limit_high) {
            return None;
        }
        let low = at_most(low);
        let step = f16::from_f32((high - low) / levels(bits)).to_f32();
        // The range from end to end of f16 has a step that f16 holds too.
        Some(Scale { low, step, inverse: if step > 0.0 { 1.0 / step } else { 0.0 } })
    }

    /// The code of a value, `levels` being the largest.
    pub fn code(&self, value: f32, levels: f32) -> u8 {
        // Rounds to the nearest; a cast stops at 0 by itself.
        ((value - self.low) * self.inverse + 0.5).min(levels) as u8
    }

    /// What a code stands for.
    pub fn value(&self, code: u8) -> f32 {
        self.low + f32::from(code) * self.step
    }

    /// As on the wire.
    pub fn to_bytes(self) -> [u8; SCALE_BYTES] {
        let (low, step) = (f16::from_f32(self.low).to_le_bytes(), f16::from_f32(self.step).to_le_bytes());
        [low[0], low[1], step[0], step[1]]
    }

    /// From the wire; none: no numbers.
    pub fn from_bytes(bytes: &[u8]) -> Option<Scale> {
        let &[a, b, c, d] = bytes else { return None };
        let (low, step) = (f16::from_le_bytes([a, b]).to_f32(), f16::from_le_bytes([c, d]).to_f32());
        (low.is_finite() && step.is_finite()).then_some(Scale { low, step, inverse: 0.0 })
    }
}

/// The largest f16 that is not above `value`.
fn at_most(value: f32) -> f32 {
    let near = f16::from_f32(value);
    if near.to_f32() <= value {
        return near.to_f32();
    }
    let bits = near.to_bits();
    let below = match bits {
        0 => 0x8001,
        bits if bits & 0x8000 == 0 => bits - 1,
        bits => bits + 1,
    };
    f16::from_bits(below).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_error_is_half_a_step(
            width in 1usize..20, positions in 1usize..40, bits in 2u32..=8, offset in -50f32..50.0, spread in 0.001f32..100.0, seed: u64,
        ) {
            let mut state = seed | 1;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 24) as f32
            };
            let values: Vec<f32> = (0..width * positions).map(|_| offset + spread * random()).collect();
            let (mut codes, mut coded) = (Vec::new(), Vec::new());
            encode(&values, width, bits, &mut codes, &mut coded).unwrap();
            prop_assert_eq!((coded.len(), codes.len()), (scales_len(width), width * positions));
            let mut back = Vec::new();
            decode(&coded, &codes, width, &mut back).unwrap();
            // f16 holds the smallest value to a thousandth of itself, and the step to a thousandth.
            let step = (spread + (offset.abs() + spread) / 1_000.0) / levels(bits);
            for (value, back) in values.iter().zip(&back) {
                // Where ranges are cut, the ends lose more and all together less.
                let cut = if bits <= CUT_BITS_MAX { 0.2 * spread } else { 0.0 };
                prop_assert!((value - back).abs() <= 0.5 * step + 0.002 * spread + cut + 1e-6, "{value} {back} {step}");
            }
        }

        #[test]
        fn at_most_is_at_most_and_near(value in -60_000f32..60_000.0) {
            let low = at_most(value);
            prop_assert!(low <= value && value - low <= value.abs() / 500.0 + 1e-6);
        }
    }

    #[test]
    fn what_f16_cannot_hold_is_said() {
        let (mut codes, mut coded) = (Vec::new(), Vec::new());
        for value in [70_000.0, -70_000.0, f32::NAN, f32::INFINITY] {
            assert!(encode(&[0.0, value], 1, 4, &mut codes, &mut coded).is_none());
        }
        assert!(Scale::from_bytes(&[0, 0x7c, 0, 0]).is_none());
    }
}
