//! The entropy coder's inner loops for any processor, and the runs of symbols that they code.

use super::tables::{LANES, LOWEST, SCALE_BITS, SYMBOLS, Share, Slot, TABLES};
use crate::codec::error::CodeError;

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
