//! Products with int8 weights.
//!
//! x is quantised per row and group of 256 inputs: q = round(x * 127 / largest), stored as u8 = q + 128. The sum of an
//! output is exact, in i32, within a group; the groups' sums, times the group's scale of x, are added in order (fused)
//! in f32; then come the output's scale of the weights, the bias, and the previous value of y.

use crate::Isa;
use crate::quantized::{GROUP, LANES, PANEL, Quantized};
use crate::simd::prefetch;
use crate::simd::{Portable, Simd};

/// Distance of prefetches from the weights in use, in bytes: enough to hide the memory's latency, with a margin.
const AHEAD: usize = 16 << 10;

/// Integer arithmetic of an instruction set: sums in vectors of i32, of four inputs for a vector of outputs at a time.
///
/// # Safety
///
/// The functions need the instruction set, and valid memory: four bytes of x, and four weights for each lane.
pub(crate) trait Bytes: Copy {
    /// Vectors of f32 with the same number of lanes.
    type S: Simd;
    /// The type of a vector of i32.
    type I: Copy;
    /// Four inputs of one row, repeated for every lane.
    type X: Copy;
    /// Number of rows of a register tile.
    const ROWS: usize;
    /// Number of vectors of outputs of a register tile.
    const COLUMNS: usize;

    /// Initial value of a group's sums: the corrections if x is taken as unsigned, else zero.
    unsafe fn start(corrections: *const i32) -> Self::I;
    unsafe fn x(four: *const u8) -> Self::X;
    unsafe fn mac(sums: Self::I, x: Self::X, w: *const i8) -> Self::I;
    unsafe fn to_f32(sums: Self::I) -> <Self::S as Simd>::V;
}

