//! The closed error code, mapped once to gRPC and once to HTTP.
//!
//! A [`ServiceError`] survives a gRPC hop whole: its code and parameter travel as metadata beside the status, so a
//! node's "this picture is broken" reaches the HTTP client as a 400 that names the field.

use tonic::{Code, Status, metadata::MetadataValue};

const CODE_KEY: &str = "secateur-error-code";
// Binary metadata, since a field name is the client's text and may hold any character.
const PARAM_KEY: &str = "secateur-error-param-bin";
/// Metadata key that is present if the reporting node says that the other node of its pair failed.
const AT_PEER_KEY: &str = "secateur-error-at-peer";
/// Longest message in characters, so that error bodies stay small whatever went wrong.
const MESSAGE_CHARS_MAX: usize = 1_000;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $grpc:ident, $http:literal, $kind:literal;)+) => {
        /// Kind of an error, the same for every program of the cluster.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)+
        }

        impl ErrorCode {
            /// Every code, for tables and tests.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)+];

            /// The stable name, used on the wire, in JSON bodies and as a metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)+ }
            }

            /// The gRPC status code.
            pub fn grpc(self) -> Code {
                match self { $(ErrorCode::$name => Code::$grpc,)+ }
            }

            /// The HTTP status code.
            pub fn http(self) -> u16 {
                match self { $(ErrorCode::$name => $http,)+ }
            }

            /// OpenAI's error `type`.
            pub fn openai_type(self) -> &'static str {
                match self { $(ErrorCode::$name => $kind,)+ }
            }

            /// The inverse of [`ErrorCode::as_str`].
            pub fn parse(text: &str) -> Option<ErrorCode> {
                match text { $($text => Some(ErrorCode::$name),)+ _ => None }
            }
        }
    };
}

error_codes! {
    /// A field is malformed or out of range.
    InvalidRequest = "invalid_request", InvalidArgument, 400, "invalid_request_error";
    /// Prompt and answer do not fit the model's positions.
    ContextLengthExceeded = "context_length_exceeded", OutOfRange, 400, "invalid_request_error";
    /// A picture cannot be decoded or is over a limit.
    InvalidImage = "invalid_image", InvalidArgument, 400, "invalid_request_error";
    /// A known parameter that would change the output and is not supported.
    UnsupportedParameter = "unsupported_parameter", InvalidArgument, 400, "invalid_request_error";
    /// The API key is missing or wrong.
    InvalidApiKey = "invalid_api_key", Unauthenticated, 401, "authentication_error";
    /// There is no such route.
    NotFound = "not_found", NotFound, 404, "invalid_request_error";
    /// The cluster does not serve this model.
    ModelNotFound = "model_not_found", NotFound, 404, "invalid_request_error";
    /// The route exists, the method does not.
    MethodNotAllowed = "method_not_allowed", Unimplemented, 405, "invalid_request_error";
    /// The client did not send its request in time.
    RequestTimeout = "request_timeout", DeadlineExceeded, 408, "timeout_error";
    /// The body is over the limit.
    PayloadTooLarge = "payload_too_large", ResourceExhausted, 413, "invalid_request_error";
    /// The body's content type is not JSON.
    UnsupportedMediaType = "unsupported_media_type", InvalidArgument, 415, "invalid_request_error";
    /// The body's content encoding is not supported.
    UnsupportedEncoding = "unsupported_encoding", InvalidArgument, 415, "invalid_request_error";
    /// A bounded queue is full; the client should retry later.
    Overloaded = "overloaded", ResourceExhausted, 429, "rate_limit_error";
    /// The client is over a limit of its API key.
    RateLimited = "rate_limit_exceeded", ResourceExhausted, 429, "rate_limit_error";
    /// The caller ended the request.
    Cancelled = "cancelled", Cancelled, 499, "invalid_request_error";
    /// A bug, or a failure of the machine.
    Internal = "internal_error", Internal, 500, "server_error";
    /// There is no usable pair of nodes, or a node was lost.
    Unavailable = "unavailable", Unavailable, 503, "server_error";
    /// Shipped KV did not match its manifest or the request, and was refused.
    KvRefused = "kv_refused", DataLoss, 503, "server_error";
    /// A program called a node without the cluster's secret: a mistake of the cluster's operator, not of the client.
    UntrustedCaller = "untrusted_caller", Unauthenticated, 503, "server_error";
    /// Nodes differ in model, plan or protocol.
    Incompatible = "incompatible", FailedPrecondition, 503, "server_error";
    /// The work was not done in time.
    Timeout = "timeout", DeadlineExceeded, 504, "timeout_error";
}

