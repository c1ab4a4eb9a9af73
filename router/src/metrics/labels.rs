//! The label sets of the metrics, and their values.

use prometheus_client::encoding::EncodeLabelSet;

/// Defines a label set with one label; the field's name is the label's key.
macro_rules! label {
    ($name:ident, $field:ident) => {
        #[doc = concat!("The label `", stringify!($field), "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            /// The label's value.
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

/// Values of `finished_reason`.
pub const FINISHED_REASONS: [&str; 4] = ["stop", "length", "tool_calls", ABORTED];
/// `finished_reason` of an answer that was dropped without an error of its own, mostly because its client disconnected.
pub const ABORTED: &str = "abort";
/// `reason` of a retry after a preemption; other retries have an error's code.
pub const PREEMPTED: &str = "preempted";

label!(Key, key);

/// A key and how a request of it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyOutcome {
    /// Name of the key.
    pub key: String,
    /// How the request ended.
    pub outcome: String,
}

/// A key and why a request of it was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyReason {
    /// Name of the key.
    pub key: String,
    /// Why the request was refused.
    pub reason: String,
}

/// A key and what its tokens were.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyKind {
    /// Name of the key.
    pub key: String,
    /// `prompt` or `completion`.
    pub kind: String,
}

/// A link, by the addresses of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLabels {
    /// `host:port` of the prefill node.
    pub prefill: String,
    /// `host:port` of the decode node.
    pub decode: String,
}

/// `reason` of a refusal that this router does not know, sent by a newer node.
pub const OTHER_REASON: &str = "other";

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The answer was completed, or its reader disconnected.
    Ok,
    /// The attempt was refused, or a node was lost.
    Failed,
    /// Decode took the answer's KV blocks for other answers.
    Preempted,
}

impl AttemptOutcome {
    /// All outcomes.
    pub const ALL: [AttemptOutcome; 3] = [AttemptOutcome::Ok, AttemptOutcome::Failed, AttemptOutcome::Preempted];

    /// The value of the label `outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Ok => "ok",
            AttemptOutcome::Failed => "failed",
            AttemptOutcome::Preempted => PREEMPTED,
        }
    }
}
