//! Codes of a few bits once more smaller: a prefix code (Huffman's) for groups of them. Codes near the middle of a range
//! are far more frequent than those at its ends.
//!
//! Layout: 0 and the codes packed, where that is not larger; else 1, then for each of the `2^(bits x group)` symbols the length of its word, 4 bits, packed; bytes of the words (u32); the
//! words, first bits lowest. A symbol is `group` consecutive codes, the first lowest; the last symbol is filled with zeros.
//! Words are canonical: ordered by length, then by symbol, each the successor of the one before it, sent from its highest bit.

use super::{
    pack::{pack, packed_len, unpack},
    part::CodeError,
};

const PACKED: u8 = 0;
const WORDS: u8 = 1;
/// Longest word: what one look into the table decodes.
const LENGTH_MAX: u32 = 12;

/// Codes that make a symbol: six bits of them, or one of four bits. `None`: codes that do not gain.
fn group(bits: u32) -> Option<usize> {
    match bits {
        2 => Some(3),
        3 => Some(2),
        4 => Some(1),
        _ => None,
    }
}

/// Room that coding needs, kept between parts.
#[derive(Default)]
pub struct Scratch {
    symbols: Vec<u8>,
    table: Vec<(u8, u8)>,
}

/// Whether codes of so many bits have words.
pub fn is_for(bits: u32) -> bool {
    group(bits).is_some()
}

/// Appends `codes`.
pub fn encode(codes: &[u8], bits: u32, scratch: &mut Scratch, into: &mut Vec<u8>) {
    let is_shorter = group(bits).is_some_and(|group| encode_words(codes, bits, group, scratch, into));
    if !is_shorter {
        encode_packed(codes, bits, into);
    }
}

/// The same where shorter codes are not worth their time.
pub fn encode_packed(codes: &[u8], bits: u32, into: &mut Vec<u8>) {
    into.push(PACKED);
    pack(codes, bits, into);
}

/// False, and nothing appended: that would not be smaller than packing them.
fn encode_words(codes: &[u8], bits: u32, group: usize, scratch: &mut Scratch, into: &mut Vec<u8>) -> bool {
    let count = 1usize << (bits as usize * group);
    scratch.symbols.clear();
    let symbol = |codes: &[u8]| codes.iter().rev().fold(0, |symbol, code| symbol << bits | code);
    scratch.symbols.extend(codes.chunks(group).map(symbol));
    let mut seen = vec![0u32; count];
    scratch.symbols.iter().for_each(|&symbol| seen[usize::from(symbol)] += 1);
    let lengths = lengths(&seen);
    let total: u64 = seen.iter().zip(&lengths).map(|(&seen, &length)| u64::from(seen) * u64::from(length)).sum();
    let bytes = total.div_ceil(8) as usize;
    if header_len(count) + bytes >= packed_len(codes.len(), bits) {
        return false;
    }
    into.push(WORDS);
    pack(&lengths, 4, into);
    into.extend_from_slice(&(bytes as u32).to_le_bytes());
    let words = words(&lengths);
    write(&scratch.symbols, &words, &lengths, into);
    true
}

/// Appends the `count` codes at the front of `bytes`; returns what is behind them.
pub fn decode<'a>(
    bytes: &'a [u8],
    bits: u32,
    count: usize,
    scratch: &mut Scratch,
    into: &mut Vec<u8>,
) -> Result<&'a [u8], CodeError> {
    let (&marker, bytes) = bytes.split_first().ok_or(CodeError::Short)?;
    if marker == PACKED {
        let (packed, rest) = bytes.split_at_checked(packed_len(count, bits)).ok_or(CodeError::Short)?;
        unpack(packed, bits, count, into);
        return Ok(rest);
    }
    let group = group(bits).filter(|_| marker == WORDS).ok_or(CodeError::Form)?;
    let symbols = 1usize << (bits as usize * group);
    let (lengths, rest) = bytes.split_at_checked(packed_len(symbols, 4)).ok_or(CodeError::Short)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(CodeError::Short)?;
    let (coded, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(CodeError::Short)?;
    scratch.symbols.clear();
    unpack(lengths, 4, symbols, &mut scratch.symbols);
    fill_table(&scratch.symbols, &mut scratch.table)?;
    let start = into.len();
    let used = read(coded, count.div_ceil(group), &scratch.table, |symbol| {
        (0..group as u32).for_each(|at| into.push(symbol >> (at * bits) & (255 >> (8 - bits))));
    });
    into.truncate(start + count);
    if used.div_ceil(8) == coded.len() as u64 { Ok(rest) } else { Err(CodeError::Form) }
}

