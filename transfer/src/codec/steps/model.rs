//! What the entropy coder expects of a plane's channels: where each one's codes lie and how far they spread.
//!
//! A plane's model is written once and holds for the following parts of its layer until another is written. It changes how
//! many bits the codes take, and never what they are.

use super::{super::part::CodeError, instructions::by_instructions, rans};

/// Codes of one class spread by less than this many steps; of channels that spread further the low bits go apart.
const LAST_CLASS: u8 = rans::CLASSES as u8 - 1;
/// Largest spread that a code of 16 bits can have, in quarter octaves.
const SPREAD_MAX: u8 = LAST_CLASS + 4 * 13;
/// Bits of a channel's model.
const CHANNEL_BITS: f64 = 16.0;

/// One channel of a plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// The code around which the others lie.
    center: i16,
    /// Standard deviation in quarter octaves: `2^((spread - 8) / 4)` steps.
    spread: u8,
}

impl Channel {
    /// Low bits that are written as they are.
    fn shift(self) -> u32 {
        u32::from(self.spread.saturating_sub(LAST_CLASS).div_ceil(4))
    }

    /// The class of what is left.
    fn class(self) -> u32 {
        u32::from(self.spread) - 4 * self.shift()
    }

    fn deviation(self) -> f64 {
        ((f64::from(self.spread) - 8.0) / 4.0).exp2()
    }

    /// Bits of a code under this model, but for a constant.
    fn bits(self, sums: Sums, count: f64) -> f64 {
        let deviation = self.deviation();
        deviation.log2()
            + sums.variance(self.center.into(), count) / (deviation * deviation * 2.0 * std::f64::consts::LN_2)
    }
}

/// Sums over a channel's codes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    sum: i64,
    squares: i64,
}

impl Sums {
    /// Mean square distance from `center`.
    fn variance(self, center: f64, count: f64) -> f64 {
        (self.squares as f64 - 2.0 * center * self.sum as f64) / count + center * center
    }

    fn channel(self, count: f64) -> Channel {
        let center = (self.sum as f64 / count).round();
        // Rounding to whole steps has added a twelfth.
        let variance = (self.variance(center, count) - 1.0 / 12.0).max(1.0 / 256.0);
        let spread = (variance.log2() * 2.0 + 8.0).round().clamp(0.0, SPREAD_MAX.into());
        Channel { center: center as i16, spread: spread as u8 }
    }
}

/// Sums of each of `width` channels of codes `[positions, width]`.
pub fn sums(codes: &[i16], width: usize, into: &mut Vec<Sums>) {
    let (mut sum, mut squares) = (vec![0; width], vec![0; width]);
    add_rows(codes, &mut sum, &mut squares);
    into.clear();
    into.extend(sum.into_iter().zip(squares).map(|(sum, squares)| Sums { sum, squares }));
}

by_instructions! {
    fn add_rows(codes: &[i16], sum: &mut [i64], squares: &mut [i64]) {
        for row in codes.chunks_exact(sum.len()) {
            for ((sum, squares), &code) in sum.iter_mut().zip(&mut *squares).zip(row) {
                let code = i32::from(code);
                *sum += i64::from(code);
                *squares += i64::from(code * code);
            }
        }
    }
}

/// Models of a plane's channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaneModel {
    /// Channels in order; empty: none was written yet.
    pub channels: Vec<Channel>,
    /// Their classes, as [`rans::Run`] wants them.
    pub classes: Vec<u32>,
    /// Their centres.
    pub centers: Vec<i32>,
    /// How many low bits of each are written apart.
    pub shifts: Vec<u32>,
}

/// Models of keys and of values of one layer, as far as a shipment has come.
#[derive(Clone, Debug, Default)]
pub struct LayerModels {
    /// Keys, values.
    pub planes: [PlaneModel; 2],
}

impl PlaneModel {
    fn of(channels: Vec<Channel>) -> Self {
        let classes: Vec<u32> = channels.iter().map(|channel| channel.class()).collect();
        let centers = channels.iter().map(|channel| channel.center.into()).collect();
        let shifts = channels.iter().map(|channel| channel.shift()).collect();
        Self { classes: rans::repeated(&classes), centers, shifts, channels }
    }

