//! Totals since the router started, read from the metrics' counters, so that the live page and `/metrics` cannot
//! disagree.

use std::collections::BTreeMap;

use prometheus_client::metrics::{counter::Counter, family::Family};
use secateur_proto::ErrorCode;
use secateur_transfer::{Refusal, TransferPolicy};
use serde::Serialize;

use super::{
    labels::{AttemptOutcome, Code, FINISHED_REASONS, FinishedReason, OTHER_REASON, Outcome, Policy, Reason, Stage},
    registry::Metrics,
    volume::KvBytes,
};

/// The `totals` of `/v1/cluster`. Each figure is the counter of the same meaning on `/metrics`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Bytes of KV.
    pub bytes: KvBytes,
    /// Visual tokens of pictures.
    pub visual_tokens: VisualTokens,
    /// Prompt tokens of finished requests, before pruning.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub generation_tokens: u64,
    /// Ended answers by `stop`, `length` and `abort`.
    pub requests: BTreeMap<&'static str, u64>,
    /// Error answers by code; codes that have not occurred are left out.
    pub errors: BTreeMap<&'static str, u64>,
    /// Shipments that decode refused, by reason; reasons that have not occurred are left out.
    pub refused: BTreeMap<&'static str, u64>,
    /// Attempts by outcome; outcomes that have not occurred are left out.
    pub attempts: BTreeMap<&'static str, u64>,
}

/// Visual tokens, part of [`Totals`].
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct VisualTokens {
    /// Visual tokens of all pictures before pruning.
    pub before: u64,
    /// Visual tokens that were kept.
    pub after: u64,
}

impl Metrics {
    /// The current totals.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes: KvBytes {
                sent: over_policies(&self.bytes_sent),
                dense: over_policies(&self.bytes_dense),
                unpruned: over_policies(&self.bytes_unpruned),
                kept: over_policies(&self.bytes_kept),
                planned: over_policies(&self.bytes_planned),
                raw: over_policies(&self.bytes_raw),
            },
            visual_tokens: VisualTokens { before: self.visual("before"), after: self.visual("after") },
            prompt_tokens: self.prompt_tokens.get(),
            generation_tokens: self.generation_tokens.get(),
            requests: each(&self.success, FINISHED_REASONS, |reason| FinishedReason {
                finished_reason: reason.to_owned(),
            }),
            errors: some(each(&self.errors, ErrorCode::ALL.iter().map(|code| code.as_str()), |code| Code {
                code: code.to_owned(),
            })),
            refused: some(each(
                &self.refused,
                Refusal::ALL.iter().map(|refusal| refusal.as_str()).chain([OTHER_REASON]),
                |reason| Reason { reason: reason.to_owned() },
            )),
            attempts: some(each(&self.attempts, AttemptOutcome::ALL.map(AttemptOutcome::as_str), |outcome| Outcome {
                outcome: outcome.to_owned(),
            })),
        }
    }

    fn visual(&self, stage: &str) -> u64 {
        self.visual_tokens.get(&Stage { stage: stage.to_owned() }).map_or(0, |counter| counter.get())
    }
}

fn over_policies(family: &Family<Policy, Counter>) -> u64 {
    let policy = |policy: TransferPolicy| Policy { policy: policy.as_str().to_owned() };
    let counts =
        TransferPolicy::ALL.into_iter().filter_map(|known| family.get(&policy(known)).map(|counter| counter.get()));
    counts.fold(0, u64::saturating_add)
}

fn each<L: Clone + std::hash::Hash + Eq>(
    family: &Family<L, Counter>,
    names: impl IntoIterator<Item = &'static str>,
    label: impl Fn(&'static str) -> L,
) -> BTreeMap<&'static str, u64> {
    let count = |name| family.get(&label(name)).map_or(0, |counter| counter.get());
    names.into_iter().map(|name| (name, count(name))).collect()
}

fn some(mut counts: BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    counts.retain(|_, count| *count > 0);
    counts
}
