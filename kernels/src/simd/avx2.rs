//! Vectors with AVX2, FMA and F16C.

use std::arch::x86_64::*;

use super::Simd;

/// Vectors of eight numbers, with AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

type V = __m256;

impl Simd for Avx2 {
    const WIDTH: usize = 8;
    const COLUMNS: usize = 2;
    const ROWS: usize = 3;
    type V = V;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and eight readable numbers at `from`.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> V {
        let mut numbers = [0f32; 8];
        // SAFETY: the caller guarantees AVX2, FMA and F16C and `count` readable numbers at `from`; `count` is at most
        // eight, for which `numbers` has room.
        unsafe {
            std::ptr::copy_nonoverlapping(from.cast::<u8>(), numbers.as_mut_ptr().cast::<u8>(), count * 4);
            _mm256_loadu_ps(numbers.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(into: *mut f32, v: V) {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and room for eight numbers at `into`.
        unsafe { _mm256_storeu_ps(into, v) }
    }
    #[inline(always)]
    unsafe fn store_part(into: *mut f32, v: V, count: usize) {
        let mut numbers = [0f32; 8];
        // SAFETY: the caller guarantees AVX2, FMA and F16C and room for `count` numbers at `into`; `count` is at most
        // eight, which `numbers` has.
        unsafe {
            _mm256_storeu_ps(numbers.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(numbers.as_ptr().cast::<u8>(), into.cast::<u8>(), count * 4);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and eight readable numbers of two bytes at `from`.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and eight readable numbers of two bytes at `from`.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(into: *mut u8, v: V) {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and room for eight numbers of two bytes at `into`.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
            // A NaN stays a NaN: its upper half, with the quiet bit set.
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let rounded = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let packed = _mm256_permute4x64_epi64::<0x08>(_mm256_packus_epi32(rounded, rounded));
            _mm_storeu_si128(into.cast(), _mm256_castsi256_si128(packed));
        }
    }
    #[inline(always)]
    unsafe fn store_f16(into: *mut u8, v: V) {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and room for eight numbers of two bytes at `into`.
        unsafe { _mm_storeu_si128(into.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    unsafe fn store_bytes(into: *mut u8, v: V, count: usize) {
        // SAFETY: the caller guarantees AVX2, FMA and F16C and room for `count` bytes at `into`; `count` is at most
        // eight, which `bytes` has.
        unsafe {
            let v = _mm256_cvtps_epi32(v);
            let words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), into, count);
        }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn power_of_two(n: V) -> V {
        // SAFETY: the caller guarantees AVX2, FMA and F16C; only registers are used.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        // SAFETY: the caller guarantees AVX2, FMA and F16C; only registers are used.
        unsafe {
            let b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let c = _mm_add_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)))
        }
    }
    #[inline(always)]
    unsafe fn sum4(a: V, b: V, c: V, d: V) -> [f32; 4] {
        // SAFETY: the caller guarantees AVX2, FMA and F16C; the only store is to the four numbers of `sums`.
        unsafe {
            let ab = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
            let cd = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
            let two = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let one = _mm256_add_ps(two, _mm256_permute_ps::<0xb1>(two));
            let (ac, bd) = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
            let mut sums = [0f32; 4];
            // ac is [a, a, c, c] and bd is [b, b, d, d].
            _mm_storeu_ps(sums.as_mut_ptr(), _mm_blend_ps::<0b1010>(ac, bd));
            sums
        }
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        // SAFETY: the caller guarantees AVX2, FMA and F16C; only registers are used.
        unsafe {
            let b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let c = _mm_max_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)))
        }
    }
    #[inline(always)]
    unsafe fn store_transposed(rows: *const V, into: *mut f32, stride: usize) {
        // SAFETY: the caller guarantees AVX2, FMA and F16C, eight vectors at `rows`, and room for eight numbers at each
        // of eight columns, `stride` apart, at `into`.
        unsafe {
            // There are no closures here, since they would be compiled without the instruction set.
            let r: [V; 8] = rows.cast::<[V; 8]>().read();
            for half in 0..2 {
                let mut pairs = [r[0]; 4];
                for i in 0..4 {
                    pairs[i] = if half == 0 {
                        _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1])
                    } else {
                        _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1])
                    };
                }
                let [a, b, c, d] = pairs;
                let even = (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0x44>(c, d));
                let odd = (_mm256_shuffle_ps::<0xee>(a, b), _mm256_shuffle_ps::<0xee>(c, d));
                let into = into.add(half * 2 * stride);
                _mm256_storeu_ps(into, _mm256_permute2f128_ps::<0x20>(even.0, even.1));
                _mm256_storeu_ps(into.add(stride), _mm256_permute2f128_ps::<0x20>(odd.0, odd.1));
                _mm256_storeu_ps(into.add(4 * stride), _mm256_permute2f128_ps::<0x31>(even.0, even.1));
                _mm256_storeu_ps(into.add(5 * stride), _mm256_permute2f128_ps::<0x31>(odd.0, odd.1));
            }
        }
    }
}
