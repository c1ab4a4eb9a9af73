//! Inner products of many rows, fast enough that selection costs a few percent of the prefill time it saves.
//!
//! Plain Rust that the compiler vectorises, compiled three times: for AVX-512, for AVX2 and for any machine. It uses
//! sixteen partial sums per product and no fused multiply-add, so that every machine of a cluster rounds alike: the
//! same picture must keep the same tokens on every prefill node. This also makes [`products`] agree with [`dot`] to the
//! last bit.

use crate::rows::Rows;

const LANES: usize = 16;

/// Rows of `b` that stay in the second-level cache (32 x 4096 x 4 bytes) while all rows of `a` are read.
const CACHED_ROWS: usize = 32;

/// Inner product of two rows of one width.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: `dot_avx512` only requires AVX-512F, which the check above found.
        return unsafe { dot_avx512(a, b) };
    }
    tile([a], [b])[0][0]
}

/// `out[i, j] = a_i . b_j`: `[A, d]` and `[B, d]` to `[A, B]`, row-major.
pub(crate) fn products(a: Rows<'_>, b: Rows<'_>) -> Vec<f32> {
    let mut out = vec![0f32; a.len() * b.len()];
    dispatch(a, b, Part::All, &mut out);
    out
}

/// `out[i, j] = a_i . a_j`, symmetric: `[A, d]` to `[A, A]` at half the work of [`products`].
pub(crate) fn gram(a: Rows<'_>) -> Vec<f32> {
    let count = a.len();
    let mut out = vec![0f32; count * count];
    dispatch(a, a, Part::UpToDiagonal, &mut out);
    for i in 0..count {
        for j in i + 1..count {
            out[i * count + j] = out[j * count + i];
        }
    }
    out
}

/// The blocks of the result to compute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    UpToDiagonal,
}

fn dispatch(a: Rows<'_>, b: Rows<'_>, part: Part, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: `blocks_avx512` only requires AVX-512F, which the check above found.
            return unsafe { blocks_avx512(a, b, part, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: `blocks_avx2` only requires AVX2, which the check above found.
            return unsafe { blocks_avx2(a, b, part, out) };
        }
    }
    blocks::<1, 2>(a, b, part, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    tile([a], [b])[0][0]
}

// Block shapes are chosen to fit the registers: 32 of 16 lanes, 16 of 8 lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn blocks_avx512(a: Rows<'_>, b: Rows<'_>, part: Part, out: &mut [f32]) {
    blocks::<4, 4>(a, b, part, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn blocks_avx2(a: Rows<'_>, b: Rows<'_>, part: Part, out: &mut [f32]) {
    blocks::<2, 2>(a, b, part, out);
}

#[inline(always)]
fn blocks<const R: usize, const C: usize>(a: Rows<'_>, b: Rows<'_>, part: Part, out: &mut [f32]) {
    let (a_len, b_len) = (a.len(), b.len());
    for cached in (0..b_len).step_by(CACHED_ROWS) {
        for i in (0..a_len).step_by(R) {
            for j in (cached..b_len.min(cached + CACHED_ROWS)).step_by(C) {
                if part == Part::UpToDiagonal && j >= i + R {
                    break;
                }
                // Indices past the end are clamped to the last row: the same number is written twice.
                let a_index: [usize; R] = std::array::from_fn(|r| (i + r).min(a_len - 1));
                let b_index: [usize; C] = std::array::from_fn(|c| (j + c).min(b_len - 1));
                let sums = tile(a_index.map(|index| a.row(index)), b_index.map(|index| b.row(index)));
                for (r, sums) in sums.iter().enumerate() {
                    for (c, sum) in sums.iter().enumerate() {
                        out[a_index[r] * b_len + b_index[c]] = *sum;
                    }
                }
            }
        }
    }
}

/// Computes `R x C` inner products at once, so that every load serves several of them.
#[inline(always)]
fn tile<const R: usize, const C: usize>(a: [&[f32]; R], b: [&[f32]; C]) -> [[f32; C]; R] {
    let whole = a.iter().chain(&b).map(|row| row.len() / LANES).min().unwrap_or(0);
    let a_chunks: [&[[f32; LANES]]; R] = a.map(|row| &row.as_chunks().0[..whole]);
    let b_chunks: [&[[f32; LANES]]; C] = b.map(|row| &row.as_chunks().0[..whole]);
    let mut sums = [[[0f32; LANES]; C]; R];
    for k in 0..whole {
        let b: [[f32; LANES]; C] = std::array::from_fn(|c| b_chunks[c][k]);
        for r in 0..R {
            let a = a_chunks[r][k];
            for c in 0..C {
                sums[r][c] = add_products(sums[r][c], a, b[c]);
            }
        }
    }
    std::array::from_fn(|r| {
        std::array::from_fn(|c| {
            let tail = a[r][whole * LANES..].iter().zip(&b[c][whole * LANES..]);
            total(sums[r][c]) + tail.map(|(x, y)| x * y).sum::<f32>()
        })
    })
}

/// Adds the products, by value: sums that are passed by reference do not stay in registers, which is ten times slower.
#[inline(always)]
fn add_products(mut sums: [f32; LANES], a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    for lane in 0..LANES {
        sums[lane] += a[lane] * b[lane];
    }
    sums
}

/// Adds up the lanes by halves.
#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(count: usize) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-2f32..2f32, count)
    }

    #[test]
    fn dot_covers_the_tail() {
        let a: Vec<f32> = (0..19).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..19).map(|i| (i * i) as f32).sum::<f32>());
    }

    proptest! {
        #[test]
        fn every_block_shape_gives_the_bits_of_the_plain_one(
            (width, a, b) in (1usize..70, 1usize..41, 1usize..41)
                .prop_flat_map(|(width, a, b)| (Just(width), values(a * width), values(b * width))),
        ) {
            let (a, b) = (Rows::new(&a, width).unwrap(), Rows::new(&b, width).unwrap());
            let plain = |x: Rows<'_>, y: Rows<'_>| -> Vec<f32> {
                x.iter().flat_map(|x| y.iter().map(move |y| tile([x], [y])[0][0])).collect()
            };
            prop_assert_eq!(products(a, b), plain(a, b));
            prop_assert_eq!(gram(a), plain(a, a));
            let mut out = vec![0f32; a.len() * b.len()];
            blocks::<2, 2>(a, b, Part::All, &mut out);
            prop_assert_eq!(&out, &plain(a, b));
            for (x, y) in a.iter().zip(b.iter()) {
                let exact: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                prop_assert!((f64::from(dot(x, y)) - exact).abs() < 1e-4);
            }
        }
    }
}
