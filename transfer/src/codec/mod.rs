//! Coding of the KV of a part: losslessly, or as whole numbers of steps.
//!
//! ```text
//! mod.rs       precision of a span
//! part.rs      one part: K and V of up to 128 positions of a layer, coded and decoded
//! error.rs     the error of decoding
//! convert.rs   values to f32 and back
//! planes.rs    lossless: exponents coded apart from sign and mantissa
//! pack.rs      packing of integers of a few bits
//! steps/       lossy: whole numbers of steps, entropy coded
//! ```

mod convert;
mod error;
mod pack;
mod part;
mod planes;
pub mod steps;

use secateur_proto::v1;

pub use error::CodeError;
pub use part::{LayerCoding, Layout, Packing, PartDecoder, PartEncoder, Plane, Rows, coded_bytes};
pub use planes::packing_rate;
pub use steps::{Grain, KvSteps};

/// Precision of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Lossless: every bit of the wire's dtype.
    Native,
    /// Lossy: whole numbers of steps of a grain.
    Steps(Grain),
}

impl Codec {
    /// Approximate bits per value; `None` if a value takes as many as its dtype has.
    pub fn bits(self) -> Option<f64> {
        match self {
            Codec::Native => None,
            Codec::Steps(grain) => Some(grain.bits()),
        }
    }

    /// The codec with about `bits` bits per value; lossless from 16 bits on. `None` if no grain has these bits.
    pub fn of_bits(bits: f64) -> Option<Codec> {
        if bits >= 16.0 { Some(Codec::Native) } else { Grain::of_bits(bits).map(Codec::Steps) }
    }

    /// The wire tag, and the grain in quarters of a bit.
    pub fn to_proto(self) -> (v1::Codec, u32) {
        match self {
            Codec::Native => (v1::Codec::Native, 0),
            Codec::Steps(grain) => (v1::Codec::Steps, grain.quarters().into()),
        }
    }

    /// The codec of a wire tag and grain; `None` if either is unknown or out of range.
    pub fn from_proto(tag: i32, quarters: u32) -> Option<Codec> {
        match v1::Codec::try_from(tag).ok()? {
            v1::Codec::Unspecified => None,
            v1::Codec::Native => (quarters == 0).then_some(Codec::Native),
            v1::Codec::Steps => Grain::of_quarters(quarters.try_into().ok()?).map(Codec::Steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_bits_round_trip() {
        for quarters in 8..=40 {
            let codec = Codec::of_bits(f64::from(quarters) / 4.0).unwrap();
            let (tag, grain) = codec.to_proto();
            assert_eq!((Codec::from_proto(tag as i32, grain), grain), (Some(codec), quarters));
        }
        assert_eq!(Codec::of_bits(16.0), Some(Codec::Native));
        assert_eq!(Codec::from_proto(v1::Codec::Native as i32, 0), Some(Codec::Native));
        for (tag, grain) in [(0, 16), (77, 16), (1, 16), (6, 7), (6, 41), (6, 1 << 20)] {
            assert_eq!(Codec::from_proto(tag, grain), None, "{tag} {grain}");
        }
        assert_eq!((Codec::of_bits(5.1), Codec::of_bits(0.0), Codec::of_bits(12.0)), (None, None, None));
    }
}
