//! Why shipped KV is not placed. The closed list is also the label of the refusal counter.

use secateur_proto::{ErrorCode, ServiceError};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $sentence:literal;)+) => {
        /// A reason to refuse a shipment. Whatever the reason, nothing of the shipment is used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Refusal {
            $($(#[$doc])* #[error($sentence)] $name,)+
        }

        impl Refusal {
            /// Every reason.
            pub const ALL: &[Refusal] = &[$(Refusal::$name,)+];

            /// The metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(Refusal::$name => $text,)+ }
            }
        }
    };
}

refusals! {
    /// The format version is not ours.
    UnknownVersion = "unknown_version", "the shipment's format version is not known here";
    /// The manifest did not come first, or came twice.
    OutOfOrder = "out_of_order", "the shipment's frames came in the wrong order";
    /// A field of the manifest is missing, unknown or inconsistent.
    MalformedManifest = "malformed_manifest", "the shipment's manifest is malformed";
    /// Prefill runs another model.
    ModelMismatch = "model_mismatch", "the shipment was made by another model";
    /// Prefill runs another plan.
    PlanMismatch = "plan_mismatch", "the shipment was made under another pruning plan";
    /// Heads, head width or dtype differ.
    ShapeMismatch = "shape_mismatch", "the shipment's KV has another shape or dtype";
    /// The layers are not those that decode runs.
    LayerMismatch = "layer_mismatch", "the shipment does not hold the blocks that decode runs";
    /// More positions than were reserved.
    OverReservation = "over_reservation", "the shipment is larger than what was reserved for it";
    /// No open request has this epoch.
    UnknownEpoch = "unknown_epoch", "no open request waits for this epoch";
    /// The epoch was used before, or this is an older attempt of it.
    StaleEpoch = "stale_epoch", "the epoch was shipped before or belongs to an older attempt";
    /// A frame is for another layer or offset than the next one due.
    FrameMismatch = "frame_mismatch", "a frame is not the piece that was due";
    /// A payload's digest is not the one that the sender closed with.
    DigestMismatch = "digest_mismatch", "the payload was altered on the way";
    /// The stream ended before the closing frame.
    Truncated = "truncated", "the shipment ended before it was complete";
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> ServiceError {
        ServiceError::new(ErrorCode::KvRefused, refusal.to_string()).with_param(refusal.as_str())
    }
}
