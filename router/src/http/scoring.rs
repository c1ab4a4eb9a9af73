//! `POST /v1/score` and the routes of rerankers, which need a model that scores pairs of texts: they are refused by name,
//! so that clients learn why instead of looking for a misspelt path.

use axum::{http::Uri, response::Response};
use secateur_proto::{ErrorCode, ServiceError};

use super::error;

/// Answers that the model has no scoring head.
pub async fn no_head(uri: Uri) -> Response {
    error::response(&refusal(uri.path()))
}

fn refusal(path: &str) -> ServiceError {
    let message = format!(
        "this model has no scoring head, which {path} needs; compare vectors of /v1/embeddings, or score texts with \
         /v1/completions, echo and logprobs"
    );
    ServiceError::new(ErrorCode::InvalidRequest, message).with_param("model")
}
