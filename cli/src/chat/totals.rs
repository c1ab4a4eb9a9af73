//! Figures of the whole conversation.

use serde_json::Value;

use super::{
    figures::{bytes, fewer},
    reading::Reading,
};

/// Sums over every answer, also those that were dropped from the conversation.
#[derive(Debug, Default)]
pub struct Totals {
    answers: u64,
    tokens: u64,
    prompt: u64,
    cached: u64,
    sent: u64,
    unpruned: u64,
    /// The last receipt; null if no server gave one.
    pub receipt: Value,
}

impl Totals {
    /// Adds an answer.
    pub fn add(&mut self, reading: &Reading) {
        let account = &reading.account;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let transfer = &account.receipt["transfer"];
        self.answers += 1;
        self.tokens += reading.tokens();
        self.prompt += account.prompt_tokens();
        self.cached += number(&account.usage["prompt_tokens_details"]["cached_tokens"]);
        self.sent += number(&transfer["bytes_sent"]);
        self.unpruned += number(&transfer["bytes_unpruned"]);
        if account.receipt.is_object() {
            self.receipt.clone_from(&account.receipt);
        }
    }

    /// The sums in words.
    pub fn line(&self) -> String {
        let Totals { answers, tokens, prompt, cached, sent, unpruned, .. } = self;
        let kv = match unpruned {
            0 => String::new(),
            _ => format!("; KV {} of {} dense and unpruned", bytes(*sent), bytes(*unpruned)),
        };
        let fewer = fewer(*sent, *unpruned).map(|words| format!(" ({words})")).unwrap_or_default();
        format!("{answers} answers of {tokens} tokens to {prompt} prompt tokens, {cached} of them cached{kv}{fewer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Instant;

    #[test]
    fn answers_are_summed_up() {
        let mut totals = Totals::default();
        assert_eq!(totals.line(), "0 answers of 0 tokens to 0 prompt tokens, 0 of them cached");
        let mut reading = Reading::new(Instant::now());
        totals.add(&reading);
        reading.account.usage =
            json!({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}});
        reading.account.receipt = json!({"transfer": {"bytes_sent": 1024, "bytes_unpruned": 3072}});
        totals.add(&reading);
        totals.add(&reading);
        let kv = "KV 2.0 KiB of 6.0 KiB dense and unpruned (3.0 times fewer bytes)";
        assert_eq!(totals.line(), format!("3 answers of 8 tokens to 20 prompt tokens, 12 of them cached; {kv}"));
        assert!(totals.receipt.is_object());
    }
}
