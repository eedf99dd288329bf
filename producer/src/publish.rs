//! From a valid event to its answer: encode, offer, wait, judge.

use std::cell::RefCell;
use std::time::Instant;

use floodgate_buffer::{Outcome, Receipts, Record, Topic};
use floodgate_observe::Metrics;
use floodgate_schemas::codec::encode;
use floodgate_schemas::{Accept, Event, EventId, EventIdSource, EventType, IdempotencyKey};
use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::Ingress;
use crate::problem::Problem;

/// The metrics of the hot path, looked up once.
pub(crate) struct PublishMetrics {
    accepted: [IntCounter; EventType::ALL.len()],
    refused: IntCounterVec,
    seconds: Histogram,
}

impl PublishMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            accepted: EventType::ALL.map(|of| metrics.events_accepted.with_label_values(&[of.name()])),
            refused: metrics.events_refused.clone(),
            seconds: metrics.publish_seconds.clone(),
        }
    }
}

thread_local! {
    // key and value of the event being offered: offering copies them, so one pair per thread serves all
    static BUFFERS: RefCell<(String, Vec<u8>)> = RefCell::default();
}

impl Ingress {
    /// What acceptance adds to an event: its id and times.
    pub(crate) fn accept<'k>(&self, key: Option<&'k IdempotencyKey>) -> Accept<'k> {
        let accepted_at = self.clock.now();
        let id = match key {
            Some(key) => EventIdSource::Key(key),
            None => EventIdSource::Fresh(EventId::fresh()),
        };
        let latest = accepted_at.saturating_add_micros(self.limits.clock_ahead_max_micros);
        Accept { id, accepted_at, latest }
    }

    /// Publishes the outcome of a route's checks, and counts what is refused by its reason.
    pub(crate) async fn publish<E: Event>(&self, checked: Result<E, Problem>) -> Result<EventId, Problem> {
        let published = match checked {
            Ok(event) => self.offer_and_wait(&event).await.map(|()| event.event_id()),
            Err(problem) => Err(problem),
        };
        match &published {
            Ok(_) => self.metrics.accepted[E::TYPE as usize].inc(),
            Err(problem) => self.metrics.refused.with_label_values(&[E::TYPE.name(), problem.name()]).inc(),
        }
        published
    }

    async fn offer_and_wait<E: Event>(&self, event: &E) -> Result<(), Problem> {
        let offered_at = Instant::now();
        let receipts = self.offer(event)?;
        // whoever does not hear in time must not conclude that nothing was stored
        if tokio::time::timeout(self.limits.request_deadline, receipts.all()).await.is_err() {
            return Err(Problem::outcome_unknown());
        }
        match receipts.outcome(0) {
            Outcome::Stored => {
                self.metrics.seconds.observe(offered_at.elapsed().as_secs_f64());
                Ok(())
            }
            Outcome::NotStored => Err(Problem::not_stored()),
            Outcome::Unknown => Err(Problem::outcome_unknown()),
        }
    }

    fn offer<E: Event>(&self, event: &E) -> Result<Receipts, Problem> {
        BUFFERS.with_borrow_mut(|(key, value)| {
            key.clear();
            value.clear();
            event.write_partition_key(self.keying, key);
            encode(event, value).map_err(|error| Problem::internal(error.to_string()))?;
            let record = Record {
                topic: Topic::Events(E::TYPE),
                key: Some(key.as_bytes()),
                value: Some(value.as_slice()),
                headers: &[],
            };
            let receipts = Receipts::new(1);
            self.publisher.offer(&record, receipts.receipt(0))?;
            Ok(receipts)
        })
    }
}
