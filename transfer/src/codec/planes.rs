//! Lossless coding: the exponent of every value is coded apart from its sign and mantissa. Exponents of KV lie close
//! together, so codes of a few bits name most of them, and the others (escapes) follow in full (as SplitZip does for
//! bf16 on GPUs, arXiv 2605.01708).
//!
//! Layout: `bits` of an exponent's code (u8), the number of escapes (u32), the `2^bits - 1` exponents that have a code,
//! the low bytes of signs and mantissas, their odd bits packed, the codes packed, and the full exponents of the
//! escapes, whose code is the last one.

use std::time::Instant;

use half::f16;

use super::{
    convert::from_f32,
    error::CodeError,
    pack::{pack, packed_len, unpack},
};
use crate::dtype::DType;

/// Allowed sizes of an exponent's code, in bits.
const CODE_BITS: std::ops::RangeInclusive<u32> = 1..=4;
const HEADER_BYTES: usize = 5;

/// Storage of a value's sign and mantissa, by dtype: whole bytes, and odd bits beside them.
#[derive(Clone, Copy)]
struct Split {
    low_bytes: usize,
    odd_bits: u32,
}

fn split(dtype: DType) -> Split {
    match dtype {
        // Sign and mantissa have 1 + 7 bits in bf16, 1 + 10 in f16, 1 + 23 in f32.
        DType::Bf16 => Split { low_bytes: 1, odd_bits: 0 },
        DType::F16 => Split { low_bytes: 1, odd_bits: 3 },
        DType::F32 => Split { low_bytes: 3, odd_bits: 0 },
    }
}

/// Buffers for coding, reused between parts.
#[derive(Default)]
pub struct Scratch {
    exponents: Vec<u8>,
    low: Vec<u8>,
    odd: Vec<u8>,
    codes: Vec<u8>,
    escaped: Vec<u8>,
}

/// Measures how fast this processor packs values of `dtype`, in bytes per second, by packing 2^20 values.
pub fn packing_rate(dtype: DType) -> f64 {
    const VALUES: u32 = 1 << 20;
    // Values typical of KV: around one in size, of both signs.
    let values: Vec<f32> =
        (0..VALUES).map(|i| (i.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5) * 4.0).collect();
    let mut bytes = Vec::new();
    from_f32(dtype, &values, &mut bytes);
    let (mut scratch, mut packed) = (Scratch::default(), Vec::with_capacity(bytes.len()));
    let started = Instant::now();
    for part in bytes.chunks(1 << 18) {
        packed.clear();
        encode(dtype, part, &mut scratch, &mut packed);
    }
    bytes.len() as f64 / started.elapsed().as_secs_f64().max(1e-9)
}

/// Appends coded values. Returns false, with nothing appended, if the coded form would not be smaller.
pub fn encode(dtype: DType, bytes: &[u8], scratch: &mut Scratch, into: &mut Vec<u8>) -> bool {
    take_apart(dtype, bytes, scratch);
    let Split { odd_bits, .. } = split(dtype);
    let count = scratch.exponents.len();
    let mut seen = [0usize; 256];
    scratch.exponents.iter().for_each(|&exponent| seen[usize::from(exponent)] += 1);
    let mut common: Vec<u8> = (0..=255).collect();
    common.sort_by_key(|&exponent| std::cmp::Reverse(seen[usize::from(exponent)]));
    let cost = |bits: u32| {
        let named = (1usize << bits) - 1;
        let escaped: usize = common[named..].iter().map(|&exponent| seen[usize::from(exponent)]).sum();
        (packed_len(count, bits) + named + escaped, bits)
    };
    let Some((cost, bits)) = CODE_BITS.map(cost).min() else { return false };
    if HEADER_BYTES + cost + scratch.low.len() + packed_len(scratch.odd.len(), odd_bits) >= bytes.len() {
        return false;
    }
    let named = &common[..(1 << bits) - 1];
    let last = named.len() as u8;
    let mut code_of = [last; 256];
    (0..last).zip(named).for_each(|(code, &exponent)| code_of[usize::from(exponent)] = code);
    scratch.codes.clear();
    scratch.codes.extend(scratch.exponents.iter().map(|&exponent| code_of[usize::from(exponent)]));
    scratch.escaped.clear();
    scratch.escaped.extend(scratch.exponents.iter().filter(|&&exponent| code_of[usize::from(exponent)] == last));
    into.push(bits as u8);
    into.extend_from_slice(&(scratch.escaped.len() as u32).to_le_bytes());
    into.extend_from_slice(named);
    into.extend_from_slice(&scratch.low);
    if odd_bits > 0 {
        pack(&scratch.odd, odd_bits, into);
    }
    pack(&scratch.codes, bits, into);
    into.extend_from_slice(&scratch.escaped);
    true
}

fn take_apart(dtype: DType, bytes: &[u8], scratch: &mut Scratch) {
    let Scratch { exponents, low, odd, .. } = scratch;
    exponents.clear();
    low.clear();
    odd.clear();
    match dtype {
        DType::Bf16 => {
            let (values, _) = bytes.as_chunks::<2>();
            exponents.extend(values.iter().map(|value| (u16::from_le_bytes(*value) >> 7) as u8));
            low.extend(values.iter().map(|[low, high]| low & 0x7f | high & 0x80));
        }
        DType::F16 => {
            let (values, _) = bytes.as_chunks::<2>();
            exponents.extend(values.iter().map(|[_, high]| high >> 2 & 0x1f));
            low.extend(values.iter().map(|[low, _]| low));
            odd.extend(values.iter().map(|[_, high]| high & 3 | high >> 5 & 4));
        }
        DType::F32 => {
            let (values, _) = bytes.as_chunks::<4>();
            exponents.extend(values.iter().map(|value| (u32::from_le_bytes(*value) >> 23) as u8));
            low.extend(values.iter().flat_map(|[a, b, c, d]| [*a, *b, c & 0x7f | d & 0x80]));
        }
    }
}

