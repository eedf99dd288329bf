//! From valid events to what is answered: encode, offer, wait, judge.

use std::cell::RefCell;
use std::time::Instant;

use floodgate_buffer::{Outcome, Receipt, Receipts, Record, Topic};
use floodgate_observe::Metrics;
use floodgate_schemas::codec::encode;
use floodgate_schemas::{
    Accept, Event, EventId, EventIdSource, EventType, IdempotencyKey, InvalidMixed, Mixed,
};
use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::Ingress;
use crate::keys::NewKey;
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

    /// Counts one event by what it is answered. One that does not say its type is of type `unknown`.
    fn count<T>(&self, of: Option<EventType>, result: &Result<T, Problem>) {
        match (result, of) {
            (Ok(_), Some(of)) => self.accepted[of as usize].inc(),
            (Ok(_), None) => {}
            (Err(problem), of) => {
                let of = of.map_or("unknown", EventType::name);
                self.refused.with_label_values(&[of, problem.name()]).inc();
            }
        }
    }
}

thread_local! {
    // key and value of the event being offered: offering copies them, so one pair per thread serves all
    static BUFFERS: RefCell<(String, Vec<u8>)> = RefCell::default();
}

/// After how many events of a request others get their turn on the thread.
const EVENTS_PER_TURN: usize = 256;

/// One event of many on its way, or refused.
struct Offered {
    of: Option<EventType>,
    event_id: Option<EventId>,
    result: Result<NewKey, Problem>,
}

/// What became of one event of many.
pub(crate) struct Published {
    /// Its id, once it had one.
    pub(crate) event_id: Option<EventId>,
    pub(crate) result: Result<(), Problem>,
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
        self.metrics.count(Some(E::TYPE), &published);
        published
    }

    async fn offer_and_wait<E: Event>(&self, event: &E) -> Result<(), Problem> {
        let receipts = Receipts::new(1);
        let offered_at = Instant::now();
        let key = self.offer_under_key(event, receipts.receipt(0))?;
        self.wait(&receipts, offered_at).await;
        self.judge(key, receipts.outcome(0))
    }

    /// Publishes many events, each for itself: whatever is wrong with one, the others take their way. Returns what
    /// became of each, in order.
    pub(crate) async fn publish_all(&self, events: &[&[u8]]) -> Vec<Published> {
        let receipts = Receipts::new(events.len());
        let offered_at = Instant::now();
        let mut offered = Vec::with_capacity(events.len());
        for (index, json) in events.iter().enumerate() {
            offered.push(self.offer_one(json, receipts.receipt(index)));
            if index % EVENTS_PER_TURN == EVENTS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        if offered.iter().any(|offered| offered.result.is_ok()) {
            self.wait(&receipts, offered_at).await;
        }
        let judged = offered.into_iter().enumerate().map(|(index, Offered { of, event_id, result })| {
            let result = result.and_then(|key| self.judge(key, receipts.outcome(index)));
            self.metrics.count(of, &result);
            Published { event_id, result }
        });
        judged.collect()
    }

    fn offer_one(&self, json: &[u8], receipt: Receipt) -> Offered {
        match Mixed::from_json(json, |key| self.accept(key)) {
            Ok(Mixed::Expectation(event)) => self.offer_of(&event, receipt),
            Ok(Mixed::Coupon(event)) => self.offer_of(&event, receipt),
            Ok(Mixed::Like(event)) => self.offer_of(&event, receipt),
            Err(InvalidMixed { of, invalid }) => Offered { of, event_id: None, result: Err(invalid.into()) },
        }
    }

    fn offer_of<E: Event>(&self, event: &E, receipt: Receipt) -> Offered {
        let result = self.offer_under_key(event, receipt);
        Offered { of: Some(E::TYPE), event_id: Some(event.event_id()), result }
    }

    /// Offers an event unless its key came with other words before.
    fn offer_under_key<E: Event>(&self, event: &E, receipt: Receipt) -> Result<NewKey, Problem> {
        let key = self.keys.note(event)?;
        match self.offer(event, receipt) {
            Ok(()) => Ok(key),
            Err(problem) => {
                self.keys.forget(key);
                Err(problem)
            }
        }
    }

    fn offer<E: Event>(&self, event: &E, receipt: Receipt) -> Result<(), Problem> {
        BUFFERS.with_borrow_mut(|(key, value)| {
            key.clear();
            value.clear();
            event.write_partition_key(self.keying, key);
            encode(event, value);
            let record = Record {
                topic: Topic::Events(E::TYPE),
                key: Some(key.as_bytes()),
                value: Some(value.as_slice()),
                headers: &[],
            };
            Ok(self.publisher.offer(&record, receipt)?)
        })
    }

    /// Waits for all receipts, at most until the deadline: those that are open then read `Unknown`, as whoever does
    /// not hear in time must not conclude that nothing was stored.
    async fn wait(&self, receipts: &Receipts, offered_at: Instant) {
        if tokio::time::timeout(self.limits.request_deadline, receipts.all()).await.is_ok() {
            self.metrics.seconds.observe(offered_at.elapsed().as_secs_f64());
        }
    }

    /// What a record's outcome is answered. One that is certainly not stored has not used its key.
    fn judge(&self, key: NewKey, outcome: Outcome) -> Result<(), Problem> {
        match outcome {
            Outcome::Stored => Ok(()),
            Outcome::NotStored => {
                self.keys.forget(key);
                Err(Problem::not_stored())
            }
            Outcome::Unknown => Err(Problem::outcome_unknown()),
        }
    }
}
