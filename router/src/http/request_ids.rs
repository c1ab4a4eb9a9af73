//! `x-request-id` and `traceparent`: taken from the client and carried to every node. A missing request id is
//! generated; the answer carries the request id.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use secateur_common::ids;

use crate::legs::RequestIds;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: &str = "traceparent";
/// Longest id that is accepted from a client, since it appears in every log line.
const CHARS_MAX: usize = 128;

/// Puts the request's ids into its extensions for the handlers, and the request id on the answer.
pub async fn carry(mut request: Request, next: Next) -> Response {
    let ids = RequestIds {
        request_id: taken(request.headers(), REQUEST_ID.as_str()).unwrap_or_else(ids::time_ordered),
        traceparent: taken(request.headers(), TRACEPARENT),
    };
    let echoed = HeaderValue::from_str(&ids.request_id);
    request.extensions_mut().insert(ids);
    let mut response = next.run(request).await;
    if let Ok(value) = echoed {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn taken(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    let is_plain = !value.is_empty() && value.len() <= CHARS_MAX && value.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_are_taken() {
        let mut headers = HeaderMap::new();
        for (value, is_taken) in [("abc-1", true), ("", false), ("a b", false), (&"x".repeat(129), false)] {
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            assert_eq!(taken(&headers, "x-request-id").is_some(), is_taken, "{value}");
        }
    }
}
