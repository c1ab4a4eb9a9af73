//! Follows one answer and counts it, however it ends.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use secateur_proto::ErrorCode;

use super::{
    labels::{ABORTED, FinishedReason, Placed, Stage},
    recent::{Ended, Recent},
    registry::Metrics,
};
use crate::{
    keys::Charge,
    request::{FinishReason, Receipt, Usage},
};

/// The counter of one answer, also for the answer's key. On drop, an answer that was neither finished nor failed counts
/// as aborted.
pub struct AnswerClock {
    metrics: Arc<Metrics>,
    counted: Counted,
    charge: Charge,
    is_finished: bool,
}

/// The answer that is counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Id of the answer's request.
    pub request_id: String,
    /// Time at which the router accepted the request.
    pub accepted: Instant,
    /// Whether this is the first answer to its prompt; the first answer counts the prompt's tokens.
    pub leads: bool,
    /// Code of the error that any answer of the request failed with. If it is empty and the answer is not finished, the
    /// client disconnected.
    pub failure: Arc<OnceLock<ErrorCode>>,
}

impl AnswerClock {
    /// The counter of an answer that has not begun.
    pub fn new(metrics: Arc<Metrics>, counted: Counted, charge: Charge) -> Self {
        Self { metrics, counted, charge, is_finished: false }
    }

    /// Records that the answer broke off or never began; the whole request has then failed.
    pub fn failed(&self, code: ErrorCode) {
        // Another answer may have failed first; its code is kept.
        let _ = self.counted.failure.set(code);
    }

    /// Records the first token, `after` its request was accepted.
    pub fn first_token(&mut self, after: Duration) {
        self.charge.begun();
        self.metrics.ttft.observe(after.as_secs_f64());
        self.metrics.now(|slot| slot.ttft.add(ms(after)));
    }

    /// Records `count` tokens that arrived `after` the previous ones; `None` if there were no tokens before.
    pub fn tokens(&self, after: Option<Duration>, count: usize) {
        if let Some(after) = after {
            let each = after.as_secs_f64() / count.max(1) as f64;
            (0..count).for_each(|_| self.metrics.inter_token.observe(each));
        }
        self.metrics.generation_tokens.inc_by(count as u64);
        self.metrics.now(|slot| slot.generation_tokens += count as u64);
        self.charge.complete(count);
    }

    /// Records a complete answer.
    pub fn finished(&mut self, finish: FinishReason, usage: Usage, receipt: &Receipt) {
        self.end(finish.as_str());
        self.charge.finished(usage.prompt_tokens);
        let metrics = &self.metrics;
        if self.counted.leads {
            metrics.prompt_tokens.inc_by(usage.prompt_tokens.into());
        }
        metrics.queue.observe(receipt.timing.queue_ms / 1_000.0);
        metrics.prefill.observe(receipt.timing.prefill_ms / 1_000.0);
        if usage.completion_tokens > 1 {
            metrics.decode.observe(receipt.timing.decode_ms / 1_000.0);
            metrics.per_output_token.observe(receipt.timing.tpot_ms / 1_000.0);
        }
        metrics.placed.get_or_create(&Placed { placement: receipt.decision.placement.to_owned() }).inc();
        metrics.positions_held.inc_by(receipt.transfer.positions_held.into());
        if receipt.transfer.bytes_sent > 0 {
            metrics.ship.observe(receipt.transfer.wire_ms / 1_000.0);
        }
        self.pruned(receipt);
        self.lately(usage, receipt);
        let ended = self.recent(Ended::Finished(finish));
        metrics.remember(ended.with(usage, receipt));
    }

    fn lately(&self, usage: Usage, receipt: &Receipt) {
        let (leads, e2e) = (self.counted.leads, ms(self.counted.accepted.elapsed()));
        self.metrics.now(|slot| {
            slot.answers += 1;
            slot.prompt_tokens += if leads { usage.prompt_tokens.into() } else { 0 };
            slot.e2e.add(e2e);
            if usage.completion_tokens > 1 {
                slot.tpot.add(receipt.timing.tpot_ms);
            }
        });
    }

    fn pruned(&self, receipt: &Receipt) {
        let Some(visual) = &receipt.visual else { return };
        for (stage, tokens) in [("before", visual.tokens_before), ("after", visual.tokens_after)] {
            self.metrics.visual_tokens.get_or_create(&Stage { stage: stage.to_owned() }).inc_by(tokens.into());
        }
        self.metrics.prune.observe(visual.prune_ms / 1_000.0);
    }

    fn recent(&self, ended: Ended) -> Recent {
        Recent::new(&self.counted.request_id, ended, Some(self.counted.accepted.elapsed()))
    }

    fn end(&mut self, reason: &str) {
        self.is_finished = true;
        self.metrics.e2e.observe(self.counted.accepted.elapsed().as_secs_f64());
        self.metrics.success.get_or_create(&FinishedReason { finished_reason: reason.to_owned() }).inc();
    }
}

impl Drop for AnswerClock {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.charge.broken_off(self.counted.failure.get().map(|code| code.http()));
        let ended = match self.counted.failure.get() {
            // The failure is counted by its code where the client's error is made.
            Some(code) => Ended::Failed(*code),
            None => {
                self.end(ABORTED);
                self.metrics.now(|slot| slot.aborted += 1);
                Ended::Aborted
            }
        };
        self.metrics.remember(self.recent(ended));
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
