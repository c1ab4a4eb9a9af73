//! The account of one shipment, on one clock (the sender's), with one formula for each figure.
//!
//! | figure | formula |
//! |---|---|
//! | `bytes_sent` | payload and framing handed to the transport for this request |
//! | `bytes_raw` | shipped KV as values of the wire's dtype, before coding: tokens x K and V bytes of one token, over
//! the layers shipped |
//! | `bytes_dense` | kept tokens x blocks with KV in the prefill model x K and V bytes of one token |
//! | `bytes_kept` | kept tokens x all blocks of the checkpoint x K and V bytes of one token |
//! | `bytes_planned` | KV that policy and plan ship, as values of the wire's dtype: `bytes_raw` plus what decode had
//! already |
//! | `bytes_unpruned` | all prompt tokens, no visual token pruned, x all blocks of the checkpoint x K and V bytes of one token |
//! | `wire_ms` | time in which at least one frame was handed to the transport and not acknowledged |
//! | `overlap` | share of `wire_ms` before prefill's last block was computed |
//! | `link_mbit_s` | `bytes_sent` x 8 over `wire_ms`: the link's rate by acknowledgements. Small shipments measure its
//! round trip |
//! | `encode_ms` | time that the sender spent on coding, digests and framing |
//! | `positions_held` | positions that decode had from an earlier turn and that were not shipped again |

use std::time::{Duration, Instant};

use secateur_proto::v1;

use crate::{manifest::KvShape, policy::TransferPolicy};

/// Bytes that a dense transfer of `tokens` tokens in `blocks` model blocks would need, without framing.
pub fn dense_bytes(tokens: u64, blocks: u64, shape: KvShape) -> u64 {
    tokens * blocks * shape.bytes_per_token()
}

/// Times in which frames were in flight (handed to the transport and not acknowledged), on the sender's clock.
#[derive(Clone, Debug, Default)]
pub struct Flight {
    /// Past stretches of time in which at least one frame was in flight.
    stretches: Vec<(Instant, Instant)>,
    /// Start of the current stretch; `None` if no frame is in flight.
    since: Option<Instant>,
    handed: u64,
    acknowledged: u64,
}

impl Flight {
    /// Records that a frame was handed to the transport.
    pub fn handed(&mut self, at: Instant) {
        self.handed += 1;
        self.since.get_or_insert(at);
    }

    /// Records that the receiver has acknowledged `frames` frames in total; a number above those handed over counts as
    /// all of them.
    pub fn acknowledged(&mut self, frames: u64, at: Instant) {
        self.acknowledged = self.acknowledged.max(frames.min(self.handed));
        if self.acknowledged == self.handed
            && let Some(since) = self.since.take()
        {
            self.stretches.push((since, at));
        }
    }

    /// The figure `wire_ms`.
    pub fn wire(&self) -> Duration {
        self.stretches.iter().map(|(from, to)| to.saturating_duration_since(*from)).sum()
    }

    /// The figure `overlap`, in [0, 1]: the share of the wire time before `compute_end`.
    pub fn overlap(&self, compute_end: Instant) -> f64 {
        let hidden = |(from, to): &(Instant, Instant)| compute_end.min(*to).saturating_duration_since(*from);
        let hidden: Duration = self.stretches.iter().map(hidden).sum();
        let wire = self.wire();
        if wire.is_zero() { 0.0 } else { hidden.as_secs_f64() / wire.as_secs_f64() }
    }
}

/// Times of one shipment.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Times in which frames were in flight.
    pub flight: Flight,
    /// Time at which prefill's last model block was computed.
    pub compute_end: Instant,
    /// Time that the sender spent on coding, digests and framing.
    pub encode: Duration,
}

/// The counts of one shipment; the table at the top of this module has their formulas.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Transfer policy of the shipment.
    pub policy: TransferPolicy,
    /// The figure `bytes_sent`.
    pub bytes_sent: u64,
    /// The figure `bytes_raw`.
    pub bytes_raw: u64,
    /// The figure `bytes_dense`.
    pub bytes_dense: u64,
    /// The figure `bytes_unpruned`.
    pub bytes_unpruned: u64,
    /// The figure `bytes_kept`.
    pub bytes_kept: u64,
    /// The figure `bytes_planned`.
    pub bytes_planned: u64,
    /// Approximate bits per value of lossy KV; `None` if all KV is shipped as it was computed.
    pub bits: Option<f64>,
    /// The figure `positions_held`.
    pub positions_held: u32,
}

impl Account {
    /// The report for the router; `timeline` is `None` if nothing was shipped.
    pub fn report(&self, timeline: Option<&Timeline>) -> v1::TransferReport {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let wire_ms = timeline.map_or(0.0, |timeline| milliseconds(timeline.flight.wire()));
        v1::TransferReport {
            policy: self.policy.to_proto(),
            bytes_sent: self.bytes_sent,
            bytes_raw: self.bytes_raw,
            bytes_dense: self.bytes_dense,
            bytes_unpruned: self.bytes_unpruned,
            bytes_kept: self.bytes_kept,
            bytes_planned: self.bytes_planned,
            bits: self.bits.unwrap_or(0.0),
            positions_held: self.positions_held,
            wire_ms,
            overlap: timeline.map_or(0.0, |timeline| timeline.flight.overlap(timeline.compute_end)),
            link_mbit_s: link_mbit_s(self.bytes_sent, wire_ms),
            encode_ms: timeline.map_or(0.0, |timeline| milliseconds(timeline.encode)),
        }
    }
}

/// Rate in megabits per second; 0 if no time passed.
fn link_mbit_s(bytes: u64, wire_ms: f64) -> f64 {
    if wire_ms > 0.0 { bytes as f64 * 8.0 / 1e3 / wire_ms } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn llama_2_7b_ships_half_a_mebibyte_per_token() {
        let shape = KvShape { kv_heads: 32, head_dim: 128, dtype: DType::F16 };
        assert_eq!(dense_bytes(1, 32, shape), 512 << 10);
    }

    #[test]
    fn only_time_with_frames_under_way_is_wire_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut flight = Flight::default();
        flight.handed(at(0));
        flight.handed(at(10));
        flight.acknowledged(1, at(20));
        flight.acknowledged(2, at(30));
        // In between prefill computes and nothing is in flight.
        flight.handed(at(100));
        flight.acknowledged(9, at(170));
        assert_eq!(flight.wire(), Duration::from_millis(100));
        assert!((flight.overlap(at(145)) - 0.75).abs() < 1e-9);
        assert_eq!((flight.overlap(at(0)), flight.overlap(at(500))), (0.0, 1.0));
        let account = Account {
            policy: TransferPolicy::Dense,
            bytes_sent: 1_000_000,
            bytes_raw: 0,
            bytes_dense: 0,
            bytes_unpruned: 0,
            bytes_kept: 0,
            bytes_planned: 0,
            bits: None,
            positions_held: 0,
        };
        let timeline = Timeline { flight, compute_end: at(145), encode: Duration::ZERO };
        assert!((account.report(Some(&timeline)).link_mbit_s - 80.0).abs() < 1e-6);
        assert_eq!(account.report(None).wire_ms, 0.0);
    }
}
