//! What spans are called and what is told of them: OpenTelemetry's semantic conventions, in one place.
//!
//! Those of [`VERSION`]. What concerns messaging is still in development there, so names may change with the version; a
//! name that is not theirs begins with `floodgate`.

use floodgate_schemas::EventType;

use crate::{Attribute, Value};

fn named(name: &'static str, value: impl Into<Value>) -> Attribute {
    (name, value.into())
}

/// The version of the semantic conventions, <https://opentelemetry.io/docs/specs/semconv/>.
pub const VERSION: &str = "1.44.0";

/// Names that version, to whoever reads what is sent.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The methods that a span may be called by; others are whatever somebody sends.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What is kept of a path.
const PATH_MAX_BYTES: usize = 1000;

/// `http.*`: a request and its answer.
pub(crate) fn request(
    method: &str,
    (route, path): (Option<&'static str>, &str),
    status: Option<u16>,
) -> (String, Vec<Attribute>) {
    let known = METHODS.into_iter().find(|known| *known == method);
    let mut attributes = vec![
        named("http.request.method", known.unwrap_or("_OTHER")),
        named("url.scheme", "http"),
        named("url.path", path[..path.len().min(PATH_MAX_BYTES)].to_owned()),
    ];
    if known.is_none() {
        attributes.push(named("http.request.method_original", method.to_owned()));
    }
    attributes.extend(route.map(|route| named("http.route", route)));
    attributes.extend(status.map(|status| named("http.response.status_code", i64::from(status))));
    let method = known.unwrap_or("HTTP");
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

/// Where a message stands. The conventions know offsets of one system alone.
pub(crate) fn place(system: &'static str, partition: i32, offset: i64) -> [Attribute; 2] {
    let name = if system == "kafka" { "messaging.kafka.offset" } else { "floodgate.offset" };
    [named("messaging.destination.partition.id", partition.to_string()), named(name, offset)]
}

/// `db.*`: a transaction that applies events.
pub(crate) fn transaction(system: &'static str, of: EventType, events: usize) -> (String, Vec<Attribute>) {
    let attributes = vec![
        named("db.system.name", system),
        named("db.operation.name", "apply"),
        named("floodgate.events", events),
    ];
    (format!("apply {of}"), attributes)
}

/// How many transactions were tried, where not all are told of.
pub(crate) fn transactions(count: usize) -> Attribute {
    named("floodgate.transactions", count)
}

/// What kind of failure it was.
pub(crate) fn error(kind: impl Into<Value>) -> Attribute {
    named("error.type", kind)
}
