//! How fine steps are.

use std::{fmt, str::FromStr};

/// Fineness of steps in quarters of a bit: about how many bits a value takes, times four. One more makes steps
/// `2^(-1/4)` as large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grain(u8);

/// No such grain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` bits are not a multiple of 0.25 from {min} to {max}", min = Grain::COARSEST.bits(), max = Grain::FINEST.bits())]
pub struct NoGrain(pub String);

impl Grain {
    /// Two bits a value.
    pub const COARSEST: Grain = Grain(8);
    /// Ten bits a value.
    pub const FINEST: Grain = Grain(40);

    /// The grain of so many quarters of a bit.
    pub const fn of_quarters(quarters: u8) -> Option<Grain> {
        if quarters < Self::COARSEST.0 || quarters > Self::FINEST.0 { None } else { Some(Grain(quarters)) }
    }

    /// The grain of about so many bits a value, a multiple of a quarter.
    pub fn of_bits(bits: f64) -> Option<Grain> {
        let quarters = bits * 4.0;
        let is_whole = quarters.fract() == 0.0 && (0.0..256.0).contains(&quarters);
        if is_whole { Self::of_quarters(quarters as u8) } else { None }
    }

    /// Quarters of a bit.
    pub const fn quarters(self) -> u8 {
        self.0
    }

    /// Bits a value, about.
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
