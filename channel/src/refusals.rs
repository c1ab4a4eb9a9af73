//! Rate-limited log of refused callers: the first is logged at once, later ones as a count, so that a peer that tries
//! twice a second does not fill the disk.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Least time between two log lines for the same reason.
const PAUSE: Duration = Duration::from_secs(10);

/// Reason for refusing a caller. A closed list, so that callers cannot cause new kinds of log lines.
#[derive(Clone, Copy, Debug)]
pub enum Reason {
    /// The TLS handshake failed.
    Tls,
    /// The caller sent no secret.
    NoSecret,
    /// The caller sent another secret.
    WrongSecret,
    /// The limit of connections is reached.
    TooMany,
}

impl Reason {
    const COUNT: usize = 4;

    fn text(self) -> &'static str {
        match self {
            Reason::Tls => "the TLS handshake failed",
            Reason::NoSecret => "it showed no cluster secret",
            Reason::WrongSecret => "its cluster secret is not this node's",
            Reason::TooMany => "the node has as many connections as it takes",
        }
    }
}

/// Counters of refused callers, per reason. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<[Pace; Reason::COUNT]>>);

#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    unsaid: u64,
}

impl Pace {
    /// Counts one refusal. `Some` if a log line is due, with the number of refusals that were not logged since the last
    /// line.
    fn count(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Refusals {
    /// Counts a refused caller, and logs it if a line is due. `detail` may be empty.
    pub fn count(&self, peer: Option<SocketAddr>, reason: Reason, detail: &str) {
        // A panic between two assignments leaves the counters usable, so poisoning is ignored.
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner)[reason as usize].count(Instant::now());
        if let Some(others) = due {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            tracing::warn!(peer, why = reason.text(), detail, others, "a caller was turned away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_rest_are_counted() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.count(start), Some(0));
        assert_eq!(pace.count(start + PAUSE / 2), None);
        assert_eq!(pace.count(start + PAUSE / 2), None);
        assert_eq!(pace.count(start + PAUSE), Some(2));
        assert_eq!(pace.count(start + PAUSE * 3), Some(0));
    }
}
