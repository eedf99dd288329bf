//! What a check found.

use std::collections::BinaryHeap;

use floodgate_buffer::{GroupLag, PartitionLag};
use floodgate_schemas::{EventId, Timestamp};
use floodgate_store::Discrepancy;
use serde::{Deserialize, Serialize};

use crate::class::Tally;
use crate::state::PartitionProgress;

/// How many missing events are named, and how many discrepancies; the others are counted.
pub const NAMED_MAX: usize = 1000;

/// The result, as `floodgate verify --json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the ends of the partitions were read: later events are not part of this.
    pub as_of: String,
    /// Every type of event; none where their log is in another process.
    pub types: Vec<TypeReport>,
    /// Missing records, by type, partition and offset, the first [`NAMED_MAX`].
    pub missing: Vec<MissingReport>,
    /// Rows that contradict each other, the first [`NAMED_MAX`].
    pub discrepancies: Vec<Discrepancy>,
    /// How many such rows there are.
    pub discrepancy_count: u64,
    /// What to keep in mind with these figures, in sentences.
    pub notes: Vec<String>,
    /// Missing events and records, and discrepancies.
    pub violations: u64,
    /// Whether there is no violation.
    pub balanced: bool,
}

/// What became of one type of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeReport {
    /// Its name.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// Its topic's full name.
    pub topic: String,
    /// Records read, copies of one event and records that are no events included.
    pub records: u64,
    /// Distinct events among them, partition by partition.
    pub events: u64,
    /// What became of the events.
    #[serde(flatten)]
    pub tally: Tally,
    /// What became of the records that are no events.
    pub unreadable: Unreadable,
    /// Offsets whose records expired before they could be read.
    pub unchecked: Vec<Unchecked>,
}

/// What became of records that are no events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// Their origins are among the dead letters'.
    pub dead_lettered: u64,
    /// They are at or beyond the group's committed offset.
    pub in_flight: u64,
    /// Neither: violations.
    pub missing: u64,
    /// Neither, and written with schemas that this build does not know: only a build that does can tell.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown_schema: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Tally> for Unreadable {
    fn from(Tally { dead_lettered, in_flight, missing, .. }: Tally) -> Self {
        Self { dead_lettered, in_flight, missing, unknown_schema: 0 }
    }
}

/// Offsets of one partition that were not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unchecked {
    /// The partition.
    pub partition: i32,
    /// The first of them.
    pub from_offset: i64,
    /// The one after the last.
    pub until_offset: i64,
}

/// A record that is neither in the database, nor among the dead letters, nor before its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// The partition.
    pub partition: i32,
    /// The offset; of several copies of an event, the first that is missing.
    pub offset: i64,
    /// The event; `None` for a record that is none.
    pub event_id: Option<EventId>,
    /// The record's key as text, cut where it is very long.
    pub key: Option<String>,
}

/// The same, and of what type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingReport {
    /// The type's name.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// Which record.
    #[serde(flatten)]
    pub record: Missing,
}

impl Report {
    /// Of nothing yet.
    pub(crate) fn new(as_of: Timestamp) -> Self {
        Self {
            as_of: as_of.to_string(),
            types: Vec::new(),
            missing: Vec::new(),
            discrepancies: Vec::new(),
            discrepancy_count: 0,
            notes: Vec::new(),
            violations: 0,
            balanced: true,
        }
    }

    /// Adds one type, all of whose partitions are counted.
    pub(crate) fn add(&mut self, lag: &GroupLag, partitions: &[PartitionProgress]) {
        let (mut events, mut unreadable) = (Tally::default(), Tally::default());
        for partition in partitions {
            events.add(&partition.events);
            unreadable.add(&partition.unreadable);
            let missing = partition.missing.iter().cloned();
            self.missing.extend(missing.map(|record| MissingReport { of: lag.of.name(), record }));
        }
        let unknown_schema = partitions.iter().map(|partition| partition.unknown_schema).sum();
        let of = TypeReport {
            of: lag.of.name(),
            topic: lag.topic.clone(),
            records: partitions.iter().map(|partition| partition.records).sum(),
            events: events.total(),
            tally: events,
            unreadable: Unreadable { unknown_schema, ..unreadable.into() },
            unchecked: partitions.iter().flat_map(|partition| partition.unchecked.clone()).collect(),
        };
        let unread: u64 = lag.partitions.iter().map(PartitionLag::missing).sum();
        if unread > 0 {
            let (topic, group) = (&lag.topic, &lag.group);
            self.notes
                .push(format!("{unread} records of {topic} expired before the group {group} read them"));
        }
        if unknown_schema > 0 {
            self.notes.push(format!(
                "{unknown_schema} records of {} that were committed are written with schemas this build does not know, and \
                 are unchecked: verify with a build as new as the newest consumers",
                lag.topic
            ));
        }
        let offsets: i64 = partitions.iter().map(|partition| partition.end).sum();
        let expired: i64 = of.unchecked.iter().map(|range| range.until_offset - range.from_offset).sum();
        let empty = (offsets - expired).unsigned_abs().saturating_sub(of.records);
        if empty > 0 {
            self.notes.push(format!("{empty} offsets of {} hold no record", lag.topic));
        }
        self.types.push(of);
    }

    /// Says what all of it comes to.
    pub(crate) fn summed_up(mut self) -> Self {
        let missing = self.types.iter().map(|of| of.tally.missing + of.unreadable.missing);
        self.violations = missing.sum::<u64>() + self.discrepancy_count;
        self.balanced = self.violations == 0;
        self
    }
}

/// The first missing records by offset, a limited number.
#[derive(Debug, Default)]
pub(crate) struct Named {
    at_most: usize,
    /// The last is on top.
    records: BinaryHeap<Missing>,
}

impl Named {
    pub(crate) fn new(at_most: usize, so_far: Vec<Missing>) -> Self {
        Self { at_most, records: so_far.into() }
    }

    pub(crate) fn add(&mut self, record: Missing) {
        self.records.push(record);
        if self.records.len() > self.at_most {
            self.records.pop();
        }
    }

    pub(crate) fn sorted(&self) -> Vec<Missing> {
        let mut records: Vec<Missing> = self.records.iter().cloned().collect();
        records.sort_unstable();
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_whatever_their_order() {
        let record = |offset| Missing { partition: 0, offset, event_id: None, key: None };
        let mut named = Named::new(3, vec![record(9), record(1)]);
        [7, 3, 8, 2].map(record).into_iter().for_each(|record| named.add(record));
        assert_eq!(named.sorted(), [1, 2, 3].map(record));
        let mut nobody = Named::new(0, Vec::new());
        nobody.add(record(1));
        assert_eq!(nobody.sorted(), []);
    }
}
