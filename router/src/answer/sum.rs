//! The nodes' reports in the receipt's words.

use secateur_proto::v1::{TransferReport, VisualReport};

use crate::openai::{
    extension::{method_name, policy_name},
    receipt::{TransferReceipt, VisualReceipt},
};

/// What pruning did.
pub fn visual(report: &VisualReport) -> VisualReceipt {
    VisualReceipt {
        method: method_name(report.method).to_owned(),
        images: report.images,
        tokens_before: report.tokens_before,
        tokens_after: report.tokens_after,
        prune_ms: report.prune_ms,
        bypassed: report.bypassed,
        norm_correlation: report.norm_correlation,
    }
}

/// What went over the wire.
pub fn transfer(report: &TransferReport) -> TransferReceipt {
    let ratio = if report.bytes_sent == 0 { 0.0 } else { report.bytes_unpruned as f64 / report.bytes_sent as f64 };
    TransferReceipt {
        policy: policy_name(report.policy).to_owned(),
        bytes_sent: report.bytes_sent,
        bytes_dense: report.bytes_dense,
        bytes_unpruned: report.bytes_unpruned,
        ratio,
        wire_ms: report.wire_ms,
        overlap: report.overlap,
        link_mbit_s: report.link_mbit_s,
    }
}
