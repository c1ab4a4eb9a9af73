//! Greedy RepMax: maximise the expected pairwise distance of the kept set (TrimTokenator, stage 2).
//!
//! \[P\] Start from the token with the lowest mean similarity to all; then repeatedly take the one with the lowest mean
//! similarity to those already taken. \[R\] Cosine similarity with an epsilon of 1e-8 on the norm; ties go to the lower
//! index.
//!
//! Matrix-free: a running sum `sigma_i = sum_{j taken} u_i . u_j` grows by one inner product per token and round, so
//! the cost is O(N K d) time and O(N d) state, without an N x N similarity matrix.

use crate::{
    argmin::argmin,
    rows::{Rows, UnitRows, dot},
};

/// Indices into `rows` of the `candidates` that greedy RepMax takes, in the order it takes them; all of them if `keep`
/// covers them.
pub fn select(rows: Rows<'_>, candidates: &[usize], keep: usize) -> Vec<usize> {
    let units = UnitRows::gather(rows, candidates);
    greedy(units.rows(), keep).into_iter().map(|position| candidates[position]).collect()
}

/// The selection of [`select`] among all rows of a matrix of unit rows.
pub(crate) fn greedy(units: Rows<'_>, keep: usize) -> Vec<usize> {
    let mut taken = vec![false; units.len()];
    let mut sigma = vec![0f32; units.len()];
    let mut order = Vec::with_capacity(keep.min(units.len()));
    let mut next = if keep == 0 { None } else { least_similar(units) };
    while let Some(newest) = next {
        taken[newest] = true;
        order.push(newest);
        if order.len() >= keep {
            break;
        }
        for (index, unit) in units.iter().enumerate() {
            if !taken[index] {
                sigma[index] += dot(unit, units.row(newest));
            }
        }
        next = argmin(sigma.iter().copied().enumerate().filter(|(index, _)| !taken[*index]));
    }
    order
}

/// The row with the lowest mean similarity to all: `argmin_i u_i . sum_k u_k`, in O(N d). `None` if there are no rows.
pub(crate) fn least_similar(units: Rows<'_>) -> Option<usize> {
    let mean = units.mean();
    argmin(units.iter().map(|unit| dot(unit, &mean)).enumerate())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Mean cosine similarity of row `i` to `set`, computed from the definition in f64.
    fn mean_similarity(rows: &[Vec<f32>], i: usize, set: &[usize]) -> f64 {
        let cosine = |a: &[f32], b: &[f32]| {
            let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-8);
            dot / (norm(a) * norm(b))
        };
        set.iter().map(|&j| cosine(&rows[i], &rows[j])).sum::<f64>() / set.len() as f64
    }

    proptest! {
        /// Every step takes a token with the lowest mean similarity, up to f32 rounding (so that exact ties, which the
        /// definition leaves open, do not fail the test).
        #[test]
        fn agrees_with_the_definition(
            rows in prop::collection::vec(prop::collection::vec(-1f32..1f32, 12), 2..24),
            share in 0f64..1f64,
        ) {
            let keep = 1 + (share * (rows.len() - 1) as f64) as usize;
            let flat: Vec<f32> = rows.iter().flatten().copied().collect();
            let all: Vec<usize> = (0..rows.len()).collect();
            let taken = select(Rows::new(&flat, 12).unwrap(), &all, keep);
            prop_assert_eq!(taken.len(), keep);
            for step in 0..keep {
                let reference = if step == 0 { &all[..] } else { &taken[..step] };
                let left = all.iter().filter(|i| !taken[..step].contains(i));
                let lowest = left.map(|&i| mean_similarity(&rows, i, reference)).fold(f64::INFINITY, f64::min);
                prop_assert!(mean_similarity(&rows, taken[step], reference) <= lowest + 1e-5);
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        let flat = [1.0f32, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        assert_eq!(select(Rows::new(&flat, 2).unwrap(), &[0, 1, 2, 3], 2), [0, 2]);
    }

    #[test]
    fn zero_rows_and_no_candidates_are_fine() {
        let flat = [0.0f32; 6];
        assert_eq!(select(Rows::new(&flat, 2).unwrap(), &[0, 1, 2], 5), [0, 1, 2]);
        assert!(select(Rows::new(&flat, 2).unwrap(), &[], 5).is_empty());
    }
}
