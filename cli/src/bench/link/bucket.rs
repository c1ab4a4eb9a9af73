//! A token bucket, which says when bytes may pass, as plain data on a clock that the caller reads.

use std::time::Duration;

use super::Rate;

/// The burst is the amount that the rate delivers in this time, but at least [`BURST_BYTES_MIN`].
const BURST: Duration = Duration::from_millis(2);
/// Smallest burst, in bytes; with a smaller one a link would spend its time waking up threads.
const BURST_BYTES_MIN: f64 = 65_536.0;

/// Tokens that arrive at a rate, of which at most a burst is kept. The state is the moment at which all bytes taken
/// would have passed if the link had never idled: no sum accumulates, so nothing drifts, and a late caller catches up
/// within a burst.
#[derive(Clone, Debug)]
pub struct Bucket {
    bytes_s: f64,
    burst: Duration,
    /// Moment, since the clock's start, at which the link will have carried all bytes taken.
    free_at: Duration,
}

impl Bucket {
    /// A bucket that holds a full burst.
    pub fn new(rate: Rate) -> Self {
        let bytes_s = rate.bytes_s();
        Self { bytes_s, burst: BURST.max(Duration::from_secs_f64(BURST_BYTES_MIN / bytes_s)), free_at: Duration::ZERO }
    }

    /// Number of bytes that may pass at once after a pause.
    pub fn burst_bytes(&self) -> f64 {
        self.burst.as_secs_f64() * self.bytes_s
    }

    /// Takes tokens at the moment `now` for `bytes` that were available at `ready`, and returns how long they must
    /// wait. Callers pass in the order of their calls. A link does not idle while bytes wait, so a caller that wakes up
    /// late gives the earlier `ready`.
    pub fn take(&mut self, bytes: usize, ready: Duration, now: Duration) -> Duration {
        self.free_at = self.free_at.max(ready.min(now)) + Duration::from_secs_f64(bytes as f64 / self.bytes_s);
        self.free_at.saturating_sub(self.burst + now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::link::Link;

    fn bucket(link: &str) -> Bucket {
        let Ok(Link::Shaped(rate)) = link.parse() else { panic!("{link} is a rate") };
        Bucket::new(rate)
    }

    /// Sends pieces, each as soon as it may plus `late`; returns when the last one passed, in seconds. `waited` means
    /// that the next piece was available while the last one was late.
    fn send(bucket: &mut Bucket, piece: usize, count: usize, late: Duration, waited: bool) -> f64 {
        let (mut now, mut ready) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..count {
            let wait = bucket.take(piece, ready, now);
            now += wait;
            ready = now;
            now += if wait.is_zero() { Duration::ZERO } else { late };
            ready = if waited { ready } else { now };
        }
        now.as_secs_f64()
    }

    #[test]
    fn a_burst_is_two_milliseconds_of_the_rate_and_64_kib_at_least() {
        assert_eq!(bucket("10gbit").burst_bytes(), 2.5e6);
        assert!((bucket("10mbit").burst_bytes() - 65_536.0).abs() < 1.0);
    }

    #[test]
    fn all_but_the_burst_goes_at_the_rate() {
        // 125 MB at 1 Gbit/s take a second, less the burst of 2 ms.
        let seconds = send(&mut bucket("1gbit"), 50_000, 2_500, Duration::ZERO, false);
        assert!((seconds - 0.998).abs() < 1e-6, "{seconds}");
    }

    #[test]
    fn waking_up_late_costs_nothing_within_a_burst() {
        let seconds = send(&mut bucket("1gbit"), 50_000, 2_500, Duration::from_micros(900), false);
        assert!((seconds - 0.998).abs() < 0.001, "{seconds}");
        // A delay longer than a burst is lost, as on a link that idled: two pieces of 2 ms each take 5 ms.
        let slower = send(&mut bucket("1gbit"), 250_000, 500, Duration::from_millis(3), false);
        assert!((slower - 1.25).abs() < 0.01, "{slower}");
        // No time is lost while bytes wait.
        let seconds = send(&mut bucket("1gbit"), 250_000, 500, Duration::from_millis(3), true);
        assert!((seconds - 1.0).abs() < 0.01, "{seconds}");
    }

    #[test]
    fn what_was_saved_up_is_a_burst_however_long_the_pause() {
        let mut bucket = bucket("1gbit");
        let later = Duration::from_secs(3_600);
        assert_eq!(bucket.take(250_000, later, later), Duration::ZERO);
        assert_eq!(bucket.take(125_000, later, later), Duration::from_millis(1));
        // The same tokens are not granted twice.
        assert_eq!(bucket.take(125_000, later, later), Duration::from_millis(2));
    }
}