/// An error with its code, the field at fault if there is one, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// Kind of the error.
    pub code: ErrorCode,
    /// Message that says what went wrong and what to do; contains no file name, address or secret.
    pub message: String,
    /// The request field at fault, in the client's terms (`messages[0].content[1].image_url`).
    pub param: Option<String>,
    /// Whether the other node of the pair, or the link to it, failed, and not the reporting node. Set by prefill about
    /// decode, for the router, and never part of an answer to a client.
    pub at_peer: bool,
}

impl ServiceError {
    /// An error that names no field; a long message is cut.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: truncated(message.into()), param: None, at_peer: false }
    }

    /// Marks the error as a failure of the other node of the pair, or of the link to it.
    pub fn at_peer(self) -> Self {
        Self { at_peer: true, ..self }
    }

    /// Adds the name of the field at fault.
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(truncated(param.into()));
        self
    }

    /// Whether a retry with another pair of nodes may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::Unavailable
                | ErrorCode::KvRefused
                | ErrorCode::Overloaded
                | ErrorCode::UntrustedCaller
                | ErrorCode::Incompatible
        )
    }
}

/// Whether the status was sent by a program of the cluster. Otherwise it comes from the transport, and its text may
/// name addresses.
pub fn is_from_service(status: &Status) -> bool {
    status.metadata().contains_key(CODE_KEY)
}

fn truncated(text: String) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Status {
        let mut status = Status::new(error.code.grpc(), error.message);
        status.metadata_mut().insert(CODE_KEY, MetadataValue::from_static(error.code.as_str()));
        if let Some(param) = error.param {
            let value = MetadataValue::from_bytes(param.as_bytes());
            status.metadata_mut().insert_bin(PARAM_KEY, value);
        }
        if error.at_peer {
            status.metadata_mut().insert(AT_PEER_KEY, MetadataValue::from_static("1"));
        }
        status
    }
}

impl From<Status> for ServiceError {
    fn from(status: Status) -> ServiceError {
        let metadata = status.metadata();
        let code = metadata.get(CODE_KEY).and_then(|value| value.to_str().ok()).and_then(ErrorCode::parse);
        let param = metadata
            .get_bin(PARAM_KEY)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let message = match status.message() {
            "" => format!("the node answered {:?}", status.code()),
            text => text.to_owned(),
        };
        let code = code.unwrap_or_else(|| from_transport(status.code()));
        ServiceError { code, message: truncated(message), param, at_peer: metadata.contains_key(AT_PEER_KEY) }
    }
}

/// The code for a status without an error code of the cluster. It comes from the transport: a lost connection, a
/// deadline, a limit of the gRPC library.
fn from_transport(code: Code) -> ErrorCode {
    match code {
        Code::Cancelled => ErrorCode::Cancelled,
        Code::DeadlineExceeded => ErrorCode::Timeout,
        Code::Unavailable | Code::Unknown => ErrorCode::Unavailable,
        Code::ResourceExhausted => ErrorCode::Overloaded,
        Code::Unimplemented | Code::FailedPrecondition => ErrorCode::Incompatible,
        _ => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_grpc_hop() {
        for &code in ErrorCode::ALL {
            let sent = ServiceError::new(code, "näh").with_param("messages[0].ü");
            for sent in [sent.clone(), sent.at_peer()] {
                assert_eq!(ServiceError::from(Status::from(sent.clone())), sent);
            }
        }
    }

    #[test]
    fn codes_have_distinct_names_that_parse_back() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
            assert!((400..600).contains(&code.http()));
        }
    }

    #[test]
    fn slowness_of_the_cluster_is_told_from_the_clients() {
        assert_eq!(ErrorCode::RequestTimeout.http(), 408);
        assert_eq!(ErrorCode::Timeout.http(), 504);
        assert_eq!(ServiceError::from(Status::deadline_exceeded("late")).code, ErrorCode::Timeout);
    }

    #[test]
    fn a_lost_connection_is_unavailable() {
        let error = ServiceError::from(Status::unknown("transport error"));
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.is_retryable());
    }

    #[test]
    fn a_services_own_failure_is_told_from_the_transports() {
        assert!(is_from_service(&ServiceError::new(ErrorCode::Unavailable, "stopping").into()));
        assert!(!is_from_service(&Status::unavailable("tcp connect error")));
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let error = ServiceError::new(ErrorCode::Internal, "ü".repeat(5_000));
        assert!(error.message.chars().count() <= MESSAGE_CHARS_MAX + 3);
    }
}
