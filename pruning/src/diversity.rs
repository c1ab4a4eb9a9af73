//! Diversity of tokens within a picture and between pictures.

use crate::rows::{Rows, UnitRows, dot};

/// \[P\] `D_intra = 1 / (m (m - 1)) sum_{i != j} (1 - cos(x_i, x_j))` of `[m, d]` unit rows.
///
/// Computed by the closed form `1 - (|sum_i u_i|^2 - m) / (m (m - 1))`: O(m d), without visiting pairs. \[R\] Fewer
/// than two rows have no pair: 0. A result that is NaN counts as 0.
pub(crate) fn intra(units: Rows<'_>) -> f64 {
    let count = units.len() as f64;
    if units.len() < 2 {
        return 0.0;
    }
    let mut sum = vec![0f64; units.width()];
    let mut squares = 0f64;
    for row in units.iter() {
        for (total, &value) in sum.iter_mut().zip(row) {
            *total += f64::from(value);
        }
        // `m` in the formula; differs from it by rounding, and by zero rows, whose length is 0.
        squares += f64::from(dot(row, row));
    }
    let square_of_sum: f64 = sum.iter().map(|value| value * value).sum();
    (1.0 - (square_of_sum - squares) / (count * (count - 1.0))).max(0.0)
}

/// \[R\] `D_inter = mean_{k != l} (1 - cos(mu_k, mu_l))`, `mu_k` the mean unit token of picture `k`, by the closed form
/// of [`intra`] over pictures. Pictures without tokens do not count.
pub(crate) fn inter(pictures: &[Rows<'_>]) -> f64 {
    let means: Vec<Vec<f32>> = pictures.iter().filter(|rows| !rows.is_empty()).map(Rows::mean).collect();
    match means.first() {
        None => 0.0,
        Some(first) => match Rows::new(&means.concat(), first.len()) {
            Ok(means) => intra(UnitRows::of(means).rows()),
            Err(_) => 0.0,
        },
    }
}

/// Mean of `intra` over the pictures that have tokens.
pub(crate) fn mean_of_shown(intra: &[f64], pictures: &[Rows<'_>]) -> f64 {
    let shown = pictures.iter().filter(|rows| !rows.is_empty()).count();
    intra.iter().sum::<f64>() / shown.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cosine(a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        dot(a, b) / (dot(a, a).sqrt().max(1e-8) * dot(b, b).sqrt().max(1e-8))
    }

    /// The definition, computed pair by pair.
    fn naive(rows: &[Vec<f64>]) -> f64 {
        let m = rows.len() as f64;
        let mut sum = 0.0;
        for (i, x) in rows.iter().enumerate() {
            for (j, y) in rows.iter().enumerate() {
                if i != j {
                    sum += 1.0 - cosine(x, y);
                }
            }
        }
        sum / (m * (m - 1.0))
    }

    fn wide(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect()
    }

    fn mean_unit(rows: &[Vec<f64>]) -> Vec<f64> {
        let mut mean = vec![0.0; rows[0].len()];
        for row in rows {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-8);
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / norm / rows.len() as f64);
        }
        mean
    }

    fn matrix() -> impl Strategy<Value = Vec<Vec<f32>>> {
        prop::collection::vec(prop::collection::vec(-2f32..2f32, 11), 2..20)
    }

    proptest! {
        #[test]
        fn within_a_picture(rows in matrix()) {
            let flat: Vec<f32> = rows.iter().flatten().copied().collect();
            let units = UnitRows::of(Rows::new(&flat, 11).unwrap());
            prop_assert!((intra(units.rows()) - naive(&wide(&rows))).abs() < 1e-5);
        }

        #[test]
        fn between_pictures(pictures in prop::collection::vec(matrix(), 2..6)) {
            let flat: Vec<Vec<f32>> = pictures.iter().map(|rows| rows.iter().flatten().copied().collect()).collect();
            let units: Vec<UnitRows> = flat.iter().map(|flat| UnitRows::of(Rows::new(flat, 11).unwrap())).collect();
            let units: Vec<Rows<'_>> = units.iter().map(UnitRows::rows).collect();
            let means: Vec<Vec<f64>> = pictures.iter().map(|rows| mean_unit(&wide(rows))).collect();
            prop_assert!((inter(&units) - naive(&means)).abs() < 1e-4);
        }
    }

    #[test]
    fn nothing_has_no_diversity() {
        let none = Rows::new(&[], 3).unwrap();
        assert_eq!((intra(none), inter(&[]), inter(&[none])), (0.0, 0.0, 0.0));
    }
}
