//! The reply's extension `secateur`: what the request shipped, what it pruned and how long it took.

use std::collections::BTreeMap;

use secateur_pruning::VisualMethod;
use secateur_transfer::{policy::TransferPolicy, visual};
use serde::Serialize;

/// The receipt of one request. `docs/api.md` and the field docs give each figure's formula.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Receipt {
    /// Epoch: the id that ties the legs of the request together.
    pub epoch: String,
    /// Id of the pruning plan in force; empty if there is none.
    pub plan: String,
    /// Name of the prefill node.
    pub prefill_node: String,
    /// Name of the decode node; empty if the answer was one token long.
    pub decode_node: String,
    /// Number of attempts, including the successful one.
    pub attempts: u32,
    /// Visual pruning; null if the request has no picture.
    pub visual: Option<VisualReceipt>,
    /// The KV transfer.
    pub transfer: TransferReceipt,
    /// The router's decision before the last attempt, and its inputs.
    pub decision: DecisionReceipt,
    /// Timings in milliseconds.
    pub timing: Timing,
    /// The receipt of each answer, if the request has several. The other fields are then sums where a sum makes sense,
    /// and otherwise those of the first answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Receipt>,
}

impl Receipt {
    /// The receipt of a request: the only answer's own receipt, or the sum over several answers.
    pub fn of_all(mut receipts: Vec<Receipt>) -> Receipt {
        let Some(first) = receipts.first() else { return Receipt::default() };
        if receipts.len() == 1 {
            return receipts.remove(0);
        }
        let mut sum = first.clone();
        for next in &receipts[1..] {
            sum.attempts = sum.attempts.saturating_add(next.attempts);
            match (&mut sum.visual, &next.visual) {
                (Some(sum), Some(next)) => sum.add(next),
                (None, next) => sum.visual.clone_from(next),
                (Some(_), None) => {}
            }
            sum.transfer.add(&next.transfer);
        }
        sum.choices = receipts;
        sum
    }
}

/// Figures of visual pruning.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VisualReceipt {
    /// The method that ran.
    pub method: String,
    /// Number of pictures.
    pub images: u32,
    /// Visual tokens of all pictures before pruning.
    pub tokens_before: u32,
    /// Visual tokens that were kept.
    pub tokens_after: u32,
    /// Milliseconds for choosing the visual tokens.
    pub prune_ms: f64,
    /// Number of pictures of which more tokens were kept than asked, because they are too evenly informative to drop
    /// (`coverage`).
    pub bypassed: u32,
    /// Rank correlation of stage-1 scores with small norms (`trimtokenator`, `trimtokenator-lc`): near 1, the stage
    /// only chooses small norms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_correlation: Option<f64>,
}

impl VisualReceipt {
    fn add(&mut self, other: &Self) {
        self.images = self.images.saturating_add(other.images);
        self.tokens_before = self.tokens_before.saturating_add(other.tokens_before);
        self.tokens_after = self.tokens_after.saturating_add(other.tokens_after);
        self.prune_ms += other.prune_ms;
        self.bypassed = self.bypassed.saturating_add(other.bypassed);
    }
}

/// Figures of the KV transfer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TransferReceipt {
    /// The transfer policy.
    pub policy: String,
    /// Approximate bits per value of the KV that is coded with loss; null if all KV is shipped as it was computed.
    pub bits: Option<f64>,
    /// Bytes of payload and framing handed to the transport.
    pub bytes_sent: u64,
    /// Bytes of the kept tokens in every prefill block at the model's dtype.
    pub bytes_dense: u64,
    /// Bytes of the unpruned prompt in every prefill block at the model's dtype.
    pub bytes_unpruned: u64,
    /// `bytes_unpruned / bytes_sent`; 0 when nothing was sent.
    pub ratio: f64,
    /// The factors of `ratio`; null when nothing was sent.
    pub saved: Option<Saved>,
    /// Milliseconds from the first byte of the shipment to its acknowledgement.
    pub wire_ms: f64,
    /// Share of `wire_ms` that ran while prefill still computed.
    pub overlap: f64,
    /// Rate of this shipment in Mbit/s.
    pub link_mbit_s: f64,
    /// Positions whose KV decode already had from an earlier turn of the conversation.
    pub positions_held: u32,
    /// Milliseconds of processor time for coding and framing.
    pub encode_ms: f64,
    /// Bytes before coding: `bytes_sent` if every shipped value were sent as it is stored.
    pub bytes_raw: u64,
    /// Bytes of the kept tokens in every block of the checkpoint.
    #[serde(skip)]
    pub bytes_kept: u64,
    /// `bytes_raw` plus the bytes that decode already had.
    #[serde(skip)]
    pub bytes_planned: u64,
}

