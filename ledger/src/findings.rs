//! Records that are named one by one, a limited number of each kind.

use std::collections::BinaryHeap;

use floodgate_buffer::Received;
use floodgate_schemas::EventId;
use floodgate_store::Difference;
use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::report::{Column, NAMED_MAX};
use crate::runs::{Entry, shown_key};
use crate::state::PartitionProgress;

/// What is told of a value that somebody else wrote, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// A record, and what is known of it. Sorts by offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// Of several copies of an event, the first that is of its class.
    pub(crate) offset: i64,
    /// The event; `None` for a record that is none.
    pub(crate) event_id: Option<EventId>,
    /// Bytes that [`Note`] reads.
    note: Option<Vec<u8>>,
}

/// What is known of a record: its key, cut where it is very long, and what differs on its row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) columns: Vec<Column>,
}

impl Note {
    /// Of a record whose row has these differences.
    pub(crate) fn of(record: &Received<'_>, differences: &[Difference]) -> Self {
        let cut = |text: &str| text.chars().take(VALUE_CHARS_MAX).collect();
        let column = |difference: &Difference| Column {
            column: difference.column.to_owned(),
            expected: cut(&difference.expected),
            found: cut(&difference.found),
        };
        let key = record.key.map(|key| shown_key(key).to_vec());
        Self { key, columns: differences.iter().map(column).collect() }
    }

    /// Most notes are nothing but a key, and stand for themselves; in front of others, and of no key, stands a byte that
    /// says so.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match (&self.key, self.columns.is_empty()) {
            (Some(key), true) => [&[0], &key[..]].concat(),
            _ => [&[1], &serde_json::to_vec(self).unwrap_or_default()[..]].concat(),
        }
    }

    fn read(bytes: &[u8]) -> Self {
        match bytes.split_first() {
            Some((0, key)) => Self { key: Some(key.to_vec()), columns: Vec::new() },
            Some((_, json)) => serde_json::from_slice(json).unwrap_or_default(),
            None => Self::default(),
        }
    }
}

impl Finding {
    pub(crate) fn new(offset: i64, event_id: Option<EventId>, note: Option<Vec<u8>>) -> Self {
        Self { offset, event_id, note }
    }

    pub(crate) fn note(&self) -> Note {
        self.note.as_deref().map(Note::read).unwrap_or_default()
    }
}

/// The first findings by offset, a limited number.
#[derive(Debug, Default)]
struct Named {
    at_most: usize,
    /// The last is on top.
    findings: BinaryHeap<Finding>,
}

impl Named {
    fn new(at_most: usize, so_far: Vec<Finding>) -> Self {
        Self { at_most, findings: so_far.into() }
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        if self.findings.len() > self.at_most {
            self.findings.pop();
        }
    }

    fn sorted(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.findings.iter().cloned().collect();
        findings.sort_unstable();
        findings
    }
}

/// What is named of one partition.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    missing: Named,
    differing: Named,
    unknown: Named,
    unread: Named,
}

impl Findings {
    /// Of the partition `progress`, where all partitions together name so many of each kind.
    pub(crate) fn new(progress: &PartitionProgress, all: &[Vec<PartitionProgress>]) -> Self {
        let named = |of: fn(&PartitionProgress) -> &Vec<Finding>| {
            let named: usize = all.iter().flatten().map(|partition| of(partition).len()).sum();
            let so_far = of(progress).clone();
            Named::new(NAMED_MAX.saturating_sub(named - so_far.len()), so_far)
        };
        Self {
            missing: named(|of| &of.missing),
            differing: named(|of| &of.differing),
            unknown: named(|of| &of.unknown),
            unread: named(|of| &of.unread),
        }
    }

    pub(crate) fn add(&mut self, class: Class, finding: impl FnOnce() -> Finding) {
        match class {
            Class::Missing => self.missing.add(finding()),
            Class::Differing => self.differing.add(finding()),
            Class::Unknown => self.unknown.add(finding()),
            Class::Unread => self.unread.add(finding()),
            Class::Current | Class::Decided | Class::Superseded | Class::DeadLettered | Class::InFlight => {}
        }
    }

    pub(crate) fn add_event(&mut self, entry: Entry) {
        let Entry { id, class, offset, note } = entry;
        self.add(class, || Finding::new(offset, Some(id), note.map(Vec::from)));
    }

    pub(crate) fn save(&self, progress: &mut PartitionProgress) {
        progress.missing = self.missing.sorted();
        progress.differing = self.differing.sorted();
        progress.unknown = self.unknown.sorted();
        progress.unread = self.unread.sorted();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_whatever_their_order() {
        let record = |offset| Finding::new(offset, None, None);
        let mut named = Named::new(3, vec![record(9), record(1)]);
        [7, 3, 8, 2].map(record).into_iter().for_each(|record| named.add(record));
        assert_eq!(named.sorted(), [1, 2, 3].map(record));
        let mut nobody = Named::new(0, Vec::new());
        nobody.add(record(1));
        assert_eq!(nobody.sorted(), []);
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let column =
            || Column { column: "c".to_owned(), expected: "1".to_owned(), found: "\u{1f}".to_owned() };
        for (key, columns) in [
            (None, vec![]),
            (Some(&b"\x01\xff"[..]), vec![]),
            (Some(b""), vec![column()]),
            (None, vec![column()]),
        ] {
            let note = Note { key: key.map(<[u8]>::to_vec), columns };
            let read = Finding::new(1, None, Some(note.to_bytes())).note();
            assert_eq!((read.key, read.columns), (note.key, note.columns));
        }
        assert!(Finding::new(1, None, None).note().key.is_none());
    }
}
