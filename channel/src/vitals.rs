//! Liveness of a connection's peer, judged by the traffic. Plain data, tested without a socket or a clock.
//!
//! An answer to a ping proves that the peer is alive, but on a slow link it queues behind megabytes in buffers on the
//! way. So anything that arrives counts as a sign of life, and so does every byte that the peer's machine acknowledges.
//! A peer is lost if it is silent while it owes an answer:
//!
//! - No byte is acknowledged although some are unacknowledged: the peer's machine is gone, the link is cut, or the
//!   peer's process has stopped and its buffers are full.
//! - Everything is acknowledged and still no answer comes: the peer's process has stopped. Acknowledged bytes may still
//!   lie in buffers on the way (a proxy, a tunnel), so the peer gets the time that they take at the rate seen before.

use std::time::{Duration, Instant};

/// How long a peer that owes an answer may be silent.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Upper bound of the allowed silence when time is added for bytes in buffers on the way.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// Assumed rate of a link that was not measured yet, in bytes per second: 10 Mbit/s.
const PACE_UNKNOWN: f64 = 1.25e6;
/// Least number of unanswered bytes for a sample of the link's rate; fewer say little about it.
const SAMPLE_BYTES_MIN: u64 = 64 << 10;
/// Number of rate samples that are kept; the slowest of them counts.
const SAMPLES: usize = 4;
/// Factor on the time for bytes in buffers: a shared link may become slower than it was.
const MARGIN: f64 = 2.0;

/// Signs of life of the peer on one connection.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Start of the current silence: the peer's last sign of life, or the first byte that it owes an answer to.
    silent_since: Instant,
    /// Time at which the first of the unanswered bytes was written.
    owed_since: Instant,
    /// Bytes written since something was last read; 0 if the peer owes no answer.
    unanswered: u64,
    /// Total bytes written; `acknowledged` of them were acknowledged when last checked.
    written: u64,
    acknowledged: u64,
    /// Ring of rate samples, in bytes per second, taken when many bytes were answered.
    paces: [f64; SAMPLES],
    samples: usize,
}

impl Vitals {
    /// State of a connection that was just made.
    pub fn new(now: Instant) -> Self {
        Self {
            silent_since: now,
            owed_since: now,
            unanswered: 0,
            written: 0,
            acknowledged: 0,
            paces: [PACE_UNKNOWN; SAMPLES],
            samples: 0,
        }
    }

    /// Records that something was read.
    pub fn read(&mut self, now: Instant) {
        if self.unanswered >= SAMPLE_BYTES_MIN {
            let seconds = now.saturating_duration_since(self.owed_since).as_secs_f64().max(1e-6);
            self.paces[self.samples % SAMPLES] = self.unanswered as f64 / seconds;
            self.samples += 1;
        }
        (self.silent_since, self.unanswered) = (now, 0);
    }

    /// Records that `bytes` bytes were written.
    pub fn wrote(&mut self, bytes: usize, now: Instant) {
        if self.unanswered == 0 {
            (self.silent_since, self.owed_since) = (now, now);
        }
        self.unanswered += bytes as u64;
        self.written += bytes as u64;
    }

    /// Excludes `late` from the silence: this process itself could not check for that long.
    pub fn excuse(&mut self, late: Duration) {
        self.silent_since += late;
    }

