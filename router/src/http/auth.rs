//! API keys, where the operator set any: who is let in, and what each answer says of its key's limits.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::Instant;

use super::{error, rate_headers};
use crate::{
    app::App,
    keys::{Cost, Denial},
    legs::RequestIds,
};

/// Header that carries a key beside `Authorization`.
const API_KEY: &str = "x-api-key";

/// What stands before some routes.
#[derive(Clone)]
pub struct Gate {
    /// The router.
    pub app: Arc<App>,
    /// What a request to these routes costs its key.
    pub cost: Cost,
}

/// Passes requests that carry a valid key within its limits, or all requests if no keys are set. The handler finds the
/// caller among the request's extensions.
pub async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let sent = key(request.headers());
    let admitted = gate.app.keys.admit(sent, gate.cost, Instant::now(), Timestamp::now());
    let ids = request.extensions().get::<RequestIds>();
    let request_id = ids.map(|ids| ids.request_id.clone()).unwrap_or_default();
    match admitted {
        Err(denial) => denied(&gate.app, &request_id, denial),
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            let status = response.status().as_u16();
            caller.responded(status);
            if let Some(standing) = caller.standing(Instant::now()) {
                rate_headers::put(response.headers_mut(), &standing);
            }
            tracing::debug!(request_id, key = caller.name(), status, "request answered");
            response
        }
    }
}

fn denied(app: &App, request_id: &str, denial: Denial) -> Response {
    let invalid = |message: &str| error::response(&ServiceError::new(ErrorCode::InvalidApiKey, message));
    match denial {
        Denial::Unknown => {
            invalid("the API key is missing or wrong; send it as: Authorization: Bearer KEY, or as: x-api-key: KEY")
        }
        Denial::Expired { key } => {
            tracing::info!(request_id, key, "request refused: the API key has expired");
            invalid("the API key has expired")
        }
        Denial::Limited { key, refusal, standing } => {
            let failure = ServiceError::from(refusal);
            tracing::info!(request_id, key, code = failure.code.as_str(), error = %failure, "request refused");
            app.metrics.error(failure.code);
            let mut response = error::later(&failure, refusal.retry_after_s());
            rate_headers::put(response.headers_mut(), &standing);
            response
        }
    }
}

/// The key that a request carries: a bearer token, or else the header `x-api-key`.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text(header::AUTHORIZATION.as_str()).and_then(token).or_else(|| text(API_KEY)).map(str::trim)
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

    fn key_of(lines: &[(&'static str, &'static str)]) -> Option<String> {
        let lines = lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        key(&HeaderMap::from_iter(lines)).map(str::to_owned)
    }

    #[test]
    fn keys_come_in_either_header() {
        for value in ["Bearer secret", "bearer  secret", "BEARER secret "] {
            assert_eq!(key_of(&[("authorization", value)]).as_deref(), Some("secret"), "{value}");
        }
        for value in ["Basic secret", "Bearersecret", "secret"] {
            assert_eq!(key_of(&[("authorization", value)]), None, "{value}");
        }
        assert_eq!(key_of(&[("x-api-key", " secret")]).as_deref(), Some("secret"));
        let both = |first| key_of(&[("authorization", first), ("x-api-key", "other")]);
        assert_eq!(both("Bearer secret").as_deref(), Some("secret"));
        assert_eq!(both("Basic of-a-proxy").as_deref(), Some("other"));
        assert_eq!(key_of(&[]), None);
    }
}
