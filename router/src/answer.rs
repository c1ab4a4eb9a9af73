//! One answer: tokens from the legs become text, until an end token, a stop text or the length ends it; then the receipt.

use std::{collections::HashSet, sync::Arc, time::Duration};

use secateur_proto::{
    ServiceError,
    v1::{PrefillDone, decode_done},
};
use tokio::time::Instant;

use crate::{
    legs::{Legs, Progress, retry::Started},
    metrics::RequestClock,
    openai::{
        extension::{method_name, policy_name},
        receipt::{Receipt, Timing, TransferReceipt, VisualReceipt},
        response::{FinishReason, Usage},
    },
    prompt::{Detokenizer, StopMatcher},
    served::ServedModel,
};

/// How long a finished answer waits for prefill's report of the bytes.
const REPORT_PATIENCE: Duration = Duration::from_millis(1_500);

/// What the answer needs to know of its request.
pub struct AnswerContext {
    /// For the receipt.
    pub epoch: String,
    /// Before pruning.
    pub prompt_tokens: u32,
    /// The first token included.
    pub max_new_tokens: u32,
    /// End tokens, which are no text.
    pub stop_token_ids: HashSet<u32>,
    /// Waiting for admission.
    pub queued: Duration,
    /// When the router accepted the request.
    pub accepted: Instant,
}

/// A piece of the answer.
#[derive(Debug, Default)]
pub struct Piece {
    /// New text, perhaps empty.
    pub text: String,
    /// Set on the last piece.
    pub finish: Option<FinishReason>,
}

/// An answer in the making. Dropping it cancels the work.
pub struct Answer {
    legs: Option<Legs>,
    attempts: u32,
    context: AnswerContext,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    completion_tokens: u32,
    /// The first token, until it is taken.
    first: Option<u32>,
    first_at: Instant,
    last_at: Instant,
    /// The decode node's own figure, if it came to its end.
    decode_ms: Option<f64>,
    /// The decode node sent an end token: its report follows at once.
    awaits_decode: bool,
    is_finished: bool,
    clock: RequestClock,
}

impl Answer {
    /// An answer whose first token has just come.
    pub fn new(
        started: Started,
        context: AnswerContext,
        model: Arc<ServedModel>,
        stops: Vec<String>,
        clock: RequestClock,
    ) -> Self {
        let now = Instant::now();
        clock.first_token(now - context.accepted);
        Self {
            first: Some(started.legs.first.token),
            legs: Some(started.legs),
            attempts: started.attempts,
            detokenizer: Detokenizer::new(model),
            stops: StopMatcher::new(stops),
            completion_tokens: 0,
            first_at: now,
            last_at: now,
            decode_ms: None,
            awaits_decode: false,
            is_finished: false,
            context,
            clock,
        }
    }

    /// The next piece; none after the last one.
    pub async fn next(&mut self) -> Result<Option<Piece>, ServiceError> {
        if self.is_finished {
            return Ok(None);
        }
        let piece = match self.first.take() {
            Some(token) => self.on_first(token),
            None => match self.on_progress().await {
                Ok(piece) => piece,
                Err(error) => {
                    // Frees both nodes now, however long the caller keeps what is left of the answer.
                    self.legs = None;
                    return Err(error);
                }
            },
        };
        self.is_finished = piece.finish.is_some();
        Ok(Some(piece))
    }

    /// Token counts so far.
    pub fn usage(&self) -> Usage {
        Usage::new(self.context.prompt_tokens, self.completion_tokens)
    }

    /// Ends the legs and sums up. Call after the last piece.
    pub async fn receipt(&mut self, finish: FinishReason) -> Receipt {
        let (facts, first, reports, has_decode) = match self.legs.take() {
            Some(legs) => {
                let (facts, first, has_decode) = (legs.facts.clone(), legs.first, legs.has_decode());
                (facts, first, legs.finish(REPORT_PATIENCE, self.awaits_decode).await, has_decode)
            }
            None => Default::default(),
        };
        if reports.prefill.is_none() {
            tracing::warn!(epoch = self.context.epoch, "prefill's report did not come; the receipt shows no bytes");
        }
        self.decode_ms = self.decode_ms.or_else(|| reports.decode.map(|done| done.decode_ms));
        let report = reports.prefill;
        let receipt = Receipt {
            epoch: self.context.epoch.clone(),
            plan: facts.plan_id,
            prefill_node: facts.prefill_node,
            decode_node: if has_decode { facts.decode_node } else { String::new() },
            attempts: self.attempts,
            timing: self.timing(first.queue_ms, first.prefill_ms),
            visual: report.as_ref().map(visual_receipt).unwrap_or_default(),
            transfer: report.as_ref().map(transfer_receipt).unwrap_or_default(),
        };
        self.clock.finished(finish, self.usage(), &receipt);
        receipt
    }

