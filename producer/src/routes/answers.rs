//! What routes answer with, other than problems.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_schemas::EventId;
use serde::Serialize;

use crate::problem::Problem;

/// The media type of all of them.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 202 for a write.
pub(super) fn accepted(event_id: EventId) -> Response {
    let body = format!(r#"{{"eventId":"{event_id}","status":"ACCEPTED"}}"#);
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, JSON)], body).into_response()
}

/// An answer as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}
