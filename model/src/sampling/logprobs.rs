//! Log probabilities of the model's own distribution: before bias, penalties and temperature.

/// Log probabilities (natural) of one drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Log probability of the drawn token.
    pub logprob: f32,
    /// The most likely tokens, most likely first; equal ones in order of id.
    pub top: Vec<(u32, f32)>,
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
        let top = numbered.into_iter().map(|(id, logit)| (id, logit - log_sum)).collect();
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
    fn more_than_the_vocabulary_and_none_are_fine() {
        assert_eq!(Reference::of(&[0.0, 1.0], 5).top.len(), 2);
        assert!(Reference::of(&[0.0, 1.0], 0).top.is_empty());
    }
}
