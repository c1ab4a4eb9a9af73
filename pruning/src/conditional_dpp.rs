//! Conditional DPP: CDPruner (arXiv 2506.10967), which OpenVINO serves, re-derived from its text; a baseline.
//!
//! \[P\] The kept set maximises `det(L_S)` of the kernel `L_ij = r_i cos(x_i, x_j) r_j` (equation 6): its tokens are
//! unlike each other and relevant to the words. The maximisation is greedy, by the fast MAP inference of Chen, Zhang
//! and Zhou (2018): each step takes the token that adds most to the determinant, and one row of a Cholesky factor
//! updates all gains. \[P\] `r` is the mean of `-cos(x_i, t)` over the words, scaled to 0 to 1: as published and as
//! served, a token that is unlike the words counts as relevant. \[R\] Words and tokens are compared in the language
//! model's embedding space, as OpenVINO does where there is no CLIP. Without words all tokens are equally relevant.
//! Ties go to the lower index.
//!
//! O(N K (d + K)) time, O(N K) memory.

use crate::rows::{Rows, UnitRows, dot};

/// Gains below this count as zero: the kept set already spans the remaining tokens.
const GAIN_MIN: f32 = 1e-10;

/// Indices that are kept, ascending; all of them if `keep` covers them. `rows` is `[N, d]`, `words` `[M, d]`.
pub fn select(rows: Rows<'_>, words: Rows<'_>, keep: usize) -> Vec<usize> {
    if keep >= rows.len() {
        return (0..rows.len()).collect();
    }
    let units = UnitRows::of(rows);
    let relevance = relevance(units.rows(), words);
    let mut kept = greedy(units.rows(), &relevance, keep);
    kept.sort_unstable();
    kept
}

/// Relevance of each token, 0 to 1; the token least like the words has 1.
fn relevance(units: Rows<'_>, words: Rows<'_>) -> Vec<f32> {
    if words.is_empty() {
        return vec![1.0; units.len()];
    }
    // The mean of the cosines equals the product with the mean of the unit rows.
    let mean = UnitRows::of(words).rows().mean();
    let unlike: Vec<f32> = units.iter().map(|unit| -dot(unit, &mean)).collect();
    let least = unlike.iter().copied().fold(f32::INFINITY, f32::min);
    let most = unlike.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    unlike.into_iter().map(|unlike| (unlike - least) / (most - least + 1e-6)).collect()
}

fn greedy(units: Rows<'_>, relevance: &[f32], keep: usize) -> Vec<usize> {
    let count = units.len();
    // For each token, the amount it would add to the determinant, and its row of the factor.
    let mut gains: Vec<f32> = relevance.iter().map(|relevance| relevance * relevance).collect();
    let mut factor: Vec<Vec<f32>> = vec![Vec::with_capacity(keep); count];
    let mut taken = vec![false; count];
    let mut order = Vec::with_capacity(keep);
    while order.len() < keep {
        let left = (0..count).filter(|&index| !taken[index]);
        let best = left.reduce(|best, index| if gains[index] > gains[best] { index } else { best });
        let Some(best) = best else { break };
        taken[best] = true;
        order.push(best);
        // Once the kept set spans everything, the rest follows in order of gains that are close to zero.
        let root = gains[best].max(GAIN_MIN).sqrt();
        let row = factor[best].clone();
        for index in (0..count).filter(|&index| !taken[index]) {
            let kernel = relevance[best] * relevance[index] * dot(units.row(best), units.row(index));
            let entry = (kernel - dot(&row, &factor[index])) / root;
            factor[index].push(entry);
            gains[index] -= entry * entry;
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Determinant by Gaussian elimination, in f64.
    fn determinant(mut matrix: Vec<Vec<f64>>) -> f64 {
        let mut determinant = 1.0;
        for column in 0..matrix.len() {
            let pivot = (column..matrix.len())
                .max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))
                .unwrap();
            if matrix[pivot][column] == 0.0 {
                return 0.0;
            }
            if pivot != column {
                matrix.swap(pivot, column);
                determinant = -determinant;
            }
            determinant *= matrix[column][column];
            for row in column + 1..matrix.len() {
                let factor = matrix[row][column] / matrix[column][column];
                let above = matrix[column].clone();
                matrix[row].iter_mut().zip(above).for_each(|(value, above)| *value -= factor * above);
            }
        }
        determinant
    }

    proptest! {
        /// Every step takes the token that makes the determinant largest, up to rounding.
        #[test]
        fn agrees_with_the_definition(
            rows in prop::collection::vec(prop::collection::vec(-1f32..1f32, 16), 3..16),
            words in prop::collection::vec(prop::collection::vec(-1f32..1f32, 16), 0..4),
            share in 0f64..1f64,
        ) {
            let keep = 1 + (share * (rows.len() - 2) as f64) as usize;
            let flat: Vec<f32> = rows.iter().flatten().copied().collect();
            let flat_words: Vec<f32> = words.iter().flatten().copied().collect();
            let units = UnitRows::of(Rows::new(&flat, 16).unwrap());
            let relevance = relevance(units.rows(), Rows::new(&flat_words, 16).unwrap());
            let order = greedy(units.rows(), &relevance, keep);
            prop_assert_eq!(order.len(), keep);
            let of = |set: &[usize]| {
                let entry = |i: &usize, j: &usize| {
                    let cosine: f64 = units.rows().row(*i).iter().zip(units.rows().row(*j))
                        .map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    f64::from(relevance[*i]) * cosine * f64::from(relevance[*j])
                };
                determinant(set.iter().map(|i| set.iter().map(|j| entry(i, j)).collect()).collect())
            };
            for step in 0..keep {
                let with = |next: usize| of(&[&order[..step], &[next]].concat());
                let best = (0..rows.len()).filter(|i| !order[..step].contains(i)).map(with).fold(0.0, f64::max);
                prop_assert!(with(order[step]) >= best * (1.0 - 1e-2) - 1e-9, "step {} of {:?}", step, order);
            }
        }
    }

    #[test]
    fn near_duplicates_and_what_is_like_the_words_come_last() {
        let rows = [1.0f32, 0.0, 0.0, 1.0, 0.01, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let rows = Rows::new(&rows, 3).unwrap();
        assert_eq!(select(rows, Rows::new(&[], 3).unwrap(), 3), [0, 2, 3]);
        // The first two have no relevance, so they have no gain either.
        assert_eq!(select(rows, Rows::new(&[1.0, 0.0, 0.0], 3).unwrap(), 2), [2, 3]);
        assert_eq!(select(rows, Rows::new(&[], 3).unwrap(), 9), [0, 1, 2, 3]);
    }
}
