//! Vectors with AVX-512 (F, BW, DQ, VL).

use std::arch::x86_64::*;

use super::Simd;

/// Vectors of sixteen numbers, with AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

type V = __m512;

#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Simd for Avx512 {
    const WIDTH: usize = 16;
    const COLUMNS: usize = 4;
    const ROWS: usize = 6;
    type V = V;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and sixteen readable numbers at `from`.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and `count` readable numbers at `from`; the mask keeps
        // the load from reading more.
        unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
    }
    #[inline(always)]
    unsafe fn store(into: *mut f32, v: V) {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and room for sixteen numbers at `into`.
        unsafe { _mm512_storeu_ps(into, v) }
    }
    #[inline(always)]
    unsafe fn store_part(into: *mut f32, v: V, count: usize) {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and room for `count` numbers at `into`; the mask keeps
        // the store from writing more.
        unsafe { _mm512_mask_storeu_ps(into, mask(count), v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and sixteen readable numbers of two bytes at `from`.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and sixteen readable numbers of two bytes at `from`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(into: *mut u8, v: V) {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and room for sixteen numbers of two bytes at `into`.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            // A NaN stays a NaN: its upper half, with the quiet bit set.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
            _mm256_storeu_si256(into.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded)));
        }
    }
    #[inline(always)]
    unsafe fn store_f16(into: *mut u8, v: V) {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and room for sixteen numbers of two bytes at `into`.
        unsafe { _mm256_storeu_si256(into.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    unsafe fn store_bytes(into: *mut u8, v: V, count: usize) {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL and room for `count` bytes at `into`; the mask keeps
        // the store from writing more.
        unsafe { _mm512_mask_cvtepi32_storeu_epi8(into.cast(), mask(count), _mm512_cvtps_epi32(v)) }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL.
        unsafe { _mm512_roundscale_ps::<0>(a) }
    }
    #[inline(always)]
    unsafe fn power_of_two(n: V) -> V {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL; only registers are used.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL; only registers are used.
        unsafe {
            let a8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
            let a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
            _mm_cvtss_f32(_mm_add_ss(a2, _mm_movehdup_ps(a2)))
        }
    }
    #[inline(always)]
    unsafe fn sum4(a: V, b: V, c: V, d: V) -> [f32; 4] {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL; the only store is to the four numbers of `sums`.
        unsafe {
            // The numbers are added in the order of `sum`: halves, quarters, then within four.
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
            let four = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0x4e>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0xb1>(two));
            let mut sums = [0f32; 4];
            let picked = _mm512_maskz_compress_ps(0x1111, one);
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(picked));
            sums
        }
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL; only registers are used.
        unsafe {
            let a8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a4 = _mm_max_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
            let a2 = _mm_max_ps(a4, _mm_movehl_ps(a4, a4));
            _mm_cvtss_f32(_mm_max_ss(a2, _mm_movehdup_ps(a2)))
        }
    }
    #[inline(always)]
    unsafe fn store_transposed(rows: *const V, into: *mut f32, stride: usize) {
        // SAFETY: the caller guarantees AVX-512 F, BW, DQ and VL, sixteen vectors at `rows`, and room for sixteen
        // numbers at each of sixteen columns, `stride` apart, at `into`.
        unsafe {
            // There are no closures here, since they would be compiled without the instruction set.
            let r: [V; 16] = rows.cast::<[V; 16]>().read();
            let mut pairs = r;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            // Lane l of fours[column][i] is column 4 * l + `column` of rows 4 * i and on.
            let mut fours = [[r[0]; 4]; 4];
            for i in 0..4 {
                let (low, high) = ((pairs[4 * i], pairs[4 * i + 2]), (pairs[4 * i + 1], pairs[4 * i + 3]));
                fours[0][i] = _mm512_shuffle_ps::<0x44>(low.0, low.1);
                fours[1][i] = _mm512_shuffle_ps::<0xee>(low.0, low.1);
                fours[2][i] = _mm512_shuffle_ps::<0x44>(high.0, high.1);
                fours[3][i] = _mm512_shuffle_ps::<0xee>(high.0, high.1);
            }
            for (column, [a, b, c, d]) in fours.into_iter().enumerate() {
                let (ab02, ab13) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
                let (cd02, cd13) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
                let into = into.add(column * stride);
                _mm512_storeu_ps(into, _mm512_shuffle_f32x4::<0x88>(ab02, cd02));
                _mm512_storeu_ps(into.add(4 * stride), _mm512_shuffle_f32x4::<0x88>(ab13, cd13));
                _mm512_storeu_ps(into.add(8 * stride), _mm512_shuffle_f32x4::<0xdd>(ab02, cd02));
                _mm512_storeu_ps(into.add(12 * stride), _mm512_shuffle_f32x4::<0xdd>(ab13, cd13));
            }
        }
    }
}
