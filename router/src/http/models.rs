//! `GET /v1/models`: the one model that this router serves.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Value, json};

use super::error;
use crate::app::App;

/// Answers with the list of models, which has one entry.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    error::json(StatusCode::OK, &json!({"object": "list", "data": [card(&app)]}))
}

/// Answers with the model of the given name, or 404.
pub async fn one(State(app): State<Arc<App>>, id: Result<Path<String>, PathRejection>) -> Response {
    match id {
        Ok(Path(id)) if id == app.model.name => error::json(StatusCode::OK, &card(&app)),
        Ok(Path(id)) => error::response(&unknown(&app, &id)),
        Err(_) => error::response(&ServiceError::new(ErrorCode::ModelNotFound, "there is no such model here")),
    }
}

/// Refuses a request for another model; one that names none is for any.
pub fn check(app: &App, asked: Option<&str>) -> Result<(), ServiceError> {
    match asked {
        Some(model) if model != app.model.name => Err(unknown(app, model)),
        _ => Ok(()),
    }
}

/// The error for a name that is not served.
fn unknown(app: &App, id: &str) -> ServiceError {
    let id: String = id.chars().take(100).collect();
    let message = format!("there is no model {id:?} here; this router serves {:?}", app.model.name);
    ServiceError::new(ErrorCode::ModelNotFound, message).with_param("model")
}

fn card(app: &App) -> Value {
    json!({
        "id": app.model.name,
        "object": "model",
        "created": app.started,
        "owned_by": "secateur",
        "root": app.model.root,
        "parent": null,
        "max_model_len": app.max_positions(),
        "permission": [],
    })
}
