//! What the attempts of one request took together, for its receipt. Plain data.
//!
//! Bytes that were sent, time on the wire and time in decode add up over the attempts: that is what the request cost.
//! What it would have cost otherwise (`bytes_dense`, `bytes_unpruned`), what pruning did, and everything up to the first
//! token is the first attempt's: that is what was asked for, once.

use secateur_proto::v1::{FirstToken, TransferReport, VisualReport};

use super::running::Reports;
use crate::cluster::Facts;

/// Grows with every attempt that reached its first token.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Of the last attempt: plan and prefill node.
    pub facts: Facts,
    /// Of the last attempt that had one; empty when prefill made the whole answer.
    pub decode_node: String,
    /// Of the first attempt: its queue, computation and prefix hit.
    pub first: Option<FirstToken>,
    /// Of the first attempt that told.
    pub visual: Option<VisualReport>,
    /// All shipments that were reported.
    pub transfer: Option<TransferReport>,
    decode_ms: f64,
    /// A decode leg ended without its figures.
    is_decode_unknown: bool,
}

impl Account {
    /// An attempt reached its first token.
    pub fn begun(&mut self, facts: &Facts, first: &FirstToken, has_decode: bool) {
        self.facts = facts.clone();
        if has_decode {
            self.decode_node = facts.decode_node.clone();
        }
        self.first.get_or_insert_with(|| first.clone());
    }

    /// An attempt ended, and this is what its nodes said of it.
    pub fn ended(&mut self, reports: Reports, has_decode: bool) {
        if let Some(report) = reports.prefill {
            self.visual = self.visual.or(report.visual);
            self.transfer = match (self.transfer, report.transfer) {
                (Some(earlier), Some(latest)) => Some(together(&earlier, &latest)),
                (earlier, latest) => earlier.or(latest),
            };
        }
        match reports.decode {
            Some(done) => self.decode_ms += done.decode_ms,
            None => self.is_decode_unknown |= has_decode,
        }
    }

    /// The decode nodes' own figures added up, if all attempts came to a reported end.
    pub fn decode_ms(&self) -> Option<f64> {
        (!self.is_decode_unknown).then_some(self.decode_ms)
    }
}

fn together(earlier: &TransferReport, latest: &TransferReport) -> TransferReport {
    let wire_ms = earlier.wire_ms + latest.wire_ms;
    let overlapped_ms = earlier.overlap * earlier.wire_ms + latest.overlap * latest.wire_ms;
    TransferReport {
        policy: latest.policy,
        bytes_sent: earlier.bytes_sent + latest.bytes_sent,
        bytes_dense: earlier.bytes_dense,
        bytes_unpruned: earlier.bytes_unpruned,
        wire_ms,
        overlap: if wire_ms == 0.0 { 0.0 } else { overlapped_ms / wire_ms },
        link_mbit_s: latest.link_mbit_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::v1::{DecodeDone, PrefillDone};

    fn reports(bytes: u64, wire_ms: f64, overlap: f64, decode_ms: Option<f64>) -> Reports {
        let transfer = TransferReport {
            bytes_sent: bytes,
            bytes_dense: bytes,
            bytes_unpruned: 2 * bytes,
            wire_ms,
            overlap,
            ..Default::default()
        };
        let visual = VisualReport { tokens_before: bytes as u32, ..Default::default() };
        Reports {
            prefill: Some(PrefillDone { visual: Some(visual), transfer: Some(transfer) }),
            decode: decode_ms.map(|decode_ms| DecodeDone { decode_ms, ..Default::default() }),
        }
    }

    #[test]
    fn costs_add_up_and_the_baseline_does_not() {
        let mut account = Account::default();
        let first = |queue_ms| FirstToken { queue_ms, ..Default::default() };
        let facts = |node: &str| Facts { decode_node: node.into(), ..Default::default() };
        account.begun(&facts("d0"), &first(1.0), true);
        account.ended(reports(100, 3.0, 1.0, Some(4.0)), true);
        account.begun(&facts("d1"), &first(9.0), true);
        account.ended(reports(110, 1.0, 0.0, Some(5.0)), true);
        let transfer = account.transfer.unwrap();
        assert_eq!((transfer.bytes_sent, transfer.bytes_dense, transfer.bytes_unpruned), (210, 100, 200));
        assert_eq!((transfer.wire_ms, transfer.overlap), (4.0, 0.75));
        assert_eq!(account.decode_ms(), Some(9.0));
        assert_eq!(account.first.as_ref().unwrap().queue_ms, 1.0);
        assert_eq!((account.visual.unwrap().tokens_before, account.decode_node.as_str()), (100, "d1"));
    }

    #[test]
    fn a_leg_that_ended_without_figures_leaves_decode_unknown() {
        let mut account = Account::default();
        account.ended(reports(100, 3.0, 1.0, None), true);
        account.ended(reports(100, 3.0, 1.0, Some(5.0)), true);
        assert_eq!(account.decode_ms(), None);
        let mut short = Account::default();
        short.ended(reports(0, 0.0, 0.0, None), false);
        assert_eq!(short.decode_ms(), Some(0.0));
    }
}
