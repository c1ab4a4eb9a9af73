//! Converts the nodes' reports into the parts of a receipt.

use secateur_proto::v1::{TransferReport, VisualReport};

use crate::{
    cluster::Decision,
    request::receipt::{
        DISAGGREGATED, DecisionReceipt, SAME_HOST, TransferReceipt, VisualReceipt, method_name, policy_name, ratio,
    },
};

/// The receipt of visual pruning; `None` if the request has no picture, whatever method was set.
pub fn visual(report: &VisualReport) -> Option<VisualReceipt> {
    (report.images > 0).then(|| VisualReceipt {
        method: method_name(report.method).to_owned(),
        images: report.images,
        tokens_before: report.tokens_before,
        tokens_after: report.tokens_after,
        prune_ms: report.prune_ms,
        bypassed: report.bypassed,
        norm_correlation: report.norm_correlation,
    })
}

/// The receipt of the KV transfer.
pub fn transfer(report: &TransferReport) -> TransferReceipt {
    TransferReceipt {
        policy: policy_name(report.policy).to_owned(),
        bits: (report.bits > 0.0).then_some(report.bits),
        bytes_sent: report.bytes_sent,
        bytes_dense: report.bytes_dense,
        bytes_unpruned: report.bytes_unpruned,
        ratio: ratio(report.bytes_unpruned, report.bytes_sent),
        saved: None,
        wire_ms: report.wire_ms,
        overlap: report.overlap,
        link_mbit_s: report.link_mbit_s,
        positions_held: report.positions_held,
        encode_ms: report.encode_ms,
        bytes_raw: report.bytes_raw,
        bytes_kept: report.bytes_kept,
        bytes_planned: report.bytes_planned,
    }
    .with_saved()
}

/// The receipt of the policy decision and its inputs.
pub fn decision(decision: &Decision) -> DecisionReceipt {
    let inputs = &decision.inputs;
    DecisionReceipt {
        policy: decision.policy.as_str(),
        evidence: decision.evidence().map(str::to_owned),
        why: decision.why,
        placement: if inputs.is_colocated { SAME_HOST } else { DISAGGREGATED },
        link_mbit_s: inputs.bytes_per_s.map(|bytes_per_s| bytes_per_s * 8.0 / 1e6),
        bytes: inputs.bytes.iter().map(|(policy, bytes)| (policy.as_str(), *bytes)).collect(),
        prefill_s_predicted: inputs.prefill_s,
        ship_s_predicted: decision.ship_s,
    }
}
