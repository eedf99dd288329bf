//! What routes answer with, other than problems.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_schemas::EventId;
use serde::Serialize;

use crate::accepted::{Accepted, StoredIn};
use crate::described::{answer, words};
use crate::problem::Problem;

/// The media type of all of them.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 202 for a write.
pub(super) fn accepted(Accepted { event_id, stored_in }: Accepted) -> Response {
    let body = AcceptedBody { event_id, status: AcceptedStatus::Accepted };
    told_where(json(StatusCode::ACCEPTED, &body), stored_in)
}

answer! {
    pub(super) struct AcceptedBody {
        event_id: EventId = "eventId", "Names the event for ever.";
        status: AcceptedStatus = "status", "It will take effect.";
    }
}

words! {
    pub(super) enum AcceptedStatus {
        Accepted = "ACCEPTED",
    }
}

/// Names the strategy that keeps what was written in the place of the configured one.
pub(super) const STORED_IN: &str = "floodgate-stored-in";

/// An answer that says where what was written is, if it is not where it belongs.
pub(super) fn told_where(mut answer: Response, stored_in: StoredIn) -> Response {
    if let Some(name) = stored_in {
        answer.headers_mut().insert(HeaderName::from_static(STORED_IN), HeaderValue::from_static(name));
    }
    answer
}

/// An answer as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}