/// Integer arithmetic in plain Rust.
impl Bytes for Portable {
    type S = Portable;
    type I = [i32; 8];
    type X = [i32; 4];
    const ROWS: usize = 2;
    const COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> [i32; 8] {
        [0; 8]
    }
    #[inline(always)]
    unsafe fn x(four: *const u8) -> [i32; 4] {
        // SAFETY: the caller guarantees four readable bytes at `four`.
        unsafe { four.cast::<[u8; 4]>().read() }.map(|x| i32::from(x) - 128)
    }
    #[inline(always)]
    unsafe fn mac(sums: [i32; 8], x: [i32; 4], w: *const i8) -> [i32; 8] {
        // SAFETY: the caller guarantees 32 readable bytes at `w`.
        let w = unsafe { w.cast::<[[i8; 4]; 8]>().read_unaligned() };
        std::array::from_fn(|i| sums[i] + (0..4).map(|k| x[k] * i32::from(w[i][k])).sum::<i32>())
    }
    #[inline(always)]
    unsafe fn to_f32(sums: [i32; 8]) -> [f32; 8] {
        sums.map(|x| x as f32)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::product::int8::Bytes;
    use crate::simd::{Avx2, Avx512};

    /// Integer arithmetic with AVX2. The unsigned factor of `vpmaddubsw` is |x|, and the sign of x goes to the weight,
    /// so that no pair saturates.
    impl Bytes for Avx2 {
        type S = Avx2;
        type I = __m256i;
        type X = (__m256i, __m256i);
        const ROWS: usize = 3;
        const COLUMNS: usize = 2;

        #[inline(always)]
        unsafe fn start(_: *const i32) -> __m256i {
            // SAFETY: the caller guarantees AVX2.
            unsafe { _mm256_setzero_si256() }
        }
        #[inline(always)]
        unsafe fn x(four: *const u8) -> (__m256i, __m256i) {
            // SAFETY: the caller guarantees AVX2 and four readable bytes at `four`.
            unsafe {
                let x = _mm256_set1_epi32(four.cast::<i32>().read_unaligned());
                let x = _mm256_xor_si256(x, _mm256_set1_epi8(-128));
                (_mm256_abs_epi8(x), x)
            }
        }
        #[inline(always)]
        unsafe fn mac(sums: __m256i, x: (__m256i, __m256i), w: *const i8) -> __m256i {
            // SAFETY: the caller guarantees AVX2 and 32 readable bytes at `w`.
            unsafe {
                let w = _mm256_sign_epi8(_mm256_loadu_si256(w.cast()), x.1);
                let pairs = _mm256_maddubs_epi16(x.0, w);
                _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }
        #[inline(always)]
        unsafe fn to_f32(sums: __m256i) -> __m256 {
            // SAFETY: the caller guarantees AVX2.
            unsafe { _mm256_cvtepi32_ps(sums) }
        }
    }

    /// Integer arithmetic with AVX-512 VNNI.
    impl Bytes for Avx512 {
        type S = Avx512;
        type I = __m512i;
        type X = __m512i;
        const ROWS: usize = 6;
        const COLUMNS: usize = 4;

        #[inline(always)]
        unsafe fn start(corrections: *const i32) -> __m512i {
            // SAFETY: the caller guarantees AVX-512 with VNNI and 64 readable bytes at `corrections`.
            unsafe { _mm512_loadu_si512(corrections.cast()) }
        }
        #[inline(always)]
        unsafe fn x(four: *const u8) -> __m512i {
            // SAFETY: the caller guarantees AVX-512 with VNNI and four readable bytes at `four`.
            unsafe { _mm512_set1_epi32(four.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn mac(sums: __m512i, x: __m512i, w: *const i8) -> __m512i {
            // SAFETY: the caller guarantees AVX-512 with VNNI and 64 readable bytes at `w`.
            unsafe { _mm512_dpbusd_epi32(sums, x, _mm512_loadu_si512(w.cast())) }
        }
        #[inline(always)]
        unsafe fn to_f32(sums: __m512i) -> __m512 {
            // SAFETY: the caller guarantees AVX-512 with VNNI.
            unsafe { _mm512_cvtepi32_ps(sums) }
        }
    }
}

/// Addresses of the quantised x of some rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    numbers: *mut u8,
    scales: *mut f32,
    inputs: usize,
}

impl Rows {
    /// Distance from one row to the next, in bytes. Not a multiple of 4096, which would put all rows into the same sets
    /// of the cache.
    fn stride(inputs: usize) -> usize {
        inputs.next_multiple_of(128) + 64
    }

    pub(crate) fn bytes(rows: usize, inputs: usize) -> usize {
        rows * (Self::stride(inputs) + inputs.div_ceil(GROUP) * 4)
    }

    pub(crate) fn at(memory: *mut u8, rows: usize, inputs: usize) -> Rows {
        let scales = memory.wrapping_add(rows * Self::stride(inputs)).cast();
        Rows { numbers: memory, scales, inputs }
    }

    fn row(&self, row: usize) -> *mut u8 {
        self.numbers.wrapping_add(row * Self::stride(self.inputs))
    }

    fn scale(&self, row: usize) -> *mut f32 {
        self.scales.wrapping_add(row * self.inputs.div_ceil(GROUP))
    }
}

/// Task that quantises one row of x.
pub(crate) struct Quantise {
    pub(crate) x: *const f32,
    pub(crate) rows: Rows,
    pub(crate) row: usize,
}

impl crate::simd::Task for Quantise {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let inputs = self.rows.inputs;
        let mut at = 0;
        let mut group = 0;
        while at < inputs {
            let count = (inputs - at).min(GROUP);
            // SAFETY: all accesses are inside the row of x, its quantised form and its scales, as the caller promises.
            unsafe {
                let x = self.x.add(at);
                let (mut high, mut low) = (S::zero(), S::zero());
                let mut i = 0;
                while i < count {
                    let v = S::load_part(x.add(i), (count - i).min(S::WIDTH));
                    high = S::max(high, v);
                    low = S::min(low, v);
                    i += S::WIDTH;
                }
                let largest = S::largest(S::max(high, S::sub(S::zero(), low)));
                let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
                *self.rows.scale(self.row).add(group) = largest / 127.0;
                let into = self.rows.row(self.row).add(at);
                let mut i = 0;
                while i < count {
                    let rest = (count - i).min(S::WIDTH);
                    let q = S::round(S::mul(S::load_part(x.add(i), rest), inverse));
                    // A NaN or infinity in x gives an arbitrary number here; the scale carries it into y.
                    let q = S::add(S::min(S::max(q, S::splat(-127.0)), S::splat(127.0)), S::splat(128.0));
                    S::store_bytes(into.add(i), q, rest);
                    i += S::WIDTH;
                }
            }
            at += count;
            group += 1;
        }
        // The padding is multiplied with weights of zero, so it only has to be initialised.
        while at % 4 != 0 {
            // SAFETY: `at` is at most two past the inputs, and the row's stride has at least 64 bytes more than inputs.
            unsafe { *self.rows.row(self.row).add(at) = 128 };
            at += 1;
        }
    }
}

/// Product of one panel of outputs for all rows.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) x: Rows,
    /// Index of the first row.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) weights: &'a Quantized,
    pub(crate) bias: *const f32,
    pub(crate) panel: usize,
    /// Number of outputs of the panel, without padding.
    pub(crate) outputs: usize,
    /// Address of the panel's first output of the first row.
    pub(crate) y: *mut f32,
    pub(crate) stride: usize,
    pub(crate) add: bool,
}

/// Runs the product with the instruction set's integer arithmetic.
///
/// # Safety
/// The machine must have `isa`, and the product's pointers must be valid for its shape.
pub(crate) unsafe fn run(isa: Isa, product: Product<'_>) {
    // SAFETY: the caller guarantees that the machine has `isa` and that the product's pointers are valid for its shape.
    unsafe {
        match isa {
            Isa::Portable => product.run::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => with_avx2(product),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::Avx512Bf16 => with_vnni(product),
            #[cfg(not(target_arch = "x86_64"))]
            _ => product.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn with_avx2(product: Product<'_>) {
    // SAFETY: the caller guarantees the product's pointers; this function has all features of `Avx2`.
    unsafe { product.run::<crate::simd::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn with_vnni(product: Product<'_>) {
    // SAFETY: the caller guarantees the product's pointers; this function has all features of `Avx512` and VNNI.
    unsafe { product.run::<crate::simd::Avx512>() }
}

impl Product<'_> {
    #[inline(always)]
    unsafe fn run<B: Bytes>(self) {
        let width = self.weights.width(self.panel);
        let tile = B::COLUMNS * B::S::WIDTH;
        let mut row = 0;
        while row < self.rows {
            // Tiles are as equal in size as possible: 8 rows are 4 and 4, not 6 and 2.
            let left = self.rows - row;
            let rows = left.div_ceil(left.div_ceil(B::ROWS));
            let mut column = 0;
            while column < width {
                let columns = (width - column).min(tile) / B::S::WIDTH;
                // SAFETY: the caller guarantees the product's pointers; rows and columns are inside the panel.
                unsafe {
                    match rows {
                        1 => self.columns::<B, 1>(row, column, columns),
                        2 => self.columns::<B, 2>(row, column, columns),
                        3 if B::ROWS > 2 => self.columns::<B, 3>(row, column, columns),
                        4 if B::ROWS > 3 => self.columns::<B, 4>(row, column, columns),
                        5 if B::ROWS > 3 => self.columns::<B, 5>(row, column, columns),
                        6 if B::ROWS > 3 => self.columns::<B, 6>(row, column, columns),
                        _ => unreachable!("a tile of {rows} rows"),
                    }
                }
                column += columns * B::S::WIDTH;
            }
            row += rows;
        }
    }

    #[inline(always)]
    unsafe fn columns<B: Bytes, const R: usize>(&self, row: usize, column: usize, columns: usize) {
        // SAFETY: the caller guarantees the product's pointers, and that the tile is inside the panel.
        unsafe {
            match columns {
                1 => self.tile::<B, R, 1>(row, column),
                2 => self.tile::<B, R, 2>(row, column),
                3 if B::COLUMNS > 2 => self.tile::<B, R, 3>(row, column),
                4 if B::COLUMNS > 2 => self.tile::<B, R, 4>(row, column),
                _ => unreachable!("a tile of {columns} vectors"),
            }
        }
    }

    /// Computes a tile of R rows and C vectors of outputs, from column `column` of the panel on.
    #[inline(always)]
    unsafe fn tile<B: Bytes, const R: usize, const C: usize>(&self, row: usize, column: usize) {
        let width = self.weights.width(self.panel);
        let lanes = B::S::WIDTH;
        // SAFETY: the caller guarantees the product's pointers, and that the tile is inside the panel; loads and stores
        // of y and the bias are limited to outputs that exist.
        unsafe {
            let mut sums = [[B::S::zero(); C]; R];
            let mut weights = self.weights.panel(self.panel);
            let inputs = self.x.inputs;
            for group in 0..inputs.div_ceil(GROUP) {
                let fours = (inputs - group * GROUP).min(GROUP).div_ceil(4);
                let corrections = weights.cast::<i32>().add(column);
                let mut part = [[B::start(corrections); C]; R];
                for c in 1..C {
                    let start = B::start(corrections.add(c * lanes));
                    for part in &mut part {
                        part[c] = start;
                    }
                }
                let mut w = weights.add(width * 4 + column * 4).cast::<i8>();
                let mut x = self.x.row(self.first + row).cast_const().add(group * GROUP);
                let stride = Rows::stride(inputs);
                // If one tile has all rows, memory is the limit, so weights are prefetched (also beyond the panel, into
                // the next one).
                let fetch = self.rows <= B::ROWS;
                for _ in 0..fours {
                    if fetch {
                        for c in 0..C {
                            prefetch(w.cast::<u8>().wrapping_add(c * lanes * 4 + AHEAD));
                        }
                    }
                    for (r, part) in part.iter_mut().enumerate() {
                        let four = B::x(x.add(r * stride));
                        for (c, part) in part.iter_mut().enumerate() {
                            *part = B::mac(*part, four, w.add(c * lanes * 4));
                        }
                    }
                    x = x.add(4);
                    w = w.add(width * 4);
                }
                for r in 0..R {
                    let scale = B::S::splat(*self.x.scale(self.first + row + r).add(group));
                    for c in 0..C {
                        sums[r][c] = B::S::fma(B::to_f32(part[r][c]), scale, sums[r][c]);
                    }
                }
                weights = weights.add(width * 4 + fours * 4 * width);
            }
            let output = self.panel * PANEL + column;
            for c in 0..C {
                let scales = B::S::load(self.weights.scales.as_ptr().add(output + c * lanes));
                let there = self.outputs.saturating_sub(column + c * lanes).min(lanes);
                for (r, sums) in sums.iter().enumerate() {
                    let mut value = B::S::mul(sums[c], scales);
                    if !self.bias.is_null() {
                        let bias = self.bias.wrapping_add(output + c * lanes);
                        value = B::S::add(value, B::S::load_part(bias, there));
                    }
                    let y = self.y.wrapping_add((row + r) * self.stride + column + c * lanes);
                    if self.add {
                        value = B::S::add(B::S::load_part(y, there), value);
                    }
                    B::S::store_part(y, value, there);
                }
            }
        }
    }
}

const _: () = assert!(PANEL.is_multiple_of(LANES) && LANES.is_multiple_of(16));
