//! Fineness of quantization steps.

use std::{fmt, str::FromStr};

/// Fineness of steps in quarters of a bit: four times the approximate bits per value. One quarter more makes steps
/// `2^(-1/4)` as large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grain(u8);

/// Error for a number of bits that is not a grain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` bits are not a multiple of 0.25 from {min} to {max}", min = Grain::COARSEST.bits(), max = Grain::FINEST.bits())]
pub struct NoGrain(pub String);

impl Grain {
    /// The coarsest grain: two bits per value.
    pub const COARSEST: Grain = Grain(8);
    /// The finest grain: ten bits per value.
    pub const FINEST: Grain = Grain(40);

    /// The grain of `quarters` quarters of a bit, if it is in range.
    pub const fn of_quarters(quarters: u8) -> Option<Grain> {
        if quarters < Self::COARSEST.0 || quarters > Self::FINEST.0 { None } else { Some(Grain(quarters)) }
    }

    /// The grain of about `bits` bits per value, if that is a multiple of a quarter and in range.
    pub fn of_bits(bits: f64) -> Option<Grain> {
        let quarters = bits * 4.0;
        let is_whole = quarters.fract() == 0.0 && (0.0..256.0).contains(&quarters);
        if is_whole { Self::of_quarters(quarters as u8) } else { None }
    }

    /// The grain in quarters of a bit.
    pub const fn quarters(self) -> u8 {
        self.0
    }

    /// Approximate bits per value.
    pub const fn bits(self) -> f64 {
        self.0 as f64 / 4.0
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.bits())
    }
}

impl FromStr for Grain {
    type Err = NoGrain;

    fn from_str(text: &str) -> Result<Self, NoGrain> {
        text.parse().ok().and_then(Grain::of_bits).ok_or_else(|| NoGrain(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_quarters_in_range() {
        assert_eq!("4.25".parse::<Grain>().map(Grain::quarters), Ok(17));
        assert_eq!(Grain::of_quarters(17).map(|grain| grain.to_string()).as_deref(), Some("4.25"));
        for wrong in ["4.3", "1.75", "10.25", "NaN", "-4", "four"] {
            assert_eq!(wrong.parse::<Grain>(), Err(NoGrain(wrong.to_owned())));
        }
    }
}
