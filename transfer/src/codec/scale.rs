//! Scales: the smallest value and the step between two codes, and how they are written.
//!
//! | written | bytes | smallest value | step | for |
//! |---|---|---|---|---|
//! | long | 4 | f16, rounded down | f16 | anything within f16 |
//! | middle | 3 | f16, rounded down | as short | anything within f16 |
//! | short | 2 | eighths of a step (i8), rounded down | 2^((c - 192) / 12), rounded up (u8) | ranges that are near zero, as V's are |

use half::f16;

/// Steps of the logarithmic scale to a doubling: each is 6 % more than the one before it.
const PER_DOUBLING: f32 = 12.0;
/// The code of a step of 1: steps from 1/65,000 to 38 have one.
const CODE_OF_ONE: f32 = 192.0;
/// Parts of a step in which a short scale's smallest value is written.
const PARTS: f32 = 8.0;

/// How scales are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Two f16.
    Long,
    /// f16 and a byte.
    Middle,
    /// Two bytes.
    Short,
}

impl Width {
    /// Bytes of a scale.
    pub fn bytes(self) -> usize {
        match self {
            Width::Long => 4,
            Width::Middle => 3,
            Width::Short => 2,
        }
    }
}

/// A smallest value and a step, exactly as they are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f32,
    step: f32,
    /// 1 / step; 0 where all values are the same.
    inverse: f32,
}

impl Scale {
    /// Covers `low..=high` with codes up to `levels`; none: it cannot be written so.
    pub fn over(low: f32, high: f32, levels: f32, width: Width) -> Option<Scale> {
        let (limit_low, limit_high) = (f16::MIN.to_f32(), f16::MAX.to_f32());
        if !(low >= limit_low && high <= limit_high) {
            return None;
        }
        let (low, step) = match width {
            Width::Long => {
                let low = at_most(low);
                (low, f16::from_f32((high - low) / levels).to_f32())
            }
            Width::Middle => {
                let low = at_most(low);
                (low, step_of(step_code((high - low) / levels)?))
            }
            Width::Short => short(low, high, levels)?,
        };
        Some(Scale::new(low, step))
    }

    fn new(low: f32, step: f32) -> Self {
        Scale { low, step, inverse: if step > 0.0 { 1.0 / step } else { 0.0 } }
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

    /// Appends it, written as it was made.
    pub fn write(&self, width: Width, into: &mut Vec<u8>) {
        match width {
            Width::Long => {
                into.extend_from_slice(&f16::from_f32(self.low).to_le_bytes());
                into.extend_from_slice(&f16::from_f32(self.step).to_le_bytes());
            }
            Width::Middle => {
                into.extend_from_slice(&f16::from_f32(self.low).to_le_bytes());
                into.push(step_code(self.step).unwrap_or(u8::MAX));
            }
            Width::Short => {
                let parts = if self.step > 0.0 { (self.low * PARTS / self.step).round() } else { 0.0 };
                into.push(parts as i8 as u8);
                into.push(step_code(self.step).unwrap_or(u8::MAX));
            }
        }
    }

    /// From the wire; none: no numbers.
    pub fn read(bytes: &[u8], width: Width) -> Option<Scale> {
        let (low, step) = match (width, bytes) {
            (Width::Long, &[a, b, c, d]) => (f16::from_le_bytes([a, b]).to_f32(), f16::from_le_bytes([c, d]).to_f32()),
            (Width::Middle, &[a, b, c]) => (f16::from_le_bytes([a, b]).to_f32(), step_of(c)),
            (Width::Short, &[a, b]) => {
                let step = step_of(b);
                (f32::from(a as i8) * step / PARTS, step)
            }
            _ => return None,
        };
        (low.is_finite() && step.is_finite()).then(|| Scale::new(low, step))
    }
}

/// The smallest value in eighths of the step, and the step, such that the range is covered.
fn short(low: f32, high: f32, levels: f32) -> Option<(f32, f32)> {
    // Rounding the smallest value down costs a part of a step, so a longer step may be needed.
    let mut code = step_code((high - low) / levels)?;
    for _ in 0..4 {
        let step = step_of(code);
        if step == 0.0 {
            return (low == 0.0).then_some((0.0, 0.0));
        }
        let parts = (low * PARTS / step).floor();
        if parts < f32::from(i8::MIN) || parts > f32::from(i8::MAX) {
            return None;
        }
        let low = parts * step / PARTS;
        // Half a step beyond the last code still rounds to it.
        if low + (levels + 0.25) * step >= high {
            return Some((low, step));
        }
        code = code.checked_add(1)?;
    }
    None
}

/// The code of the smallest step that is at least `step`; 0: none at all. `None`: it is beyond the codes, or so small that
/// the smallest of them would lose more than f16 does.
fn step_code(step: f32) -> Option<u8> {
    if step <= 0.0 {
        return Some(0);
    }
    // A step that is one of the scale's own is found again, whatever the logarithm rounds.
    let code = (step.log2() * PER_DOUBLING + CODE_OF_ONE - 0.001).ceil();
    (1.0..=255.0).contains(&code).then_some(code as u8)
}

fn step_of(code: u8) -> f32 {
    if code == 0 { 0.0 } else { ((f32::from(code) - CODE_OF_ONE) / PER_DOUBLING).exp2() }
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
        fn what_is_written_is_read_back_and_covers_the_range(
            low in -20f32..20.0, spread in 0f32..10.0, bits in 2u32..=8, width in prop::sample::select(vec![Width::Long, Width::Middle, Width::Short]),
        ) {
            let levels = ((1u32 << bits) - 1) as f32;
            let (high, mut bytes) = (low + spread, Vec::new());
            let Some(scale) = Scale::over(low, high, levels, width) else {
                prop_assert!(width != Width::Long);
                return Ok(());
            };
            scale.write(width, &mut bytes);
            prop_assert_eq!(bytes.len(), width.bytes());
            prop_assert_eq!(Scale::read(&bytes, width), Some(scale));
            let slack = 0.02 * (low.abs() + spread) / levels + 2e-5;
            prop_assert!(scale.low <= low);
            prop_assert!(scale.value(levels as u8) + 0.26 * scale.step + slack >= high);
            // Not much wider than it must be: a step by 6 %, twice where the smallest value was rounded too.
            prop_assert!(scale.step <= 1.2 * spread / levels + slack);
        }

        #[test]
        fn at_most_is_at_most_and_near(value in -60_000f32..60_000.0) {
            let low = at_most(value);
            prop_assert!(low <= value && value - low <= value.abs() / 500.0 + 1e-6);
        }
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        for value in [70_000.0, -70_000.0, f32::NAN, f32::INFINITY] {
            for width in [Width::Long, Width::Middle, Width::Short] {
                assert_eq!(Scale::over(value, value, 15.0, width), None);
            }
        }
        assert_eq!(Scale::over(100.0, 101.0, 7.0, Width::Short), None, "far from zero");
        assert_eq!(Scale::read(&[0, 0x7c, 0, 0], Width::Long), None);
        assert_eq!(Scale::over(0.0, 0.0, 7.0, Width::Short).map(|scale| scale.value(3)), Some(0.0));
    }
}
