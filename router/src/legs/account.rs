//! The cost of all attempts of one request together, for its receipt. Plain data.
//!
//! Bytes sent, time on the wire and time in decode add up over the attempts: together they are what the request cost.
//! The baselines (`bytes_dense`, `bytes_unpruned`), the pruning report and everything up to the first token come from
//! the first attempt, since the client asked for that work once.

use secateur_proto::v1::{FirstToken, TransferReport, VisualReport};

use super::running::Reports;
use crate::{
    cluster::{Decision, Facts},
    metrics::KvBytes,
};

/// Sums over the attempts that reached their first token.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Facts of the last attempt's pair: plan and prefill node.
    pub facts: Facts,
    /// Decode node of the last attempt that had one; empty when prefill made the whole answer.
    pub decode_node: String,
    /// Decision of the last attempt: what was shipped, and why.
    pub decision: Decision,
    /// First token of the first attempt, with its queue time, prefill time and prefix hit.
    pub first: Option<FirstToken>,
    /// Visual report of the first attempt that sent one.
    pub visual: Option<VisualReport>,
    /// Sum of all reported shipments, including failed ones.
    pub transfer: Option<TransferReport>,
    /// Bytes of `transfer` that [`Account::shipped`] has returned.
    counted: KvBytes,
    decode_ms: f64,
    /// Whether a decode leg ended without reporting its figures.
    is_decode_unknown: bool,
}

impl Account {
    /// Records that an attempt reached its first token.
    pub fn begun(&mut self, facts: &Facts, decision: &Decision, first: &FirstToken, has_decode: bool) {
        (self.facts, self.decision) = (facts.clone(), decision.clone());
        if has_decode {
            self.decode_node = facts.decode_node.clone();
        }
        self.first.get_or_insert_with(|| first.clone());
    }

    /// Adds the report of a shipment, also of one that failed, and returns by how much it raised the request's bytes.
    /// Baselines count once something was sent, so that a request that ships nothing saves nothing.
    pub fn shipped(&mut self, report: TransferReport) -> KvBytes {
        let sum = self.transfer.map_or(report, |earlier| together(&earlier, &report));
        self.transfer = Some(sum);
        let bytes = KvBytes::of(&sum);
        if bytes.sent == 0 {
            return KvBytes::default();
        }
        bytes.since(&std::mem::replace(&mut self.counted, bytes))
    }

    /// Adds the reports of an attempt that ended, except those of its shipment.
    pub fn ended(&mut self, reports: Reports, has_decode: bool) {
        self.visual = self.visual.or(reports.prefill.and_then(|report| report.visual));
        match reports.decode {
            Some(done) => self.decode_ms += done.decode_ms,
            None => self.is_decode_unknown |= has_decode,
        }
    }

    /// Decode time summed over the attempts, by the decode nodes' clocks; `None` if an attempt lacks its report.
    pub fn decode_ms(&self) -> Option<f64> {
        (!self.is_decode_unknown).then_some(self.decode_ms)
    }
}

fn together(earlier: &TransferReport, latest: &TransferReport) -> TransferReport {
    let wire_ms = earlier.wire_ms + latest.wire_ms;
    let overlapped_ms = earlier.overlap * earlier.wire_ms + latest.overlap * latest.wire_ms;
    TransferReport {
        policy: latest.policy,
        bytes_sent: earlier.bytes_sent.saturating_add(latest.bytes_sent),
        bytes_dense: baseline(earlier.bytes_dense, latest.bytes_dense),
        bytes_unpruned: baseline(earlier.bytes_unpruned, latest.bytes_unpruned),
        wire_ms,
        overlap: if wire_ms == 0.0 { 0.0 } else { overlapped_ms / wire_ms },
        link_mbit_s: latest.link_mbit_s,
        positions_held: latest.positions_held,
        encode_ms: earlier.encode_ms + latest.encode_ms,
        bytes_raw: earlier.bytes_raw.saturating_add(latest.bytes_raw),
        bytes_kept: baseline(earlier.bytes_kept, latest.bytes_kept),
        bytes_planned: earlier.bytes_planned.saturating_add(latest.bytes_planned),
        bits: latest.bits,
    }
}

