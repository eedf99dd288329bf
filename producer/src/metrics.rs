//! What is counted of the events that clients send.

use floodgate_observe::Metrics;
use floodgate_schemas::EventType;
use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::accepted::StoredIn;
use crate::problem::Problem;

/// The metrics of the hot path, looked up once.
pub(crate) struct PublishMetrics {
    accepted: [IntCounter; EventType::ALL.len()],
    spilled: [IntCounter; EventType::ALL.len()],
    refused: IntCounterVec,
    pub(crate) seconds: Histogram,
}

impl PublishMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
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
                let of = of.map_or("unknown", EventType::name);
                self.refused.with_label_values(&[of, problem.name()]).inc();
            }
        }
    }
}
