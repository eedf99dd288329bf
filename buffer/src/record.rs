//! Records as they cross this crate: raw bytes, and where they come from.

use std::fmt;
use std::sync::Arc;

use floodgate_schemas::dead_letter::Header;
use floodgate_schemas::{DEAD_LETTER_TOPIC, EventType};

/// A topic of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The events of one type.
    Events(EventType),
    /// Events that can never be applied, with their reasons.
    DeadLetters,
}

impl Topic {
    /// Every topic, in the order lists show them.
    pub const ALL: [Topic; 4] = [
        Topic::Events(EventType::Expectation),
        Topic::Events(EventType::Coupon),
        Topic::Events(EventType::Like),
        Topic::DeadLetters,
    ];

    /// Its name before any configured prefix.
    pub const fn base_name(self) -> &'static str {
        match self {
            Topic::Events(of) => of.topic(),
            Topic::DeadLetters => DEAD_LETTER_TOPIC,
        }
    }

    /// Its place in [`Topic::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Topic::Events(EventType::Expectation) => 0,
            Topic::Events(EventType::Coupon) => 1,
            Topic::Events(EventType::Like) => 2,
            Topic::DeadLetters => 3,
        }
    }
}

/// A record to publish.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where to.
    pub topic: Topic,
    /// Decides the partition; a record without one goes to any.
    pub key: Option<&'a [u8]>,
    /// The content.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: &'a [Header<'a>],
}

impl Record<'_> {
    /// Key, value and headers, in bytes: what limits count.
    pub fn bytes(&self) -> usize {
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(*value));
        length(self.key) + length(self.value) + headers.sum::<usize>()
    }
}

/// A partition of a topic, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record's place in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one: what is committed when this record is done.
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which log a topic is: another one once it was deleted and made anew under its name. An offset says nothing without it.
/// What it looks like is its strategy's affair; no two logs share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogId(Arc<str>);

impl LogId {
    pub(crate) fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a record stood: names it as long as its topic is the same log, which [`crate::Batch::log`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_their_names_and_places() {
        for (place, topic) in Topic::ALL.into_iter().enumerate() {
            assert_eq!(topic.index(), place);
        }
        let names =
            ["floodgate.expectation.v1", "floodgate.coupon.v1", "floodgate.like.v1", "floodgate.dlq.v1"];
        assert_eq!(Topic::ALL.map(Topic::base_name), names);
    }

    #[test]
    fn limits_count_keys_values_and_headers() {
        let bytes = |key, value| {
            Record { topic: Topic::DeadLetters, key, value, headers: &[(b"name", Some(b"value"))] }.bytes()
        };
        assert_eq!(bytes(Some(b"key".as_slice()), Some(b"value".as_slice())), 17);
        assert_eq!([bytes(Some(b"key"), None), bytes(None, Some(b"value")), bytes(None, None)], [12, 14, 9]);
        assert_eq!(Offset(41).next(), Offset(42));
    }
}
