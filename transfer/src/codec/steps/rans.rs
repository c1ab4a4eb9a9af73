//! The entropy coder: range asymmetric numeral systems (rANS, arXiv 1311.2540) over 32 interleaved lanes.
//!
//! Symbol `i` of a run belongs to lane `i % 32`; a run that ends in the middle of a group leaves the other lanes
//! unchanged. Each lane has a state of 31 bits that emits 16 bits at a time. The decoder reads words in the order of
//! groups and, within a group, of lanes; the encoder goes backwards through all runs and writes from the end.

use std::sync::LazyLock;

use super::{super::part::CodeError, frequencies::FREQUENCIES, simd};

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

/// Symbols in rows of `width`: the class of symbol `i` is `classes[i % width]`.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The symbols.
    pub symbols: &'a [u8],
    /// The class of each of `width` columns, then the first ones again: `width + LANES` in total, so that a group can
    /// be read from any column.
    pub classes: &'a [u32],
}

/// Extends a list of classes to the form of [`Run::classes`].
pub fn repeated(classes: &[u32]) -> Vec<u32> {
    classes.iter().copied().cycle().take(classes.len() + LANES).collect()
}

/// Appends the coded runs: number of words (u32), final states, words.
pub fn encode(runs: &[Run<'_>], words: &mut Vec<u16>, into: &mut Vec<u8>) {
    let count: usize = runs.iter().map(|run| run.symbols.len()).sum();
    // A symbol emits at most one word.
    words.clear();
    words.resize(count, 0);
    let mut end = count;
    let mut states = [LOWEST; LANES];
    for run in runs.iter().rev() {
        end = simd::encode(run, &mut states, words, end);
    }
    into.extend_from_slice(&((count - end) as u32).to_le_bytes());
    states.iter().for_each(|state| into.extend_from_slice(&state.to_le_bytes()));
    let at = into.len();
    into.resize(at + 2 * (count - end), 0);
    for (bytes, word) in into[at..].as_chunks_mut::<2>().0.iter_mut().zip(&words[end..]) {
        *bytes = word.to_le_bytes();
    }
}

/// Decoder of symbols, run by run.
pub struct Decoder<'a> {
    states: [u32; LANES],
    /// The words, followed by as many zeros as a group could read.
    words: &'a [u16],
    count: usize,
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Starts decoding at the front of `bytes`; returns the decoder and the bytes after the coded symbols.
    pub fn new<'b>(bytes: &'b [u8], words: &'a mut Vec<u16>) -> Result<(Self, &'b [u8]), CodeError> {
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or(CodeError::Short)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (of_states, rest) = rest.split_at_checked(4 * LANES).ok_or(CodeError::Short)?;
        let len = count.checked_mul(2).ok_or(CodeError::Short)?;
        let (of_words, rest) = rest.split_at_checked(len).ok_or(CodeError::Short)?;
        words.clear();
        words.extend(of_words.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word)));
        words.resize(count + LANES, 0);
        let mut states = [0; LANES];
        for (state, bytes) in states.iter_mut().zip(of_states.as_chunks::<4>().0) {
            *state = u32::from_le_bytes(*bytes);
        }
        if states.iter().any(|state| !(LOWEST..LOWEST << 16).contains(state)) {
            return Err(CodeError::State);
        }
        Ok((Self { states, words, count, at: 0 }, rest))
    }

    /// Decodes the next run into `symbols`; `classes` is as in [`Run::classes`].
    pub fn run(&mut self, symbols: &mut [u8], classes: &[u32]) -> Result<(), CodeError> {
        self.at = simd::decode(symbols, classes, &mut self.states, self.words, self.count, self.at)?;
        Ok(())
    }

    /// Checks that the states are those that the encoder began with, and that no word is left.
    pub fn finish(self) -> Result<(), CodeError> {
        let is_whole = self.at == self.count && self.states.iter().all(|&state| state == LOWEST);
        if is_whole { Ok(()) } else { Err(CodeError::State) }
    }
}

