//! The reply's extension: what this request shipped, pruned and took.

use std::collections::BTreeMap;

use serde::Serialize;

/// See `contract.md` and the field docs for each figure's formula.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Receipt {
    /// Binds the legs of the request.
    pub epoch: String,
    /// Id of the pruning plan in force; empty: none.
    pub plan: String,
    /// Who prefilled.
    pub prefill_node: String,
    /// Who decoded; empty when the answer was one token long.
    pub decode_node: String,
    /// Pairs tried, the successful one included.
    pub attempts: u32,
    /// Visual tokens; null where the request has no picture.
    pub visual: Option<VisualReceipt>,
    /// Bytes.
    pub transfer: TransferReceipt,
    /// What the router chose before it asked the nodes, and from what. Of the last attempt.
    pub decision: DecisionReceipt,
    /// Milliseconds.
    pub timing: Timing,
    /// Where a request has several answers: each one's own receipt. The rest then sums up what can be summed, and is the
    /// first answer's otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Receipt>,
}

impl Receipt {
    /// One receipt for all answers to a request: of one, its own.
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

/// What pruning did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VisualReceipt {
    /// The method that ran.
    pub method: String,
    /// Pictures.
    pub images: u32,
    /// Visual tokens of all pictures.
    pub tokens_before: u32,
    /// Visual tokens that were kept.
    pub tokens_after: u32,
    /// Time to choose them.
    pub prune_ms: f64,
    /// Pictures of which more was kept than asked, because their tokens are too evenly informative to drop (`coverage`).
    pub bypassed: u32,
    /// Rank correlation of stage-1 scores with small norms (`trimtokenator`, `trimtokenator-lc`): near 1, the stage only
    /// chooses small norms.
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

/// What went over the wire.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TransferReceipt {
    /// The policy.
    pub policy: String,
    /// Bits a value, about, of what is not shipped as it was computed; null: all is.
    pub bits: Option<f64>,
    /// Payload and framing handed to the transport.
    pub bytes_sent: u64,
    /// The kept tokens in every prefill block at the model's dtype.
    pub bytes_dense: u64,
    /// The unpruned prompt so.
    pub bytes_unpruned: u64,
    /// `bytes_unpruned / bytes_sent`; 0 when nothing was sent.
    pub ratio: f64,
    /// What `ratio` is the product of; null when nothing was sent.
    pub saved: Option<Saved>,
    /// First byte to acknowledgement.
    pub wire_ms: f64,
    /// Share of `wire_ms` that ran while prefill still computed.
    pub overlap: f64,
    /// Rate seen by this shipment.
    pub link_mbit_s: f64,
    /// Positions that decode had already, of an earlier turn of the conversation.
    pub positions_held: u32,
    /// Processor time that coding and framing took.
    pub encode_ms: f64,
    /// Bytes before coding: what `bytes_sent` would be with every shipped value as it is stored.
    pub bytes_raw: u64,
    /// The kept tokens in every block of the checkpoint.
    #[serde(skip)]
    pub bytes_kept: u64,
    /// `bytes_raw` with what decode had already.
    #[serde(skip)]
    pub bytes_planned: u64,
}

impl TransferReceipt {
    /// What the ratio is the product of.
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

/// How many times fewer bytes each means makes them; above 1 is saved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Saved {
    /// Visual tokens that were pruned.
    pub visual: f64,
    /// Blocks and positions that plan and policy leave out; below 1: further attempts shipped them again.
    pub blocks: f64,
    /// Positions that decode had already.
    pub held: f64,
    /// Coding, less framing.
    pub precision: f64,
}

impl Saved {
    /// Of bytes each of which is what the means before leave: unpruned, kept, planned, raw, sent.
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

/// The two nodes are on one machine, and KV crosses no network.
pub const SAME_HOST: &str = "same-host";
/// KV crosses a network, or may, or is shipped as if it did (`--placement disaggregated`).
pub const DISAGGREGATED: &str = "disaggregated";

/// What the router chose. Formulas: `docs/placement.md`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DecisionReceipt {
    /// The policy that both nodes were told.
    pub policy: &'static str,
    /// What the precision rests on; null: nothing is lost, or the request chose it.
    pub evidence: Option<String>,
    /// In a few words; one of a closed list.
    pub why: &'static str,
    /// [`SAME_HOST`] or [`DISAGGREGATED`].
    pub placement: &'static str,
    /// Rate of the pair's link, measured before this request; null: not measured yet.
    pub link_mbit_s: Option<f64>,
    /// Bytes that this request would ship under each policy that the prefill node offers.
    pub bytes: BTreeMap<&'static str, u64>,
    /// Seconds of prefill; null: not measured yet.
    pub prefill_s_predicted: Option<f64>,
    /// Seconds of shipping under the chosen policy; null: not known.
    pub ship_s_predicted: Option<f64>,
}

/// When things happened, measured on the router's clock unless said otherwise.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timing {
    /// Waiting for admission at the router, and in the prefill node's queue (its clock).
    pub queue_ms: f64,
    /// The prefill node's computation (its clock).
    pub prefill_ms: f64,
    /// Request accepted to first token written to the client.
    pub ttft_ms: f64,
    /// The decode node's, from KV complete to last token (its clock); when the router ended the answer itself: first
    /// token to last.
    pub decode_ms: f64,
    /// (last token - first token) / (completion tokens - 1); 0 for one token.
    pub tpot_ms: f64,
}
