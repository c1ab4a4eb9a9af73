//! Bounds how long one start of an answer looks for a pair of nodes, and how many attempts it makes. Plain data; the
//! time comes in as an argument.
//!
//! | | before the first token | once the answer has begun |
//! |---|---|---|
//! | attempts | 3 | 8 |
//! | the last attempt begins, after the first failure, within | 1 s | 10 s |
//!
//! Before the first token a quick, clear error serves the client better; a client that holds half an answer would have
//! to start over. While another pair is available, the next attempt begins after a short pause.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::Instant;

use crate::cluster::PAIR_PATIENCE;

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bounds of one start.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    attempts: u32,
    window: Duration,
}

const FRESH: Bounds = Bounds { attempts: 3, window: PAIR_PATIENCE };
const BEGUN: Bounds = Bounds { attempts: 8, window: Duration::from_secs(10) };

/// State of one start.
#[derive(Debug)]
pub struct Search {
    bounds: Bounds,
    /// Time from which the window counts: the beginning, then the first failure.
    since: Instant,
    failures: u32,
}

impl Search {
    /// A search that begins at `now`. `has_begun`: the client has part of the answer.
    pub fn new(has_begun: bool, now: Instant) -> Self {
        Self { bounds: if has_begun { BEGUN } else { FRESH }, since: now, failures: 0 }
    }

    /// Time until which a missing pair is waited for.
    pub fn until(&self) -> Instant {
        self.since + self.bounds.window
    }

    /// Records a failed attempt and returns the pause before the next one; `None` means give up.
    pub fn failed(&mut self, error: &ServiceError, now: Instant) -> Option<Duration> {
        if self.failures == 0 {
            self.since = now;
        }
        self.failures += 1;
        let is_over = self.failures >= self.bounds.attempts || now > self.until();
        (error.is_retryable() && !is_over).then(|| pause(self.failures))
    }
}

/// Whether retrying on the same nodes may help. It does not after `Overloaded`: a full queue stays full for a while.
pub fn may_ask_again(error: &ServiceError) -> bool {
    error.code != ErrorCode::Overloaded
}

/// The pause after `failures` failures: doubles up to [`PAUSE_MAX`].
fn pause(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: ErrorCode) -> ServiceError {
        ServiceError::new(code, "")
    }

    /// Pauses of a start whose attempts all fail, `took` after they began, in milliseconds.
    fn pauses(has_begun: bool, took: Duration) -> Vec<u128> {
        let mut now = Instant::now();
        let mut search = Search::new(has_begun, now);
        let mut pauses = Vec::new();
        loop {
            now += took;
            let Some(pause) = search.failed(&error(ErrorCode::Unavailable), now) else { return pauses };
            pauses.push(pause.as_millis());
            now += pause;
        }
    }

    #[test]
    fn attempts_are_bounded_in_number_and_in_time() {
        assert_eq!(pauses(false, Duration::ZERO), [50, 100]);
        assert_eq!(pauses(false, Duration::from_secs(3)), [50], "one slow failure may be chance, a second is not");
        assert_eq!(pauses(true, Duration::ZERO), [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(pauses(true, Duration::from_secs(3)), [50, 100, 200, 400]);
    }

    #[test]
    fn a_pair_is_waited_for_from_the_first_failure_on() {
        let now = Instant::now();
        let mut search = Search::new(false, now);
        assert_eq!(search.until(), now + PAIR_PATIENCE);
        let failed = now + Duration::from_secs(3);
        search.failed(&error(ErrorCode::Unavailable), failed).unwrap();
        search.failed(&error(ErrorCode::Unavailable), failed + Duration::from_millis(200)).unwrap();
        assert_eq!(search.until(), failed + PAIR_PATIENCE);
    }

    #[test]
    fn what_cannot_get_better_is_given_up() {
        let now = Instant::now();
        assert_eq!(Search::new(true, now).failed(&error(ErrorCode::InvalidImage), now), None);
        assert!(!may_ask_again(&error(ErrorCode::Overloaded)) && may_ask_again(&error(ErrorCode::Unavailable)));
    }
}
