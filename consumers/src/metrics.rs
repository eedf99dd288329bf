//! The metrics of one group's members, looked up once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use floodgate_buffer::{Incident, Partition};
use floodgate_observe::Metrics;
use floodgate_schemas::codec::DecodeError;
use floodgate_schemas::dead_letter::BAD_ROW;
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
    /// The members that hold a partition for a reason. One that lost it may say so after the next one already holds it.
    holders: Mutex<HashMap<(Partition, &'static str), BTreeSet<usize>>>,
    incidents: IntCounterVec,
    pub(crate) rebalances: IntCounter,
    processed: IntCounter,
    processed_failed: IntCounter,
}

impl PipelineMetrics {
    /// Of a group that applies `of`. What may be counted is there from the start: rates of what is not there yet are none.
    pub(crate) fn new(metrics: &Metrics, of: EventType, group: &str) -> Self {
        let of_type = &[of.name()];
        for outcome in ApplyOutcome::ALL.into_iter().filter(|outcome| outcome.is_of(of)) {
            metrics.events_applied.with_label_values(&[of.name(), outcome.name()]);
        }
        for reason in DecodeError::REASONS.into_iter().chain([BAD_ROW]) {
            metrics.dead_letters.with_label_values(&[group, reason]);
        }
        for incident in Incident::ALL {
            metrics.position_incidents.with_label_values(&[group, incident.name()]);
        }
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
            holders: Mutex::default(),
            incidents: metrics.position_incidents.clone(),
            rebalances: metrics.rebalances.with_label_values(&[group]),
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

    /// Whether a member holds a partition for this reason.
    pub(crate) fn held(
        &self,
        (group, member): (&str, usize),
        partition: Partition,
        reason: &'static str,
        held: bool,
    ) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = holders.entry((partition, reason)).or_default();
        match held {
            true => of_it.insert(member),
            false => of_it.remove(&member),
        };
        let is_held = i64::from(!of_it.is_empty());
        self.held.with_label_values(&[group, &partition.to_string(), reason]).set(is_held);
    }

    /// A member begins, and holds nothing: one before it under its number may have ended without a word.
    pub(crate) fn holds_nothing(&self, (group, member): (&str, usize)) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        for ((partition, reason), of_it) in &mut *holders {
            if of_it.remove(&member) && of_it.is_empty() {
                self.held.with_label_values(&[group, &partition.to_string(), reason]).set(0);
            }
        }
    }

    pub(crate) fn dead_lettered(&self, group: &str, reason: &str) {
        self.dead_letters.with_label_values(&[group, reason]).inc();
        self.processed_failed.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_counted_is_there_at_0() {
        let metrics = Metrics::new().unwrap();
        PipelineMetrics::new(&metrics, EventType::Like, "g");
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            r#"floodgate_events_applied_total{outcome="superseded",type="like"} 0"#,
            r#"floodgate_dead_letters_total{group="g",reason="bad-row"} 0"#,
            r#"floodgate_dead_letters_total{group="g",reason="undecodable"} 0"#,
            r#"floodgate_position_incidents_total{group="g",kind="another-log"} 0"#,
            r#"floodgate_group_rebalances_total{group="g"} 0"#,
            r#"floodgate_apply_retries_total{type="like"} 0"#,
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("ISSUED"), "no like is issued");
    }

    /// A partition moves: its new member holds it before the former one has looked.
    #[test]
    fn a_partition_is_held_as_long_as_any_member_holds_it() {
        let metrics = Metrics::new().unwrap();
        let group = PipelineMetrics::new(&metrics, EventType::Like, "g");
        let value = || metrics.partitions_held.with_label_values(&["g", "3", "unreadable"]).get();
        let held = |member, held| group.held(("g", member), Partition(3), "unreadable", held);
        held(1, true);
        held(2, true);
        held(1, false);
        assert_eq!(value(), 1);
        group.held(("g", 2), Partition(3), "bad-records", false);
        assert_eq!(value(), 1, "for another reason");
        held(2, false);
        assert_eq!(value(), 0);
        held(2, false);
        held(1, true);
        held(2, true);
        group.holds_nothing(("g", 2));
        assert_eq!(value(), 1);
        group.holds_nothing(("g", 1));
        assert_eq!(value(), 0);
    }
}
