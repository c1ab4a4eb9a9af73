//! One request at the nodes, over as many attempts as its answer takes.
//!
//! ```text
//!            ┌────────── tokens ──────────┐
//!            ▼                            │
//!   start ▸ legs ── done ▸ end            │
//!            │                            │
//!            ├─ preempted ▸ wait ─┐       │
//!            └─ lost ▸ elsewhere ─┴▸ legs with the tokens so far behind the prompt
//! ```
//!
//! A reader of the tokens does not notice where one attempt ends and the next begins.

use std::{sync::Arc, time::Duration};

use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{PromptScore, TransferReport, VisualReport, decode_done::Reason},
};
use tokio::time::{Instant, sleep};

use super::{
    Account, LegFailure, Legs, Order, Progress, SoFar, Token,
    failure::timed_out,
    patience::Patience,
    retry::{self, Tried},
};
use crate::{
    cluster::{Cluster, Pair, Wish},
    metrics::{AttemptOutcome, LinkLabels, Metrics, PREEMPTED},
    request::{FinishReason, receipt::policy_name},
};

/// How long a finished answer waits for the nodes' reports.
const REPORT_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long to wait for the reports of an attempt that ended before its answer did; short, since the client waits for
/// the next token.
const REPORT_PATIENCE_MIDWAY: Duration = Duration::from_millis(100);

/// One step of an answer.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The next tokens, in order.
    Tokens(Vec<Token>),
    /// The end of the answer and its reason.
    End(FinishReason),
}

/// A request in flight. Dropping it cancels the work at the nodes.
pub struct Run {
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    /// The request, kept whole with its pictures because a replay may be needed after any token.
    order: Order,
    so_far: SoFar,
    patience: Patience,
    account: Account,
    /// Scores of the prompt's tokens, until they are taken; empty if they were not asked for.
    scores: Vec<PromptScore>,
    /// Whether the cluster was told that this attempt's shipment arrived.
    has_reached: bool,
    /// The current attempt; `None` once it has ended.
    legs: Option<Legs>,
}

/// Why an attempt ended before its answer did.
enum Setback {
    Preempted,
    Failed(LegFailure),
}

impl Run {
    /// Starts `order` and waits for its first token.
    pub async fn start(cluster: Arc<Cluster>, metrics: Arc<Metrics>, order: Order) -> Result<Self, ServiceError> {
        let mut run = Self {
            cluster,
            metrics,
            order,
            so_far: SoFar::default(),
            patience: Patience::default(),
            account: Account::default(),
            scores: Vec::new(),
            has_reached: false,
            legs: None,
        };
        let near = run.cluster.nearest(&run.order.prefixes);
        run.attempt(Wish { near, ..Wish::default() }).await?;
        Ok(run)
    }

    /// Waits for the next tokens, or for the end; replays the request where an attempt ends early.
    pub async fn next(&mut self) -> Result<Step, ServiceError> {
        loop {
            let Some(legs) = self.legs.as_mut() else {
                return Err(ServiceError::new(ErrorCode::Internal, "the answer has already ended"));
            };
            let progress = legs.next().await;
            self.note_shipment();
            let setback = match progress {
                Ok(Progress::Tokens(tokens)) => {
                    self.so_far.emitted.extend(tokens.iter().map(|token| token.id));
                    self.note_arrival();
                    return Ok(Step::Tokens(tokens));
                }
                Ok(Progress::Done(Reason::Stop)) => return Ok(Step::End(FinishReason::Stop)),
                Ok(Progress::Done(Reason::Length | Reason::Unspecified)) => {
                    return Ok(Step::End(FinishReason::Length));
                }
                Ok(Progress::Done(Reason::Preempted)) => Setback::Preempted,
                Err(failure) if failure.error.is_retryable() => Setback::Failed(failure),
                Err(failure) => {
                    // Frees both nodes now, however long the caller keeps what is left of the answer.
                    self.abandon();
                    self.metrics.failed(&failure.error);
                    return Err(failure.error);
                }
            };
            if self.so_far.is_complete(self.order.max_new_tokens) {
                return Ok(Step::End(FinishReason::Length));
            }
            self.go_on_after(setback).await?;
        }
    }

