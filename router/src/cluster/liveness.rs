//! Whether a node is there, judged by how long it has been silent. Plain data; the time comes in as an argument.
//!
//! ```text
//!   well ── 900 ms of silence ──▶ late ── 2.5 s of silence ──▶ lost
//!    ▲                             │
//!    └── an answer to a probe, or any event of a request's stream
//! ```
//!
//! A late node gets no new requests while there are others, but keeps its streams. The streams of a lost node are
//! replayed elsewhere. The two bounds keep a stream's pause below five seconds, and still tolerate that a machine whose
//! cores are all busy leaves a live node silent for a second or two.
//!
//! Time in which this router itself did not run does not count as silence: the node's answer may lie unread in a
//! socket.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks at the silence.
pub const TICK: Duration = Duration::from_millis(100);
/// Longest time that one look counts: a longer gap means that the router itself did not run.
const STEP_MAX: Duration = Duration::from_millis(250);
/// Silence after which other nodes are preferred.
const LATE: Duration = Duration::from_millis(900);
/// Silence after which the node is declared lost.
const LOST: Duration = Duration::from_millis(2_500);

/// The state of a node, judged by its silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The node answers.
    Well,
    /// An answer is overdue.
    Late,
    /// The node is declared lost.
    Lost,
}

/// Time for which a node has not answered open probes, summed over consecutive probes.
#[derive(Debug)]
pub struct Silence {
    lasted: Duration,
    looked: Instant,
}

impl Silence {
    /// A silence of zero length.
    pub fn new(now: Instant) -> Self {
        Self { lasted: Duration::ZERO, looked: now }
    }

    /// Starts to count at `now`, when a probe is sent: time without an open probe does not count.
    pub fn asked(&mut self, now: Instant) {
        self.looked = now;
    }

    /// Resets the silence, because a message came from the node.
    pub fn broken(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Counts the time since the last look and judges the sum.
    pub fn look(&mut self, now: Instant) -> Life {
        self.lasted += now.saturating_duration_since(self.looked).min(STEP_MAX);
        self.looked = now;
        match self.lasted {
            lasted if lasted >= LOST => Life::Lost,
            lasted if lasted >= LATE => Life::Late,
            _ => Life::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each look finds, `apart` from the one before, until the node is lost.
    fn looks(apart: Duration) -> Vec<Life> {
        let mut now = Instant::now();
        let mut silence = Silence::new(now);
        let mut found = Vec::new();
        while found.last() != Some(&Life::Lost) {
            now += apart;
            found.push(silence.look(now));
        }
        found
    }

    #[test]
    fn silence_makes_a_node_late_and_then_lost() {
        let found = looks(TICK);
        let late = found.iter().position(|life| *life == Life::Late).unwrap();
        assert_eq!((late + 1, found.len()), (9, 25), "of 100 ms each");
    }

    #[test]
    fn a_router_that_was_kept_from_looking_does_not_blame_the_node() {
        assert_eq!(looks(Duration::from_secs(30)).len(), 10, "each look counts 250 ms");
    }

    #[test]
    fn a_living_node_may_be_silent_for_two_seconds_and_any_word_makes_it_well() {
        let mut now = Instant::now();
        let mut silence = Silence::new(now);
        for _ in 0..20 {
            now += TICK;
            assert_ne!(silence.look(now), Life::Lost);
        }
        silence.broken(now);
        assert_eq!(silence.look(now + TICK), Life::Well);
        silence.asked(now + Duration::from_secs(60));
        assert_eq!(silence.look(now + Duration::from_secs(60) + TICK), Life::Well, "nobody asked in between");
    }
}
