//! What happened in the last ten minutes, in slots of ten seconds, for the live page: rates and percentiles that forget,
//! beside the counters of `/metrics`, which do not. Plain data of bounded size; the time comes in as an argument.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use secateur_proto::ErrorCode;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    spread::{Percentiles, Spread},
    volume::KvBytes,
};

/// Length of a slot.
const SLOT: Duration = Duration::from_secs(10);
/// Number of slots.
const SLOTS: u64 = 60;

/// Counts of one slot.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Generated tokens.
    pub generation_tokens: u64,
    /// Prompt tokens of finished requests.
    pub prompt_tokens: u64,
    /// KV bytes of shipments, counted when prefill reports them.
    pub bytes: KvBytes,
    /// Whole answers.
    pub answers: u64,
    /// Answers whose client left.
    pub aborted: u64,
    /// Error answers by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// Error answers that are the cluster's failures.
    pub failures: u64,
    /// Milliseconds to the first token.
    pub ttft: Spread,
    /// Milliseconds for each further token, once for each answer.
    pub tpot: Spread,
    /// Milliseconds of whole answers.
    pub e2e: Spread,
}

/// The last slots.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    /// Number of the slot of this moment, counted from 0 at `began`.
    number: u64,
    newest: Slot,
    /// The slots before it, oldest first.
    past: VecDeque<Slot>,
}

/// The `window` of `/v1/cluster`.
#[derive(Debug, PartialEq, Serialize)]
pub struct Lately {
    /// Seconds that the window looks back, at most.
    pub seconds: u64,
    /// Whole answers.
    pub answers: u64,
    /// Answers whose client left.
    pub aborted: u64,
    /// Generated tokens.
    pub generation_tokens: u64,
    /// Prompt tokens of finished requests, before pruning.
    pub prompt_tokens: u64,
    /// KV bytes of shipments.
    pub bytes: KvBytes,
    /// Error answers by code, by whose failures they are.
    pub errors: Errors,
    /// Percentiles of the time to the first token; null without one.
    pub ttft_ms: Option<Percentiles>,
    /// Percentiles of the time for each further token; null without one.
    pub tpot_ms: Option<Percentiles>,
    /// Percentiles of the time of whole answers; null without one.
    pub e2e_ms: Option<Percentiles>,
    /// The course over the window.
    pub slots: Slots,
}

/// Error answers by code, part of [`Lately`].
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Failures of the cluster: it was too busy, lacked nodes, or was too slow.
    pub cluster: BTreeMap<&'static str, u64>,
    /// Requests that no cluster could have served.
    pub client: BTreeMap<&'static str, u64>,
}

/// Figures of each slot, oldest first, part of [`Lately`]. The last slot has only begun.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Slots {
    /// Seconds of a whole slot.
    pub seconds: u64,
    /// Seconds of the last slot so far.
    pub last_seconds: f64,
    /// Generated tokens.
    pub generation_tokens: Vec<u64>,
    /// KV bytes sent.
    pub bytes_sent: Vec<u64>,
    /// Whole answers.
    pub answers: Vec<u64>,
    /// Failures of the cluster.
    pub failures: Vec<u64>,
    /// Time to the first token: median and 90th percentile, or null.
    pub ttft_ms: Vec<Option<[f64; 2]>>,
    /// Time for each further token, likewise.
    pub tpot_ms: Vec<Option<[f64; 2]>>,
    /// Time of whole answers, likewise.
    pub e2e_ms: Vec<Option<[f64; 2]>>,
}

/// Whether an error is its client's doing, and says nothing of the cluster.
fn is_clients(code: ErrorCode) -> bool {
    code.http() < 500 && code != ErrorCode::Overloaded
}

impl Slot {
    /// Counts an error answer.
    pub fn failed(&mut self, code: ErrorCode) {
        *self.errors.entry(code.as_str()).or_default() += 1;
        self.failures += u64::from(!is_clients(code));
    }
}

impl Window {
    /// A window that begins now.
    pub fn new(now: Instant) -> Self {
        Self { began: now, number: 0, newest: Slot::default(), past: VecDeque::new() }
    }

    /// The slot of this moment.
    pub fn at(&mut self, now: Instant) -> &mut Slot {
        self.advance(now);
        &mut self.newest
    }

