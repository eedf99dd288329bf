//! The one place where errors become answers: `application/problem+json` (RFC 9457).

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_buffer::Refused;
use floodgate_schemas::{Described, Invalid, InvalidKind, NoSchemaId};
use floodgate_store::ReadError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::described::answer;

/// What error bodies are.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// How long a client should wait before it tries again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: &'static Kind,
    detail: String,
    field: Option<String>,
    place: Option<Place>,
}

/// Where in a request the event stands that a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The line of an NDJSON body, counted from 1.
    Line(usize),
    /// The element of an array, counted from 0.
    Index(usize),
}

/// What an answer other than success means for what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It has none, and never will as it is.
    Never,
    /// It has none; sent again it may.
    NotYet,
    /// It may have one.
    Unknown,
}

/// The name of the problem an answer tells, for whoever counts answers.
#[derive(Clone, Copy)]
pub(crate) struct ProblemName(pub(crate) &'static str);

/// A kind of problem. Names are part of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Stable: `type` is `/problems/<name>`, and metrics count by it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) status: StatusCode,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
}

impl Kind {
    /// What `type` says.
    pub(crate) fn uri(&self) -> String {
        format!("/problems/{}", self.name)
    }
}

const fn kind(name: &'static str, title: &'static str, status: StatusCode, retryable: bool) -> Kind {
    Kind { name, title, status, retryable }
}

macro_rules! kinds {
    ($($constant:ident = $name:literal, $title:literal, $status:ident, retryable: $retryable:literal;)*) => {
        $(pub(crate) static $constant: Kind = kind($name, $title, StatusCode::$status, $retryable);)*

        /// Every kind.
        pub(crate) static KINDS: &[&Kind] = &[$(&$constant),*];
    };
}

kinds! {
    MALFORMED_JSON = "malformed-json", "The body is not the JSON expected", BAD_REQUEST, retryable: false;
    INVALID_REQUEST = "invalid-request", "The request cannot be read", BAD_REQUEST, retryable: false;
    INVALID_FIELD = "invalid-field", "A field is unknown, missing or of another type", BAD_REQUEST, retryable: false;
    INVALID_VALUE = "invalid-value", "A field has a value it may not take", UNPROCESSABLE_ENTITY, retryable: false;
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused", "The key came with other words before", UNPROCESSABLE_ENTITY, retryable: false;
    NOT_FOUND = "not-found", "There is nothing here", NOT_FOUND, retryable: false;
    METHOD_NOT_ALLOWED = "method-not-allowed", "Not with this method", METHOD_NOT_ALLOWED, retryable: false;
    COUPON_EXISTS = "coupon-exists", "The coupon exists with other terms", CONFLICT, retryable: false;
    BODY_TIMEOUT = "body-timeout", "The body came too slowly", REQUEST_TIMEOUT, retryable: true;
    BODY_TOO_LARGE = "body-too-large", "The body is too large", PAYLOAD_TOO_LARGE, retryable: false;
    TOO_MANY_EVENTS = "too-many-events", "The body holds too many events", PAYLOAD_TOO_LARGE, retryable: false;
    TARGET_TOO_LONG = "target-too-long", "Path and query are too long", URI_TOO_LONG, retryable: false;
    HEAD_TOO_LARGE = "head-too-large", "The request's head is too large", REQUEST_HEADER_FIELDS_TOO_LARGE, retryable: false;
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", "The body is of another type", UNSUPPORTED_MEDIA_TYPE, retryable: false;
    QUEUE_FULL = "queue-full", "More events are waiting than configured", SERVICE_UNAVAILABLE, retryable: true;
    BUSY = "busy", "More requests are being read than configured", SERVICE_UNAVAILABLE, retryable: true;
    NOT_STORED = "not-stored", "The event is certainly not stored", SERVICE_UNAVAILABLE, retryable: true;
    NOT_READY = "not-ready", "This instance cannot take events now", SERVICE_UNAVAILABLE, retryable: true;
    SHUTTING_DOWN = "shutting-down", "This instance is stopping", SERVICE_UNAVAILABLE, retryable: true;
    DATABASE_UNAVAILABLE = "database-unavailable", "The database does not answer", SERVICE_UNAVAILABLE, retryable: true;
    OUTCOME_UNKNOWN = "outcome-unknown", "The event may or may not be stored", GATEWAY_TIMEOUT, retryable: true;
    INTERNAL = "internal", "A bug of ours", INTERNAL_SERVER_ERROR, retryable: false;
}

