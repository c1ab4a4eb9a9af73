//! A [`ServiceError`] as an HTTP answer.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use secateur_proto::{ErrorCode, ServiceError};
use serde::Serialize;

use super::body;
use crate::{app::App, openai::error_body::ErrorBody};

/// Seconds after which a client should retry on an overloaded or incomplete cluster.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// Header by which OpenAI's clients decide whether to retry.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Status, body and headers of an error. The error itself is an extension of the answer, for APIs with another body.
pub fn response(error: &ServiceError) -> Response {
    let status = StatusCode::from_u16(error.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &ErrorBody::from(error));
    response.extensions_mut().insert(error.clone());
    let headers = response.headers_mut();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    match error.code {
        ErrorCode::InvalidApiKey => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Only where the encoding is at fault: beside another 415 the header would mislead (RFC 9110, 12.5.3).
        ErrorCode::UnsupportedEncoding => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(body::ENCODINGS));
        }
        // OpenAI's clients retry after any 5xx, and a request that took too long would take as long again.
        ErrorCode::Timeout => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        ErrorCode::RequestTimeout => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// The answer to a client that may come back after so many seconds.
pub fn later(error: &ServiceError, seconds: u64) -> Response {
    let mut response = response(error);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Plain structs with string keys: writing them to memory does not fail.
    let (status, body) = match serde_json::to_vec(body) {
        Ok(body) => (status, body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            (StatusCode::INTERNAL_SERVER_ERROR, Vec::new())
        }
    };
    written(status, body.into())
}

/// An answer whose body is written JSON.
pub fn written(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Runs `write`, which takes time, away from the async threads; `what` is what it writes.
pub async fn write_apart(
    write: impl FnOnce() -> Response + Send + 'static,
    what: &str,
) -> Result<Response, ServiceError> {
    tokio::task::spawn_blocking(write).await.map_err(|error| {
        tracing::error!(%error, "writing {what} failed");
        ServiceError::new(ErrorCode::Internal, format!("{what} could not be written; the failure is logged"))
    })
}

/// Counts and logs a refused request, and answers it.
pub fn refused(app: &App, request_id: &str, failure: &ServiceError) -> Response {
    app.metrics.refused(request_id, failure);
    tracing::info!(request_id, code = failure.code.as_str(), error = %failure, "request refused");
    response(failure)
}
