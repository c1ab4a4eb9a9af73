//! Bounds how often an answer that has begun may be set back, and how long it pauses before the next attempt. Plain
//! data; the time comes in as an argument.
//!
//! Before the first token `search` alone decides. Afterwards the client holds part of an answer, so more effort is
//! worth while. A full cluster has room again when other answers end, so the answer waits and retries. A lost node is
//! replaced by another pair at once, but an answer whose nodes are lost several times in quick succession is abandoned.

use std::time::Duration;

use secateur_proto::ErrorCode;
use tokio::time::Instant;

/// Most preemptions and refusals for lack of room in the life of one answer. The deadline is the real bound; this one
/// only ends a loop that does no work.
const WAITS_MAX: u32 = 1_000;
/// Most losses (lost or refusing nodes) in quick succession.
const LOSSES_MAX: u32 = 3;
/// Time after which a loss no longer counts: a long answer may survive many.
const LOSSES_APART: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The setbacks of one answer so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    waits: u32,
    losses: u32,
    last_loss: Option<Instant>,
}

impl Patience {
    /// The pause after a setback with this error code; `None` means give up. `jitter` in [0, 1) spreads answers that
    /// were set back together, so that they do not all retry at once.
    pub fn after(&mut self, code: ErrorCode, jitter: f64, now: Instant) -> Option<Duration> {
        match code {
            ErrorCode::Overloaded => {
                self.waits += 1;
                (self.waits <= WAITS_MAX).then(|| pause(self.waits).mul_f64(0.5 + jitter))
            }
            _ => {
                let is_old = |last: Instant| now.saturating_duration_since(last) >= LOSSES_APART;
                self.losses = if self.last_loss.is_none_or(is_old) { 1 } else { self.losses + 1 };
                self.last_loss = Some(now);
                (self.losses <= LOSSES_MAX).then_some(Duration::ZERO)
            }
        }
    }
}

/// The pause before retry number `wait`: doubles up to [`PAUSE_MAX`].
fn pause(wait: u32) -> Duration {
    let doublings = wait.saturating_sub(1).min(16);
    PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_spread_and_end() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let pauses: Vec<u128> = std::iter::from_fn(|| patience.after(ErrorCode::Overloaded, 0.5, now))
            .map(|pause| pause.as_millis())
            .take(8)
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        let shortest = Patience::default().after(ErrorCode::Overloaded, 0.0, now).unwrap();
        assert_eq!(shortest.as_millis(), 25);
    }

    #[test]
    fn losses_are_replayed_at_once_and_counted_apart() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        patience.after(ErrorCode::Overloaded, 0.5, now).unwrap();
        for _ in 0..LOSSES_MAX {
            assert_eq!(patience.after(ErrorCode::Unavailable, 0.5, now), Some(Duration::ZERO));
        }
        assert_eq!(patience.after(ErrorCode::KvRefused, 0.5, now), None);
        assert!(patience.after(ErrorCode::Overloaded, 0.5, now).is_some());
    }

    #[test]
    fn a_long_answer_lives_through_many_losses_that_are_apart() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(patience.after(ErrorCode::Unavailable, 0.5, now), Some(Duration::ZERO));
            now += LOSSES_APART;
        }
    }
}
