//! The metrics of one group's members, looked up once.

use floodgate_buffer::{Incident, Partition};
use floodgate_observe::Metrics;
use floodgate_schemas::{Event, EventType, Timestamp};
use floodgate_store::ApplyOutcome;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGaugeVec};

pub(crate) struct PipelineMetrics {
    of: EventType,
    applied: IntCounterVec,
    batch_events: Histogram,
    apply_seconds: Histogram,
    accept_to_apply_seconds: Histogram,
    pub(crate) retries: IntCounter,
    pub(crate) ahead: IntCounter,
    dead_letters: IntCounterVec,
    held: IntGaugeVec,
    incidents: IntCounterVec,
    processed: IntCounter,
    processed_failed: IntCounter,
}

impl PipelineMetrics {
    pub(crate) fn new(metrics: &Metrics, of: EventType) -> Self {
        let of_type = &[of.name()];
        Self {
            of,
            applied: metrics.events_applied.clone(),
            batch_events: metrics.batch_events.with_label_values(of_type),
            apply_seconds: metrics.apply_seconds.with_label_values(of_type),
            accept_to_apply_seconds: metrics.accept_to_apply_seconds.with_label_values(of_type),
            ahead: metrics.events_ahead.with_label_values(of_type),
            retries: metrics.apply_retries.with_label_values(of_type),
            dead_letters: metrics.dead_letters.clone(),
            held: metrics.partitions_held.clone(),
            incidents: metrics.position_incidents.clone(),
            processed: metrics.processed_tasks.clone(),
            processed_failed: metrics.processed_tasks_failed.clone(),
        }
    }

    /// A transaction committed at `now`.
    pub(crate) fn applied<E: Event>(
        &self,
        events: &[E],
        outcomes: &[ApplyOutcome],
        seconds: f64,
        now: Timestamp,
    ) {
        self.batch_events.observe(events.len() as f64);
        self.apply_seconds.observe(seconds);
        for event in events {
            self.accept_to_apply_seconds.observe(now.seconds_since(event.accepted_at()).max(0.0));
        }
        // few outcomes, many events: one look-up per outcome
        for outcome in ApplyOutcome::ALL {
            let count = outcomes.iter().filter(|found| **found == outcome).count();
            if count > 0 {
                self.applied.with_label_values(&[self.of.name(), outcome.name()]).inc_by(count as u64);
            }
        }
        self.processed.inc_by(events.len() as u64);
    }

    /// Something happened to the position of a member.
    pub(crate) fn incident(&self, group: &str, incident: Incident) {
        self.incidents.with_label_values(&[group, incident.name()]).inc();
    }

    /// Whether a partition is held for this reason.
    pub(crate) fn held(&self, group: &str, partition: Partition, reason: &str, held: bool) {
        self.held.with_label_values(&[group, &partition.to_string(), reason]).set(held.into());
    }

    pub(crate) fn dead_lettered(&self, group: &str, reason: &str) {
        self.dead_letters.with_label_values(&[group, reason]).inc();
        self.processed_failed.inc();
    }
}