impl TransferReceipt {
    /// Fills `saved` with the factors of `ratio`.
    pub fn with_saved(mut self) -> Self {
        self.saved =
            Saved::of([self.bytes_unpruned, self.bytes_kept, self.bytes_planned, self.bytes_raw, self.bytes_sent]);
        self
    }

    fn add(&mut self, other: &Self) {
        let overlapped = self.overlap * self.wire_ms + other.overlap * other.wire_ms;
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.bytes_dense = self.bytes_dense.saturating_add(other.bytes_dense);
        self.bytes_unpruned = self.bytes_unpruned.saturating_add(other.bytes_unpruned);
        self.bytes_raw = self.bytes_raw.saturating_add(other.bytes_raw);
        self.bytes_kept = self.bytes_kept.saturating_add(other.bytes_kept);
        self.bytes_planned = self.bytes_planned.saturating_add(other.bytes_planned);
        self.wire_ms += other.wire_ms;
        self.encode_ms += other.encode_ms;
        self.positions_held = self.positions_held.saturating_add(other.positions_held);
        self.overlap = if self.wire_ms > 0.0 { overlapped / self.wire_ms } else { 0.0 };
        self.ratio = ratio(self.bytes_unpruned, self.bytes_sent);
        *self = std::mem::take(self).with_saved();
    }
}

/// The factors by which each means reduces the bytes; a factor above 1 saves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Saved {
    /// Factor of visual pruning.
    pub visual: f64,
    /// Factor of the blocks and positions that plan and policy leave out; below 1 if further attempts shipped them
    /// again.
    pub blocks: f64,
    /// Factor of the positions whose KV decode already had.
    pub held: f64,
    /// Factor of coding, after the cost of framing.
    pub precision: f64,
}

impl Saved {
    /// The factors between successive byte counts: unpruned, kept, planned, raw, sent. `None` if any of them is 0.
    pub fn of(bytes: [u64; 5]) -> Option<Saved> {
        let [unpruned, kept, planned, raw, sent] = bytes;
        bytes.iter().all(|bytes| *bytes > 0).then(|| Saved {
            visual: ratio(unpruned, kept),
            blocks: ratio(kept, planned),
            held: ratio(planned, raw),
            precision: ratio(raw, sent),
        })
    }
}

/// `unpruned / sent`; 0 when nothing was sent.
pub fn ratio(unpruned: u64, sent: u64) -> f64 {
    if sent == 0 { 0.0 } else { unpruned as f64 / sent as f64 }
}

/// Placement of a pair on one machine, where KV crosses no network.
pub const SAME_HOST: &str = "same-host";
/// Placement where KV crosses a network, or may, or is shipped as if it did (`--placement disaggregated`).
pub const DISAGGREGATED: &str = "disaggregated";

/// The router's decision. Formulas: `docs/placement.md`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DecisionReceipt {
    /// The transfer policy that both nodes were told.
    pub policy: &'static str,
    /// Evidence for the precision in use; null if nothing is lost, or if the request chose the precision.
    pub evidence: Option<String>,
    /// The reason in a few words; one of a closed list.
    pub why: &'static str,
    /// [`SAME_HOST`] or [`DISAGGREGATED`].
    pub placement: &'static str,
    /// Rate of the pair's link in Mbit/s, measured before this request; null if not measured yet.
    pub link_mbit_s: Option<f64>,
    /// Bytes that this request would ship under each policy that the prefill node offers.
    pub bytes: BTreeMap<&'static str, u64>,
    /// Predicted seconds of prefill; null if not measured yet.
    pub prefill_s_predicted: Option<f64>,
    /// Predicted seconds of shipping under the chosen policy; null if not known.
    pub ship_s_predicted: Option<f64>,
}

/// Timings in milliseconds, by the router's clock unless said otherwise.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timing {
    /// Time spent waiting for admission at the router plus time in the prefill node's queue (the node's clock).
    pub queue_ms: f64,
    /// Time of the prefill node's computation (the node's clock).
    pub prefill_ms: f64,
    /// Time from accepting the request to the arrival of its first token at the router.
    pub ttft_ms: f64,
    /// Time from complete KV to the last token (the decode node's clock); if the router ended the answer itself, time
    /// from the first token to the last.
    pub decode_ms: f64,
    /// Time per output token: (last token - first token) / (completion tokens - 1); 0 for one token.
    pub tpot_ms: f64,
}

/// A pruning method's name in receipts.
pub fn method_name(method: i32) -> &'static str {
    visual::method_from_proto(method).unwrap_or(VisualMethod::None).as_str()
}

/// A transfer policy's name in receipts.
pub fn policy_name(policy: i32) -> &'static str {
    TransferPolicy::from_proto(policy).unwrap_or_default().as_str()
}
