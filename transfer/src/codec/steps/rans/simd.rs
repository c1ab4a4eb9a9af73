//! The entropy coder's inner loops by instruction set, chosen at run time. All produce the same bytes.

use super::{
    portable::{Run, decode_portable, encode_portable},
    tables::{CLASSES, LANES, SYMBOLS},
};
use crate::codec::error::CodeError;

/// Encodes a run like [`encode_portable`], with AVX-512 where the processor has it.
pub fn encode(run: &Run<'_>, states: &mut [u32; LANES], words: &mut [u16], end: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_there() {
        assert!(run.symbols.len() <= end && end <= words.len());
        assert!(has_tables(run.classes) && run.symbols.iter().fold(0, |all, &symbol| all | symbol) < SYMBOLS as u8);
        // SAFETY: the processor has the instructions, checked by `is_there`; the assertions guarantee one word before
        // `end` for each symbol, and that the tables have an entry for every class and symbol.
        return unsafe { avx512::encode(run, states, words, end) };
    }
    encode_portable(run, states, words, end)
}

/// Decodes a run like [`decode_portable`], with AVX-512 where the processor has it.
pub fn decode(
    symbols: &mut [u8],
    classes: &[u32],
    states: &mut [u32; LANES],
    words: &[u16],
    count: usize,
    at: usize,
) -> Result<usize, CodeError> {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_there() {
        assert!(at <= count && words.len() >= count + LANES && has_tables(classes));
        // SAFETY: the processor has the instructions, checked by `is_there`; the assertion guarantees `LANES` words
        // after the first `count`, as many as a group could read, and that the tables have every class.
        return unsafe { avx512::decode(symbols, classes, states, words, count, at) };
    }
    decode_portable(symbols, classes, states, words, count, at)
}

