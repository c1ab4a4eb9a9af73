//! Percentiles of durations, from counts in narrow buckets. Plain data of bounded size, however many durations are
//! added.

use std::collections::BTreeMap;

use serde::Serialize;

/// Middle of the first bucket, in milliseconds.
const FIRST_MS: f64 = 0.1;
/// Buckets for each doubling: a percentile is off by 2% at most.
const STEPS: f64 = 16.0;
/// The last bucket, whose middle is above seven hours.
const LAST: f64 = 448.0;

/// Counts of durations by bucket.
#[derive(Clone, Debug, Default)]
pub struct Spread(BTreeMap<u16, u64>);

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Number of durations.
    pub count: u64,
    /// Half of the durations are at most this.
    pub p50: f64,
    /// Nine of ten are.
    pub p90: f64,
    /// 99 of 100 are.
    pub p99: f64,
}

impl Spread {
    /// Adds a duration; one that is no number is left out.
    pub fn add(&mut self, ms: f64) {
        if ms.is_finite() {
            let bucket = ((ms.max(FIRST_MS) / FIRST_MS).log2() * STEPS).round().min(LAST);
            *self.0.entry(bucket as u16).or_default() += 1;
        }
    }

    /// Adds all durations of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    /// The percentiles; `None` without a duration.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let count: u64 = self.0.values().sum();
        let at = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut below = 0;
            self.0.iter().find_map(|(bucket, held)| {
                below += held;
                (below >= rank).then(|| FIRST_MS * (f64::from(*bucket) / STEPS).exp2())
            })
        };
        Some(Percentiles { count, p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: impl IntoIterator<Item = f64>) -> Spread {
        let mut spread = Spread::default();
        durations.into_iter().for_each(|ms| spread.add(ms));
        spread
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 0.022, "{found} is not about {expected}");
    }

    #[test]
    fn percentiles_are_those_of_the_durations() {
        let found = of((1..=1_000).map(f64::from)).percentiles().unwrap();
        assert_eq!(found.count, 1_000);
        near(found.p50, 500.0);
        near(found.p90, 900.0);
        near(found.p99, 990.0);
        assert_eq!(Spread::default().percentiles(), None);
    }

    #[test]
    fn one_duration_is_every_percentile() {
        let found = of([37.0]).percentiles().unwrap();
        near(found.p50, 37.0);
        assert_eq!((found.p50, found.p90), (found.p90, found.p99));
    }

    #[test]
    fn odd_durations_stay_in_bounds() {
        let found = of([f64::NAN, f64::INFINITY, -5.0, 0.0, 1e300]).percentiles().unwrap();
        assert_eq!((found.count, found.p50), (3, FIRST_MS));
        assert!(found.p99 > 7.0 * 3_600_000.0 && found.p99 < 8.0 * 3_600_000.0, "{found:?}");
    }

    #[test]
    fn merged_spreads_hold_all_durations() {
        let mut all = of([10.0; 9]);
        all.merge(&of([1_000.0]));
        let found = all.percentiles().unwrap();
        near(found.p90, 10.0);
        near(found.p99, 1_000.0);
    }
}
