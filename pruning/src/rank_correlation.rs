//! Spearman's rank correlation, which tells whether one score orders tokens as another does.

/// Correlation of the ranks of `a` and `b`, -1 to 1; equal values share the mean of their ranks. `None` if it is not
/// defined: the lengths differ, there are fewer than two values, a side is constant, or a value is NaN.
pub(crate) fn spearman(a: &[f32], b: &[f32]) -> Option<f32> {
    if a.len() != b.len() || a.iter().chain(b).any(|value| value.is_nan()) {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let covariance = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (covariance(&a, &a) * covariance(&b, &b)).sqrt();
    (spread > 0.0).then(|| (covariance(&a, &b) / spread) as f32)
}

/// Ranks from 0, ties averaged.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0f64; values.len()];
    let mut start = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = start as f64 + (tied.len() as f64 - 1.0) / 2.0;
        tied.iter().for_each(|&index| ranks[index] = shared);
        start += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pearson's formula over ranks counted pair by pair.
    fn naive(a: &[f32], b: &[f32]) -> f64 {
        let ranks = |values: &[f32]| -> Vec<f64> {
            let rank = |x: &f32| {
                let below = values.iter().filter(|y| *y < x).count() as f64;
                let equal = values.iter().filter(|y| *y == x).count() as f64;
                below + (equal + 1.0) / 2.0
            };
            values.iter().map(rank).collect()
        };
        let (a, b) = (ranks(a), ranks(b));
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let (am, bm) = (mean(&a), mean(&b));
        let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(x, y)| f(x - am, y - bm)).sum::<f64>();
        sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
    }

    proptest! {
        #[test]
        fn is_the_correlation_of_ranks(pairs in prop::collection::vec((0u8..9, 0u8..9), 2..40)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().map(|&(a, b)| (f32::from(a), f32::from(b))).unzip();
            match spearman(&a, &b) {
                Some(found) => prop_assert!((f64::from(found) - naive(&a, &b)).abs() < 1e-6),
                None => prop_assert!(naive(&a, &b).is_nan()),
            }
        }
    }

    #[test]
    fn ends_of_the_scale_and_where_there_is_none() {
        assert_eq!(spearman(&[1.0, 2.0, 9.0], &[-5.0, 0.0, 0.5]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 9.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        for undefined in [&[][..], &[1.0], &[1.0, 1.0], &[f32::NAN, 1.0]] {
            assert_eq!(spearman(undefined, undefined), None);
        }
    }
}
