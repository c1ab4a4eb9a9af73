//! The tokens that a selected layer sends: the first `F` and the last `W` of a prompt (PDTrim, Eq. 19).
//!
//! \[P\] A selected layer sends the first and last tokens' keys and values only. \[R\] For a prompt of `n` positions,
//! keep ratio `r` and first share `phi`: `F = max(first_min, round(phi r n))`, `W = max(last_min, round(r n) - F)`; if
//! `F + W >= n` all are sent. The minimums are 4 first and 64 last tokens: StreamingLLM's sinks and one local window.
//! Sent rows keep the positions that prefill gave them.

use std::ops::Range;

/// Minimum number of first tokens.
pub const FIRST_MIN: usize = 4;
/// Minimum number of last tokens.
pub const LAST_MIN: usize = 64;
/// Share of first tokens among the kept tokens.
pub const PHI: f64 = 0.5;

/// The rule of one layer. Only [`Retention::new`] makes one, so its numbers are in range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    keep: f64,
    phi: f64,
    first_min: usize,
    last_min: usize,
}

/// The reason why a retention rule is invalid.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RetentionError {
    /// The keep ratio is not a share.
    #[error("keep must be above 0 and at most 1, not {0}")]
    Keep(f64),
    /// The share of first tokens is not a share.
    #[error("phi must be at least 0 and at most 1, not {0}")]
    Phi(f64),
    /// The rule would not send a prompt's newest token.
    #[error("last_min must be at least 1, not 0")]
    NoLast,
}

impl Retention {
    /// A rule with keep ratio `keep` in (0, 1], first share `phi` in [0, 1], and at least one last token.
    pub fn new(keep: f64, phi: f64, first_min: usize, last_min: usize) -> Result<Self, RetentionError> {
        if !(keep > 0.0 && keep <= 1.0) {
            return Err(RetentionError::Keep(keep));
        }
        if !(0.0..=1.0).contains(&phi) {
            return Err(RetentionError::Phi(phi));
        }
        if last_min == 0 {
            return Err(RetentionError::NoLast);
        }
        Ok(Self { keep, phi, first_min, last_min })
    }

    /// The kept tokens of a prompt of `positions`.
    pub fn ends(&self, positions: usize) -> Ends {
        let budget = self.keep * positions as f64;
        let first = ((self.phi * budget).round() as usize).max(self.first_min);
        let last = (budget.round() as usize).saturating_sub(first).max(self.last_min);
        if first.saturating_add(last) >= positions {
            return Ends::all(positions);
        }
        Ends { positions, first, last }
    }
}

/// The kept tokens of a prompt: `0..first` and `positions - last..positions`, which do not touch unless all are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    positions: usize,
    first: usize,
    last: usize,
}

impl Ends {
    /// The whole prompt.
    pub fn all(positions: usize) -> Self {
        Self { positions, first: positions, last: 0 }
    }

    /// Whether every token is kept.
    pub fn is_all(&self) -> bool {
        self.first == self.positions
    }

    /// Number of first tokens; all of them if every token is kept.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Number of last tokens; 0 if every token is kept.
    pub fn last(&self) -> usize {
        self.last
    }

    /// Number of kept tokens.
    pub fn count(&self) -> usize {
        self.first + self.last
    }

    /// Kept positions as at most two ranges, ascending, none of them empty.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        [0..self.first, self.positions - self.last..self.positions].into_iter().filter(|span| !span.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn published(keep: f64) -> Retention {
        Retention::new(keep, PHI, FIRST_MIN, LAST_MIN).unwrap()
    }

    proptest! {
        #[test]
        fn follows_the_formula(
            n in 0usize..100_000,
            keep in 0.001f64..=1.0,
            phi in 0f64..=1.0,
            first_min in 0usize..200,
            last_min in 1usize..200,
        ) {
            let ends = Retention::new(keep, phi, first_min, last_min).unwrap().ends(n);
            let kept: Vec<usize> = ends.spans().flatten().collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "ranges ascend and do not overlap");
            prop_assert_eq!(kept.len(), ends.count());
            prop_assert_eq!(ends.is_all(), kept.len() == n);
            if n > 0 {
                prop_assert_eq!(kept.last(), Some(&(n - 1)), "the newest token is sent");
            }
            if !ends.is_all() {
                let first = first_min.max((phi * (keep * n as f64)).round() as usize);
                let last = last_min.max(((keep * n as f64).round() as usize).saturating_sub(first));
                prop_assert_eq!((ends.first(), ends.last()), (first, last));
                prop_assert!(first + last < n);
            }
        }

        #[test]
        fn more_keep_never_sends_less(n in 0usize..20_000, a in 0.001f64..=1.0, b in 0.001f64..=1.0) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(published(low).ends(n).count() <= published(high).ends(n).count());
        }
    }

    #[test]
    fn worked_values() {
        // r n = 700: 350 first, 350 last.
        let ends = published(0.07).ends(10_000);
        assert_eq!((ends.first(), ends.last(), ends.count()), (350, 350, 700));
        assert_eq!(ends.spans().collect::<Vec<_>>(), [0..350, 9650..10_000]);
        // r n = 70 of 1000: 35 first tokens, and the minimum of 64 last ones.
        let ends = published(0.07).ends(1000);
        assert_eq!((ends.first(), ends.last()), (35, 64));
    }

    #[test]
    fn short_prompts_are_sent_whole() {
        for n in 0..=68 {
            assert!(published(0.01).ends(n).is_all(), "{n}");
        }
        assert!(!published(0.01).ends(69).is_all());
        assert!(published(1.0).ends(5000).is_all());
        assert_eq!(published(0.5).ends(0).spans().count(), 0);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for keep in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(Retention::new(keep, PHI, 4, 64), Err(RetentionError::Keep(_))), "{keep}");
        }
        for phi in [-0.1, 1.1, f64::NAN] {
            assert!(matches!(Retention::new(0.1, phi, 4, 64), Err(RetentionError::Phi(_))), "{phi}");
        }
        assert_eq!(Retention::new(0.1, PHI, 4, 0), Err(RetentionError::NoLast));
        assert!(Retention::new(0.1, PHI, usize::MAX, usize::MAX).unwrap().ends(1000).is_all());
    }
}
