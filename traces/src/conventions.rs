//! What spans are called and what is told of them: OpenTelemetry's semantic conventions, in one place.
//!
//! Those of [`VERSION`]. What concerns messaging is still in development there, so names may change with the version; a
//! name that is not theirs begins with `floodgate`.

use floodgate_schemas::EventType;

use crate::{Attribute, Value};

fn named(name: &'static str, value: impl Into<Value>) -> Attribute {
    (name.into(), value.into())
}

/// The version of the semantic conventions, <https://opentelemetry.io/docs/specs/semconv/>.
pub const VERSION: &str = "1.44.0";

/// Names that version, to whoever reads what is sent.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// `http.*`: a request and its answer.
pub(crate) fn request(
    method: &str,
    route: Option<&'static str>,
    status: Option<u16>,
) -> (String, Vec<Attribute>) {
    let mut attributes = vec![named("http.request.method", method.to_owned()), named("url.scheme", "http")];
    attributes.extend(route.map(|route| named("http.route", route)));
    attributes.extend(status.map(|status| named("http.response.status_code", i64::from(status))));
    (route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")), attributes)
}

/// `messaging.*`: what is common to sending and working off.
pub(crate) fn messaging(
    system: &'static str,
    destination: &str,
    operation: &'static str,
    kind: &'static str,
) -> (String, Vec<Attribute>) {
    let attributes = vec![
        named("messaging.system", system),
        named("messaging.destination.name", destination.to_owned()),
        named("messaging.operation.name", operation),
        named("messaging.operation.type", kind),
    ];
    (format!("{operation} {destination}"), attributes)
}

/// How many messages a span is about.
pub(crate) fn messages(count: usize) -> Attribute {
    named("messaging.batch.message_count", count)
}

/// The group that works them off.
pub(crate) fn group(name: &str) -> Attribute {
    named("messaging.consumer.group.name", name.to_owned())
}

/// Which message it is: the event's id.
pub(crate) fn message_id(id: String) -> Attribute {
    named("messaging.message.id", id)
}

/// Where a message stands. The conventions know offsets by the system's name alone.
pub(crate) fn place(system: &'static str, partition: i32, offset: i64) -> [Attribute; 2] {
    [
        named("messaging.destination.partition.id", partition.to_string()),
        (format!("messaging.{system}.offset").into(), offset.into()),
    ]
}

/// `db.*`: a transaction that applies events.
pub(crate) fn transaction(system: &'static str, of: EventType, events: usize) -> (String, Vec<Attribute>) {
    let attributes = vec![
        named("db.system.name", system),
        named("db.operation.name", "apply"),
        named("db.operation.batch.size", events),
    ];
    (format!("apply {of}"), attributes)
}

/// What kind of failure it was.
pub(crate) fn error(kind: &'static str) -> Attribute {
    named("error.type", kind)
}
