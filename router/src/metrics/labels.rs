//! The labels of the metrics.

use prometheus_client::encoding::EncodeLabelSet;

/// One label, whose key the field names.
macro_rules! label {
    ($name:ident, $field:ident) => {
        #[doc = concat!("The label `", stringify!($field), "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            /// The value.
            pub $field: String,
        }
    };
}

label!(FinishedReason, finished_reason);
label!(Policy, policy);
label!(Stage, stage);
label!(Outcome, outcome);
label!(Code, code);
label!(Placed, placement);
label!(Reason, reason);

/// How answers end.
pub const FINISHED_REASONS: [&str; 3] = ["stop", "length", ABORTED];
/// The client left, or the nodes did.
pub const ABORTED: &str = "abort";
/// Why an attempt was made again, beside the codes of errors.
pub const PREEMPTED: &str = "preempted";

/// A link, by the addresses of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLabels {
    /// `host:port` of the prefill node.
    pub prefill: String,
    /// `host:port` of the decode node.
    pub decode: String,
}

/// A refusal that this router has no word for, of a newer node.
pub const OTHER_REASON: &str = "other";

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The answer came to its end, or its reader left.
    Ok,
    /// Refused or lost.
    Failed,
    /// Decode took its KV blocks for others.
    Preempted,
}

impl AttemptOutcome {
    /// Every one.
    pub const ALL: [AttemptOutcome; 3] = [AttemptOutcome::Ok, AttemptOutcome::Failed, AttemptOutcome::Preempted];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Ok => "ok",
            AttemptOutcome::Failed => "failed",
            AttemptOutcome::Preempted => PREEMPTED,
        }
    }
}
