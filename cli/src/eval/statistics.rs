//! Confidence intervals: Wilson's interval of a share, and the paired bootstrap of a ratio of shares.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde::Serialize;

/// Seed of every bootstrap: the same answers always have the same intervals.
pub const SEED: u64 = 0;
const RESAMPLES: u32 = 1_000;
/// Standard normal quantile of 97.5%: intervals are at 95%.
const Z: f64 = 1.959_963_984_540_054;

/// A figure with its interval at 95%.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Distance of the farther end of the interval from the value.
    pub fn reach(&self) -> f64 {
        (self.value - self.low).max(self.high - self.value)
    }
}

/// A share with Wilson's score interval, which is valid near 0 and 1 and for few cases. (E. B. Wilson, JASA 22, 1927.)
pub fn wilson(right: usize, n: usize) -> Estimate {
    let (right, n) = (right as f64, n.max(1) as f64);
    let share = right / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At shares of 0 and 1 one end equals the share, and rounding must not move it to the wrong side.
    Estimate { value: share, low: (middle - half).clamp(0.0, share), high: (middle + half).clamp(share, 1.0) }
}

/// Right answers over the reference's right answers to the same cases; `None` if the reference has none.
///
/// The interval is the percentile bootstrap's over cases: a case is drawn with both its answers, so that cases that are
/// hard for both do not widen it.
pub fn relative(pairs: &[(bool, bool)]) -> Option<Estimate> {
    let value = ratio(pairs.iter().copied())?;
    // A resample in which the reference has no right answer has no ratio.
    let ratios = resampled(pairs, |draws| ratio(draws));
    let at = |share: f64| quantile(&ratios, share).unwrap_or(value);
    Some(Estimate { value, low: at(0.025), high: at(0.975) })
}

/// Mean per token over some cases, each given as its sum and its number of tokens; `None` if there are no tokens.
///
/// The interval is the percentile bootstrap's over cases: tokens of one answer are not independent.
pub fn mean_over(cases: &[(f64, u64)]) -> Option<Estimate> {
    let mean = |cases: &mut dyn Iterator<Item = (f64, u64)>| {
        let (sum, tokens) = cases.fold((0.0, 0), |(sum, tokens), case| (sum + case.0, tokens + case.1));
        (tokens > 0).then(|| sum / tokens as f64)
    };
    let value = mean(&mut cases.iter().copied())?;
    let means = resampled(cases, |draws| mean(draws));
    let at = |share: f64| quantile(&means, share).unwrap_or(value);
    Some(Estimate { value, low: at(0.025), high: at(0.975) })
}

/// A figure of each resample of the cases, sorted; resamples without a figure are left out.
fn resampled<T: Copy>(cases: &[T], figure: impl Fn(&mut dyn Iterator<Item = T>) -> Option<f64>) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut draw = || cases[((u64::from(random.next_u32()) * cases.len() as u64) >> 32) as usize];
    let mut figures: Vec<f64> =
        (0..RESAMPLES).filter_map(|_| figure(&mut std::iter::repeat_with(&mut draw).take(cases.len()))).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied()
}

/// Ratio of pairs (right, reference right).
fn ratio(pairs: impl Iterator<Item = (bool, bool)>) -> Option<f64> {
    let count =
        |(right, reference): (u32, u32), pair: (bool, bool)| (right + u32::from(pair.0), reference + u32::from(pair.1));
    match pairs.fold((0, 0), count) {
        (_, 0) => None,
        (right, reference) => Some(f64::from(right) / f64::from(reference)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_has_the_known_values() {
        // statsmodels.stats.proportion.proportion_confint(right, n, method="wilson")
        for (right, n, low, high) in [
            (8, 10, 0.490_162_47, 0.943_317_85),
            (5, 10, 0.236_593_09, 0.763_406_91),
            (0, 10, 0.0, 0.277_532_80),
            (10, 10, 0.722_467_20, 1.0),
            (564, 617, 0.889_347_86, 0.933_728_61),
        ] {
            let found = wilson(right, n);
            assert!((found.low - low).abs() < 1e-8 && (found.high - high).abs() < 1e-8, "{right}/{n}: {found:?}");
            assert!(found.low <= found.value && found.value <= found.high);
        }
        assert_eq!(wilson(0, 0).value, 0.0);
        assert!((wilson(10, 10).reach() - 0.277_532_80).abs() < 1e-8);
    }

    #[test]
    fn the_bootstrap_gives_the_same_again() {
        let pairs: Vec<(bool, bool)> = (0..100).map(|n| (n % 3 != 0, n % 10 != 0)).collect();
        let found = relative(&pairs).unwrap();
        assert_eq!(relative(&pairs), Some(found));
        assert!((found.value - 66.0 / 90.0).abs() < 1e-12);
        assert!(found.low < found.value && found.value < found.high);
        assert!(found.low > 0.6 && found.high < 0.87, "{found:?}");
    }

    #[test]
    fn a_mean_is_over_tokens_and_its_interval_over_cases() {
        assert_eq!(mean_over(&[]), None);
        assert_eq!(mean_over(&[(0.0, 0)]), None);
        let found = mean_over(&[(3.0, 1), (1.0, 3)]).unwrap();
        assert!(found.value == 1.0 && found.low < 0.5 && found.high > 2.0, "{found:?}");
        let even = mean_over(&[(2.0, 4); 50]).unwrap();
        assert_eq!((even.value, even.low, even.high), (0.5, 0.5, 0.5));
    }

    #[test]
    fn edges_of_the_ratio() {
        assert_eq!(relative(&[]), None);
        assert_eq!(relative(&[(true, false)]), None);
        let same = relative(&[(true, true), (false, false)]).unwrap();
        assert_eq!((same.value, same.low, same.high), (1.0, 1.0, 1.0));
        // One resample in two has no ratio; the others have the ratio 0.
        assert_eq!(relative(&[(false, true), (false, false)]).unwrap().high, 0.0);
    }

    #[test]
    fn pairing_makes_the_interval_narrower() {
        // The same two shares, once wrong on the same cases, once on different ones.
        let together: Vec<(bool, bool)> = (0..200).map(|n| (n >= 60, n >= 50)).collect();
        let apart: Vec<(bool, bool)> = (0..200).map(|n| (n >= 60, n < 150)).collect();
        let width = |pairs: &[(bool, bool)]| relative(pairs).map(|found| found.high - found.low).unwrap();
        assert!(width(&together) * 2.0 < width(&apart));
    }

    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        // The reference is right with probability 0.9; then the other is right with 0.8, otherwise with 0.3.
        let truth = (0.9 * 0.8 + 0.1 * 0.3) / 0.9;
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut chance = |share: f64| f64::from(random.next_u32()) < share * 2f64.powi(32);
        let mut covered = 0;
        for _ in 0..300 {
            let pairs = std::iter::repeat_with(|| {
                let reference = chance(0.9);
                (chance(if reference { 0.8 } else { 0.3 }), reference)
            });
            let found = relative(&pairs.take(150).collect::<Vec<_>>()).unwrap();
            covered += u32::from(found.low <= truth && truth <= found.high);
        }
        // 285 of 300 are expected; the bounds are four standard errors to either side.
        assert!((270..=300).contains(&covered), "{covered} of 300");
    }
}
