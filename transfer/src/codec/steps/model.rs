//! The entropy coder's model of a plane's channels: the centre of each channel's codes and their spread.
//!
//! A plane's model is written with a part and holds for the following parts of its layer until another one is written.
//! It changes how many bits the codes take, never the codes themselves.

use super::{super::error::CodeError, instructions::by_instructions, low_bits::LowBits, rans};

/// The class of widest spread. Channels that spread further have their low bits stored apart.
const LAST_CLASS: u8 = rans::CLASSES as u8 - 1;
/// Largest spread of a channel's 16-bit codes, in quarter octaves.
const SPREAD_MAX: u8 = LAST_CLASS + 4 * 13;
/// Approximate bits that writing one channel's model takes.
const CHANNEL_BITS: f32 = 16.0;

/// Model of one channel of a plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Centre of the channel's codes.
    center: i16,
    /// Standard deviation of the codes in quarter octaves: `2^((spread - 8) / 4)` steps.
    spread: u8,
}

impl Channel {
    /// Number of low bits that are stored apart, uncoded.
    fn shift(self) -> u32 {
        u32::from(self.spread.saturating_sub(LAST_CLASS).div_ceil(4))
    }

    /// Spread class of the codes without those low bits.
    fn class(self) -> u32 {
        u32::from(self.spread) - 4 * self.shift()
    }

    /// Bits of a code under this model, up to an additive constant.
    fn bits(self, sums: Sums, inverse_count: f32) -> f32 {
        let eighths = i32::from(self.spread) - 8;
        sums.variance(self.center, inverse_count) * half_octaves(-eighths) * HALF_OF_LOG2_E + eighths as f32 / 4.0
    }
}

/// Factor in a code's bits, which are `log2(deviation) + variance / deviation^2 x log2(e) / 2`.
const HALF_OF_LOG2_E: f32 = 0.5 * std::f32::consts::LOG2_E;

/// The power `2^(halves / 2)`.
#[inline(always)]
fn half_octaves(halves: i32) -> f32 {
    let octave = f32::from_bits(((halves.div_euclid(2) + 127) as u32) << 23);
    if halves.rem_euclid(2) == 1 { octave * std::f32::consts::SQRT_2 } else { octave }
}

/// Sums over a channel's codes, taken as distances from the first code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    first: i16,
    sum: i32,
    squares: f32,
}

impl Sums {
    /// Mean square distance from `center`.
    #[inline(always)]
    fn variance(self, center: i16, inverse_count: f32) -> f32 {
        let away = (i32::from(center) - i32::from(self.first)) as f32;
        let mean = self.sum as f32 * inverse_count;
        (self.squares * inverse_count - 2.0 * away * mean + away * away).max(0.0)
    }

    #[inline(always)]
    fn channel(self, inverse_count: f32) -> Channel {
        let center = (i32::from(self.first) as f32 + self.sum as f32 * inverse_count).round_ties_even() as i16;
        // Rounding to whole steps has added 1/12 to the variance.
        let variance = (self.variance(center, inverse_count) - 1.0 / 12.0).max(1.0 / 256.0);
        // A quarter octave of the deviation is a half octave of the variance; a factor of 2^(1/4) makes truncation
        // round to the nearest.
        let bits = (variance * HALF_OF_A_HALF_OCTAVE).to_bits();
        let halves = 2 * ((bits >> 23) as i32 - 127) + i32::from(bits & 0x7f_ffff >= SQRT_2_BITS);
        Channel { center, spread: (halves + 8).clamp(0, SPREAD_MAX.into()) as u8 }
    }
}

/// The factor `2^(1/4)`, half of a half octave.
const HALF_OF_A_HALF_OCTAVE: f32 = 1.189_207_1;
/// Mantissa of the square root of two.
const SQRT_2_BITS: u32 = std::f32::consts::SQRT_2.to_bits() & 0x7f_ffff;

/// Number of channels whose sums are kept in registers at a time.
const BLOCK: usize = 32;

