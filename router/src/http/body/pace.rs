//! The pace at which a body must arrive.
//!
//! A sender may pause, but not for longer than [`PAUSE_MAX`], and over each [`WINDOW`] it must reach a minimum rate.
//! The rate grows with the bytes already received. So a sender that sends evenly and finishes within the request's time
//! is never too slow, and a sender that sends half of a large body and then trickles does not keep that half in memory.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum rate in bytes per second, whatever has arrived already.
const RATE_MIN: usize = 1024;
/// Time over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(10);
/// Longest pause between two pieces.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The bytes that a sender has sent, and when.
pub struct Pace {
    /// Time within which a body that arrives evenly is complete.
    whole_within: Duration,
    bytes: usize,
    last: Instant,
    window_began: Instant,
    window_bytes: usize,
}

impl Pace {
    /// The pace of a body that begins to arrive at `now`.
    pub fn new(now: Instant, whole_within: Duration) -> Self {
        Self { whole_within, bytes: 0, last: now, window_began: now, window_bytes: 0 }
    }

    /// Records a piece of `bytes` bytes.
    pub fn came(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        self.window_bytes += bytes;
        self.last = now;
    }

    /// Time at which to call [`Pace::is_too_slow`], unless a piece arrives before.
    pub fn due(&self) -> Instant {
        (self.last + PAUSE_MAX).min(self.window_began + WINDOW)
    }

    /// Whether the sender is too slow. Called only when there is nothing to read, so that a busy machine is not
    /// mistaken for a slow sender.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
        if now >= self.last + PAUSE_MAX {
            return true;
        }
        let elapsed = now - self.window_began;
        if elapsed < WINDOW {
            return false;
        }
        let even = self.bytes as f64 / self.whole_within.as_secs_f64().max(1.0);
        let least = even.max(RATE_MIN as f64) * elapsed.as_secs_f64();
        let is_too_slow = (self.window_bytes as f64) < least;
        (self.window_began, self.window_bytes) = (now, 0);
        is_too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = Duration::from_secs(120);

    /// Seconds until a sender is cut off that sends `first` bytes and then `piece` bytes every `every` seconds; `None`
    /// if that does not happen within two minutes.
    fn cut_after(first: usize, piece: usize, every: f64) -> Option<u64> {
        let began = Instant::now();
        let mut pace = Pace::new(began, WHOLE);
        pace.came(first, began);
        let mut next = began + Duration::from_secs_f64(every);
        loop {
            let now = next.min(pace.due());
            if now > began + WHOLE {
                return None;
            }
            if now == next {
                pace.came(piece, now);
                next = now + Duration::from_secs_f64(every);
            } else if pace.is_too_slow(now) {
                return Some((now - began).as_secs());
            }
        }
    }

    #[test]
    fn drips_pauses_and_half_sent_bodies_are_cut() {
        assert_eq!(cut_after(1, 1, 4.0), Some(10), "a drip");
        assert_eq!(cut_after(100, 0, 1e6), Some(10), "a pause");
        assert_eq!(cut_after(12_500_000, 1, 4.0), Some(20), "half a large body, then a drip");
        assert_eq!(cut_after(12_500_000, 10_000, 1.0), Some(20), "the rest comes more slowly than the beginning");
    }

    #[test]
    fn whoever_sends_evenly_is_never_cut() {
        for rate in [1_100, 10_000, 250_000, 10_000_000] {
            assert_eq!(cut_after(0, rate, 1.0), None, "{rate}");
            assert_eq!(cut_after(0, rate * 5, 5.0), None, "{rate} in bursts");
        }
    }
}
