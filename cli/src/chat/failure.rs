//! Why there is no answer.

use serde_json::{Value, json};
use thiserror::Error;

use crate::client::refusal::Refusal;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The server refuses the request.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer begins.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The server's error in the middle of an answer.
    #[error("the answer broke off: {0}")]
    Ended(Refusal),
    /// A stream that ends before its answer does, or that is none.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

impl Failure {
    /// The failure in a JSON document.
    pub fn json(&self) -> Value {
        match self {
            Failure::Refused(refusal) | Failure::Ended(refusal) => {
                json!({"message": refusal.message, "param": refusal.param, "status": refusal.status})
            }
            Failure::Unreachable(_) | Failure::Broken(_) => {
                json!({"message": self.to_string(), "param": null, "status": null})
            }
        }
    }
}
