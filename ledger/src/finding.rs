//! One record that is named, and what is known of it.

use floodgate_buffer::Received;
use floodgate_schemas::EventId;
use floodgate_store::Difference;
use serde::{Deserialize, Serialize};

/// How many violations of each kind are named; the others are counted.
pub const NAMED_MAX: usize = 1000;

/// The longest part of a key that is kept: any key of ours, and nothing without bound of anybody else's.
pub(crate) const KEY_BYTES_MAX: usize = 2048;
/// What is told of a value that somebody else wrote, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The column.
    pub column: String,
    /// What the event says.
    pub expected: String,
    /// What the row says.
    pub found: String,
}

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

/// What is kept of a key.
pub(crate) fn shown_key(key: &[u8]) -> &[u8] {
    &key[..key.len().min(KEY_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

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
