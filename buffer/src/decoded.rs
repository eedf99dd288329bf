//! What the records of a batch stand for: the one place where batches are decoded.

use floodgate_schemas::codec::{DecodeError, SchemaName};
use floodgate_schemas::{Codecs, Event};

use crate::Batch;

/// The records of a batch, or the first of them, decoded. Records go by their numbers in the batch.
#[derive(Debug)]
pub struct Decoded<E> {
    /// The events, in order.
    pub events: Vec<E>,
    /// For each event, the number of its record.
    pub records: Vec<usize>,
    /// The other records, in order, and why they are no events.
    pub failed: Vec<(usize, DecodeError)>,
    /// The number of the next record.
    next: usize,
}

impl<E: Event> Decoded<E> {
    /// Nothing yet, with room for a batch.
    pub fn with_room_for(batch: &Batch) -> Self {
        let room = batch.len();
        Self {
            events: Vec::with_capacity(room),
            records: Vec::with_capacity(room),
            failed: Vec::new(),
            next: 0,
        }
    }

    /// All of a batch. `codecs` are prepared for it.
    pub fn of(batch: &Batch, codecs: &Codecs) -> Self {
        let mut decoded = Self::with_room_for(batch);
        decoded.add_next(batch, batch.len(), codecs);
        decoded
    }

    /// Decodes the next `count` records of the batch, for those who let others have their turn in between. Returns whether
    /// there are more. `codecs` are prepared for it.
    pub fn add_next(&mut self, batch: &Batch, count: usize, codecs: &Codecs) -> bool {
        let numbers = self.next..batch.len().min(self.next + count);
        self.next = numbers.end;
        for (number, value) in numbers.clone().zip(batch.values_of(numbers)) {
            match codecs.decode(value) {
                Ok(event) => {
                    self.events.push(event);
                    self.records.push(number);
                }
                Err(error) => self.failed.push((number, error)),
            }
        }
        self.next < batch.len()
    }
}

impl<E> Decoded<E> {
    /// The records that only a build can read that knows their schemas, in order.
    pub fn unknown_schemas(&self) -> impl Iterator<Item = (usize, SchemaName)> {
        self.failed.iter().filter_map(|(number, error)| Some((*number, error.unknown_schema()?)))
    }

    /// The records that nobody will ever read, in order.
    pub fn undecodable(&self) -> impl Iterator<Item = (usize, &DecodeError)> {
        let failed = self.failed.iter().filter(|(_, error)| error.unknown_schema().is_none());
        failed.map(|(number, error)| (*number, error))
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::codec::encode;
    use floodgate_schemas::examples::like;
    use floodgate_schemas::{EventType, Like, LikeAction};

    use super::*;
    use crate::{Offset, Partition, Topic};

    #[test]
    fn records_are_events_no_events_or_of_a_newer_build() {
        let of = |number| like(number, "target", "liker", LikeAction::Like, 0);
        let bytes = |number| {
            let mut bytes = Vec::new();
            encode(&of(number), &mut bytes);
            bytes
        };
        let newer = b"\xc3\x01\x08\x07\x06\x05\x04\x03\x02\x01and its fields";
        let values = [Some(bytes(1)), Some(b"garbage".to_vec()), Some(newer.to_vec()), None, Some(bytes(2))];
        let mut batch = Batch::new(Topic::Events(EventType::Like));
        for (offset, value) in (10..).zip(&values) {
            batch.push(Partition(0), Offset(offset), 0, (None, value.as_deref()), std::iter::empty());
        }
        let lengths: Vec<_> = batch.values().map(<[u8]>::len).collect();
        assert_eq!(lengths, values.each_ref().map(|value| value.as_ref().map_or(0, Vec::len)));
        let all = Decoded::<Like>::of(&batch, &Codecs::builtin());
        let mut some = Decoded::with_room_for(&batch);
        assert!(some.add_next(&batch, 2, &Codecs::builtin()));
        assert!(some.add_next(&batch, 2, &Codecs::builtin()));
        assert_eq!((some.events.len(), some.failed.len()), (1, 3));
        assert!(!some.add_next(&batch, 2, &Codecs::builtin()), "it is at its end");
        assert!(!some.add_next(&batch, 2, &Codecs::builtin()), "nothing is decoded twice");
        for decoded in [all, some] {
            assert_eq!(
                (decoded.events.as_slice(), decoded.records.as_slice()),
                (&[of(1), of(2)][..], &[0, 4][..])
            );
            let schemas: Vec<_> = decoded.unknown_schemas().collect();
            assert_eq!(schemas, [(2, SchemaName::Fingerprint(0x0102_0304_0506_0708))]);
            let undecodable: Vec<_> =
                decoded.undecodable().map(|(number, error)| (number, error.reason())).collect();
            assert_eq!(undecodable, [(1, "not-avro"), (3, "not-avro")]);
        }
        let nothing = Decoded::<Like>::of(&Batch::new(Topic::DeadLetters), &Codecs::builtin());
        assert!(nothing.events.is_empty() && nothing.failed.is_empty());
    }
}
