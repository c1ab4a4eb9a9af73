//! Time limit of a first message. Plain data.

use std::time::Duration;

/// Least average rate of a message after its initial time, in bytes per second. A picture of 2 MB gets 32 s more.
const RATE_MIN: u64 = 64 << 10;

/// How long receiving may take until `received` bytes are there, if an empty message may take `first`.
pub(super) fn allowed(first: Duration, received: u64) -> Duration {
    first + Duration::from_millis(received.saturating_mul(1_000) / RATE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_earns_time_for_the_rest() {
        let first = Duration::from_secs(10);
        assert_eq!(allowed(first, 0), first);
        assert_eq!(allowed(first, 2 << 20), first + Duration::from_secs(32));
        // One byte per second earns less time than it takes.
        assert!(allowed(first, 60) < first + Duration::from_secs(1));
        assert!(allowed(first, u64::MAX) > first);
    }
}
