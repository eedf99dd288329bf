//! Which record something is wrong with.

use std::fmt;

use floodgate_buffer::{EventOrigin, NamedOrigin, Names, Offset, Partition};
use floodgate_schemas::text::{escaped, plain};
use floodgate_schemas::{EventId, EventType};
use serde::Serialize;

use crate::finding::Finding;

/// Which record something is wrong with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordReport {
    /// Its type's name.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// The partition.
    pub partition: i32,
    /// The offset; of several copies of an event, the first that something is wrong with.
    pub offset: i64,
    /// Both under the topic's full name, as every command takes it.
    pub origin: NamedOrigin,
    /// The event; `None` for a record that is none.
    pub event_id: Option<EventId>,
    /// The record's key, escaped where it is no UTF-8, and cut where it is very long; `None` without one.
    pub key: Option<String>,
    /// The key as a terminal may show it.
    #[serde(skip)]
    pub key_escaped: Option<String>,
}

impl RecordReport {
    pub(crate) fn new(of: EventType, partition: i32, finding: &Finding, names: &Names) -> Self {
        let offset = finding.offset;
        let origin = EventOrigin { of, partition: Partition(partition), offset: Offset(offset) };
        let key = finding.note().key;
        Self {
            of: of.name(),
            partition,
            offset,
            origin: names.named(origin),
            event_id: finding.event_id,
            key: key.as_deref().map(plain),
            key_escaped: key.as_deref().map(escaped),
        }
    }
}

impl fmt::Display for RecordReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event_id {
            Some(id) => write!(f, "{} {}: event {id}", self.of, self.origin)?,
            None => write!(f, "{} {}: a record that is no event", self.of, self.origin)?,
        }
        match &self.key_escaped {
            Some(key) => write!(f, ", key {key}"),
            None => write!(f, ", no key"),
        }
    }
}
