//! Counts requests for vectors.

use std::time::Duration;

use super::{labels::FinishedReason, registry::Metrics};
use crate::request::FinishReason;

impl Metrics {
    /// Counts a request for the vectors of `tokens` tokens, answered `after` it was accepted.
    pub fn embedded(&self, tokens: u32, after: Duration) {
        self.e2e.observe(after.as_secs_f64());
        self.prompt_tokens.inc_by(tokens.into());
        let finished_reason = FinishReason::Stop.as_str().to_owned();
        self.success.get_or_create(&FinishedReason { finished_reason }).inc();
    }
}