fn header_len(symbols: usize) -> usize {
    packed_len(symbols, 4) + 4
}

/// The length of each symbol's word; 0 for those that do not occur. At least two have one, so that the code is complete.
fn lengths(seen: &[u32]) -> Vec<u8> {
    let mut weights: Vec<u64> = seen.iter().map(|&seen| seen.into()).collect();
    let mut missing = 2usize.saturating_sub(weights.iter().filter(|&&weight| weight > 0).count());
    for weight in &mut weights {
        if *weight == 0 && missing > 0 {
            (*weight, missing) = (1, missing - 1);
        }
    }
    loop {
        let lengths = unlimited_lengths(&weights);
        if lengths.iter().all(|&length| u32::from(length) <= LENGTH_MAX) {
            return lengths;
        }
        // Rare symbols a little less rare: their words become shorter.
        weights.iter_mut().filter(|weight| **weight > 0).for_each(|weight| *weight = *weight / 2 + 1);
    }
}

/// Huffman's lengths: the two lightest trees become one, until there is one.
fn unlimited_lengths(weights: &[u64]) -> Vec<u8> {
    let mut lengths = vec![0u8; weights.len()];
    let mut trees: Vec<(u64, Vec<usize>)> =
        weights.iter().enumerate().filter(|(_, weight)| **weight > 0).map(|(at, &weight)| (weight, vec![at])).collect();
    while trees.len() > 1 {
        trees.sort_by_key(|tree| std::cmp::Reverse(tree.0));
        let (Some(one), Some(other)) = (trees.pop(), trees.pop()) else { break };
        let leaves = [one.1, other.1].concat();
        leaves.iter().for_each(|&leaf| lengths[leaf] += 1);
        trees.push((one.0 + other.0, leaves));
    }
    lengths
}

/// Canonical words, first bit lowest.
fn words(lengths: &[u8]) -> Vec<u16> {
    let mut words = vec![0; lengths.len()];
    let mut next = 0u32;
    for length in 1..=LENGTH_MAX {
        for (word, _) in words.iter_mut().zip(lengths).filter(|(_, found)| u32::from(**found) == length) {
            *word = (next.reverse_bits() >> (32 - length)) as u16;
            next += 1;
        }
        next <<= 1;
    }
    words
}

fn write(symbols: &[u8], words: &[u16], lengths: &[u8], into: &mut Vec<u8>) {
    let (mut held, mut count) = (0u64, 0u32);
    for &symbol in symbols {
        held |= u64::from(words[usize::from(symbol)]) << count;
        count += u32::from(lengths[usize::from(symbol)]);
        if count >= 32 {
            into.extend_from_slice(&(held as u32).to_le_bytes());
            (held, count) = (held >> 32, count - 32);
        }
    }
    into.extend_from_slice(&held.to_le_bytes()[..count.div_ceil(8) as usize]);
}

