//! API keys, where the operator set any.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use secateur_proto::{ErrorCode, ServiceError};

use super::error;
use crate::app::App;

/// Passes requests that carry a valid key, or all requests if no keys are set.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if is_allowed(&app.api_keys, request.headers()) {
        return next.run(request).await;
    }
    let message = "the API key is missing or wrong; send it as: Authorization: Bearer KEY";
    error::response(&ServiceError::new(ErrorCode::InvalidApiKey, message))
}

fn is_allowed(keys: &[blake3::Hash], headers: &HeaderMap) -> bool {
    if keys.is_empty() {
        return true;
    }
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(token);
    // Digests compare in constant time, so that timing reveals nothing about a key.
    sent.is_some_and(|sent| {
        let digest = blake3::hash(sent.trim().as_bytes());
        keys.contains(&digest)
    })
}

/// The token of a `Bearer` header value; the scheme's name is matched in any case.
fn token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn keys_open_only_for_their_holders() {
        let keys = [blake3::hash(b"secret")];
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            headers
        };
        assert!(is_allowed(&[], &HeaderMap::new()));
        assert!(is_allowed(&keys, &with("Bearer secret")));
        assert!(is_allowed(&keys, &with("bearer  secret")));
        assert!(is_allowed(&keys, &with("BEARER secret")));
        assert!(!is_allowed(&keys, &with("Bearer Secret")));
        assert!(!is_allowed(&keys, &with("Basic secret")));
        assert!(!is_allowed(&keys, &with("Bearersecret")));
        assert!(!is_allowed(&keys, &with("secret")));
        assert!(!is_allowed(&keys, &HeaderMap::new()));
    }
}
