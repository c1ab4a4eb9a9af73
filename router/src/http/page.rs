//! `GET /`: the live page. It holds no figure and needs no key; what it shows it reads from `/v1/cluster`, which does.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;

use crate::dashboard;

/// Beside the content security policy, which is the page's own.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    // Asked for anew each time, which costs nothing: the answer is 304 unless the router was replaced.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// The page, or 304 where the browser has this one.
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
        // Hexadecimal digits and words of our own: always a header.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whether a list of tags has `tag`, weak or strong.
fn holds(list: &HeaderValue, tag: &str) -> bool {
    list.to_str().is_ok_and(|list| list.split(',').any(|known| known.trim().trim_start_matches("W/") == tag))
}
