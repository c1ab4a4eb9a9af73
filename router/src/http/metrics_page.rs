//! `GET /metrics`: the metrics for Prometheus.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use secateur_proto::{ErrorCode, ServiceError};

use super::error;
use crate::app::App;

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Shows the metrics as OpenMetrics text.
pub async fn show(State(app): State<Arc<App>>) -> Response {
    match app.metrics.render(app.snapshot()) {
        Ok(page) => {
            let mut response = Response::new(Body::from(page));
            response.headers_mut().insert(header::CONTENT_TYPE, OPEN_METRICS);
            response
        }
        Err(_) => error::response(&ServiceError::new(ErrorCode::Internal, "the metrics could not be written")),
    }
}
