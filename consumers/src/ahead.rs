//! Events whose version or time lies further ahead than clients may send.

use std::sync::Arc;

use floodgate_buffer::{Batch, Decoded};
use floodgate_schemas::{Clock, Event};

use crate::metrics::PipelineMetrics;

/// Tells of events that no later write will exceed for long. They count all the same: the greatest stands, whoever
/// wrote it, and it was accepted. Mending the row is for operators, who have to know.
pub(crate) struct Ahead {
    pub(crate) max_micros: i64,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Ahead {
    pub(crate) fn tell_of<E: Event>(&self, batch: &Batch, decoded: &Decoded<E>) {
        let latest = self.clock.now().saturating_add_micros(self.max_micros).as_micros();
        let ahead = |(_, event): &(&usize, &E)| event.ranked_at().is_some_and(|micros| micros > latest);
        let mut found = decoded.records.iter().zip(&decoded.events).filter(ahead);
        let Some((record, event)) = found.next() else { return };
        let events = 1 + found.count();
        self.metrics.ahead.inc_by(events as u64);
        if let Some(received) = batch.get(*record) {
            let (partition, offset, event_id) =
                (received.origin.partition.0, received.origin.offset.0, event.event_id());
            tracing::warn!(
                of = %E::TYPE, events, partition, offset, %event_id,
                "versions or times lie further ahead than clients may send, this one first: writes on their rows do not \
                 count until then (`floodgate row reset` sets one back)"
            );
        }
    }
}
