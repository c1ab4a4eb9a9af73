//! OpenAI's error body, the same in JSON answers and in streams.

use secateur_proto::ServiceError;
use serde::Serialize;

/// The body `{"error": {...}}`; all four fields are always present.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

impl<'a> From<&'a ServiceError> for ErrorBody<'a> {
    fn from(error: &'a ServiceError) -> Self {
        Self {
            error: Inner {
                message: &error.message,
                r#type: error.code.openai_type(),
                param: error.param.as_deref(),
                code: error.code.as_str(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;

    #[test]
    fn all_four_fields_are_there() {
        let error = ServiceError::new(ErrorCode::NotFound, "no such route");
        let json = serde_json::to_value(ErrorBody::from(&error)).unwrap();
        assert_eq!(json["error"]["type"], "invalid_request_error");
        assert!(json["error"].get("param").is_some_and(serde_json::Value::is_null));
        assert_eq!(json["error"]["code"], "not_found");
    }
}