/// What the next bits say: a symbol and the length of its word.
fn fill_table(lengths: &[u8], table: &mut Vec<(u8, u8)>) -> Result<(), CodeError> {
    let room = |&length: &u8| if length == 0 { 0 } else { 1u32 << LENGTH_MAX >> length.min(31) };
    let is_complete = lengths.iter().map(room).sum::<u32>() == 1 << LENGTH_MAX;
    if !is_complete || lengths.iter().any(|&length| u32::from(length) > LENGTH_MAX) {
        return Err(CodeError::Form);
    }
    table.clear();
    table.resize(1 << LENGTH_MAX, (0, 0));
    for (symbol, (&word, &length)) in
        words(lengths).iter().zip(lengths).enumerate().filter(|(_, (_, length))| **length > 0)
    {
        table.iter_mut().skip(word.into()).step_by(1 << length).for_each(|entry| *entry = (symbol as u8, length));
    }
    Ok(())
}

/// Reads `count` symbols; what lies behind the end are zeros. Returns the bits that they took.
fn read(bytes: &[u8], count: usize, table: &[(u8, u8)], mut each: impl FnMut(u8)) -> u64 {
    let (mut held, mut bits, mut at, mut used) = (0u64, 0u32, 0, 0u64);
    for _ in 0..count {
        if bits < LENGTH_MAX {
            let mut next = [0; 4];
            let some = bytes.get(at..).unwrap_or_default();
            let some = &some[..some.len().min(4)];
            next[..some.len()].copy_from_slice(some);
            held |= u64::from(u32::from_le_bytes(next)) << bits;
            (at, bits) = (at + 4, bits + 32);
        }
        let (symbol, length) = table[(held & ((1 << LENGTH_MAX) - 1)) as usize];
        held >>= length;
        bits -= u32::from(length);
        used += u64::from(length);
        each(symbol);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_round_trip(bits in 2u32..=5, codes in prop::collection::vec(any::<u8>(), 1..3_000), spread in 1u8..9) {
            // Around the middle, more or less.
            let middle = 1u8 << (bits - 1);
            let codes: Vec<u8> = codes.into_iter().map(|code| (middle + code % spread / 2).min((1 << bits) - 1)).collect();
            let (mut scratch, mut coded) = (Scratch::default(), vec![7]);
            encode(&codes, bits, &mut scratch, &mut coded);
            prop_assert!(coded.len() - 2 <= packed_len(codes.len(), bits));
            coded.extend_from_slice(b"rest");
            let mut back = vec![9];
            let rest = decode(&coded[1..], bits, codes.len(), &mut scratch, &mut back);
            prop_assert_eq!(rest, Ok(&b"rest"[..]));
            prop_assert_eq!(&back[1..], &codes[..]);
        }

        #[test]
        fn words_are_short_and_complete(seen in prop::collection::vec(0u32..1_000_000, 64)) {
            let lengths = lengths(&seen);
            prop_assert!(fill_table(&lengths, &mut Vec::new()).is_ok());
        }

        #[test]
        fn strange_bytes_never_panic(bits in 1u32..=8, bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..500) {
            let _ = decode(&bytes, bits, count, &mut Scratch::default(), &mut Vec::new());
        }
    }

    #[test]
    fn very_uneven_symbols_keep_short_words() {
        let seen: Vec<u32> = (0..64).map(|at| 1u32 << (at / 2)).collect();
        let lengths = lengths(&seen);
        assert!(lengths.iter().all(|&length| (1..=12).contains(&length)));
        assert!(fill_table(&lengths, &mut Vec::new()).is_ok());
    }

    #[test]
    fn codes_of_numbers_around_the_middle_become_a_sixth_smaller() {
        // The sum of four dice is near enough to how values lie in their range.
        let mut state = 1u64;
        let mut die = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f32 / (1u64 << 31) as f32
        };
        let codes: Vec<u8> = (0..8_192).map(|_| ((die() + die() + die() + die()) * 2.0) as u8).collect();
        let mut coded = Vec::new();
        encode(&codes, 3, &mut Scratch::default(), &mut coded);
        assert!(coded.len() * 6 < packed_len(codes.len(), 3) * 5, "{}", coded.len());
    }
}
