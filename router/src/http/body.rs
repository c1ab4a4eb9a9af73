//! Reads a JSON body within bounds of size and time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::{Instant, timeout_at};

use crate::openai;

/// Between two pieces of a body; a sender slower than this is holding memory and a place.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// A body that is too large is read on for this long, so that a client that is still sending gets the answer instead of
/// a broken connection.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(3);
const DISCARD_FACTOR_MAX: usize = 4;

/// The body as JSON.
pub async fn json(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    deadline: Instant,
) -> Result<openai::Body, ServiceError> {
    check_content_type(headers)?;
    let bytes = read(body, bytes_max, deadline).await?;
    openai::Body::from_slice(&bytes)
        .map_err(|error| ServiceError::new(ErrorCode::InvalidRequest, format!("the body is not valid JSON: {error}")))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ServiceError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    match is_json {
        true => Ok(()),
        false => Err(ServiceError::new(
            ErrorCode::UnsupportedMediaType,
            "the body must be JSON; send the header content-type: application/json",
        )),
    }
}

async fn read(mut body: Body, bytes_max: usize, deadline: Instant) -> Result<Bytes, ServiceError> {
    let mut bytes = BytesMut::new();
    loop {
        let patience = deadline.min(Instant::now() + IDLE_MAX);
        let frame = timeout_at(patience, body.frame()).await;
        let slow = || ServiceError::new(ErrorCode::Timeout, "the body did not arrive in time");
        match frame.map_err(|_| slow())? {
            None => return Ok(bytes.freeze()),
            Some(Err(_)) => {
                return Err(ServiceError::new(ErrorCode::InvalidRequest, "the body could not be read to its end"));
            }
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > bytes_max {
                    drop(bytes);
                    discard(body, bytes_max).await;
                    return Err(too_large(bytes_max));
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}

fn too_large(bytes_max: usize) -> ServiceError {
    ServiceError::new(ErrorCode::PayloadTooLarge, format!("the body is larger than {bytes_max} bytes"))
}

async fn discard(mut body: Body, bytes_max: usize) {
    let until = Instant::now() + DISCARD_TIME_MAX;
    let mut seen = 0usize;
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > bytes_max.saturating_mul(DISCARD_FACTOR_MAX) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(content_type: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers
    }

    async fn code(headers: HeaderMap, body: &'static str) -> Option<ErrorCode> {
        let deadline = Instant::now() + Duration::from_secs(1);
        json(&headers, Body::from(body), 20, deadline).await.err().map(|error| error.code)
    }

    #[tokio::test]
    async fn type_size_and_syntax_are_checked() {
        assert_eq!(code(headers("application/json; charset=utf-8"), "{}").await, None);
        assert_eq!(code(headers("application/vnd.api+json"), "{}").await, None);
        assert_eq!(code(HeaderMap::new(), "{}").await, None);
        assert_eq!(code(headers("text/plain"), "{}").await, Some(ErrorCode::UnsupportedMediaType));
        assert_eq!(code(headers("application/json"), "{").await, Some(ErrorCode::InvalidRequest));
        assert_eq!(code(headers("application/json"), "").await, Some(ErrorCode::InvalidRequest));
        let long = "\"0123456789012345678901234567890\"";
        assert_eq!(code(headers("application/json"), long).await, Some(ErrorCode::PayloadTooLarge));
    }

    #[tokio::test]
    async fn a_body_that_never_comes_times_out() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = json(&HeaderMap::new(), never, 20, deadline).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Timeout);
    }
}