    /// The sums and the course of the window.
    pub fn lately(&mut self, now: Instant) -> Lately {
        self.advance(now);
        let (mut sum, mut slots) = (Slot::default(), Slots { seconds: SLOT.as_secs(), ..Slots::default() });
        slots.last_seconds = (now.saturating_duration_since(self.began).as_secs_f64()
            - (self.number * SLOT.as_secs()) as f64)
            .clamp(0.0, SLOT.as_secs_f64());
        for slot in self.past.iter().chain([&self.newest]) {
            add(&mut sum, slot);
            slots.push(slot);
        }
        let (client, cluster) =
            sum.errors.into_iter().partition(|(code, _)| ErrorCode::parse(code).is_some_and(is_clients));
        Lately {
            seconds: SLOTS * SLOT.as_secs(),
            answers: sum.answers,
            aborted: sum.aborted,
            generation_tokens: sum.generation_tokens,
            prompt_tokens: sum.prompt_tokens,
            bytes: sum.bytes,
            errors: Errors { cluster, client },
            ttft_ms: sum.ttft.percentiles(),
            tpot_ms: sum.tpot.percentiles(),
            e2e_ms: sum.e2e.percentiles(),
            slots,
        }
    }

    /// Begins the slot of this moment, and drops those that are too old.
    fn advance(&mut self, now: Instant) {
        let number = now.saturating_duration_since(self.began).as_secs() / SLOT.as_secs();
        for _ in 0..number.saturating_sub(self.number).min(SLOTS) {
            self.past.push_back(std::mem::take(&mut self.newest));
            if self.past.len() as u64 >= SLOTS {
                self.past.pop_front();
            }
        }
        self.number = self.number.max(number);
    }
}

fn add(sum: &mut Slot, slot: &Slot) {
    sum.generation_tokens += slot.generation_tokens;
    sum.prompt_tokens += slot.prompt_tokens;
    sum.bytes = sum.bytes.plus(&slot.bytes);
    sum.answers += slot.answers;
    sum.aborted += slot.aborted;
    for (code, count) in &slot.errors {
        *sum.errors.entry(code).or_default() += count;
    }
    sum.ttft.merge(&slot.ttft);
    sum.tpot.merge(&slot.tpot);
    sum.e2e.merge(&slot.e2e);
}

impl Slots {
    fn push(&mut self, slot: &Slot) {
        let course = |spread: &Spread| spread.percentiles().map(|found| [found.p50, found.p90]);
        self.generation_tokens.push(slot.generation_tokens);
        self.bytes_sent.push(slot.bytes.sent);
        self.answers.push(slot.answers);
        self.failures.push(slot.failures);
        self.ttft_ms.push(course(&slot.ttft));
        self.tpot_ms.push(course(&slot.tpot));
        self.e2e_ms.push(course(&slot.e2e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(began: Instant, seconds: u64) -> Instant {
        began + Duration::from_secs(seconds)
    }

    #[test]
    fn slots_follow_the_time_and_old_ones_are_forgotten() {
        let began = Instant::now();
        let mut window = Window::new(began);
        window.at(began).generation_tokens += 5;
        window.at(after(began, 25)).generation_tokens += 7;
        let lately = window.lately(after(began, 27));
        assert_eq!((lately.generation_tokens, lately.seconds), (12, 600));
        assert_eq!((lately.slots.generation_tokens, lately.slots.last_seconds), (vec![5, 0, 7], 7.0));
        let later = window.lately(after(began, 605));
        assert_eq!((later.generation_tokens, later.slots.generation_tokens.len()), (7, 60));
        assert_eq!(window.lately(after(began, 1_000_000)).generation_tokens, 0);
        assert_eq!(window.past.len(), 59, "a long pause makes no more slots than there are");
    }

    #[test]
    fn a_clients_mistakes_are_not_the_clusters() {
        let now = Instant::now();
        let mut window = Window::new(now);
        let codes = [ErrorCode::InvalidRequest, ErrorCode::InvalidRequest, ErrorCode::RequestTimeout];
        let codes = codes.into_iter().chain([ErrorCode::Overloaded, ErrorCode::Unavailable, ErrorCode::Timeout]);
        codes.for_each(|code| window.at(now).failed(code));
        let lately = window.lately(now);
        assert_eq!(lately.errors.client, [("invalid_request", 2), ("request_timeout", 1)].into());
        assert_eq!(lately.errors.cluster, [("overloaded", 1), ("timeout", 1), ("unavailable", 1)].into());
        assert_eq!(lately.slots.failures, [3]);
        assert_eq!(window.lately(after(now, 600)).errors, Errors::default());
    }

    #[test]
    fn percentiles_are_those_of_all_slots() {
        let began = Instant::now();
        let mut window = Window::new(began);
        window.at(began).ttft.add(100.0);
        window.at(after(began, 10)).ttft.add(400.0);
        let lately = window.lately(after(began, 20));
        let found = lately.ttft_ms.unwrap();
        assert_eq!((found.count, lately.tpot_ms, lately.slots.ttft_ms[2]), (2, None, None));
        assert!(found.p50 < 105.0 && found.p90 > 390.0, "{found:?}");
    }
}
