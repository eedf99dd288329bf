//! The one place where errors become answers: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
pub(crate) use floodgate_listener::MEDIA_TYPE;
use floodgate_schemas::{CouponId, Described};
use floodgate_store::ReadError;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use self::repeated::{OfMany, Told};
pub(crate) use self::reused::KeyIn;
use crate::coding::Coding;
use crate::described::answer;

/// How long a client should wait before it tries again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What most bodies have room in.
const BODY_BYTES: usize = 320;

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: &'static Kind,
    detail: String,
    field: Option<String>,
    place: Option<Place>,
    more: Option<Box<More>>,
}

/// What few problems have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct More {
    /// Of the answer's head.
    fields: Vec<(HeaderName, HeaderValue)>,
    /// What happened, in words for operators: brokers, databases and files have names there.
    cause: Option<String>,
    /// Leads to the line of the log that has them.
    instance: Option<Uuid>,
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

/// A kind of problem. Names are part of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Stable: metrics count by it.
    pub(crate) name: &'static str,
    /// What `type` says: `/problems/<name>`.
    pub(crate) uri: &'static str,
    pub(crate) title: &'static str,
    pub(crate) status: StatusCode,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
}

macro_rules! kinds {
    ($($constant:ident = $name:literal, $title:literal, $status:ident, retryable: $retryable:literal;)*) => {
        $(pub(crate) static $constant: Kind = Kind {
            name: $name,
            uri: concat!("/problems/", $name),
            title: $title,
            status: StatusCode::$status,
            retryable: $retryable,
        };)*

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
    UNAUTHORIZED = "unauthorized", "Who sends this is not known", UNAUTHORIZED, retryable: false;
    FORBIDDEN = "forbidden", "The caller may not do this", FORBIDDEN, retryable: false;
    NOT_FOUND = "not-found", "There is nothing here", NOT_FOUND, retryable: false;
    UNKNOWN_COUPON = "unknown-coupon", "There is no such coupon", NOT_FOUND, retryable: false;
    METHOD_NOT_ALLOWED = "method-not-allowed", "Not with this method", METHOD_NOT_ALLOWED, retryable: false;
    COUPON_EXISTS = "coupon-exists", "The coupon exists with other terms", CONFLICT, retryable: false;
    SOLD_OUT = "sold-out", "Every piece of the coupon is given out", CONFLICT, retryable: false;
    BODY_TIMEOUT = "body-timeout", "The body came too slowly", REQUEST_TIMEOUT, retryable: true;
    BODY_TOO_LARGE = "body-too-large", "The body is too large", PAYLOAD_TOO_LARGE, retryable: false;
    TOO_MANY_EVENTS = "too-many-events", "The body holds too many events", PAYLOAD_TOO_LARGE, retryable: false;
    TARGET_TOO_LONG = "target-too-long", "Path and query are too long", URI_TOO_LONG, retryable: false;
    HEAD_TOO_LARGE = "head-too-large", "The request's head is too large", REQUEST_HEADER_FIELDS_TOO_LARGE, retryable: false;
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", "The body is of another type", UNSUPPORTED_MEDIA_TYPE, retryable: false;
    RATE_LIMITED = "rate-limited", "More events than the limit lets in", TOO_MANY_REQUESTS, retryable: true;
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
    pub(crate) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), field: None, place: None, more: None }
    }

    /// The same with these header fields of its answer.
    pub(crate) fn with(mut self, fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        self.more.get_or_insert_default().fields.extend(fields);
        self
    }

    /// The same with a field that is at fault.
    pub(crate) fn at(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// The same with what happened, which clients are not told.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.more.get_or_insert_default().cause = Some(cause.into());
        self
    }

    /// 400: a part of the request outside its body cannot be read.
    pub(crate) fn invalid_request(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(&INVALID_REQUEST, detail) }
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(&NOT_FOUND, detail)
    }

    /// 404: a request for a coupon that there is not.
    pub(crate) fn unknown_coupon(coupon: &CouponId) -> Self {
        Self::new(&UNKNOWN_COUPON, format!("there is no coupon {coupon}; nothing is stored"))
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

    /// 409: a request that comes too late.
    pub(crate) fn sold_out() -> Self {
        Self::new(&SOLD_OUT, "every piece of this coupon is given out; nothing is stored")
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

    /// 415.
    pub(crate) fn unsupported_media_type(found: &str, expected: &str) -> Self {
        Self::new(&UNSUPPORTED_MEDIA_TYPE, format!("send content-type: {expected}, not {found}"))
    }

    /// 415: compressed in another way.
    pub(crate) fn unsupported_coding(found: &str) -> Self {
        let detail =
            format!("send a body with one content-encoding of {}, or none, not {found}", Coding::ALL);
        // by which clients tell it from a media type (RFC 9110, 12.5.3)
        let accepted = (ACCEPT_ENCODING, HeaderValue::from_static(Coding::ALL));
        Self::new(&UNSUPPORTED_MEDIA_TYPE, detail).at("Content-Encoding").with([accepted])
    }

    /// 503 of the probes.
    pub(crate) fn not_ready(detail: &str, cause: String) -> Self {
        Self::new(&NOT_READY, detail).because(cause)
    }

    /// 503: all requests together, or all of one client, would take more memory than configured.
    pub(crate) fn busy() -> Self {
        Self::new(&BUSY, "too many large requests at once; send the request again later")
    }

    /// 503: as many connections as configured, or as one client may have.
    pub(crate) fn too_many_connections() -> Self {
        Self::new(&BUSY, "too many connections at once; send the request again later")
    }

    /// 503: the buffer reported that the record is not stored.
    pub(crate) fn not_stored(cause: impl Into<String>) -> Self {
        Self::new(&NOT_STORED, "the event could not be stored; send it again").because(cause)
    }

    /// 504: nobody can say.
    pub(crate) fn outcome_unknown() -> Self {
        Self::new(
            &OUTCOME_UNKNOWN,
            "the event may still take effect; sending it again with the same idempotency key is safe",
        )
    }

    /// 503 or 504: a coupon that was to be created.
    pub(crate) fn coupon_not_created(error: ReadError) -> Self {
        match error {
            ReadError::Unanswered(cause) => Self::new(
                &OUTCOME_UNKNOWN,
                "the coupon may have been created; creating it again with the same terms is safe",
            )
            .because(cause),
            error => Self::from(error),
        }
    }

    /// 500.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        Self::new(&INTERNAL, "the request met a bug; operators find it by its instance").because(cause)
    }

    /// The status of its answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// Whether it is the client's doing.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind.status.is_server_error()
    }

    /// Whether it is said when to try again.
    pub(crate) fn is_passing(&self) -> bool {
        self.kind.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether it is a bug.
    pub(crate) fn is_bug(&self) -> bool {
        self.kind.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// What happened, in words for operators.
    pub(crate) fn cause(&self) -> &str {
        self.more.as_ref().and_then(|more| more.cause.as_deref()).unwrap_or(&self.detail)
    }

    /// Says by what it is found in the log.
    pub(crate) fn is_told_under(&mut self, instance: Uuid) {
        self.more.get_or_insert_default().instance = Some(instance);
    }

    /// Says which event of many it is about.
    pub(crate) fn stands_at(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// What is wrong, in words that say where.
    fn detail(&self) -> Cow<'_, str> {
        let rest = self.detail.strip_prefix("the body ").filter(|_| self.field.is_none());
        match (rest, self.place) {
            (Some(rest), Some(Place::Line(line))) => format!("line {line} {rest}").into(),
            (Some(rest), Some(Place::Index(index))) => format!("the element at index {index} {rest}").into(),
            _ => self.detail.as_str().into(),
        }
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

answer! {
    struct Body<'a> {
        uri: &'a str = "type", "Names the kind of problem, and stays the same.";
        title: &'a str = "title", "The kind of problem, in words.";
        status: u16 = "status", "The answer's status.";
        detail: &'a str = "detail", "What is wrong, for people.";
        retryable: bool = "retryable", "Whether the same request may succeed later.";
    } sometimes {
        field: &'a str = "field", "The field at fault.";
        line: usize = "line", "The line of an NDJSON body that it is about, from 1.";
        index: usize = "index", "The element of an array that it is about, from 0.";
        instance: String = "instance", "By what operators find it in their log.";
    }
}

impl Described for Problem {
    fn schema() -> Value {
        let mut schema = Body::schema();
        schema["title"] = "Problem".into();
        schema["properties"]["type"]["enum"] = KINDS.iter().map(|kind| kind.uri).collect();
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
            uri: self.kind.uri,
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail(),
            retryable: self.kind.retryable,
            field: self.field.as_deref(),
            line,
            index,
            instance: self.more.as_ref().and_then(|more| more.instance).map(|id| format!("urn:uuid:{id}")),
        };
        body.serialize(serializer)
    }
}

/// The problem travels with an answer that has no body yet: whoever sends it tells it first ([`Problem::answer`]).
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    /// Makes it the answer that a client sees.
    pub(crate) fn answer(self, response: &mut Response) {
        let mut body = Vec::with_capacity(BODY_BYTES);
        if serde_json::to_writer(&mut body, &self).is_err() {
            body.clear();
        }
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        // it was that of no body
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.is_passing() {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        for (name, value) in self.more.into_iter().flat_map(|more| more.fields) {
            headers.insert(name, value);
        }
        *response.body_mut() = body.into();
    }
}

mod from;
mod repeated;
mod reused;
#[cfg(test)]
mod tests;