impl Problem {
    fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), field: None, place: None }
    }

    /// 400: a part of the request outside its body cannot be read.
    pub(crate) fn invalid_request(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(&INVALID_REQUEST, detail) }
    }

    /// 422: one key, two bodies.
    pub(crate) fn idempotency_key_reused() -> Self {
        let detail = "an event of the same kind and key was sent with this idempotency key and other values; a key \
                      belongs to one write";
        Self { field: Some("Idempotency-Key".to_owned()), ..Self::new(&IDEMPOTENCY_KEY_REUSED, detail) }
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(&NOT_FOUND, detail)
    }

    /// 405.
    pub(crate) fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(&METHOD_NOT_ALLOWED, detail)
    }

    /// 408: the body did not come in time.
    pub(crate) fn body_timeout(limit: std::time::Duration) -> Self {
        Self::new(&BODY_TIMEOUT, format!("the body must be sent within {} ms", limit.as_millis()))
    }

    /// 409: a coupon with other terms.
    pub(crate) fn coupon_exists(coupon: &str) -> Self {
        Self::new(&COUPON_EXISTS, format!("coupon {coupon} exists with another stock or other times"))
    }

    /// 413.
    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        Self::new(&BODY_TOO_LARGE, format!("a body has at most {limit_bytes} bytes"))
    }

    /// 413: a batch.
    pub(crate) fn too_many_events(limit: usize) -> Self {
        Self::new(
            &TOO_MANY_EVENTS,
            format!("a request holds at most {limit} events; nothing of it is stored"),
        )
    }

    /// 414.
    pub(crate) fn target_too_long(limit_bytes: usize) -> Self {
        Self::new(&TARGET_TOO_LONG, format!("path and query have at most {limit_bytes} bytes"))
    }

    /// 415.
    pub(crate) fn unsupported_media_type(found: &str, expected: &str) -> Self {
        Self::new(&UNSUPPORTED_MEDIA_TYPE, format!("send content-type: {expected}, not {found}"))
    }

    /// 431.
    pub(crate) fn head_too_large() -> Self {
        Self::new(&HEAD_TOO_LARGE, "too many header fields, or too long ones (http.head_max_bytes)")
    }

    /// What stands for a head that never became a request, by the status the HTTP library gave it.
    pub(crate) fn head_refused(status: u16) -> Self {
        match status {
            414 => Self::new(&TARGET_TOO_LONG, "path and query are too long"),
            431 => Self::head_too_large(),
            _ => Self::new(&INVALID_REQUEST, "this is not an HTTP/1.1 request"),
        }
    }

    /// 503 of the readiness probe.
    pub(crate) fn not_ready(detail: String) -> Self {
        Self::new(&NOT_READY, detail)
    }

    /// 503: all bodies together would be larger than configured.
    pub(crate) fn busy() -> Self {
        Self::new(&BUSY, "too many large requests at once; send the request again later")
    }

    /// 503: the buffer reported that the record is not stored.
    pub(crate) fn not_stored() -> Self {
        Self::new(&NOT_STORED, "the event could not be delivered; send it again")
    }

    /// 504: nobody can say.
    pub(crate) fn outcome_unknown() -> Self {
        Self::new(
            &OUTCOME_UNKNOWN,
            "the event may still take effect; sending it again with the same Idempotency-Key is safe",
        )
    }

    /// 503 or 504: a coupon that was to be created.
    pub(crate) fn coupon_not_created(error: ReadError) -> Self {
        match error {
            ReadError::Unanswered(_) => Self::new(
                &OUTCOME_UNKNOWN,
                "the coupon may have been created; creating it again with the same terms is safe",
            ),
            error => Self::from(error),
        }
    }

    /// 500.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let problem = Self::new(&INTERNAL, detail);
        tracing::error!(detail = problem.detail, "a request met a bug");
        problem
    }

    /// Says which event of many it is about.
    pub(crate) fn stands_at(&mut self, place: Place) {
        if let (Some(rest), None) = (self.detail.strip_prefix("the body "), &self.field) {
            self.detail = match place {
                Place::Line(line) => format!("line {line} {rest}"),
                Place::Index(index) => format!("the element at index {index} {rest}"),
            };
        }
        self.place = Some(place);
    }

    /// What became, or may become, of what was sent.
    pub(crate) fn effect(&self) -> Effect {
        match self.kind.status {
            StatusCode::SERVICE_UNAVAILABLE => Effect::NotYet,
            StatusCode::GATEWAY_TIMEOUT => Effect::Unknown,
            _ => Effect::Never,
        }
    }

    /// The stable name, for metrics.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let kind = match invalid.kind {
            InvalidKind::Malformed => &MALFORMED_JSON,
            InvalidKind::Shape => &INVALID_FIELD,
            InvalidKind::Value => &INVALID_VALUE,
        };
        let detail = match &invalid.field {
            Some(_) => invalid.to_string(),
            None => format!("the body {}", invalid.detail),
        };
        Self { field: invalid.field.map(String::from), ..Self::new(kind, detail) }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::new(&QUEUE_FULL, "the queue is full; send the event again later"),
            Refused::Unavailable(reason) => Self::new(&NOT_STORED, reason),
            Refused::TooLarge => Self::new(&BODY_TOO_LARGE, "the event is larger than its topic takes"),
            Refused::Closed => Self::new(&SHUTTING_DOWN, "send the event to another instance"),
        }
    }
}

