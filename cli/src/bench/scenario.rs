//! Scenarios: the arrival pattern of requests.

use std::{fmt, time::Duration};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::arguments::BenchArguments;

/// A scenario, which is one row of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub pace: Pace,
}

/// The arrival pattern of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// A closed loop: this many requests in flight, a new one as soon as one is answered.
    Closed(u32),
    /// An open loop: this many requests per second, whether or not earlier ones have ended.
    Open(f64),
}

impl fmt::Display for Pace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Closed(concurrency) => write!(out, "concurrency {concurrency}"),
            Pace::Open(rate) => write!(out, "rate {rate}/s"),
        }
    }
}

/// The scenarios that the arguments ask for.
pub fn of(arguments: &BenchArguments) -> Vec<Scenario> {
    match arguments.rate {
        Some(rate) => vec![Scenario { pace: Pace::Open(rate) }],
        None => arguments.concurrency.iter().map(|n| Scenario { pace: Pace::Closed(*n) }).collect(),
    }
}

/// Arrival times of requests, measured from the first: a Poisson process, so gaps are exponentially distributed.
pub fn arrivals(rate: f64, count: u32, seed: u64) -> Vec<Duration> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut gap = || {
        let uniform = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        -(1.0 - uniform).ln() / rate
    };
    let later = |at: &mut f64, index: u32| {
        *at += if index == 0 { 0.0 } else { gap() };
        Some(Duration::from_secs_f64(*at))
    };
    (0..count).scan(0.0, later).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_follow_the_seed() {
        let found = arrivals(4.0, 100, 7);
        assert_eq!(found, arrivals(4.0, 100, 7));
        assert_ne!(found, arrivals(4.0, 100, 8));
        assert_eq!(found[0], Duration::ZERO);
        assert!(found.is_sorted());
    }

    #[test]
    fn arrivals_have_the_rate_and_the_spread() {
        let found = arrivals(4.0, 20_001, 1);
        let gaps: Vec<f64> = found.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean - 0.25).abs() < 0.01, "{mean}");
        // The standard deviation of an exponential distribution equals its mean.
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() - 0.25).abs() < 0.02, "{variance}");
    }
}
