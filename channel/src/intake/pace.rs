//! How long a first message may take. Plain data.

use std::time::Duration;

/// What a message brings each second at least, on average, once its first time is over. A picture of 2 MB gets 32 s more.
const RATE_MIN: u64 = 64 << 10;

/// How long receiving may have taken once `received` bytes are there, if an empty message may take `first`.
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
        // A byte each second earns less than it takes.
        assert!(allowed(first, 60) < first + Duration::from_secs(1));
        assert!(allowed(first, u64::MAX) > first);
    }
}
