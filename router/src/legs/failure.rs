//! The failure of an attempt: the client's error, the party at fault, and the bytes that were spent.

use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{Role, TransferReport},
};

use super::{listen::Trouble, node_error};
use crate::cluster::{Blame, Failure, Placement};

/// A failed attempt.
#[derive(Debug)]
pub struct LegFailure {
    /// The client's error if no other attempt succeeds.
    pub error: ServiceError,
    /// The nodes of the attempt and the party at fault.
    pub failure: Failure,
    /// Bytes that the shipment had sent by then, if prefill reported them.
    pub spent: Option<Box<TransferReport>>,
}

impl LegFailure {
    /// A failed attempt on `placement` without a report of shipped bytes.
    pub fn new(placement: &Placement, error: ServiceError, blame: Blame) -> Self {
        Self { error, failure: placement.failure(blame), spent: None }
    }
}

/// The error of a request whose deadline has passed.
pub fn timed_out() -> ServiceError {
    ServiceError::new(ErrorCode::Timeout, "the request took longer than this server allows")
}

/// The failure of a prefill leg.
pub fn prefill_failure(trouble: Trouble, placement: &Placement) -> LegFailure {
    let error = node_error::from_trouble(trouble, Role::Prefill);
    let gives_up = error.at_peer || error.code == ErrorCode::KvRefused;
    let blame = node_error::prefill_blame(gives_up && placement.decision.inputs.ships, error.code);
    LegFailure::new(placement, error, blame)
}

/// The failure of a decode leg. `awaits_kv`: the epoch is open and its KV has not arrived.
pub fn decode_failure(trouble: Trouble, placement: &Placement, awaits_kv: bool) -> LegFailure {
    let is_its_own = node_error::is_its_own(&trouble);
    let error = node_error::from_trouble(trouble, Role::Decode);
    let blame = node_error::decode_blame(is_its_own, error.code, awaits_kv);
    LegFailure::new(placement, error, blame)
}
