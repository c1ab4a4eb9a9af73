//! Comparison of two sets by loss, from as few calibration samples as it takes to tell.
//!
//! Both sets are measured on the same samples, so the relevant spread is that of the differences, which is far smaller
//! than that of the losses. \[R\] The paper measures every set on all samples; here a few samples suffice to reject a
//! bad proposal.

use std::cmp::Ordering;

/// Samples needed before a decision: the spread of fewer is too uncertain.
pub(super) const FIRST_LOOK: usize = 16;
/// Standard errors that must lie between the difference and the margin. Each comparison is wrong less than once in
/// 10,000.
const ERRORS: f64 = 4.0;

/// Measured losses of a set, sample by sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<'a> {
    /// Loss of each measured sample, summed over its tokens, in nats.
    pub nats: &'a [f64],
    /// Number of tokens of each sample, measured or not.
    pub tokens: &'a [f64],
}

impl Lane<'_> {
    /// Loss per token over the first `samples`; infinite if one of the losses is not finite.
    pub fn energy(&self, samples: usize) -> f64 {
        let energy = self.nats[..samples].iter().sum::<f64>() / self.tokens[..samples].iter().sum::<f64>();
        if energy.is_finite() { energy } else { f64::INFINITY }
    }
}

/// Compares `one`'s energy with `other`'s plus `margin`; `None` if the samples measured for both do not decide it,
/// which all samples together always do. Two sets without a finite energy are equal.
pub(super) fn decide(one: Lane<'_>, other: Lane<'_>, margin: f64) -> Option<Ordering> {
    let samples = one.nats.len().min(other.nats.len());
    if samples == 0 {
        return None;
    }
    let change = change(one, other);
    let is_all = samples == one.tokens.len();
    let is_finite = one.energy(samples).is_finite() && other.energy(samples).is_finite();
    let is_clear = || samples >= FIRST_LOOK && (change - margin).abs() > ERRORS * standard_error(one, other, change);
    (is_all || !is_finite || is_clear()).then(|| change.total_cmp(&margin))
}

/// Difference of `one`'s energy from `other`'s, over the samples measured for both; 0 if both are infinite, so that a
/// search that starts among sets without a finite energy can still move.
pub(super) fn change(one: Lane<'_>, other: Lane<'_>) -> f64 {
    let samples = one.nats.len().min(other.nats.len());
    let (one, other) = (one.energy(samples), other.energy(samples));
    if one == other { 0.0 } else { one - other }
}

/// Standard error of the difference per token: a ratio of sums over samples drawn without replacement, so it falls to
/// zero once all are measured.
fn standard_error(one: Lane<'_>, other: Lane<'_>, change: f64) -> f64 {
    let samples = one.nats.len().min(other.nats.len());
    let residual = |at: usize| one.nats[at] - other.nats[at] - change * one.tokens[at];
    let squares: f64 = (0..samples).map(|at| residual(at).powi(2)).sum();
    let (drawn, all) = (samples as f64, one.tokens.len() as f64);
    let variance = squares * drawn / (drawn - 1.0) * (1.0 - drawn / all);
    variance.sqrt() / one.tokens[..samples].iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [f64; 64] = [2.0; 64];

    fn lane(nats: &[f64]) -> Lane<'_> {
        Lane { nats, tokens: &TOKENS }
    }

    /// `count` losses that alternate around `mean` nats by 0.1.
    fn around(mean: f64, count: usize) -> Vec<f64> {
        (0..count).map(|at| mean + if at % 2 == 0 { 0.1 } else { -0.1 }).collect()
    }

    #[test]
    fn a_clear_difference_is_seen_early_and_a_small_one_late() {
        let same = vec![1.0; 64];
        assert_eq!(decide(lane(&around(3.0, 15)), lane(&same[..15]), 0.0), None, "too few to know their spread");
        assert_eq!(decide(lane(&around(3.0, 16)), lane(&same), 0.0), Some(Ordering::Greater));
        assert_eq!(decide(lane(&around(0.5, 16)), lane(&same), 0.0), Some(Ordering::Less));
        assert_eq!(decide(lane(&around(1.05, 32)), lane(&same), 0.0), None);
        assert_eq!(decide(lane(&around(1.05, 64)), lane(&same), 0.0), Some(Ordering::Greater), "all decide");
        assert_eq!(decide(lane(&same), lane(&same), 0.0), Some(Ordering::Equal));
    }

    #[test]
    fn a_margin_is_in_nats_per_token() {
        let same = vec![1.0; 64];
        // The difference is one nat per sample of two tokens, that is, 0.5 per token.
        assert_eq!(decide(lane(&around(2.0, 32)), lane(&same), 0.6), Some(Ordering::Less));
        assert_eq!(decide(lane(&around(2.0, 32)), lane(&same), 0.4), Some(Ordering::Greater));
        assert_eq!(decide(lane(&around(2.0, 32)), lane(&same), f64::INFINITY), Some(Ordering::Less));
    }

    #[test]
    fn one_infinite_sample_decides_and_two_are_equal() {
        let (fine, bad) = (vec![1.0; 8], [1.0, f64::NAN, 1.0]);
        assert_eq!(decide(lane(&bad), lane(&fine), 0.0), Some(Ordering::Greater));
        assert_eq!(decide(lane(&fine), lane(&bad), 0.0), Some(Ordering::Less));
        assert_eq!(change(lane(&bad), lane(&bad)), 0.0);
        let all = vec![f64::INFINITY; 64];
        assert_eq!(decide(lane(&all), lane(&all), 0.0), Some(Ordering::Equal));
    }
}
