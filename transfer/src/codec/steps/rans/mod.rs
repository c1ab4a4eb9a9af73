//! The entropy coder: range asymmetric numeral systems (rANS, arXiv 1311.2540) over 32 interleaved lanes.
//!
//! Symbol `i` of a run belongs to lane `i % 32`; a run that ends in the middle of a group leaves the other lanes
//! unchanged. Each lane has a state of 31 bits that emits 16 bits at a time. The decoder reads words in the order of
//! groups and, within a group, of lanes; the encoder goes backwards through all runs and writes from the end.

mod portable;
mod simd;
mod tables;

use crate::codec::error::CodeError;
pub use portable::{Run, repeated};
pub use tables::CLASSES;
use tables::{LANES, LOWEST};

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

#[cfg(test)]
mod tests {
    use super::{portable::encode_portable, *};
    use proptest::prelude::*;

    fn coded(runs: &[(Vec<u8>, Vec<u32>)]) -> Vec<u8> {
        let repeated: Vec<Vec<u32>> = runs.iter().map(|(_, classes)| repeated(classes)).collect();
        let runs: Vec<Run<'_>> =
            runs.iter().zip(&repeated).map(|((symbols, _), classes)| Run { symbols, classes }).collect();
        let mut into = Vec::new();
        encode(&runs, &mut Vec::new(), &mut into);
        into
    }

    /// Vectors gather from the tables, which would read whatever lies behind them.
    #[test]
    fn a_class_or_a_symbol_that_has_no_table_is_not_looked_up() {
        let is_refused = |symbols: Vec<u8>, classes: Vec<u32>| {
            std::panic::catch_unwind(move || {
                let (mut states, mut words) = ([LOWEST; LANES], vec![0; symbols.len()]);
                let run = Run { symbols: &symbols, classes: &repeated(&classes) };
                simd::encode(&run, &mut states, &mut words, symbols.len())
            })
            .is_err()
        };
        assert!(!is_refused(vec![63; 40], vec![CLASSES as u32 - 1]));
        assert!(is_refused(vec![63; 40], vec![CLASSES as u32]));
        assert!(is_refused(vec![64; 40], vec![CLASSES as u32 - 1]));
        let is_decoded = |class: u32| {
            std::panic::catch_unwind(|| {
                let (mut states, classes) = ([LOWEST; LANES], repeated(&[class]));
                simd::decode(&mut [0; 40], &classes, &mut states, &[0; 2 * LANES], LANES, 0).is_ok()
            })
        };
        assert!(is_decoded(CLASSES as u32 - 1).is_ok() && is_decoded(CLASSES as u32).is_err());
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
