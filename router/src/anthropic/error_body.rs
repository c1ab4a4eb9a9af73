//! The body of an error in Anthropic's API, the same in JSON answers and in streams.

use secateur_proto::{ErrorCode, ServiceError};
use serde::Serialize;

/// The body `{"type": "error", "error": {...}}`. Field and code at fault are there besides what Anthropic's API says.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    r#type: &'static str,
    error: Inner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    r#type: &'static str,
    message: &'a str,
    param: Option<&'a str>,
    code: &'static str,
}

impl<'a> ErrorBody<'a> {
    /// The body of `error`, in answer to the request with this id.
    pub fn new(error: &'a ServiceError, request_id: Option<&'a str>) -> Self {
        let error = Inner {
            r#type: kind(error.code),
            message: &error.message,
            param: error.param.as_deref(),
            code: error.code.as_str(),
        };
        Self { r#type: "error", error, request_id }
    }
}

/// Anthropic's name for errors of this code, which follows from its HTTP status.
fn kind(code: ErrorCode) -> &'static str {
    match code.http() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_code_has_its_kind() {
        for (code, expected) in [
            (ErrorCode::InvalidRequest, "invalid_request_error"),
            (ErrorCode::MethodNotAllowed, "invalid_request_error"),
            (ErrorCode::InvalidApiKey, "authentication_error"),
            (ErrorCode::ModelNotFound, "not_found_error"),
            (ErrorCode::PayloadTooLarge, "request_too_large"),
            (ErrorCode::Overloaded, "rate_limit_error"),
            (ErrorCode::Unavailable, "overloaded_error"),
            (ErrorCode::Timeout, "timeout_error"),
            (ErrorCode::Internal, "api_error"),
        ] {
            assert_eq!(kind(code), expected);
        }
    }

    #[test]
    fn errors_have_anthropics_shape() {
        let error = ServiceError::new(ErrorCode::ModelNotFound, "no such model").with_param("model");
        let expected = json!({
            "type": "error",
            "error": {"type": "not_found_error", "message": "no such model", "param": "model", "code": "model_not_found"},
            "request_id": "r1",
        });
        assert_eq!(serde_json::to_value(ErrorBody::new(&error, Some("r1"))).unwrap(), expected);
        let inside = serde_json::to_value(ErrorBody::new(&error, None)).unwrap();
        assert!(inside.get("request_id").is_none());
    }
}
