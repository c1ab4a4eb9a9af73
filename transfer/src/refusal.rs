//! Reasons to refuse shipped KV. The closed list also gives the labels of the refusal counter.

use secateur_proto::{ErrorCode, ServiceError};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $sentence:literal;)+) => {
        /// A reason to refuse a shipment. No part of a refused shipment is used.
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
    /// The format version is not [`crate::FORMAT_VERSION`].
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
    /// The layers are not exactly those that decode runs.
    LayerMismatch = "layer_mismatch", "the shipment does not hold the blocks that decode runs";
    /// The shipment has more positions than were reserved for it.
    OverReservation = "over_reservation", "the shipment is larger than what was reserved for it";
    /// No open request has the shipment's epoch.
    UnknownEpoch = "unknown_epoch", "no open request waits for this epoch";
    /// The epoch was shipped before, or the shipment belongs to another attempt of it.
    StaleEpoch = "stale_epoch", "the epoch was shipped before or belongs to an older attempt";
    /// A frame is not the next one due: its number, layer or part differs, or its parts cannot be decoded.
    FrameMismatch = "frame_mismatch", "a frame is not the piece that was due";
    /// The digest of a frame, or of the whole shipment, does not match.
    DigestMismatch = "digest_mismatch", "the payload was altered on the way";
    /// The stream ended before the closing frame.
    Truncated = "truncated", "the shipment ended before it was complete";
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> ServiceError {
        ServiceError::new(ErrorCode::KvRefused, refusal.to_string()).with_param(refusal.as_str())
    }
}
