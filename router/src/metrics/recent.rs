//! The last requests, for the live page: only figures and codes, never text of a prompt or an answer. Plain data.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secateur_proto::ErrorCode;
use serde::Serialize;

use crate::request::{FinishReason, Usage, receipt::Receipt};

/// Most requests that are remembered.
const REQUESTS_MAX: usize = 50;
/// Time within which two equal failures of one request count as one: an answer that breaks off is reported twice, where
/// it broke off and where the client's error is made.
const TWICE: Duration = Duration::from_secs(1);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The request got its whole answer.
    Finished(FinishReason),
    /// The client disconnected.
    Aborted,
    /// The request failed with this error.
    Failed(ErrorCode),
}

/// One request that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct Recent {
    /// Number of the request, counted from 1; a reader asks for the requests after the last number it has seen.
    pub number: u64,
    /// The request's `x-request-id`.
    pub id: String,
    /// Time at which the request ended, in Unix milliseconds.
    pub at_ms: u64,
    /// `stop`, `length`, `abort` or `error`.
    pub outcome: &'static str,
    /// Code of the error; null if there was none.
    pub code: Option<&'static str>,
    /// HTTP status that belongs to the code; null if there was no error.
    pub status: Option<u16>,
    /// Milliseconds from accepting the request to its end; null if it was refused before it ran.
    pub e2e_ms: Option<f64>,
    /// Token counts; null without an answer.
    pub usage: Option<Usage>,
    /// The answer's receipt; null without an answer.
    pub receipt: Option<Receipt>,
}

impl Recent {
    /// A record of the request `id`, which ended now, `e2e` after it was accepted.
    pub fn new(id: &str, ended: Ended, e2e: Option<Duration>) -> Self {
        let (outcome, error) = match ended {
            Ended::Finished(reason) => (reason.as_str(), None),
            Ended::Aborted => ("abort", None),
            Ended::Failed(code) => ("error", Some(code)),
        };
        Self {
            number: 0,
            id: id.to_owned(),
            at_ms: unix_ms(),
            outcome,
            code: error.map(ErrorCode::as_str),
            status: error.map(ErrorCode::http),
            e2e_ms: e2e.map(|e2e| e2e.as_secs_f64() * 1_000.0),
            usage: None,
            receipt: None,
        }
    }

    /// Adds the usage and receipt of an answer.
    pub fn with(self, usage: Usage, receipt: &Receipt) -> Self {
        Self { usage: Some(usage), receipt: Some(receipt.clone()), ..self }
    }

    fn is_the_same_failure(&self, other: &Recent) -> bool {
        let apart = self.at_ms.abs_diff(other.at_ms);
        self.id == other.id && self.code == other.code && u128::from(apart) < TWICE.as_millis()
    }
}

/// The last [`REQUESTS_MAX`] requests, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    requests: VecDeque<Recent>,
    last: u64,
}

impl Ring {
    /// Adds a request, and drops the oldest one beyond the bound.
    pub fn push(&mut self, request: Recent) {
        if request.code.is_some() && self.requests.iter().any(|known| known.is_the_same_failure(&request)) {
            return;
        }
        self.last += 1;
        self.requests.push_back(Recent { number: self.last, ..request });
        if self.requests.len() > REQUESTS_MAX {
            self.requests.pop_front();
        }
    }

    /// The requests after number `after`, oldest first. Returns all of them if there has been no such number, since the
    /// reader then saw another router's numbers.
    pub fn after(&self, after: u64) -> Vec<Recent> {
        let after = if after > self.last { 0 } else { after };
        self.requests.iter().filter(|request| request.number > after).cloned().collect()
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(id: &str) -> Recent {
        Recent::new(id, Ended::Finished(FinishReason::Stop), Some(Duration::from_millis(5)))
    }

    #[test]
    fn the_oldest_are_forgotten_and_numbers_go_on() {
        let mut ring = Ring::default();
        for number in 0..REQUESTS_MAX + 7 {
            ring.push(finished(&format!("r{number}")));
        }
        let all = ring.after(0);
        assert_eq!((all.len(), all[0].number, all[0].id.as_str()), (REQUESTS_MAX, 8, "r7"));
        assert_eq!(ring.after(55).iter().map(|request| request.number).collect::<Vec<_>>(), [56, 57]);
        assert_eq!(ring.after(57).len(), 0);
        assert_eq!(ring.after(1_000).len(), REQUESTS_MAX, "the page saw a router that has been replaced");
    }

    #[test]
    fn a_failure_that_is_told_of_twice_is_one() {
        let mut ring = Ring::default();
        let failed = |id, code| Recent::new(id, Ended::Failed(code), None);
        for request in [
            failed("a", ErrorCode::Unavailable),
            failed("a", ErrorCode::Unavailable),
            failed("b", ErrorCode::Unavailable),
            failed("a", ErrorCode::Overloaded),
            finished("c"),
            finished("c"),
        ] {
            ring.push(request);
        }
        let codes: Vec<_> = ring.after(0).iter().map(|request| (request.id.clone(), request.status)).collect();
        let expected = [("a", Some(503)), ("b", Some(503)), ("a", Some(429)), ("c", None), ("c", None)];
        assert_eq!(codes, expected.map(|(id, status)| (id.to_owned(), status)));
    }
}
