//! Maps a node's failure to the client's error and to the party at fault.
//!
//! An error that the node itself returned passes unchanged. Every other status is the transport's, whatever its code.
//! Since it says nothing about the request, it becomes [`ErrorCode::Unavailable`], which is retried elsewhere. In tonic
//! such statuses come from:
//!
//! | source | codes |
//! |---|---|
//! | no connection, or an expired ping | `Unavailable` |
//! | a call that its connection took along | `Cancelled`, `Unknown` |
//! | HTTP/2 resets and GOAWAY, by reason | `Internal`, `Unavailable`, `Cancelled`, `ResourceExhausted` (ENHANCE_YOUR_CALM), `PermissionDenied`, `Unknown` |
//! | a message that cannot be read | `Internal`, `OutOfRange` (its length, perhaps altered on the way), `Unimplemented` (compression) |
//! | an answer of HTTP without a gRPC status | `Internal`, `Unauthenticated`, `PermissionDenied`, `Unimplemented`, `Unavailable`, `Unknown` |
//! | tonic's server, before our code: no such method, load shed | `Unimplemented`, `ResourceExhausted` |
//! | I/O errors | `Internal`, `Unavailable`, `DeadlineExceeded`, `OutOfRange`, `AlreadyExists` and others |
//!
//! Only `Unimplemented` says more: another program, or another version of this one, answers at that address.

use secateur_channel::is_connect_failure;
use secateur_proto::{ErrorCode, ServiceError, error::is_from_service, v1::Role};
use tonic::{Code, Status};

use super::listen::Trouble;
use crate::cluster::Blame;

/// The client's error for a failed call; it contains no address.
pub fn from_trouble(trouble: Trouble, role: Role) -> ServiceError {
    match trouble {
        Trouble::Failed(status) => from_status(status, role),
        Trouble::Ended => unavailable(format!("the connection to the {} node was lost", name(role))),
        Trouble::Silent => unavailable(format!("the {} node does not answer", name(role))),
    }
}

/// The error for a node that broke the protocol, after which none of its messages can be trusted.
pub fn confused(role: Role, what: &str) -> ServiceError {
    ServiceError::new(ErrorCode::Internal, format!("the {} node broke the protocol: {what}", name(role)))
}

/// Whether the node itself returned the error, rather than the transport.
pub fn is_its_own(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Failed(status) if is_from_service(status))
}

/// The party at fault where a prefill leg failed. `gives_up`: prefill reports that decode or the link to it failed;
/// prefill cannot tell the decode node from the link.
pub fn prefill_blame(gives_up: bool, code: ErrorCode) -> Blame {
    match code {
        ErrorCode::Unavailable | ErrorCode::KvRefused if gives_up => Blame::Link,
        _ => Blame::Prefill,
    }
}

/// The party at fault where a decode leg failed. `awaits_kv`: the epoch is open and its KV has not arrived.
pub fn decode_blame(is_its_own: bool, code: ErrorCode, awaits_kv: bool) -> Blame {
    match code {
        ErrorCode::Unavailable | ErrorCode::KvRefused if is_its_own && awaits_kv => Blame::Link,
        _ => Blame::Decode,
    }
}

fn from_status(status: Status, role: Role) -> ServiceError {
    if is_from_service(&status) {
        return from_node(ServiceError::from(status), role);
    }
    let name = name(role);
    match status.code() {
        Code::Unimplemented => {
            ServiceError::new(ErrorCode::Incompatible, format!("the {name} node does not know this request"))
        }
        _ if is_connect_failure(&status) => unavailable(format!("the {name} node cannot be reached")),
        _ => unavailable(format!("the connection to the {name} node was lost")),
    }
}

/// Converts an error that the node itself returned: a node that stops cancels work that this router did not cancel.
fn from_node(error: ServiceError, role: Role) -> ServiceError {
    match error.code {
        ErrorCode::Cancelled => unavailable(format!("the {} node gave the work up", name(role))),
        _ => error,
    }
}

fn unavailable(message: String) -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, message)
}

fn name(role: Role) -> &'static str {
    if role == Role::Decode { "decode" } else { "prefill" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [Code; 16] = [
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    fn failed(status: impl Into<Status>) -> ServiceError {
        from_trouble(Trouble::Failed(status.into()), Role::Decode)
    }

    #[test]
    fn a_nodes_own_error_passes_and_the_transports_is_rewritten() {
        let own = ServiceError::new(ErrorCode::InvalidImage, "broken").with_param("images[0]");
        assert_eq!(failed(own.clone()), own);
        let transport = failed(Status::unknown("tcp connect error: 10.0.0.1:4000"));
        assert_eq!(transport.code, ErrorCode::Unavailable);
        assert!(!transport.message.contains("10.0.0.1"));
        assert_eq!(failed(ServiceError::new(ErrorCode::Cancelled, "stopping")).code, ErrorCode::Unavailable);
    }

    #[test]
    fn whatever_the_transport_says_is_tried_elsewhere_and_blames_no_request() {
        for code in CODES {
            let error = failed(Status::new(code, "h2 protocol error"));
            let expected = if code == Code::Unimplemented { ErrorCode::Incompatible } else { ErrorCode::Unavailable };
            assert_eq!(error.code, expected, "{code:?}");
            assert!(error.is_retryable() && error.code.http() == 503, "{code:?}");
            assert!(!error.message.contains("picture") && !error.message.contains("h2"), "{error}");
        }
    }

    #[test]
    fn every_reason_of_http2_is_tried_elsewhere() {
        for reason in 0..=13 {
            let error = failed(h2::Error::from(h2::Reason::from(reason)));
            assert_eq!(error.code, ErrorCode::Unavailable, "{:?}", h2::Reason::from(reason));
        }
    }

    #[test]
    fn only_who_may_have_failed_is_blamed() {
        for code in [ErrorCode::Unavailable, ErrorCode::KvRefused] {
            assert_eq!((prefill_blame(true, code), prefill_blame(false, code)), (Blame::Link, Blame::Prefill));
            assert_eq!(decode_blame(true, code, true), Blame::Link);
            assert_eq!(
                (decode_blame(false, code, true), decode_blame(true, code, false)),
                (Blame::Decode, Blame::Decode)
            );
        }
        assert_eq!(prefill_blame(true, ErrorCode::Overloaded), Blame::Prefill);
        assert_eq!(decode_blame(true, ErrorCode::Overloaded, true), Blame::Decode);
    }
}
