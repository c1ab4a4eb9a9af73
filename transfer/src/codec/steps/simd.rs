//! The entropy coder's inner loops by instruction set, chosen at run time. All give the same bytes.

use super::{
    super::part::CodeError,
    rans::{LANES, Run, decode_portable, encode_portable},
};

/// As [`encode_portable`].
pub fn encode(run: &Run<'_>, states: &mut [u32; LANES], words: &mut [u16], end: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_there() {
        assert!(run.symbols.len() <= end && end <= words.len());
        // SAFETY: the instructions are there; there is room for one word for each symbol before `end`.
        return unsafe { avx512::encode(run, states, words, end) };
    }
    encode_portable(run, states, words, end)
}

/// As [`decode_portable`].
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
        assert!(at <= count && words.len() >= count + LANES);
        // SAFETY: the instructions are there; behind `count` words there are as many more as a group could read.
        return unsafe { avx512::decode(symbols, classes, states, words, count, at) };
    }
    decode_portable(symbols, classes, states, words, count, at)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::super::{
        super::part::CodeError,
        rans::{LANES, LOWEST, Run, SCALE_BITS, SYMBOLS, TABLES},
    };

    /// 32-bit values of a register.
    const WIDE: usize = 16;
    const _: () = assert!(SYMBOLS == 1 << 6 && LANES == 2 * WIDE);

    pub fn is_there() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }

    /// The first `count` lanes of a register.
    fn lanes(count: usize) -> u16 {
        if count >= WIDE { u16::MAX } else { (1 << count) - 1 }
    }

    /// # Safety
    /// AVX-512 F, BW and VL; `run.symbols.len() <= end <= words.len()`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn encode(run: &Run<'_>, states: &mut [u32; LANES], words: &mut [u16], mut end: usize) -> usize {
        let tables = &*TABLES;
        let width = run.classes.len() - LANES;
        let total = _mm512_set1_epi32(1 << SCALE_BITS);
        // SAFETY: two registers of states.
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
                // SAFETY: as many symbols as there are lanes, sixteen classes; symbols are below 64 and classes are
                // those of models, or masked off, so gathers stay inside the tables.
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
                // SAFETY: `count` words from `end` on are inside: one for each symbol lies before where `end` began.
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
        // SAFETY: as above.
        unsafe {
            _mm512_storeu_epi32(states.as_mut_ptr().cast(), state[0]);
            _mm512_storeu_epi32(states[WIDE..].as_mut_ptr().cast(), state[1]);
        }
        end
    }

    /// # Safety
    /// AVX-512 F, BW and VL; `at <= count`, and `words` has [`LANES`] more than `count`.
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
        // SAFETY: two registers of states.
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
                // SAFETY: sixteen classes of models and slots below the scale: inside the table.
                let slot = unsafe {
                    let class = _mm512_loadu_epi32(classes[half * WIDE..].as_ptr().cast());
                    let place = _mm512_or_epi32(_mm512_slli_epi32::<SCALE_BITS>(class), _mm512_and_epi32(x, mask));
                    _mm512_i32gather_epi32::<4>(place, slots.as_ptr().cast())
                };
                let frequency = _mm512_and_epi32(slot, _mm512_set1_epi32(0xfff));
                let bias = _mm512_and_epi32(_mm512_srli_epi32::<12>(slot), mask);
                let symbol = _mm512_cvtepi32_epi8(_mm512_srli_epi32::<23>(slot));
                // SAFETY: as many bytes as there are symbols.
                unsafe { _mm_mask_storeu_epi8(symbols.as_mut_ptr().cast(), active, symbol) };
                let next = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32::<SCALE_BITS>(x)), bias);
                let few = _mm512_mask_cmplt_epu32_mask(active, next, lowest);
                // SAFETY: `at` is at most `count` and sixteen more, behind which there are sixteen words.
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
        // SAFETY: as above.
        unsafe {
            _mm512_storeu_epi32(states.as_mut_ptr().cast(), state[0]);
            _mm512_storeu_epi32(states[WIDE..].as_mut_ptr().cast(), state[1]);
        }
        Ok(at)
    }
}
