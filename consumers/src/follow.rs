//! Events whose requests are followed: what becomes of them is told.

use floodgate_buffer::{Batch, Decoded, Partition};
use floodgate_schemas::{Event, Timestamp};
use floodgate_store::{ApplyError, ApplyOutcome};
use floodgate_traces::{TRACEPARENT, Tracer};

use crate::dead_letter::DeadLetter;

/// Follows batches of one group.
pub(crate) struct Follow {
    pub(crate) tracer: Tracer,
    pub(crate) group: String,
}

/// A batch, if it holds an event that is followed.
pub(crate) struct Followed(Option<floodgate_traces::Batch>);

impl Follow {
    /// Looks for events that are followed, if anything is.
    pub(crate) fn batch<E: Event>(&self, batch: &Batch, decoded: &Decoded<E>) -> Followed {
        if !self.tracer.is_on() {
            return Followed(None);
        }
        let marked = batch.header(TRACEPARENT.as_bytes()).filter_map(|(number, header)| {
            let origin = batch.get(number)?.origin;
            Some((number, header, origin.partition.0, origin.offset.0))
        });
        let mut followed = self.tracer.batch(E::TYPE, &self.group, batch.len(), marked);
        if let Some(followed) = &mut followed {
            for number in followed.firsts() {
                // the numbers of records ascend
                if let Ok(place) = decoded.records.binary_search(&number) {
                    followed.is_event(number, || decoded.events[place].event_id().to_string());
                }
            }
        }
        Followed(followed)
    }
}

impl Followed {
    /// When a transaction begins.
    pub(crate) fn begins(&self) -> Option<Timestamp> {
        self.0.as_ref().map(floodgate_traces::Batch::now)
    }

    /// How a transaction of so many events ended that began then.
    pub(crate) fn ended(
        &self,
        began: Option<Timestamp>,
        events: usize,
        applied: &Result<Vec<ApplyOutcome>, ApplyError>,
    ) {
        let (Some(batch), Some(began)) = (&self.0, began) else { return };
        let error = match applied {
            Ok(_) => None,
            Err(ApplyError::BadRow(why)) => Some(("bad-row", why)),
            Err(ApplyError::TooSlow(why)) => Some(("too-slow", why)),
            Err(ApplyError::Retry(why)) => Some(("retry", why)),
        };
        batch.transaction(events, began, error.map(|(kind, why)| (kind, why.clone().into())));
    }

    /// Which of its events cannot be applied, and which come again as their partition is held.
    pub(crate) fn came_to(&mut self, letters: &[DeadLetter], held: &[Partition]) {
        let Some(batch) = &mut self.0 else { return };
        for letter in letters {
            batch.failed(letter.record, &letter.message);
        }
        held.iter().for_each(|partition| batch.comes_again(partition.0));
    }

    /// What is not held is committed.
    pub(crate) fn done(&mut self) {
        if let Some(batch) = &mut self.0 {
            batch.done();
        }
    }

    /// All of it comes again.
    pub(crate) fn gave_up(&mut self) {
        if let Some(batch) = &mut self.0 {
            batch.gave_up("told to stop before all of it was applied or dead-lettered");
        }
    }
}
