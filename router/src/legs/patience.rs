//! How often an answer that has begun may be set back, and how long it waits before it goes on. Plain data, no clock.
//!
//! Before the first token `retry` alone decides. Afterwards the client holds half an answer, so more is worth
//! trying: a full cluster has room again when other answers end, so waiting helps; a lost node is worth another pair at
//! once, but an answer whose nodes are lost again and again is given up.

use std::time::Duration;

use secateur_proto::ErrorCode;

/// Preemptions, and refusals for want of room, in the life of one answer: the deadline bounds them, this only ends a
/// loop that does no work.
const WAITS_MAX: u32 = 1_000;
/// Lost or refusing nodes in the life of one answer.
const LOSSES_MAX: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What has happened to one answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    waits: u32,
    losses: u32,
}

impl Patience {
    /// The pause after a setback of this kind; none: give up. `jitter` in [0, 1) spreads answers that were set back
    /// together, so that they do not all come back at once.
    pub fn after(&mut self, code: ErrorCode, jitter: f64) -> Option<Duration> {
        match code {
            ErrorCode::Overloaded => {
                self.waits += 1;
                (self.waits <= WAITS_MAX).then(|| pause(self.waits).mul_f64(0.5 + jitter))
            }
            _ => {
                self.losses += 1;
                (self.losses <= LOSSES_MAX).then_some(Duration::ZERO)
            }
        }
    }
}

/// Doubles, up to a bound.
fn pause(wait: u32) -> Duration {
    let doublings = wait.saturating_sub(1).min(16);
    PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_spread_and_end() {
        let mut patience = Patience::default();
        let pauses: Vec<u128> = std::iter::from_fn(|| patience.after(ErrorCode::Overloaded, 0.5))
            .map(|pause| pause.as_millis())
            .take(8)
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        let shortest = Patience::default().after(ErrorCode::Overloaded, 0.0).unwrap();
        assert_eq!(shortest.as_millis(), 25);
    }

    #[test]
    fn losses_are_replayed_at_once_and_counted_apart() {
        let mut patience = Patience::default();
        patience.after(ErrorCode::Overloaded, 0.5).unwrap();
        for _ in 0..LOSSES_MAX {
            assert_eq!(patience.after(ErrorCode::Unavailable, 0.5), Some(Duration::ZERO));
        }
        assert_eq!(patience.after(ErrorCode::KvRefused, 0.5), None);
        assert!(patience.after(ErrorCode::Overloaded, 0.5).is_some());
    }
}
