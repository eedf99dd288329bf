//! What routes answer with, other than problems.

use std::ops::Range;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_listener::always;
use floodgate_schemas::EventId;
use memchr::memmem;
use serde::Serialize;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::accepted::{Accepted, StoredIn};
use crate::described::{answer, words};
use crate::problem::Problem;

/// The media type of all of them.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 202 for a write.
pub(super) fn accepted(Accepted { event_id, stored_in }: Accepted) -> Response {
    static PREPARED: Prepared = Prepared::new(|| {
        Template::of(&AcceptedBody { event_id: any_id(), status: AcceptedStatus::Accepted })
    });
    told_where(PREPARED.accepted(event_id), stored_in)
}

/// Stands in the place of an event's.
pub(super) fn any_id() -> EventId {
    Uuid::nil().into()
}

/// What accepted events of a kind are answered with: the same for all of them but for the id. It is made once, as putting it together
/// costs several times what copying it does.
pub(super) struct Prepared(LazyLock<Result<Template, Problem>>);

/// An answer, and where in it the id stands.
pub(super) struct Template {
    head: HeaderMap,
    body: Vec<u8>,
    id: Range<usize>,
}

impl Prepared {
    /// Made of what is answered to [`any_id`], once it is needed.
    pub(super) const fn new(template: fn() -> Result<Template, Problem>) -> Self {
        Self(LazyLock::new(template))
    }

    /// 202 to this event.
    pub(super) fn accepted(&self, event_id: EventId) -> Response {
        let mut answer = match &*self.0 {
            Ok(template) => template.with(event_id),
            Err(problem) => return problem.clone().into_response(),
        };
        *answer.status_mut() = StatusCode::ACCEPTED;
        answer
    }
}

impl Template {
    /// # Errors
    /// There is no such answer.
    pub(super) fn of(answer: &impl Serialize) -> Result<Self, Problem> {
        let body = written(answer)?;
        let id = memmem::find(&body, any_id().to_string().as_bytes());
        let id = id.ok_or_else(|| Problem::internal("an answer has no place for an id"))?;
        let mut head = HeaderMap::new();
        head.insert(CONTENT_TYPE, JSON);
        head.insert(CONTENT_LENGTH, body.len().into());
        always(&mut head);
        Ok(Self { head, body, id: id..id + Hyphenated::LENGTH })
    }

    fn with(&self, event_id: EventId) -> Response {
        let mut body = self.body.clone();
        event_id.as_uuid().hyphenated().encode_lower(&mut body[self.id.clone()]);
        let mut answer = Response::new(Body::from(body));
        *answer.headers_mut() = self.head.clone();
        answer
    }
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

/// A body as JSON.
///
/// # Errors
/// It cannot be written.
fn written(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body).map_err(|error| Problem::internal(error.to_string()))
}

/// An answer as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match written(body) {
        Ok(body) => {
            let mut answer = Response::new(Body::from(body));
            *answer.status_mut() = status;
            answer.headers_mut().insert(CONTENT_TYPE, JSON);
            answer
        }
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_prepared_answer_is_the_one_that_would_be_written() {
        let event_id: EventId = Uuid::from_u128(0x0123_4567_89ab_7def_8123_4567_89ab_cdef).into();
        let accepted = super::accepted(Accepted { event_id, stored_in: Some("in-memory") });
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        assert_eq!(accepted.headers()[STORED_IN], "in-memory");
        let mut written =
            json(StatusCode::ACCEPTED, &AcceptedBody { event_id, status: AcceptedStatus::Accepted });
        always(written.headers_mut());
        for name in written.headers().keys() {
            assert_eq!(written.headers()[name], accepted.headers()[name]);
        }
        let length = accepted.headers()[CONTENT_LENGTH].to_str().unwrap().to_owned();
        let bodies = [written, accepted].map(|answer| axum::body::to_bytes(answer.into_body(), 1000));
        let [written, accepted] = bodies.map(|body| futures_executor::block_on(body).unwrap());
        assert_eq!((&written, length), (&accepted, accepted.len().to_string()));
    }
}
