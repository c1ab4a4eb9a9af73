//! The scale and the tables of the entropy coder.

use std::sync::LazyLock;

use crate::codec::steps::frequencies::FREQUENCIES;

/// Number of interleaved lanes.
pub const LANES: usize = 32;
/// Scale of probabilities: they are shares of `1 << SCALE_BITS`.
pub const SCALE_BITS: u32 = 11;
/// Lowest state of a lane: states lie in `LOWEST..LOWEST << 16`.
pub const LOWEST: u32 = 1 << 15;
/// Number of symbols of a class.
pub const SYMBOLS: usize = 64;
/// Number of spread classes.
pub const CLASSES: usize = FREQUENCIES.len();

/// Decoding table entry of a slot of a class, packed into 32 bits: frequency, bias and symbol.
#[derive(Clone, Copy)]
pub struct Slot(pub u32);

impl Slot {
    fn new(frequency: u32, bias: u32, symbol: u32) -> Self {
        Slot(frequency | bias << 12 | symbol << 23)
    }

    pub fn frequency(self) -> u32 {
        self.0 & 0xfff
    }

    pub fn bias(self) -> u32 {
        self.0 >> 12 & 0x7ff
    }

    pub fn symbol(self) -> u8 {
        (self.0 >> 23) as u8
    }
}

/// Encoding table entry of a symbol of a class, packed into 32 bits: frequency, shift and bias. The reciprocal of the
/// frequency is in a table of its own.
#[derive(Clone, Copy)]
pub struct Share(pub u32);

impl Share {
    fn new(frequency: u32, shift: u32, bias: u32) -> Self {
        Share(frequency | shift << 12 | bias << 16)
    }

    pub fn frequency(self) -> u32 {
        self.0 & 0xfff
    }

    /// Right shift of the high half of the product with the reciprocal, which gives the quotient.
    pub fn shift(self) -> u32 {
        self.0 >> 12 & 0xf
    }

    /// Term that is added to the state, besides the quotient times the complement of the frequency.
    pub fn bias(self) -> u32 {
        self.0 >> 16
    }
}

/// Tables for coding. Division by a frequency is a multiplication with its reciprocal (Alverson 1991).
pub struct Tables {
    /// Decoding entries ([`Slot`]), `[class][slot]`.
    pub slots: Vec<u32>,
    /// Encoding entries ([`Share`]), `[class][symbol]`.
    pub shares: Vec<u32>,
    /// Reciprocals of the frequencies, `[class][symbol]`.
    pub reciprocals: Vec<u32>,
}

pub static TABLES: LazyLock<Tables> = LazyLock::new(Tables::new);

impl Tables {
    fn new() -> Self {
        let total = 1u32 << SCALE_BITS;
        let mut tables = Tables {
            slots: Vec::with_capacity(CLASSES << SCALE_BITS),
            shares: Vec::with_capacity(CLASSES * SYMBOLS),
            reciprocals: Vec::with_capacity(CLASSES * SYMBOLS),
        };
        for class in &FREQUENCIES {
            let mut start = 0;
            for (symbol, &frequency) in (0u32..).zip(class) {
                let frequency = u32::from(frequency);
                tables.slots.extend((0..frequency).map(|bias| Slot::new(frequency, bias, symbol).0));
                let (reciprocal, shift, bias) = match frequency {
                    // With this reciprocal the quotient is `x - 1`, which the bias corrects.
                    1 => (u32::MAX, 0, start + total - 1),
                    _ => {
                        let shift = u32::BITS - (frequency - 1).leading_zeros();
                        let reciprocal = (1u64 << (shift + 31)).div_ceil(frequency.into());
                        (reciprocal as u32, shift - 1, start)
                    }
                };
                tables.shares.push(Share::new(frequency, shift, bias).0);
                tables.reciprocals.push(reciprocal);
                start += frequency;
            }
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_fill_the_scale() {
        for class in FREQUENCIES {
            assert_eq!(class.iter().map(|&frequency| u32::from(frequency)).sum::<u32>(), 1 << SCALE_BITS);
            assert!(class.iter().all(|&frequency| frequency > 0));
        }
    }

    #[test]
    fn multiplying_by_the_reciprocal_divides() {
        let tables = &*TABLES;
        for at in 0..CLASSES * SYMBOLS {
            let share = Share(tables.shares[at]);
            let frequency = share.frequency();
            if frequency == 1 {
                continue;
            }
            for state in [0, 1, frequency - 1, frequency, 77_777, 0x7fff_ffff, 0x7fff_fffe, 123_456_789] {
                let high = ((u64::from(state) * u64::from(tables.reciprocals[at])) >> 32) as u32;
                assert_eq!(high >> share.shift(), state / frequency, "{state} / {frequency}");
            }
        }
    }
}
