//! Whether the other end of a connection is alive, from what passes over it. Plain data: tested without a socket or a clock.
//!
//! An answer to a ping proves life, but on a slow link it comes behind megabytes in the buffers on the way. So anything that
//! arrives counts, and so does every byte that the other machine acknowledges. What is held against a peer is silence while
//! it owes an answer:
//!
//! - It acknowledges no byte although some are unacknowledged: its machine is gone, the link is cut, or its process has
//!   stopped and its buffers are full.
//! - Everything is acknowledged and still no answer comes: its process has stopped. Bytes may lie in buffers beyond its
//!   machine's acknowledgement (a proxy, a tunnel), so it gets the time that they take at the pace seen before.

use std::time::{Duration, Instant};

/// How long a peer may be silent that owes an answer.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
/// The same with what lies in buffers on the way.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes a second of a link of which nothing is known yet: 10 Mbit/s.
const PACE_UNKNOWN: f64 = 1.25e6;
/// Fewer unanswered bytes say little about a link's pace.
const SAMPLE_BYTES_MIN: u64 = 64 << 10;
/// The slowest of so many samples counts.
const SAMPLES: usize = 4;
/// A link that is shared becomes slower than it was.
const MARGIN: f64 = 2.0;

/// The signs of life on one connection.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Since when the peer could have shown life and did not: its last sign, or the first byte that it owes an answer to.
    silent_since: Instant,
    /// When the first of the unanswered bytes was written.
    owed_since: Instant,
    /// Bytes written since something was last read; none: it owes nothing.
    unanswered: u64,
    /// Bytes written in all, and of them acknowledged when last asked.
    written: u64,
    acknowledged: u64,
    /// Bytes a second, of the last answers to many bytes.
    paces: [f64; SAMPLES],
    samples: usize,
}

impl Vitals {
    /// A connection that was just made.
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

    /// Something was read.
    pub fn read(&mut self, now: Instant) {
        if self.unanswered >= SAMPLE_BYTES_MIN {
            let seconds = now.saturating_duration_since(self.owed_since).as_secs_f64().max(1e-6);
            self.paces[self.samples % SAMPLES] = self.unanswered as f64 / seconds;
            self.samples += 1;
        }
        (self.silent_since, self.unanswered) = (now, 0);
    }

    /// So many bytes were written.
    pub fn wrote(&mut self, bytes: usize, now: Instant) {
        if self.unanswered == 0 {
            (self.silent_since, self.owed_since) = (now, now);
        }
        self.unanswered += bytes as u64;
        self.written += bytes as u64;
    }

    /// This process could not look for so long: nobody else's silence.
    pub fn excuse(&mut self, late: Duration) {
        self.silent_since += late;
    }

    /// Whether the peer is lost. `unacknowledged`: bytes that its machine has not acknowledged; 0 where the system does not
    /// say.
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

    /// The seconds after which a peer counts as lost, looked at four times a second, that acknowledges as `unacknowledged`
    /// says for each moment.
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
        // After an hour's rest, silence counts from the first byte that wants an answer.
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
        // Two seconds go well, then no byte more is acknowledged.
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
        // Nothing is known of the link: at 10 Mbit/s, twice the time that the bytes take.
        assert_eq!(lost_after(&vitals, start, |_| 0), Some(3.25));
        // On a fast link, as far as is known, also with megabytes on the way.
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
        // That everything is acknowledged was seen a moment ago, and counts as a sign of life.
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
