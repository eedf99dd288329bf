//! What is told of one piece of work.

use std::borrow::Cow;

use floodgate_schemas::Timestamp;

use crate::SpanContext;

/// One piece of work that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Which one.
    pub context: SpanContext,
    /// The work it is a part of.
    pub parent: Option<SpanContext>,
    /// Whether that is another process's.
    pub parent_is_remote: bool,
    /// Its part in a conversation.
    pub kind: Kind,
    /// What is done, to what.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; not before it began.
    pub ended: Timestamp,
    /// What else is known.
    pub attributes: Vec<Attribute>,
    /// Other spans it has to do with.
    pub links: Vec<SpanContext>,
    /// How many more there were.
    pub links_dropped: u32,
    /// That it failed, and why, where its attributes do not say it.
    pub error: Option<Cow<'static, str>>,
}

/// A span's part in a conversation, as OpenTelemetry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Waits for another service's answer.
    Client,
    /// Sends messages.
    Producer,
    /// Works messages off.
    Consumer,
}

/// A name of [`crate::conventions`] and its value.
pub type Attribute = (&'static str, Value);

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
