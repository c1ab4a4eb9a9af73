//! How the KV of a part is coded: every bit, or integers with scales.
//!
//! ```text
//! mod.rs       precision of a span, and the form that a part takes
//! part.rs      one part: K and V of up to 128 positions of a layer, coded and read back
//! convert.rs   values to f32 and back
//! pack.rs      integers of a few bits, side by side
//! huffman.rs   the same, smaller
//! channels.rs  K: a scale for each channel over the part's positions
//! tokens.rs    V: a scale for each group of values of one position
//! planes.rs    lossless: exponents apart from the rest
//! ```
//!
//! Keys have channels that are far larger than others, the same at every position, so a scale per channel loses least;
//! values have no such channels, so a scale per position does (KIVI, arXiv 2402.02750, section 3).

mod channels;
mod convert;
mod huffman;
mod pack;
mod part;
mod planes;
mod tokens;

use secateur_proto::v1;

pub use planes::packing_rate;
pub use part::{CodeError, Layout, Packing, PartDecoder, PartEncoder, Plane, Rows, coded_bytes};

/// Precision of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Every bit of the wire's dtype.
    Native,
    /// Eight bits and scales.
    Int8,
    /// Four bits and scales.
    Int4,
    /// Three bits and scales.
    Int3,
    /// Two bits and scales.
    Int2,
}

impl Codec {
    /// Every codec, most precise first.
    pub const ALL: [Codec; 5] = [Codec::Native, Codec::Int8, Codec::Int4, Codec::Int3, Codec::Int2];

    /// Bits of a coded value, scales aside; none: as it is.
    pub fn bits(self) -> Option<u32> {
        match self {
            Codec::Native => None,
            Codec::Int8 => Some(8),
            Codec::Int4 => Some(4),
            Codec::Int3 => Some(3),
            Codec::Int2 => Some(2),
        }
    }

    /// The codec of so many bits; 16 and more: every bit.
    pub fn of_bits(bits: u8) -> Option<Codec> {
        match bits {
            16.. => Some(Codec::Native),
            _ => Codec::ALL.into_iter().find(|codec| codec.bits() == Some(bits.into())),
        }
    }

    /// The wire tag.
    pub fn to_proto(self) -> v1::Codec {
        match self {
            Codec::Native => v1::Codec::Native,
            Codec::Int8 => v1::Codec::Int8,
            Codec::Int4 => v1::Codec::Int4,
            Codec::Int3 => v1::Codec::Int3,
            Codec::Int2 => v1::Codec::Int2,
        }
    }

    /// From a wire tag; unknown tags have no codec.
    pub fn from_proto(tag: i32) -> Option<Codec> {
        match v1::Codec::try_from(tag).ok()? {
            v1::Codec::Unspecified => None,
            v1::Codec::Native => Some(Codec::Native),
            v1::Codec::Int8 => Some(Codec::Int8),
            v1::Codec::Int4 => Some(Codec::Int4),
            v1::Codec::Int3 => Some(Codec::Int3),
            v1::Codec::Int2 => Some(Codec::Int2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_bits_round_trip() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_proto(codec.to_proto() as i32), Some(codec));
            assert_eq!(Codec::of_bits(codec.bits().map_or(16, |bits| bits as u8)), Some(codec));
        }
        assert_eq!((Codec::from_proto(0), Codec::from_proto(77), Codec::of_bits(5)), (None, None, None));
    }
}
