//! Schemas as others wrote them, and how their data become events of ours.
//!
//! Avro data do not say what they are: whoever reads them has to know the *writer's* schema, and resolves it against its own,
//! the *reader's*. A writer may have more fields, fewer, others in their place, an int where the reader has a long. The
//! specification says which of these differences can be bridged (<https://avro.apache.org/docs/1.12.0/specification/#schema-resolution>).
//!
//! **Compiled once.** What has to be done to a writer's data is worked out when its schema is first seen, and kept as a
//! [`Plan`]: for each of the writer's fields, read it as this field of ours, convert it, or skip it; and what a field that the
//! writer does not have is. Reading an event is a walk along the plan by the same hand-written code that reads our own schema.
//!
//! **Stricter than the specification where that loses something.** Resolution ignores logical types that do not match: a
//! decimal of three places is read as one of two with a tenth of its value, milliseconds as microseconds. No such plan is
//! made, and the schema's data wait for a build that knows them. Nor is a field of ours ever filled with its default because
//! the writer calls it something else. Values that a plan cannot read (a symbol or a branch that is new) wait likewise.
//!
//! Schemas come from outside, so that everything about them is bounded: their text, their depth, how many types they name.

mod convert;
mod inline;
mod model;
mod parse;
mod plan;
mod resolve;
#[cfg(test)]
mod tests;
mod unread;

pub(crate) use inline::inline;
pub use parse::InvalidSchema;
pub use plan::Incompatible;
pub use plan::Plan;
pub use unread::Unread;
