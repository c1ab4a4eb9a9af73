//! How often the log speaks of callers that were turned away: at once of the first, then with a count, so that a peer
//! that tries twice a second does not fill the disk.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines of the same reason.
const PAUSE: Duration = Duration::from_secs(10);

/// Why a caller was turned away. Closed, so that no caller can invent reasons to be told.
#[derive(Clone, Copy, Debug)]
pub enum Reason {
    /// The handshake failed.
    Tls,
    /// No secret was shown.
    NoSecret,
    /// Another secret was shown.
    WrongSecret,
    /// There are as many connections as may be.
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

/// Callers that were turned away. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<[Pace; Reason::COUNT]>>);

#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    unsaid: u64,
}

impl Pace {
    /// Whether to speak now, and of how many others that were passed over since the last time.
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
    /// Counts one, and logs it if it is time to. `detail` may be empty.
    pub fn count(&self, peer: Option<SocketAddr>, reason: Reason, detail: &str) {
        // Poisoned only by a panic between two assignments; the numbers are still numbers.
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