/// Whether the tables have all of the classes. Gathers do not check it.
#[cfg(target_arch = "x86_64")]
fn has_tables(classes: &[u32]) -> bool {
    classes.iter().fold(0, |most, &class| most.max(class)) < CLASSES as u32
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use crate::codec::{
        error::CodeError,
        steps::rans::{
            portable::Run,
            tables::{LANES, LOWEST, SCALE_BITS, SYMBOLS, TABLES},
        },
    };

    /// Number of 32-bit values in a register.
    const WIDE: usize = 16;
    const _: () = assert!(SYMBOLS == 1 << 6 && LANES == 2 * WIDE);

    pub fn is_there() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }

    /// Mask of the first `count` lanes of a register.
    fn lanes(count: usize) -> u16 {
        if count >= WIDE { u16::MAX } else { (1 << count) - 1 }
    }

    /// Encodes a run; words are written backwards from `end`, and the new end is returned.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, BW and VL, and `run.symbols.len() <= end <= words.len()`. Symbols are below
    /// [`SYMBOLS`], and classes below the number of classes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn encode(run: &Run<'_>, states: &mut [u32; LANES], words: &mut [u16], mut end: usize) -> usize {
        let tables = &*TABLES;
        let width = run.classes.len() - LANES;
        let total = _mm512_set1_epi32(1 << SCALE_BITS);
        // SAFETY: `states` has `LANES = 2 * WIDE` values, which are two registers.
        let mut state =
            unsafe { [_mm512_loadu_epi32(states.as_ptr().cast()), _mm512_loadu_epi32(states[WIDE..].as_ptr().cast())] };
        let groups = run.symbols.len().div_ceil(LANES);
        for group in (0..groups).rev() {
            let column = group * LANES % width;
            for half in [1, 0] {
                let first = group * LANES + half * WIDE;
                if first >= run.symbols.len() {
                    continue;
                }
                let symbols = &run.symbols[first..];
                let active = lanes(symbols.len());
                let classes = &run.classes[column + half * WIDE..][..WIDE];
                let x = state[half];
                // SAFETY: the masked load reads no more symbols than there are, and `classes` has sixteen. Symbols are
                // below 64 (0 where masked off) and classes are those of models, so the gathers stay inside the tables.
                let (share, reciprocal) = unsafe {
                    let symbol = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(active, symbols.as_ptr().cast()));
                    let class = _mm512_loadu_epi32(classes.as_ptr().cast());
                    let at = _mm512_add_epi32(_mm512_slli_epi32::<6>(class), symbol);
                    let of = |table: &[u32]| _mm512_i32gather_epi32::<4>(at, table.as_ptr().cast());
                    (of(&tables.shares), of(&tables.reciprocals))
                };
                let frequency = _mm512_and_epi32(share, _mm512_set1_epi32(0xfff));
                let shift = _mm512_and_epi32(_mm512_srli_epi32::<12>(share), _mm512_set1_epi32(0xf));
                let bias = _mm512_srli_epi32::<16>(share);
                let limit = _mm512_slli_epi32::<{ 31 - SCALE_BITS }>(frequency);
                let full = _mm512_mask_cmpge_epu32_mask(active, x, limit);
                let count = full.count_ones() as usize;
                let given = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, x));
                end -= count;
                // SAFETY: the `count` words from `end` on are inside `words`: each symbol emits at most one, and there
                // was room for one per symbol before the initial `end`.
                unsafe { _mm256_mask_storeu_epi16(words[end..].as_mut_ptr().cast(), lanes(count), given) };
                let x = _mm512_mask_srli_epi32::<16>(x, full, x);
                let even = _mm512_srli_epi64::<32>(_mm512_mul_epu32(x, reciprocal));
                let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(x), _mm512_srli_epi64::<32>(reciprocal));
                let high = _mm512_mask_mov_epi32(even, 0xaaaa, odd);
                let quotient = _mm512_srlv_epi32(high, shift);
                let grown = _mm512_mullo_epi32(quotient, _mm512_sub_epi32(total, frequency));
                let next = _mm512_add_epi32(_mm512_add_epi32(x, bias), grown);
                state[half] = _mm512_mask_mov_epi32(state[half], active, next);
            }
        }
        // SAFETY: `states` has `LANES = 2 * WIDE` values, which are two registers.
        unsafe {
            _mm512_storeu_epi32(states.as_mut_ptr().cast(), state[0]);
            _mm512_storeu_epi32(states[WIDE..].as_mut_ptr().cast(), state[1]);
        }
        end
    }

    /// Decodes a run; `at` is the index of the next word, and its new value is returned.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, BW and VL; `at <= count`, and `words` has at least [`LANES`] more words than
    /// `count`. Classes are below the number of classes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn decode(
        symbols: &mut [u8],
        classes: &[u32],
        states: &mut [u32; LANES],
        words: &[u16],
        count: usize,
        mut at: usize,
    ) -> Result<usize, CodeError> {
        let slots = &TABLES.slots;
        let width = classes.len() - LANES;
        let mask = _mm512_set1_epi32((1 << SCALE_BITS) - 1);
        let lowest = _mm512_set1_epi32(LOWEST as i32);
        // SAFETY: `states` has `LANES = 2 * WIDE` values, which are two registers.
        let mut state =
            unsafe { [_mm512_loadu_epi32(states.as_ptr().cast()), _mm512_loadu_epi32(states[WIDE..].as_ptr().cast())] };
        let mut column = 0;
        for group in symbols.chunks_mut(LANES) {
            let classes = &classes[column..][..LANES];
            column = (column + LANES) % width;
            for half in [0, 1] {
                if half * WIDE >= group.len() {
                    break;
                }
                let symbols = &mut group[half * WIDE..];
                let active = lanes(symbols.len());
                let x = state[half];
                // SAFETY: `classes` has sixteen values from `half * WIDE` on. They are classes of models, and slots are
                // below the scale, so the gather stays inside the table.
                let slot = unsafe {
                    let class = _mm512_loadu_epi32(classes[half * WIDE..].as_ptr().cast());
                    let place = _mm512_or_epi32(_mm512_slli_epi32::<SCALE_BITS>(class), _mm512_and_epi32(x, mask));
                    _mm512_i32gather_epi32::<4>(place, slots.as_ptr().cast())
                };
                let frequency = _mm512_and_epi32(slot, _mm512_set1_epi32(0xfff));
                let bias = _mm512_and_epi32(_mm512_srli_epi32::<12>(slot), mask);
                let symbol = _mm512_cvtepi32_epi8(_mm512_srli_epi32::<23>(slot));
                // SAFETY: the mask stores no more bytes than there are symbols.
                unsafe { _mm_mask_storeu_epi8(symbols.as_mut_ptr().cast(), active, symbol) };
                let next = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32::<SCALE_BITS>(x)), bias);
                let few = _mm512_mask_cmplt_epu32_mask(active, next, lowest);
                // SAFETY: `at` is at most `count + 16`, since at most sixteen words were read since the last check, and
                // `words` has at least `count + 32`.
                let read = unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_epi16(words[at..].as_ptr().cast())) };
                let spread = _mm512_maskz_expand_epi32(few, read);
                let filled = _mm512_or_epi32(_mm512_slli_epi32::<16>(next), spread);
                at += few.count_ones() as usize;
                let next = _mm512_mask_mov_epi32(next, few, filled);
                state[half] = _mm512_mask_mov_epi32(state[half], active, next);
            }
            if at > count {
                return Err(CodeError::Short);
            }
        }
        // SAFETY: `states` has `LANES = 2 * WIDE` values, which are two registers.
        unsafe {
            _mm512_storeu_epi32(states.as_mut_ptr().cast(), state[0]);
            _mm512_storeu_epi32(states[WIDE..].as_mut_ptr().cast(), state[1]);
        }
        Ok(at)
    }
}
