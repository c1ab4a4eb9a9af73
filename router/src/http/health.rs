//! Health probes: `/health` says whether a request would be served, `/live` only that the process answers.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::error;
use crate::app::App;

/// Answers 200, or 503 with the reason while draining or without a usable pair.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    match app.ready() {
        Ok(()) => error::json(StatusCode::OK, &json!({"status": "ok"})),
        Err(reason) => error::response(&reason),
    }
}

/// Answers 200 always.
pub async fn live() -> Response {
    error::json(StatusCode::OK, &json!({"status": "ok"}))
}
