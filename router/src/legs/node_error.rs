//! What a node's failure means for the client.

use secateur_proto::{ErrorCode, ServiceError, error::is_from_service, v1::Role};
use tonic::{Code, Status};

/// A failed call, in terms that name no address.
pub fn from_status(status: Status, role: Role) -> ServiceError {
    if is_from_service(&status) {
        return from_node(ServiceError::from(status), role);
    }
    let name = name(role);
    match status.code() {
        Code::DeadlineExceeded => ServiceError::new(ErrorCode::Timeout, "the request took too long"),
        Code::Unimplemented => {
            ServiceError::new(ErrorCode::Incompatible, format!("the {name} node does not know this request"))
        }
        // The gRPC library's own limit on messages.
        Code::OutOfRange | Code::ResourceExhausted => ServiceError::new(
            ErrorCode::PayloadTooLarge,
            format!("the request is larger than the {name} node accepts; send smaller or fewer pictures"),
        ),
        _ => lost(role),
    }
}

/// A stream that ended before its work was done.
pub fn lost(role: Role) -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, format!("the connection to the {} node was lost", name(role)))
}

/// A node that broke the protocol; nothing it said can be passed on.
pub fn confused(role: Role, what: &str) -> ServiceError {
    ServiceError::new(ErrorCode::Internal, format!("the {} node broke the protocol: {what}", name(role)))
}

/// A node cancels work that nobody here cancelled when it stops.
fn from_node(error: ServiceError, role: Role) -> ServiceError {
    match error.code {
        ErrorCode::Cancelled => {
            ServiceError::new(ErrorCode::Unavailable, format!("the {} node gave the work up", name(role)))
        }
        _ => error,
    }
}

fn name(role: Role) -> &'static str {
    if role == Role::Decode { "decode" } else { "prefill" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_own_error_passes_and_the_transports_is_rewritten() {
        let own = ServiceError::new(ErrorCode::InvalidImage, "broken").with_param("images[0]");
        assert_eq!(from_status(own.clone().into(), Role::Prefill), own);
        let transport = from_status(Status::unknown("tcp connect error: 10.0.0.1:4000"), Role::Decode);
        assert_eq!(transport.code, ErrorCode::Unavailable);
        assert!(!transport.message.contains("10.0.0.1"));
        let cancelled = ServiceError::new(ErrorCode::Cancelled, "stopping");
        assert_eq!(from_status(cancelled.into(), Role::Decode).code, ErrorCode::Unavailable);
    }
}
