//! Lets the scripts of other origins' pages call the router (CORS), where the operator names those origins.
//!
//! Preflight requests are answered before the check of API keys, since browsers send no key with them.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::Origin;

/// Time for which a browser may remember the answer to a preflight request.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Headers of answers that scripts may read, besides those that they always may.
const EXPOSED: [HeaderName; 10] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    header::RETRY_AFTER,
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// The layer that adds the headers; `None` if no origin is named.
pub fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    let named: Vec<HeaderValue> = origins.iter().filter_map(named).collect();
    let origin = match (origins.contains(&Origin::Any), named.is_empty()) {
        (true, _) => AllowOrigin::any(),
        (false, true) => return None,
        (false, false) => AllowOrigin::list(named),
    };
    // Clients send headers of many names, such as OpenAI's x-stainless-*; those that mean nothing here are ignored.
    let layer = CorsLayer::new().allow_origin(origin).allow_headers(AllowHeaders::mirror_request());
    Some(layer.allow_methods([Method::GET, Method::POST]).expose_headers(EXPOSED).max_age(REMEMBERED))
}

fn named(origin: &Origin) -> Option<HeaderValue> {
    match origin {
        Origin::Of(origin) => Some(origin.clone()),
        Origin::Any | Origin::Nobody => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_origin_there_is_no_cors() {
        assert!(layer(&[]).is_none() && layer(&[Origin::Nobody]).is_none());
        let origin = Origin::Of(HeaderValue::from_static("https://app.example"));
        assert!(layer(&[Origin::Nobody, origin.clone()]).is_some());
        assert!(layer(&[origin, Origin::Any]).is_some());
    }
}
