//! The way of a single event, as spans.
//!
//! **A batch is nobody's child.** A request is a trace: its span, and below it one for what it sent to each topic. A batch
//! holds the events of many requests, so its span can be the child of none of them: it is the root of a trace of its own,
//! with links to what followed requests sent in it, and the transactions that apply it below it. Each of these has a span in
//! its request's trace as well, with a link to the batch. So whoever has a request finds its transaction, and whoever has a
//! slow transaction finds the requests in it.
//!
//! **Who is followed is decided once,** where a request comes in and before anything is allocated: as its `traceparent` says,
//! or by chance. A record carries a `traceparent` only if its request is followed, so that consumers look at none but these.
//!
//! **Telling costs nobody anything but spans.** They go into a bounded queue; when it is full, or whoever takes them is away,
//! they are dropped and counted, and nothing waits.
//!
//! Spans are values of our own, made with the clock and the chance that everybody is handed; [`conventions`] is the one place
//! that knows what they are called. Only the feature `otlp` knows OpenTelemetry's libraries.

mod batch;
mod check;
mod config;
mod context;
pub mod conventions;
mod following;
#[cfg(feature = "otlp")]
mod otlp;
mod request;
mod span;
#[cfg(test)]
mod tests;
mod tracer;

pub use batch::Batch;
pub use check::problems;
pub use config::OtelConfig;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use context::Parent;
pub use context::{SpanContext, TRACEPARENT};
pub use following::Surroundings;
#[cfg(feature = "otlp")]
pub use otlp::{Exporter, OpenError};
pub use request::{Ended, Request, Sends};
pub use span::{Attribute, Kind, Span, Value};
pub use tracer::Tracer;
