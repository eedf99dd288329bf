//! Where a record of an event stood, as people write it: the one spelling that every command has for it.

use std::fmt;

use floodgate_schemas::EventType;
use serde::Serialize;

use crate::{Offset, Partition};

/// Where the record of an event stood: what [`crate::Origin`] is, on topics of events only. Sorts by type, partition and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventOrigin {
    /// On the topic of these events.
    pub of: EventType,
    /// In this partition.
    pub partition: Partition,
    /// At this offset.
    pub offset: Offset,
}

/// The same under its topic's full name, written `TOPIC/PARTITION/OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedOrigin {
    /// The topic's full name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for NamedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}