/// Decodes the `count` values at the front of `bytes` and appends them; returns the rest of the bytes.
pub fn decode<'a>(
    dtype: DType,
    bytes: &'a [u8],
    count: usize,
    scratch: &mut Scratch,
    into: &mut Vec<u8>,
) -> Result<&'a [u8], CodeError> {
    let Split { low_bytes, odd_bits } = split(dtype);
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(CodeError::Short)?;
    let bits = u32::from(header[0]);
    if !CODE_BITS.contains(&bits) {
        return Err(CodeError::Form);
    }
    let escaped = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let (named, rest) = rest.split_at_checked((1 << bits) - 1).ok_or(CodeError::Short)?;
    let (low, rest) = rest.split_at_checked(count * low_bytes).ok_or(CodeError::Short)?;
    let (odd, rest) = rest.split_at_checked(packed_len(count, odd_bits)).ok_or(CodeError::Short)?;
    let (codes, rest) = rest.split_at_checked(packed_len(count, bits)).ok_or(CodeError::Short)?;
    let (escaped, rest) = rest.split_at_checked(escaped).ok_or(CodeError::Short)?;
    scratch.codes.clear();
    unpack(codes, bits, count, &mut scratch.codes);
    if scratch.codes.iter().filter(|&&code| usize::from(code) == named.len()).count() != escaped.len() {
        return Err(CodeError::Form);
    }
    let mut escaped = escaped.iter();
    scratch.exponents.clear();
    let exponent = |&code: &u8| named.get(usize::from(code)).or_else(|| escaped.next()).copied().unwrap_or(0);
    scratch.exponents.extend(scratch.codes.iter().map(exponent));
    scratch.odd.clear();
    if odd_bits > 0 {
        unpack(odd, odd_bits, count, &mut scratch.odd);
    }
    put_together(dtype, scratch, low, into);
    Ok(rest)
}

fn put_together(dtype: DType, scratch: &Scratch, low: &[u8], into: &mut Vec<u8>) {
    let exponents = scratch.exponents.iter();
    match dtype {
        DType::Bf16 => into.extend(exponents.zip(low).flat_map(|(&exponent, &low)| {
            (u16::from(exponent) << 7 | u16::from(low & 0x7f) | u16::from(low & 0x80) << 8).to_le_bytes()
        })),
        DType::F16 => into.extend(exponents.zip(low).zip(&scratch.odd).flat_map(|((&exponent, &low), &odd)| {
            let high = odd & 3 | (odd & 4) << 5 | (exponent & 0x1f) << 2;
            f16::from_le_bytes([low, high]).to_le_bytes()
        })),
        DType::F32 => into.extend(exponents.zip(low.as_chunks::<3>().0).flat_map(|(&exponent, &[a, b, c])| {
            let [_, _, third, fourth] = (u32::from(exponent) << 23).to_le_bytes();
            [a, b, third | c & 0x7f, fourth | c & 0x80]
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dtypes() -> impl Strategy<Value = DType> {
        prop_oneof![Just(DType::F32), Just(DType::Bf16), Just(DType::F16)]
    }

    proptest! {
        /// Every bit pattern survives, infinities and NaN too.
        #[test]
        fn values_survive(dtype in dtypes(), values in prop::collection::vec(-2f32..2.0, 0..300), strange: u32) {
            let mut bytes = Vec::new();
            from_f32(dtype, &values, &mut bytes);
            bytes.extend_from_slice(&strange.to_le_bytes());
            let count = bytes.len() / dtype.size_bytes();
            let (mut scratch, mut coded, mut back) = (Scratch::default(), vec![5], Vec::new());
            if encode(dtype, &bytes, &mut scratch, &mut coded) {
                prop_assert!(coded.len() - 1 < bytes.len());
                coded.extend_from_slice(b"rest");
                let rest = decode(dtype, &coded[1..], count, &mut scratch, &mut back);
                prop_assert_eq!(rest, Ok(&b"rest"[..]));
                prop_assert_eq!(back, bytes);
            } else {
                prop_assert_eq!(coded, [5]);
            }
        }

        #[test]
        fn strange_bytes_never_panic(dtype in dtypes(), bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..100) {
            let _ = decode(dtype, &bytes, count, &mut Scratch::default(), &mut Vec::new());
        }
    }

    #[test]
    fn values_around_one_become_a_quarter_smaller() {
        let values: Vec<f32> = (0..4_096).map(|i| ((i * 7_919 % 4_096) as f32 / 2_048.0 - 1.0) * 3.0).collect();
        for (dtype, share) in [(DType::Bf16, 0.74), (DType::F16, 0.9), (DType::F32, 0.87)] {
            let (mut bytes, mut coded) = (Vec::new(), Vec::new());
            from_f32(dtype, &values, &mut bytes);
            assert!(encode(dtype, &bytes, &mut Scratch::default(), &mut coded));
            assert!((coded.len() as f64) < share * bytes.len() as f64, "{dtype:?}: {} of {}", coded.len(), bytes.len());
        }
    }
}
