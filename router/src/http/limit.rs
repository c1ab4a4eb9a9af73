//! Refuses requests over HTTP/2 of a client that has all the requests that it may have at once.

use axum::{extract::Request, middleware::Next, response::Response};
use secateur_proto::{ErrorCode, ServiceError};

use super::{error, visit::Visit};

/// Passes requests within the bound.
pub async fn check(request: Request, next: Next) -> Response {
    if !request.extensions().get::<Visit>().is_some_and(Visit::is_one_too_many) {
        return next.run(request).await;
    }
    let message = "there are as many requests over HTTP/2 as there may be; try again soon";
    error::response(&ServiceError::new(ErrorCode::Overloaded, message))
}