    /// Whether the peer is lost. `unacknowledged` is the number of bytes that its machine has not acknowledged, 0 if
    /// the system does not report it.
    pub fn is_lost(&mut self, unacknowledged: u64, now: Instant) -> bool {
        let acknowledged = self.written.saturating_sub(unacknowledged);
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.silent_since = now;
        }
        self.unanswered > 0 && now.saturating_duration_since(self.silent_since) > self.allowed(unacknowledged)
    }

    fn allowed(&self, unacknowledged: u64) -> Duration {
        if unacknowledged > 0 {
            return SILENCE_MAX;
        }
        let known = &self.paces[..self.samples.min(SAMPLES)];
        let pace = known.iter().copied().reduce(f64::min).unwrap_or(PACE_UNKNOWN);
        let on_the_way = MARGIN * self.unanswered as f64 / pace.max(1.0);
        (SILENCE_MAX + Duration::from_secs_f64(on_the_way.min(3_600.0))).min(SILENCE_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Seconds after `start` at which the peer counts as lost, if it is checked four times a second and
    /// `unacknowledged` gives the unacknowledged bytes at each time.
    fn lost_after(vitals: &Vitals, start: Instant, unacknowledged: impl Fn(f64) -> u64) -> Option<f64> {
        let mut vitals = vitals.clone();
        (0..400)
            .map(|tick| f64::from(tick) / 4.0)
            .find(|&at| vitals.is_lost(unacknowledged(at), start + Duration::from_secs_f64(at)))
    }

    #[test]
    fn a_peer_that_owes_nothing_may_be_silent() {
        let start = Instant::now();
        let mut vitals = Vitals::new(start);
        assert_eq!(lost_after(&vitals, start, |_| 0), None);
        // After an idle hour, silence counts from the first byte that needs an answer.
        let later = start + Duration::from_secs(3_600);
        vitals.wrote(17, later);
        assert!(!vitals.is_lost(0, later));
        assert_eq!(lost_after(&vitals, later, |_| 0), Some(3.25));
        vitals.read(later + Duration::from_secs(1));
        assert_eq!(lost_after(&vitals, later, |_| 0), None);
    }

    #[test]
    fn a_cut_link_is_noticed_in_the_middle_of_a_shipment() {
        let start = Instant::now();
        let mut vitals = Vitals::new(start);
        vitals.wrote(8 * MIB, start);
        assert_eq!(lost_after(&vitals, start, |_| 8 << 20), Some(3.25));
        // Bytes are acknowledged for two seconds, then no more.
        let lost = lost_after(&vitals, start, |at| 8_000_000 - (at.min(2.0) * 1e6) as u64);
        assert_eq!(lost, Some(5.25));
    }

    #[test]
    fn a_slow_link_is_alive_as_long_as_bytes_are_acknowledged() {
        let start = Instant::now();
        let mut vitals = Vitals::new(start);
        // 20 MB at 1 Mbit/s take 160 s.
        vitals.wrote(20_000_000, start);
        assert_eq!(lost_after(&vitals, start, |at| 20_000_000 - (at * 125_000.0) as u64), None);
    }

    #[test]
    fn a_process_that_stopped_is_noticed_although_its_machine_acknowledges() {
        let start = Instant::now();
        let mut vitals = Vitals::new(start);
        vitals.wrote(100_000, start);
        // The link's rate is unknown: the bytes get twice the time that they take at 10 Mbit/s.
        assert_eq!(lost_after(&vitals, start, |_| 0), Some(3.25));
        // The link is known to be fast: megabytes on the way add little time.
        vitals.read(start + Duration::from_millis(1));
        vitals.wrote(4 * MIB, start);
        assert_eq!(lost_after(&vitals, start, |_| 0), Some(3.25));
    }

    #[test]
    fn what_lies_in_buffers_on_the_way_gets_its_time() {
        let start = Instant::now();
        let mut vitals = Vitals::new(start);
        // A proxy on a link of 10 Mbit/s acknowledges everything at once; an answer comes with each MiB that arrived.
        vitals.wrote(4 * MIB, start);
        assert!(!vitals.is_lost(0, start + Duration::from_secs_f64(4.0 * 0.84)));
        vitals.read(start + Duration::from_secs_f64(4.0 * 0.84));
        vitals.wrote(2 * MIB, start + Duration::from_secs(4));
        assert!(!vitals.is_lost(0, start + Duration::from_secs(10)));
        // The check at 10 s saw everything acknowledged, which counts as a sign of life; 7 s later the peer is lost.
        assert!(vitals.is_lost(0, start + Duration::from_secs(17)));
    }

    #[test]
    fn a_process_that_was_stopped_itself_blames_nobody() {
        let start = Instant::now();
        let mut vitals = Vitals::new(start);
        vitals.wrote(17, start);
        vitals.excuse(Duration::from_secs(60));
        assert!(!vitals.is_lost(0, start + Duration::from_secs(61)));
        assert!(vitals.is_lost(0, start + Duration::from_secs(65)));
    }
}
