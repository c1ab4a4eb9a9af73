//! Low bits of channels with a wide spread, stored apart from the entropy coder's symbols.
//!
//! They are one stream of bits, the first ones lowest: row by row, 64 channels at a time, bit 0 of each channel that
//! stores at least one low bit, then bit 1 of each that stores at least two, and so on. One bit of 64 channels is
//! gathered, or scattered, by one instruction.

use super::super::error::CodeError;

/// Number of channels that are treated together.
const GROUP: usize = 64;

/// Layout of the low bits of a plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LowBits {
    planes: Vec<Plane>,
    /// Number of low bits of one row.
    bits: usize,
}

/// One bit plane of a group: one bit of each of its channels that store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plane {
    /// The group's first channel.
    first: usize,
    bit: u32,
    /// Mask of the channels that store this bit; bit 0 is channel `first`.
    mask: u64,
}

impl LowBits {
    /// Layout for channels that store `shifts` low bits each.
    pub fn of(shifts: &[u32]) -> Self {
        let mut planes = Vec::new();
        for (group, shifts) in shifts.chunks(GROUP).enumerate() {
            for bit in 0..shifts.iter().copied().max().unwrap_or(0) {
                let has = |(at, shift): (usize, &u32)| u64::from(*shift > bit) << at;
                let mask = shifts.iter().enumerate().map(has).fold(0, |mask, bit| mask | bit);
                planes.push(Plane { first: group * GROUP, bit, mask });
            }
        }
        let bits = planes.iter().map(|plane| plane.mask.count_ones() as usize).sum();
        Self { planes, bits }
    }

    /// Number of low bits of `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        rows * self.bits
    }

    /// Appends the low bits of the distances of codes, `[rows, width]`, from their channels' centres.
    pub fn write(&self, codes: &[i16], centers: &[i16], writer: &mut BitWriter<'_>) {
        if self.bits == 0 {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if avx512::is_there() {
            // SAFETY: the processor has all features of `write`, checked by `is_there`.
            return unsafe { avx512::write(self, codes, centers, writer) };
        }
        self.write_by(codes, centers, writer, bit_of, extract);
    }

    /// Reads low bits and adds them to codes `[rows, width]`; `reader` must hold [`count`](Self::count) of them.
    pub fn read(&self, codes: &mut [i16], width: usize, reader: &mut BitReader<'_>) {
        if self.bits == 0 {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if avx512::is_there() {
            // SAFETY: the processor has all features of `read`, checked by `is_there`.
            return unsafe { avx512::read(self, codes, width, reader) };
        }
        self.read_by(codes, width, reader, deposit, add_bit);
    }

    #[inline(always)]
    fn write_by(
        &self,
        codes: &[i16],
        centers: &[i16],
        writer: &mut BitWriter<'_>,
        bit_of: impl Fn(&[i16], &[i16], u32) -> u64,
        extract: impl Fn(u64, u64) -> u64,
    ) {
        for row in codes.chunks_exact(centers.len()) {
            for plane in &self.planes {
                let end = centers.len().min(plane.first + GROUP);
                let bits = bit_of(&row[plane.first..end], &centers[plane.first..end], plane.bit);
                writer.append(extract(bits, plane.mask), plane.mask.count_ones());
            }
        }
    }

    #[inline(always)]
    fn read_by(
        &self,
        codes: &mut [i16],
        width: usize,
        reader: &mut BitReader<'_>,
        deposit: impl Fn(u64, u64) -> u64,
        add_bit: impl Fn(&mut [i16], u64, u32),
    ) {
        for row in codes.chunks_exact_mut(width) {
            for plane in &self.planes {
                let bits = deposit(reader.take(plane.mask.count_ones()), plane.mask);
                let end = width.min(plane.first + GROUP);
                add_bit(&mut row[plane.first..end], bits, plane.bit);
            }
        }
    }
}

/// One bit of each code's distance from its centre; the first code gives the lowest bit.
fn bit_of(codes: &[i16], centers: &[i16], bit: u32) -> u64 {
    let of = |(code, center): (&i16, &i16)| u64::from(code.wrapping_sub(*center) as u16 >> bit & 1);
    codes.iter().zip(centers).map(of).rev().fold(0, |bits, bit| bits << 1 | bit)
}

/// The bits of `bits` at the ones of `mask`, packed from the lowest bit on.
fn extract(bits: u64, mut mask: u64) -> u64 {
    let (mut found, mut at) = (0, 0);
    while mask != 0 {
        found |= (bits >> mask.trailing_zeros() & 1) << at;
        at += 1;
        mask &= mask - 1;
    }
    found
}

/// The lowest bits of `bits`, spread to the ones of `mask`.
fn deposit(bits: u64, mut mask: u64) -> u64 {
    let (mut found, mut at) = (0, 0);
    while mask != 0 {
        found |= (bits >> at & 1) << mask.trailing_zeros();
        at += 1;
        mask &= mask - 1;
    }
    found
}

fn add_bit(codes: &mut [i16], bits: u64, bit: u32) {
    for (at, code) in codes.iter_mut().enumerate() {
        *code = code.wrapping_add(((bits >> at & 1) as i16) << bit);
    }
}

/// Writer of a stream of bits, lowest first.
pub struct BitWriter<'a> {
    into: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(into: &'a mut Vec<u8>) -> Self {
        Self { into, held: 0, count: 0 }
    }

    /// Appends the lowest `count` bits of `bits`, at most 64; the bits above must be zero.
    #[inline(always)]
    fn append(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        let filled = self.count + count;
        if filled < u64::BITS {
            self.count = filled;
            return;
        }
        self.into.extend_from_slice(&self.held.to_le_bytes());
        self.held = bits.checked_shr(u64::BITS - self.count).unwrap_or(0);
        self.count = filled - u64::BITS;
    }

    /// Writes the last bits, with zeros up to a whole byte.
    pub fn finish(self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.into.extend_from_slice(&self.held.to_le_bytes()[..bytes]);
    }
}

