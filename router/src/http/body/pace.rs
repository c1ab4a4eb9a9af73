//! How fast a body must come.
//!
//! A sender may pause, but not for long, and over a while it must bring a least rate. That rate grows with what has come
//! already: who sends evenly and is done within the request's time is never too slow, and who sends half of a large body and
//! then drips does not keep that half in memory.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes in a second, whatever has come already.
const RATE_MIN: usize = 1024;
/// Over this time the rate is measured.
const WINDOW: Duration = Duration::from_secs(10);
/// Between two pieces.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a sender has brought, and when.
pub struct Pace {
    /// Within this time a body that comes evenly is whole.
    whole_within: Duration,
    bytes: usize,
    last: Instant,
    window_began: Instant,
    window_bytes: usize,
}

impl Pace {
    /// A body that begins `now`.
    pub fn new(now: Instant, whole_within: Duration) -> Self {
        Self { whole_within, bytes: 0, last: now, window_began: now, window_bytes: 0 }
    }

    /// A piece has come.
    pub fn came(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        self.window_bytes += bytes;
        self.last = now;
    }

    /// When to ask whether it is too slow, unless a piece comes before.
    pub fn due(&self) -> Instant {
        (self.last + PAUSE_MAX).min(self.window_began + WINDOW)
    }

    /// Whether it is too slow. Asked only when there is nothing to read, so that a busy machine is not taken for a slow
    /// sender.
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

    /// Seconds until a sender is cut who sends `piece` bytes every `every` seconds, after `first` bytes; none: never
    /// within two minutes.
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
