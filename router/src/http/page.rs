//! `GET /`: the live page. The page itself holds no data and needs no key; it reads its figures from `/v1/cluster`,
//! which does need one.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;

use crate::dashboard;

/// Headers of the page besides its content security policy and its tag.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    // The browser revalidates each time, which is cheap: the answer is 304 unless the router was replaced.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// Answers with the page, or with 304 if the browser has the current version.
pub async fn show(headers: HeaderMap) -> Response {
    let page = dashboard::page();
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| holds(known, &page.tag));
    let mut response =
        Response::new(if is_known { Body::empty() } else { Body::from(Bytes::from_static(page.html())) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response.headers_mut().extend(HEADERS);
    for (name, value) in [(header::ETAG, &page.tag), (header::CONTENT_SECURITY_POLICY, &page.policy)] {
        // Both values are ASCII from this program, so they are always valid headers.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whether an `If-None-Match` list contains `tag`, weak or strong.
fn holds(list: &HeaderValue, tag: &str) -> bool {
    list.to_str().is_ok_and(|list| list.split(',').any(|known| known.trim().trim_start_matches("W/") == tag))
}