    fn on_first(&mut self, token: u32) -> Piece {
        let mut piece = self.take(&[token]);
        if piece.finish.is_none() && self.context.max_new_tokens <= 1 {
            self.end(&mut piece, FinishReason::Length);
        }
        piece
    }

    async fn on_progress(&mut self) -> Result<Piece, ServiceError> {
        let Some(legs) = self.legs.as_mut() else { return Ok(Piece::default()) };
        match legs.next().await? {
            Progress::Tokens(tokens) => {
                let now = Instant::now();
                self.clock.tokens(now - self.last_at, tokens.len());
                self.last_at = now;
                self.awaits_decode = tokens.iter().any(|token| self.context.stop_token_ids.contains(token));
                Ok(self.take(&tokens))
            }
            Progress::Done(done) => {
                self.decode_ms = Some(done.decode_ms);
                let reason = match done.reason() {
                    decode_done::Reason::Stop => FinishReason::Stop,
                    decode_done::Reason::Length | decode_done::Reason::Unspecified => FinishReason::Length,
                };
                let mut piece = Piece::default();
                self.end(&mut piece, reason);
                Ok(piece)
            }
        }
    }

    fn take(&mut self, tokens: &[u32]) -> Piece {
        let mut piece = Piece::default();
        for &token in tokens {
            self.completion_tokens += 1;
            if self.context.stop_token_ids.contains(&token) {
                self.end(&mut piece, FinishReason::Stop);
                return piece;
            }
            let text = self.detokenizer.push(token);
            if self.show(&mut piece, &text) {
                piece.finish = Some(FinishReason::Stop);
                return piece;
            }
        }
        piece
    }

    /// Adds text to the piece; true if a stop text ended the answer.
    fn show(&mut self, piece: &mut Piece, text: &str) -> bool {
        let stopped = self.stops.push(text);
        piece.text.push_str(&stopped.text);
        stopped.is_stopped
    }

    /// Ends the answer for `reason`, unless what was still held back turns out to be a stop text.
    fn end(&mut self, piece: &mut Piece, reason: FinishReason) {
        let rest = self.detokenizer.flush();
        if self.show(piece, &rest) {
            piece.finish = Some(FinishReason::Stop);
            return;
        }
        piece.text.push_str(&self.stops.flush());
        piece.finish = Some(reason);
    }

    fn timing(&self, node_queue_ms: f64, prefill_ms: f64) -> Timing {
        let generating = self.last_at - self.first_at;
        let later_tokens = self.completion_tokens.saturating_sub(1);
        Timing {
            queue_ms: ms(self.context.queued) + node_queue_ms,
            prefill_ms,
            ttft_ms: ms(self.first_at - self.context.accepted),
            decode_ms: self.decode_ms.unwrap_or_else(|| ms(generating)),
            tpot_ms: if later_tokens == 0 { 0.0 } else { ms(generating) / f64::from(later_tokens) },
        }
    }
}

fn visual_receipt(report: &PrefillDone) -> VisualReceipt {
    let visual = report.visual.unwrap_or_default();
    VisualReceipt {
        method: method_name(visual.method()).to_owned(),
        images: visual.images,
        tokens_before: visual.tokens_before,
        tokens_after: visual.tokens_after,
        prune_ms: visual.prune_ms,
    }
}

fn transfer_receipt(report: &PrefillDone) -> TransferReceipt {
    let transfer = report.transfer.unwrap_or_default();
    let ratio =
        if transfer.bytes_sent == 0 { 0.0 } else { transfer.bytes_unpruned as f64 / transfer.bytes_sent as f64 };
    TransferReceipt {
        policy: policy_name(transfer.policy()).to_owned(),
        bytes_sent: transfer.bytes_sent,
        bytes_dense: transfer.bytes_dense,
        bytes_unpruned: transfer.bytes_unpruned,
        ratio,
        wire_ms: transfer.wire_ms,
        overlap: transfer.overlap,
        link_mbit_s: transfer.link_mbit_s,
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
