//! Log probabilities of the model's own distribution: before bias, penalties and temperature.

use crate::error::{ModelError, Result};

/// Log probabilities (natural) of one drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Log probability of the drawn token.
    pub logprob: f32,
    /// The most likely tokens, most likely first; equal ones in order of id.
    pub top: Vec<(u32, f32)>,
}

/// How likely the model finds a given token.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Log probability of the token, and the most likely tokens in its place.
    pub logprob: TokenLogprob,
    /// Place of the token among all by likelihood, from 1; equal ones in order of id, as in the list of the most likely
    /// ones.
    pub rank: u32,
}

impl Score {
    /// The score of a token by the logits in front of it, with the `top` most likely tokens. Fails if the logits do not
    /// define a distribution.
    pub(crate) fn of(logits: &[f32], token: u32, top: usize) -> Result<Score> {
        let own = *logits.get(token as usize).ok_or(ModelError::Token { token, vocab: logits.len() })?;
        if !are_numbers(logits) || logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return Err(ModelError::Logits);
        }
        let (before, behind) = logits.split_at(token as usize);
        let ahead = before.iter().filter(|logit| **logit >= own).count();
        let ahead = ahead + behind.iter().filter(|logit| **logit > own).count();
        Ok(Score { logprob: Reference::of(logits, top).report(own), rank: ahead as u32 + 1 })
    }
}

/// Whether all logits are numbers or banned (-inf). One overflow (+inf) would take all probability from the other
/// tokens.
pub(crate) fn are_numbers(logits: &[f32]) -> bool {
    // No early exit, so that the loop vectorises.
    logits.iter().fold(true, |all, &logit| all & (logit < f32::INFINITY))
}

/// Normalisation and most likely tokens of the distribution, computed before logits are changed.
pub(crate) struct Reference {
    log_sum: f32,
    top: Vec<(u32, f32)>,
}

impl Reference {
    /// The reference for logits that are all numbers or -inf.
    pub fn of(logits: &[f32], top: usize) -> Reference {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        let log_sum = highest + sum.ln() as f32;
        let mut numbered: Vec<(u32, f32)> = Vec::new();
        if top > 0 {
            numbered = logits.iter().enumerate().map(|(id, &logit)| (id as u32, logit)).collect();
            let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if top < numbered.len() {
                numbered.select_nth_unstable_by(top - 1, order);
                numbered.truncate(top);
            }
            numbered.sort_unstable_by(order);
        }
        // A list of its own: collected in place it would keep room for the whole vocabulary.
        let mut top = Vec::with_capacity(numbered.len());
        top.extend(numbered.into_iter().map(|(id, logit)| (id, logit - log_sum)));
        Reference { log_sum, top }
    }

    /// The report for a drawn token whose unchanged logit was `logit`.
    pub fn report(self, logit: f32) -> TokenLogprob {
        TokenLogprob { logprob: logit - self.log_sum, top: self.top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_the_order_is_fixed() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let report = Reference::of(&logits, 4).report(logits[2]);
        assert_eq!(report.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 2, 0]);
        let sum: f32 = report.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(report.logprob, report.top[2].1);
    }

    #[test]
    fn what_is_kept_is_as_long_as_the_list() {
        let report = Reference::of(&[0.5; 4_096], 3).report(0.5);
        assert_eq!((report.top.len(), report.top.capacity()), (3, 3));
    }

    #[test]
    fn more_than_the_vocabulary_and_none_are_fine() {
        assert_eq!(Reference::of(&[0.0, 1.0], 5).top.len(), 2);
        assert!(Reference::of(&[0.0, 1.0], 0).top.is_empty());
    }

    #[test]
    fn a_score_is_the_report_of_its_token_and_its_place() {
        let logits = [1.0, 3.0, 2.0, 3.0, f32::NEG_INFINITY];
        for (token, rank) in [(1, 1), (3, 2), (2, 3), (0, 4), (4, 5)] {
            let score = Score::of(&logits, token, 2).unwrap();
            assert_eq!(score.rank, rank, "{token}");
            assert_eq!(score.logprob, Reference::of(&logits, 2).report(logits[token as usize]));
        }
        assert!(matches!(Score::of(&logits, 5, 2), Err(ModelError::Token { token: 5, vocab: 5 })));
        for broken in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            assert!(matches!(Score::of(&broken, 1, 2), Err(ModelError::Logits)), "{broken:?}");
        }
    }
}
