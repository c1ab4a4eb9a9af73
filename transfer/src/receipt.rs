//! The account of one shipment. One clock (the sender's), one formula for each figure.
//!
//! | figure | formula |
//! |---|---|
//! | `bytes_sent` | payload and framing handed to the transport for this request |
//! | `bytes_dense` | kept tokens x blocks with KV in the prefill model x K and V bytes of one token |
//! | `bytes_unpruned` | all prompt tokens, no visual token pruned, x all blocks of the checkpoint x K and V bytes of one token |
//! | `wire_ms` | first frame handed to the transport, until decode acknowledged the shipment |
//! | `overlap` | share of `wire_ms` before prefill's last block was computed |
//! | `link_mbit_s` | `bytes_sent` x 8 over `wire_ms`: a lower bound of the link's rate, since frames wait for layers |

use std::time::Instant;

use secateur_proto::v1;

use crate::{manifest::KvShape, policy::TransferPolicy};

/// Bytes that a dense transfer of `tokens` in `blocks` blocks would need: no framing, no policy.
pub fn dense_bytes(tokens: u64, blocks: u64, shape: KvShape) -> u64 {
    tokens * blocks * shape.bytes_per_token()
}

/// Times of one shipment on the sender's clock.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// The first frame was handed to the transport.
    pub first_frame: Instant,
    /// Prefill's last block was computed.
    pub compute_end: Instant,
    /// Decode acknowledged.
    pub acknowledged: Instant,
}

impl Timeline {
    /// `wire_ms`.
    pub fn wire_ms(&self) -> f64 {
        self.acknowledged.saturating_duration_since(self.first_frame).as_secs_f64() * 1e3
    }

    /// `overlap`, in [0, 1].
    pub fn overlap(&self) -> f64 {
        let wire = self.acknowledged.saturating_duration_since(self.first_frame);
        let hidden = self.compute_end.min(self.acknowledged).saturating_duration_since(self.first_frame);
        if wire.is_zero() { 0.0 } else { hidden.as_secs_f64() / wire.as_secs_f64() }
    }
}

/// The counts of one shipment.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Under which policy.
    pub policy: TransferPolicy,
    /// See the table above.
    pub bytes_sent: u64,
    /// See the table above.
    pub bytes_dense: u64,
    /// See the table above.
    pub bytes_unpruned: u64,
}

impl Account {
    /// The report that travels to the router; without a timeline nothing was shipped.
    pub fn report(&self, timeline: Option<Timeline>) -> v1::TransferReport {
        let wire_ms = timeline.map_or(0.0, |timeline| timeline.wire_ms());
        let link_mbit_s = if wire_ms > 0.0 { self.bytes_sent as f64 * 8.0 / 1e3 / wire_ms } else { 0.0 };
        v1::TransferReport {
            policy: self.policy.to_proto() as i32,
            bytes_sent: self.bytes_sent,
            bytes_dense: self.bytes_dense,
            bytes_unpruned: self.bytes_unpruned,
            wire_ms,
            overlap: timeline.map_or(0.0, |timeline| timeline.overlap()),
            link_mbit_s,
            ..v1::TransferReport::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use std::time::Duration;

    #[test]
    fn llama_2_7b_ships_half_a_mebibyte_per_token() {
        let shape = KvShape { kv_heads: 32, head_dim: 128, dtype: DType::F16 };
        assert_eq!(dense_bytes(1, 32, shape), 512 << 10);
    }

    #[test]
    fn overlap_is_the_share_hidden_behind_compute() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let timeline = Timeline { first_frame: start, compute_end: at(75), acknowledged: at(100) };
        assert!((timeline.overlap() - 0.75).abs() < 1e-9);
        let account =
            Account { policy: TransferPolicy::Dense, bytes_sent: 1_000_000, bytes_dense: 0, bytes_unpruned: 0 };
        assert!((account.report(Some(timeline)).link_mbit_s - 80.0).abs() < 1e-6);
        assert_eq!(account.report(None).wire_ms, 0.0);
        let late = Timeline { compute_end: at(500), ..timeline };
        assert_eq!(late.overlap(), 1.0);
    }
}
