//! KV bytes as receipts count them. Plain data.

use secateur_proto::v1::TransferReport;
use serde::Serialize;

/// KV bytes from what whole prompts would have needed to what was sent. The quotient of two neighbours is what one
/// means saved: `unpruned / kept` visual pruning, `kept / planned` what plan and policy leave out, `planned / raw` what
/// decode had, `raw / sent` coding less framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KvBytes {
    /// The whole prompt in every block of the checkpoint, uncoded.
    pub unpruned: u64,
    /// The kept tokens in every block of the checkpoint, uncoded.
    pub kept: u64,
    /// The kept tokens in every block that has KV in prefill, uncoded.
    pub dense: u64,
    /// What policy and plan ship of the kept tokens, uncoded.
    pub planned: u64,
    /// `planned` without what decode had, uncoded.
    pub raw: u64,
    /// Payload and framing handed to the transport.
    pub sent: u64,
}

impl KvBytes {
    /// The bytes of a shipment, or of several that were summed up.
    pub fn of(report: &TransferReport) -> Self {
        Self {
            unpruned: report.bytes_unpruned,
            kept: report.bytes_kept,
            dense: report.bytes_dense,
            planned: report.bytes_planned,
            raw: report.bytes_raw,
            sent: report.bytes_sent,
        }
    }

    /// Each figure's growth since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// The sums of two.
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            unpruned: each(self.unpruned, other.unpruned),
            kept: each(self.kept, other.kept),
            dense: each(self.dense, other.dense),
            planned: each(self.planned, other.planned),
            raw: each(self.raw, other.raw),
            sent: each(self.sent, other.sent),
        }
    }
}
