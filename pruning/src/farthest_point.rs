//! Farthest point: greedy max-min cosine distance, the rule of DivPrune (arXiv 2503.02175), re-derived from its text.
//!
//! \[P\] Maximise the smallest pairwise distance `1 - cos` of the kept set, greedily: repeatedly take the token whose
//! nearest taken token is the farthest away. \[R\] The first token is the one with the lowest mean similarity to all,
//! as in [RepMax](crate::repmax), so that the two baselines differ in one thing only; ties go to the lower index.
//!
//! Matrix-free: `nearest_i = max_{j taken} u_i . u_j` is updated after each step, O(N K d) time.

use crate::{
    argmin::argmin,
    repmax,
    rows::{Rows, UnitRows, dot},
};

/// Indices that farthest point keeps, ascending; all of them if `keep` covers them. `rows` is `[N, d]`.
pub fn select(rows: Rows<'_>, keep: usize) -> Vec<usize> {
    let mut kept = greedy(UnitRows::of(rows).rows(), keep);
    kept.sort_unstable();
    kept
}

fn greedy(units: Rows<'_>, keep: usize) -> Vec<usize> {
    let mut taken = vec![false; units.len()];
    let mut nearest = vec![f32::NEG_INFINITY; units.len()];
    let mut order = Vec::with_capacity(keep.min(units.len()));
    let mut next = if keep == 0 { None } else { repmax::least_similar(units) };
    while let Some(newest) = next {
        taken[newest] = true;
        order.push(newest);
        if order.len() >= keep {
            break;
        }
        for (index, unit) in units.iter().enumerate() {
            if !taken[index] {
                nearest[index] = nearest[index].max(dot(unit, units.row(newest)));
            }
        }
        next = argmin(nearest.iter().copied().enumerate().filter(|(index, _)| !taken[*index]));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-8);
        dot / (norm(a) * norm(b))
    }

    proptest! {
        /// Every step takes a token whose distance to the nearest taken one is the largest, up to rounding.
        #[test]
        fn agrees_with_the_definition(
            rows in prop::collection::vec(prop::collection::vec(-1f32..1f32, 12), 2..24),
            share in 0f64..1f64,
        ) {
            let keep = 1 + (share * (rows.len() - 1) as f64) as usize;
            let flat: Vec<f32> = rows.iter().flatten().copied().collect();
            let order = greedy(UnitRows::of(Rows::new(&flat, 12).unwrap()).rows(), keep);
            prop_assert_eq!(order.len(), keep);
            let nearest = |i: usize, taken: &[usize]| {
                taken.iter().map(|&j| 1.0 - cosine(&rows[i], &rows[j])).fold(f64::INFINITY, f64::min)
            };
            for step in 1..keep {
                let left = (0..rows.len()).filter(|i| !order[..step].contains(i));
                let farthest = left.map(|i| nearest(i, &order[..step])).fold(f64::NEG_INFINITY, f64::max);
                prop_assert!(nearest(order[step], &order[..step]) >= farthest - 1e-5);
            }
        }
    }

    #[test]
    fn no_near_duplicates_while_there_are_others() {
        let flat = [1.0f32, 0.0, 1.0, 0.01, 0.0, 1.0, -1.0, 0.0];
        assert_eq!(select(Rows::new(&flat, 2).unwrap(), 3), [0, 2, 3]);
        assert!(select(Rows::new(&[], 2).unwrap(), 3).is_empty());
    }
}