by_instructions! {
    /// Sums of each of `into.len()` channels of codes `[positions, width]`.
    pub fn add_up(codes: &[i16], into: &mut [Sums]) {
        let width = into.len();
        let Some(first) = codes.get(..width) else {
            into.fill(Sums::default());
            return;
        };
        for (block, into) in into.chunks_mut(BLOCK).enumerate() {
            let at = block * BLOCK;
            let (mut sum, mut squares) = ([0; BLOCK], [0.0; BLOCK]);
            match first[at..].first_chunk::<BLOCK>() {
                Some(first) => for row in codes.chunks_exact(width) {
                    let Some(row) = row[at..].first_chunk::<BLOCK>() else { continue };
                    add_row(row, first, &mut sum, &mut squares);
                },
                None => for row in codes.chunks_exact(width) {
                    add_row(&row[at..], &first[at..], &mut sum, &mut squares);
                },
            }
            for (((into, &first), sum), squares) in into.iter_mut().zip(&first[at..]).zip(sum).zip(squares) {
                *into = Sums { first, sum, squares };
            }
        }
    }
}

#[inline(always)]
fn add_row(row: &[i16], first: &[i16], sum: &mut [i32; BLOCK], squares: &mut [f32; BLOCK]) {
    for (((sum, squares), code), first) in sum.iter_mut().zip(squares).zip(row).zip(first) {
        let away = i32::from(*code) - i32::from(*first);
        *sum += away;
        *squares += away as f32 * away as f32;
    }
}

/// Sums of each of `width` channels of codes `[positions, width]`.
pub fn sums(codes: &[i16], width: usize, into: &mut Vec<Sums>) {
    into.resize(width, Sums::default());
    add_up(codes, into);
}

by_instructions! {
    /// Derives channel models from sums, and adds to `saved` how many bits fewer each position takes under them than
    /// under `old`, if there are old ones.
    fn channels_of(sums: &[Sums], inverse_count: f32, old: &[Channel], new: &mut [Channel], saved: &mut f32) {
        for (new, sums) in new.iter_mut().zip(sums) {
            *new = sums.channel(inverse_count);
        }
        for ((old, new), sums) in old.iter().zip(&*new).zip(sums) {
            *saved += old.bits(*sums, inverse_count) - new.bits(*sums, inverse_count);
        }
    }
}

/// Model of a plane: its channels, and tables derived from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaneModel {
    /// Channels in order; empty if no model was written yet.
    pub channels: Vec<Channel>,
    /// Classes of the channels, in the form of [`rans::Run`].
    pub classes: Vec<u32>,
    /// Centres of the channels.
    pub centers: Vec<i16>,
    /// Number of low bits of each channel that are stored apart.
    pub shifts: Vec<u32>,
    /// Layout of the low bits.
    pub low_bits: LowBits,
}

/// Current models of the keys and the values of one layer, at this point of a shipment.
#[derive(Clone, Debug, Default)]
pub struct LayerModels {
    /// The models of keys and of values.
    pub planes: [PlaneModel; 2],
}

impl PlaneModel {
    fn of(channels: Vec<Channel>) -> Self {
        let classes: Vec<u32> = channels.iter().map(|channel| channel.class()).collect();
        let centers = channels.iter().map(|channel| channel.center).collect();
        let shifts: Vec<u32> = channels.iter().map(|channel| channel.shift()).collect();
        let low_bits = LowBits::of(&shifts);
        Self { classes: rans::repeated(&classes), centers, shifts, low_bits, channels }
    }

    /// Replaces the model by that of the given sums if the saved bits are worth writing it. Returns whether it did.
    pub fn adapt(&mut self, sums: &[Sums], positions: usize) -> bool {
        let mut new = vec![Channel::default(); sums.len()];
        let (inverse_count, mut saved) = (1.0 / positions.max(1) as f32, 0.0);
        channels_of(sums, inverse_count, &self.channels, &mut new, &mut saved);
        if self.channels.len() == new.len() && saved * (positions as f32) < CHANNEL_BITS * sums.len() as f32 {
            return false;
        }
        *self = Self::of(new);
        true
    }

    /// Appends the model: a byte that says whether centres take two bytes, the centres, the spreads.
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

    /// Reads a model of `width` channels; returns it with the rest of the bytes.
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