/// Encodes a run, on any processor. Words are written backwards from `end`; the new end is returned.
pub fn encode_portable(run: &Run<'_>, states: &mut [u32; LANES], words: &mut [u16], mut end: usize) -> usize {
    let tables = &*TABLES;
    let width = run.classes.len() - LANES;
    let groups = run.symbols.len().div_ceil(LANES);
    for group in (0..groups).rev() {
        let first = group * LANES;
        let symbols = &run.symbols[first..run.symbols.len().min(first + LANES)];
        let classes = &run.classes[first % width..];
        for lane in (0..symbols.len()).rev() {
            let at = classes[lane] as usize * SYMBOLS + usize::from(symbols[lane]);
            let share = Share(tables.shares[at]);
            let frequency = share.frequency();
            let mut state = states[lane];
            if state >= frequency << (31 - SCALE_BITS) {
                end -= 1;
                words[end] = state as u16;
                state >>= 16;
            }
            let high = ((u64::from(state) * u64::from(tables.reciprocals[at])) >> 32) as u32;
            let quotient = high >> share.shift();
            states[lane] = state + share.bias() + quotient * ((1 << SCALE_BITS) - frequency);
        }
    }
    end
}

/// Decodes a run, on any processor. `at` is the index of the next word; its new value is returned.
pub fn decode_portable(
    symbols: &mut [u8],
    classes: &[u32],
    states: &mut [u32; LANES],
    words: &[u16],
    count: usize,
    mut at: usize,
) -> Result<usize, CodeError> {
    let tables = &*TABLES;
    let width = classes.len() - LANES;
    for (group, symbols) in symbols.chunks_mut(LANES).enumerate() {
        let classes = &classes[group * LANES % width..];
        for (lane, symbol) in symbols.iter_mut().enumerate() {
            let state = states[lane];
            let slot = state & ((1 << SCALE_BITS) - 1);
            let slot = Slot(tables.slots[(classes[lane] << SCALE_BITS | slot) as usize]);
            *symbol = slot.symbol();
            let mut state = slot.frequency() * (state >> SCALE_BITS) + slot.bias();
            if state < LOWEST {
                state = state << 16 | u32::from(words[at]);
                at += 1;
            }
            states[lane] = state;
        }
        if at > count {
            return Err(CodeError::Short);
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    fn coded(runs: &[(Vec<u8>, Vec<u32>)]) -> Vec<u8> {
        let repeated: Vec<Vec<u32>> = runs.iter().map(|(_, classes)| repeated(classes)).collect();
        let runs: Vec<Run<'_>> =
            runs.iter().zip(&repeated).map(|((symbols, _), classes)| Run { symbols, classes }).collect();
        let mut into = Vec::new();
        encode(&runs, &mut Vec::new(), &mut into);
        into
    }

    proptest! {
        #[test]
        fn runs_round_trip_and_vectors_do_what_the_portable_code_does(
            runs in prop::collection::vec(
                (prop::collection::vec(0u8..64, 0..300), prop::collection::vec(0u32..20, 1..80)), 1..4),
        ) {
            let mut bytes = coded(&runs);
            let mut words = vec![0; runs.iter().map(|(symbols, _)| symbols.len()).sum()];
            let (mut states, mut end) = ([LOWEST; LANES], words.len());
            for (symbols, classes) in runs.iter().rev() {
                let run = Run { symbols, classes: &repeated(classes) };
                end = encode_portable(&run, &mut states, &mut words, end);
            }
            let portable: Vec<u8> = ((words.len() - end) as u32).to_le_bytes().into_iter()
                .chain(states.iter().flat_map(|state| state.to_le_bytes()))
                .chain(words[end..].iter().flat_map(|word| word.to_le_bytes())).collect();
            prop_assert_eq!(&bytes, &portable);
            bytes.extend_from_slice(b"behind");
            let mut words = Vec::new();
            let (mut decoder, rest) = Decoder::new(&bytes, &mut words).unwrap();
            prop_assert_eq!(rest, b"behind");
            for (symbols, classes) in &runs {
                let mut found = vec![0; symbols.len()];
                decoder.run(&mut found, &repeated(classes)).unwrap();
                prop_assert_eq!(&found, symbols);
            }
            prop_assert!(decoder.finish().is_ok());
        }

        #[test]
        fn strange_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 132..700), count in 0u32..300, symbols in 0usize..200) {
            let mut bytes = bytes;
            bytes[..4].copy_from_slice(&count.to_le_bytes());
            for state in bytes[4..132].as_chunks_mut::<4>().0 {
                state[3] &= 0x7f;
                state[1] |= 0x80;
            }
            let mut words = Vec::new();
            if let Ok((mut decoder, _)) = Decoder::new(&bytes, &mut words) {
                let is_read = decoder.run(&mut vec![0; symbols], &repeated(&[0, 19, 7])).is_ok();
                prop_assert!(!is_read || decoder.at <= decoder.count);
            }
        }
    }
}