    /// Becomes the model of these codes where that is worth writing it. Says whether it did.
    pub fn adapt(&mut self, sums: &[Sums], positions: usize) -> bool {
        let count = positions as f64;
        let new: Vec<Channel> = sums.iter().map(|sums| sums.channel(count)).collect();
        if self.channels.len() == new.len() {
            let saved =
                |((old, new), sums): ((&Channel, &Channel), &Sums)| old.bits(*sums, count) - new.bits(*sums, count);
            let saved: f64 = self.channels.iter().zip(&new).zip(sums).map(saved).sum();
            if saved * count < CHANNEL_BITS * sums.len() as f64 {
                return false;
            }
        }
        *self = Self::of(new);
        true
    }

    /// Appends the model: whether centers take two bytes, centers, spreads.
    pub fn write(&self, into: &mut Vec<u8>) {
        let is_wide = self.channels.iter().any(|channel| i8::try_from(channel.center).is_err());
        into.push(is_wide.into());
        for channel in &self.channels {
            if is_wide {
                into.extend_from_slice(&channel.center.to_le_bytes());
            } else {
                into.push(channel.center as u8);
            }
        }
        into.extend(self.channels.iter().map(|channel| channel.spread));
    }

    /// Reads a model of `width` channels; returns it with what is behind it.
    pub fn read(bytes: &[u8], width: usize) -> Result<(Self, &[u8]), CodeError> {
        let (&is_wide, rest) = bytes.split_first().ok_or(CodeError::Short)?;
        let bytes_each = match is_wide {
            0 => 1,
            1 => 2,
            _ => return Err(CodeError::Form),
        };
        let (centers, rest) = rest.split_at_checked(bytes_each * width).ok_or(CodeError::Short)?;
        let (spreads, rest) = rest.split_at_checked(width).ok_or(CodeError::Short)?;
        let center = |bytes: &[u8]| match *bytes {
            [low, high] => i16::from_le_bytes([low, high]),
            [one] => i16::from(one as i8),
            _ => 0,
        };
        if spreads.iter().any(|&spread| spread > SPREAD_MAX) {
            return Err(CodeError::Form);
        }
        let channels = centers.chunks_exact(bytes_each).zip(spreads);
        Ok((Self::of(channels.map(|(bytes, &spread)| Channel { center: center(bytes), spread }).collect()), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wide_channels_leave_their_low_bits() {
        let of = |spread| Channel { center: 0, spread };
        assert_eq!(
            [0, 19, 20, 23, 24].map(|spread| (of(spread).class(), of(spread).shift())),
            [(0, 0), (19, 0), (16, 1), (19, 1), (16, 2)]
        );
    }

    #[test]
    fn a_model_stays_while_it_fits() {
        let codes = |center: i16| -> Vec<i16> { (0..64).flat_map(|i| [center + i % 5, 3 - i % 7]).collect() };
        let (mut model, mut found) = (PlaneModel::default(), Vec::new());
        let mut adapt = |center| {
            sums(&codes(center), 2, &mut found);
            model.adapt(&found, 64)
        };
        assert_eq!([adapt(100), adapt(100), adapt(101), adapt(-3000), adapt(-3000)], [true, false, false, true, false]);
    }

    proptest! {
        #[test]
        fn models_round_trip(channels in prop::collection::vec((any::<i16>(), 0..=SPREAD_MAX), 1..40), is_narrow: bool) {
            let channel = |(center, spread): (i16, u8)| Channel { center: if is_narrow { center / 256 } else { center }, spread };
            let model = PlaneModel::of(channels.into_iter().map(channel).collect());
            let mut bytes = Vec::new();
            model.write(&mut bytes);
            bytes.push(9);
            let (back, rest) = PlaneModel::read(&bytes, model.channels.len()).unwrap();
            prop_assert_eq!((back, rest), (model, &[9u8][..]));
        }
    }
}