/// Reader of a stream of bits, lowest first.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader of the first `count` bits, and the rest of the bytes.
    pub fn new(bytes: &'a [u8], count: usize) -> Result<(Self, &'a [u8]), CodeError> {
        let (bytes, rest) = bytes.split_at_checked(count.div_ceil(8)).ok_or(CodeError::Short)?;
        Ok((Self { bytes, at: 0 }, rest))
    }

    /// Reads the next `count` bits, at most 64.
    #[inline(always)]
    fn take(&mut self, count: u32) -> u64 {
        let mut window = [0; 16];
        let bytes = &self.bytes[(self.at / 8).min(self.bytes.len())..];
        match bytes.first_chunk::<16>() {
            Some(bytes) => window = *bytes,
            None => window[..bytes.len()].copy_from_slice(bytes),
        }
        let bits = (u128::from_le_bytes(window) >> (self.at % 8)) as u64;
        self.at += count as usize;
        if count == u64::BITS { bits } else { bits & ((1 << count) - 1) }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BitReader, BitWriter, LowBits};

    /// Number of codes in a register.
    const WIDE: usize = 32;

    pub fn is_there() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
    }

    /// The codes of one half of a group, and a mask of those that exist.
    fn half(codes: &[i16], half: usize) -> (&[i16], u32) {
        let codes = codes.get(half * WIDE..).unwrap_or_default();
        (codes, if codes.len() >= WIDE { u32::MAX } else { (1 << codes.len()) - 1 })
    }

    #[target_feature(enable = "avx512f,avx512bw,bmi2,popcnt")]
    pub fn write(low: &LowBits, codes: &[i16], centers: &[i16], writer: &mut BitWriter<'_>) {
        let bit_of = |codes: &[i16], centers: &[i16], bit: u32| {
            let of = |at: usize| {
                let ((codes, there), (centers, _)) = (half(codes, at), half(centers, at));
                // SAFETY: the mask covers only codes that exist; `centers` is as long as `codes`.
                let [code, center] =
                    [codes, centers].map(|values| unsafe { _mm512_maskz_loadu_epi16(there, values.as_ptr()) });
                _mm512_test_epi16_mask(_mm512_sub_epi16(code, center), _mm512_set1_epi16(1 << bit))
            };
            u64::from(of(0)) | u64::from(of(1)) << WIDE
        };
        low.write_by(codes, centers, writer, bit_of, |bits, mask| _pext_u64(bits, mask));
    }

    #[target_feature(enable = "avx512f,avx512bw,bmi2,popcnt")]
    pub fn read(low: &LowBits, codes: &mut [i16], width: usize, reader: &mut BitReader<'_>) {
        let add_bit = |codes: &mut [i16], bits: u64, bit: u32| {
            for at in [0, 1] {
                let (_, there) = half(codes, at);
                if there == 0 {
                    break;
                }
                let codes = &mut codes[at * WIDE..];
                // SAFETY: the mask covers only codes that exist, for the load and for the store.
                unsafe {
                    let code = _mm512_maskz_loadu_epi16(there, codes.as_ptr());
                    let bits = (bits >> (at * WIDE)) as u32;
                    let sum = _mm512_mask_add_epi16(code, bits, code, _mm512_set1_epi16(1 << bit));
                    _mm512_mask_storeu_epi16(codes.as_mut_ptr(), there, sum);
                }
            }
        };
        low.read_by(codes, width, reader, |bits, mask| _pdep_u64(bits, mask), add_bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn low_bits_come_back_and_vectors_do_what_the_portable_code_does(
            channels in prop::collection::vec((any::<i16>(), 0u32..14), 1..150), rows in 0usize..5, seed: u64,
        ) {
            let (centers, shifts): (Vec<i16>, Vec<u32>) = channels.iter().copied().unzip();
            let mut state = seed | 1;
            let codes: Vec<i16> = (0..rows * centers.len()).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as i16
            }).collect();
            let low = LowBits::of(&shifts);
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            low.write(&codes, &centers, &mut writer);
            writer.finish();
            let mut portable = Vec::new();
            let mut writer = BitWriter::new(&mut portable);
            low.write_by(&codes, &centers, &mut writer, bit_of, extract);
            writer.finish();
            prop_assert_eq!(&bytes, &portable);
            prop_assert_eq!(bytes.len(), low.count(rows).div_ceil(8));

            let high: Vec<i16> = codes.iter().zip(channels.iter().cycle()).map(|(code, (center, shift))| {
                (code.wrapping_sub(*center) as i32 >> shift << shift) as i16
            }).collect();
            let distances: Vec<i16> = codes.iter().zip(centers.iter().cycle()).map(|(code, center)| code.wrapping_sub(*center)).collect();
            for is_portable in [false, true] {
                let mut found = high.clone();
                let (mut reader, rest) = BitReader::new(&bytes, low.count(rows)).unwrap();
                prop_assert!(rest.is_empty());
                if is_portable {
                    low.read_by(&mut found, centers.len(), &mut reader, deposit, add_bit);
                } else {
                    low.read(&mut found, centers.len(), &mut reader);
                }
                prop_assert_eq!(&found, &distances);
            }
            prop_assert!(bytes.is_empty() || BitReader::new(&bytes[1..], low.count(rows)).is_err());
        }
    }
}
