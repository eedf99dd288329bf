//! What is counted of the events that clients send.

use floodgate_observe::Metrics;
use floodgate_schemas::EventType;
use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::accepted::StoredIn;
use crate::problem::{self, Kind, Problem};

/// The type of what does not say its type.
const UNKNOWN: &str = "unknown";

/// What events are refused for, which counts from the start: rates of what is not there yet are none.
static REFUSALS: [&Kind; 19] = [
    &problem::MALFORMED_JSON,
    &problem::INVALID_REQUEST,
    &problem::INVALID_FIELD,
    &problem::INVALID_VALUE,
    &problem::IDEMPOTENCY_KEY_REUSED,
    &problem::FORBIDDEN,
    &problem::UNKNOWN_COUPON,
    &problem::SOLD_OUT,
    &problem::BODY_TIMEOUT,
    &problem::BODY_TOO_LARGE,
    &problem::TOO_MANY_EVENTS,
    &problem::UNSUPPORTED_MEDIA_TYPE,
    &problem::RATE_LIMITED,
    &problem::QUEUE_FULL,
    &problem::BUSY,
    &problem::NOT_STORED,
    &problem::SHUTTING_DOWN,
    &problem::OUTCOME_UNKNOWN,
    &problem::INTERNAL,
];

/// The metrics of the hot path, looked up once.
pub(crate) struct PublishMetrics {
    accepted: [IntCounter; EventType::ALL.len()],
    spilled: [IntCounter; EventType::ALL.len()],
    refused: IntCounterVec,
    pub(crate) seconds: Histogram,
}

impl PublishMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        for of in EventType::ALL.map(EventType::name).into_iter().chain([UNKNOWN]) {
            let may_be =
                REFUSALS.iter().map(|kind| metrics.events_refused.with_label_values(&[of, kind.name]));
            may_be.for_each(drop);
        }
        Self {
            accepted: EventType::ALL.map(|of| metrics.events_accepted.with_label_values(&[of.name()])),
            spilled: EventType::ALL.map(|of| metrics.events_spilled.with_label_values(&[of.name()])),
            refused: metrics.events_refused.clone(),
            seconds: metrics.publish_seconds.clone(),
        }
    }

    /// Counts one event by what it is answered. One that does not say its type is of type `unknown`.
    pub(crate) fn count(&self, of: Option<EventType>, result: Result<StoredIn, &Problem>) {
        match (result, of) {
            (Ok(stored_in), Some(of)) => {
                self.accepted[of as usize].inc();
                if stored_in.is_some() {
                    self.spilled[of as usize].inc();
                }
            }
            (Ok(_), None) => {}
            (Err(problem), of) => {
                let of = of.map_or(UNKNOWN, EventType::name);
                self.refused.with_label_values(&[of, problem.name()]).inc();
            }
        }
    }
}
