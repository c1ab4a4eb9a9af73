//! Usage and receipt summed over a request's choices. Plain data.

use crate::request::{Usage, receipt::Receipt};

/// Usage and receipts of the choices of one request.
#[derive(Debug)]
pub struct Total {
    /// Number of choices of each prompt; the first of them counts the prompt's tokens.
    per_prompt: usize,
    usage: Vec<Usage>,
    receipts: Vec<Option<Receipt>>,
}

impl Total {
    /// The sum over `choices` choices, `per_prompt` for each prompt.
    pub fn new(choices: usize, per_prompt: usize) -> Self {
        Self { per_prompt: per_prompt.max(1), usage: vec![Usage::default(); choices], receipts: vec![None; choices] }
    }

    /// Sets the usage so far of a choice.
    pub fn used(&mut self, choice: usize, usage: Usage) {
        if let Some(slot) = self.usage.get_mut(choice) {
            *slot = usage;
        }
    }

    /// Records the final usage and the receipt of a choice that has ended.
    pub fn ended(&mut self, choice: usize, usage: Usage, receipt: Receipt) {
        self.used(choice, usage);
        if let Some(slot) = self.receipts.get_mut(choice) {
            *slot = Some(receipt);
        }
    }

    /// Total usage: each prompt counts once, each answer separately.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for (choice, usage) in self.usage.iter().enumerate() {
            let counted = match choice % self.per_prompt {
                0 => *usage,
                _ => usage.without_prompt(),
            };
            sum = sum.plus(counted);
        }
        sum
    }

    /// Takes the receipt of the request: a single choice's own receipt, or the sum with all receipts in `choices`.
    pub fn receipt(&mut self) -> Receipt {
        Receipt::of_all(self.receipts.iter_mut().filter_map(Option::take).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_count_once_and_answers_all() {
        let mut total = Total::new(4, 2);
        for choice in 0..4 {
            total.used(choice, Usage::new(10, 3, 4));
        }
        let usage = total.usage();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (20, 12, 32));
        assert_eq!(usage.prompt_tokens_details.cached_tokens, 8);
    }

    #[test]
    fn one_receipt_is_itself_and_several_are_summed() {
        let receipt = |epoch: &str, bytes_sent| {
            let mut receipt = Receipt { epoch: epoch.into(), attempts: 1, ..Receipt::default() };
            receipt.transfer.bytes_sent = bytes_sent;
            receipt.transfer.bytes_unpruned = 60;
            receipt.transfer.wire_ms = bytes_sent as f64;
            receipt.transfer.overlap = 0.5;
            receipt
        };
        let mut one = Total::new(1, 1);
        one.ended(0, Usage::new(1, 1, 0), receipt("a", 5));
        assert_eq!(serde_json::to_value(one.receipt()).unwrap(), serde_json::to_value(receipt("a", 5)).unwrap());

        let mut two = Total::new(2, 2);
        two.ended(1, Usage::new(1, 1, 0), receipt("b", 10));
        two.ended(0, Usage::new(1, 1, 0), receipt("a", 5));
        let sum = two.receipt();
        assert_eq!((sum.epoch.as_str(), sum.attempts, sum.transfer.bytes_sent), ("a", 2, 15));
        assert_eq!((sum.transfer.ratio, sum.transfer.overlap), (8.0, 0.5));
        let epochs: Vec<_> = sum.choices.iter().map(|receipt| receipt.epoch.as_str()).collect();
        assert_eq!(epochs, ["a", "b"]);
    }
}