    /// Ends the request and returns its account. `expects_report`: the decode node is known to be done and its report
    /// is awaited.
    pub async fn finish(&mut self, expects_report: bool) -> &Account {
        if let Some(legs) = self.legs.take() {
            self.metrics.attempt(AttemptOutcome::Ok);
            self.cluster.served(&legs.pair(), legs.held());
            self.sum_up(legs, REPORT_PATIENCE, expects_report).await;
        }
        &self.account
    }

    /// Whether the decode node of this attempt has drawn a token.
    pub fn has_decoded(&self) -> bool {
        self.legs.as_ref().is_some_and(Legs::has_decoded)
    }

    /// Takes the scores of the prompt's tokens; empty if they were not asked for.
    pub fn take_scores(&mut self) -> Vec<PromptScore> {
        std::mem::take(&mut self.scores)
    }

    /// Attempts that were begun.
    pub fn attempts(&self) -> u32 {
        self.so_far.attempts
    }

    /// Prefill's report on the pictures, if it has arrived.
    pub fn visual(&self) -> Option<VisualReport> {
        let latest = || self.legs.as_ref().and_then(|legs| legs.report())?.visual;
        self.account.visual.or_else(latest)
    }

    /// Prompt positions that the first attempt found in the prefix cache.
    pub fn cached_positions(&self) -> u32 {
        self.account.first.as_ref().map_or(0, |first| first.cached_positions)
    }

    /// Replays the request with the tokens so far.
    async fn go_on_after(&mut self, setback: Setback) -> Result<(), ServiceError> {
        let Some(legs) = self.legs.take() else { return Ok(()) };
        let again = Some(legs.pair());
        let (error, mut reason, failures) = match setback {
            Setback::Preempted => {
                self.metrics.attempt(AttemptOutcome::Preempted);
                (preempted(), PREEMPTED, Vec::new())
            }
            Setback::Failed(LegFailure { error, failure, .. }) => {
                self.metrics.failed(&error);
                self.cluster.failed(&failure);
                let reason = error.code.as_str();
                (error, reason, vec![failure])
            }
        };
        tracing::info!(
            request_id = self.order.ids.request_id,
            emitted = self.so_far.emitted.len(),
            code = error.code.as_str(),
            %error,
            "an answer goes on elsewhere"
        );
        self.sum_up(legs, REPORT_PATIENCE_MIDWAY, false).await;
        let wish = Wish { failures, again, ..Wish::default() };
        let mut last = error;
        loop {
            let pause = self.patience.after(last.code, rand::random(), Instant::now()).ok_or(last)?;
            if Instant::now() + pause >= self.order.deadline {
                return Err(timed_out());
            }
            sleep(pause).await;
            let attempts = self.so_far.attempts;
            let done = self.attempt(wish.clone()).await;
            if self.so_far.attempts > attempts {
                self.metrics.retried(reason);
            }
            match done {
                Err(error) if error.code == ErrorCode::Overloaded => (reason, last) = (error.code.as_str(), error),
                done => return done,
            }
        }
    }

    async fn attempt(&mut self, wish: Wish) -> Result<(), ServiceError> {
        let (positions, bulk) = (self.order.positions_needed(&self.so_far), self.order.bulk(&self.so_far));
        let wish = Wish { positions, bulk, ..wish };
        let Tried { result, failed } = retry::start(&self.cluster, &self.order, &mut self.so_far, wish).await;
        // Each failed attempt was followed by another; the last one only if a later attempt succeeded.
        let followed = failed.len().saturating_sub(usize::from(result.is_err()));
        failed.iter().take(followed).for_each(|failure| self.metrics.retried(failure.error.code.as_str()));
        for failure in failed {
            self.metrics.failed(&failure.error);
            failure.spent.into_iter().for_each(|report| self.count(*report));
        }
        let mut legs = result?;
        if self.order.scores(&self.so_far) > 0 {
            self.scores = std::mem::take(&mut legs.scores);
        }
        self.learn(&legs);
        self.account.begun(&legs.facts, &legs.decision, &legs.first, legs.has_decode());
        self.legs = Some(legs);
        self.has_reached = false;
        Ok(())
    }