impl From<NoSchemaId> for Problem {
    /// Why is for operators, as it has addresses of theirs in it.
    fn from(_: NoSchemaId) -> Self {
        Self::new(&NOT_STORED, "this instance has no ids of the schema registry yet; send the event again")
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) | ReadError::Unanswered(reason) => {
                Self::new(&DATABASE_UNAVAILABLE, reason)
            }
            ReadError::Unreadable(reason) => Self::internal(reason),
        }
    }
}

answer! {
    struct Body<'a> {
        uri: String = "type", "Names the kind of problem, and stays the same.";
        title: &'a str = "title", "The kind of problem, in words.";
        status: u16 = "status", "The answer's status.";
        detail: &'a str = "detail", "What is wrong, for people.";
        retryable: bool = "retryable", "Whether the same request may succeed later.";
    } sometimes {
        field: &'a str = "field", "The field at fault.";
        line: usize = "line", "The line of an NDJSON body that it is about, from 1.";
        index: usize = "index", "The element of an array that it is about, from 0.";
    }
}

impl Described for Problem {
    fn schema() -> Value {
        let mut schema = Body::schema();
        schema["title"] = "Problem".into();
        schema["properties"]["type"]["enum"] = KINDS.iter().map(|kind| kind.uri()).collect();
        schema["properties"]["status"] = json!({ "type": "integer", "minimum": 400, "maximum": 599 });
        schema
    }
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (line, index) = match self.place {
            None => (None, None),
            Some(Place::Line(line)) => (Some(line), None),
            Some(Place::Index(index)) => (None, Some(index)),
        };
        let body = Body {
            uri: self.kind.uri(),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail,
            retryable: self.kind.retryable,
            field: self.field.as_deref(),
            line,
            index,
        };
        body.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.kind.status, body).into_response();
        response.extensions_mut().insert(ProblemName(self.kind.name));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.kind.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was asked for and not answered may have happened; what was not asked for has not.
    #[test]
    fn a_coupon_that_may_exist_is_unknown() {
        let of = |error| Problem::coupon_not_created(error);
        let unanswered = of(ReadError::Unanswered("late".to_owned()));
        assert_eq!((unanswered.name(), unanswered.effect()), ("outcome-unknown", Effect::Unknown));
        let away = of(ReadError::Unavailable("away".to_owned()));
        assert_eq!((away.name(), away.effect()), ("database-unavailable", Effect::NotYet));
        // a read that is not answered has no effect to be unsure of
        let read = Problem::from(ReadError::Unanswered("late".to_owned()));
        assert_eq!((read.name(), read.effect()), ("database-unavailable", Effect::NotYet));
    }

    /// What the HTTP library refuses by a status alone is told by its name.
    #[test]
    fn heads_that_are_refused_are_told_by_name() {
        let names = [400, 414, 431].map(|status| Problem::head_refused(status).name());
        assert_eq!(names, ["invalid-request", "target-too-long", "head-too-large"]);
    }
}