/// The first baseline that is known: a failed shipment may report 0.
fn baseline(earlier: u64, latest: u64) -> u64 {
    if earlier == 0 { latest } else { earlier }
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
            encode_ms: 0.5,
            bytes_raw: 4 * bytes,
            positions_held: bytes as u32,
            ..Default::default()
        };
        let visual = VisualReport { tokens_before: bytes as u32, ..Default::default() };
        Reports {
            prefill: Some(PrefillDone { visual: Some(visual), transfer: Some(transfer) }),
            spent: None,
            decode: decode_ms.map(|decode_ms| DecodeDone { decode_ms, ..Default::default() }),
        }
    }

    /// Adds all reports of an attempt; returns the growth of each shipment.
    fn end(account: &mut Account, reports: Reports, has_decode: bool) -> Vec<KvBytes> {
        let shipped = reports.prefill.and_then(|report| report.transfer);
        let grown = [reports.spent, shipped].into_iter().flatten().map(|report| account.shipped(report)).collect();
        account.ended(reports, has_decode);
        grown
    }

    #[test]
    fn costs_add_up_and_the_baseline_does_not() {
        let mut account = Account::default();
        let first = |queue_ms| FirstToken { queue_ms, ..Default::default() };
        let facts = |node: &str| Facts { decode_node: node.into(), ..Default::default() };
        account.begun(&facts("d0"), &Decision::default(), &first(1.0), true);
        end(&mut account, reports(100, 3.0, 1.0, Some(4.0)), true);
        let decision = Decision { why: "last", ..Decision::default() };
        account.begun(&facts("d1"), &decision, &first(9.0), true);
        end(&mut account, reports(110, 1.0, 0.0, Some(5.0)), true);
        let transfer = account.transfer.unwrap();
        assert_eq!((transfer.bytes_sent, transfer.bytes_dense, transfer.bytes_unpruned), (210, 100, 200));
        assert_eq!((transfer.wire_ms, transfer.overlap), (4.0, 0.75));
        assert_eq!((transfer.encode_ms, transfer.bytes_raw, transfer.positions_held), (1.0, 840, 110));
        assert_eq!((account.decode_ms(), account.decision.why), (Some(9.0), "last"));
        assert_eq!(account.first.as_ref().unwrap().queue_ms, 1.0);
        assert_eq!((account.visual.unwrap().tokens_before, account.decode_node.as_str()), (100, "d1"));
    }

    #[test]
    fn bytes_of_shipments_that_failed_count_and_set_no_baseline() {
        let mut account = Account::default();
        let spent = |bytes_sent| TransferReport { bytes_sent, ..Default::default() };
        let mut grown = vec![account.shipped(spent(7))];
        grown.extend(end(&mut account, Reports { prefill: None, ..reports(0, 0.0, 0.0, None) }, true));
        let last = Reports { spent: Some(spent(30)), ..reports(100, 3.0, 1.0, Some(5.0)) };
        grown.extend(end(&mut account, last, true));
        let transfer = account.transfer.unwrap();
        assert_eq!((transfer.bytes_sent, transfer.bytes_dense, transfer.bytes_unpruned), (137, 100, 200));
        assert_eq!(grown.iter().map(|bytes| bytes.sent).collect::<Vec<_>>(), [7, 30, 100]);
        let sum = grown.iter().fold(KvBytes::default(), |sum, bytes| sum.plus(bytes));
        assert_eq!(sum, KvBytes::of(&transfer), "what each shipment added makes up the receipt");
    }

    #[test]
    fn a_request_that_ships_nothing_has_no_baseline_until_it_does() {
        let mut account = Account::default();
        let report =
            |bytes_sent| TransferReport { bytes_sent, bytes_dense: 50, bytes_unpruned: 90, ..Default::default() };
        assert_eq!(account.shipped(report(0)), KvBytes::default());
        let grown = account.shipped(report(10));
        assert_eq!((grown.sent, grown.dense, grown.unpruned), (10, 50, 90));
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