    /// Reports the link as working once decode has drawn a token, since decode then has the whole shipment.
    fn note_arrival(&mut self) {
        if let Some(legs) = self.legs.as_ref().filter(|legs| legs.has_decoded() && !self.has_reached) {
            self.has_reached = true;
            self.cluster.reached(&legs.pair());
        }
    }

    /// Records what later requests can learn from an attempt that reached its first token: prefill's pace, and which
    /// pair holds the prompt.
    fn learn(&self, legs: &Legs) {
        let pair = legs.pair();
        if self.so_far.emitted.is_empty() {
            self.cluster.prefilled(&pair, &legs.first);
        }
        if legs.has_decode() {
            self.cluster.holds(&self.order.prefixes, &pair);
        }
    }

    /// Ends both legs without waiting for a report. Bytes that were already reported are counted, since they were sent.
    fn abandon(&mut self) {
        self.note_shipment();
        self.legs = None;
    }

    /// Counts this attempt's shipment as soon as prefill has reported it, which is while the answer goes on: an
    /// operator sees what a link carries, not what it carried.
    fn note_shipment(&mut self) {
        let Some(legs) = &mut self.legs else { return };
        if let Some(report) = legs.take_shipment() {
            let (pair, has_decode) = (legs.pair(), legs.has_decode());
            self.arrived(&pair, report, has_decode);
        }
    }

    /// Records a complete shipment over the link of `pair`.
    fn arrived(&mut self, pair: &Pair, report: TransferReport, has_decode: bool) {
        if has_decode {
            self.cluster.shipped(pair, &report);
        }
        self.sent(pair, report.bytes_sent);
        self.count(report);
    }

    fn sent(&self, pair: &Pair, bytes: u64) {
        if bytes > 0 {
            self.metrics.shipped(&LinkLabels { prefill: pair.prefill.clone(), decode: pair.decode.clone() }, bytes);
        }
    }

    /// Adds a shipment to the account, and what it added to the counters.
    fn count(&mut self, report: TransferReport) {
        let bytes = self.account.shipped(report);
        self.metrics.moved(policy_name(report.policy), &bytes);
    }

    async fn sum_up(&mut self, legs: Legs, patience: Duration, expects_report: bool) {
        let (has_decode, pair) = (legs.has_decode(), legs.pair());
        let reports = legs.finish(patience, expects_report).await;
        if let Some(report) = reports.spent {
            self.sent(&pair, report.bytes_sent);
            self.count(report);
        }
        // A shipment that was counted while the answer went on has been taken out of the report.
        if let Some(report) = reports.prefill.and_then(|report| report.transfer) {
            self.arrived(&pair, report, has_decode);
        }
        if reports.prefill.is_none() && reports.spent.is_none() {
            tracing::warn!(epoch = self.order.epoch, "prefill's report did not come; the receipt lacks its bytes");
        }
        self.account.ended(reports, has_decode);
    }
}

impl Drop for Run {
    /// Counts an attempt that is dropped in flight as ok: the client disconnected, or the answer was not finished by
    /// its reader.
    fn drop(&mut self) {
        if self.legs.is_some() {
            self.metrics.attempt(AttemptOutcome::Ok);
        }
        self.abandon();
    }
}

fn preempted() -> ServiceError {
    let message = "the decode nodes are short of memory and the answer had to give way; try again soon";
    ServiceError::new(ErrorCode::Overloaded, message)
}
