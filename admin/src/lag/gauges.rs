//! What a process exports of the groups it watches.

use floodgate_buffer::GroupLag;
use floodgate_observe::LagGauges;

use floodgate_lag::Status;

use super::report::{Group, PartitionReport, QueueReport};

/// Partitions that a topic no longer has, as it was made anew with fewer, and those that are not known any more.
pub(super) fn forget(gauges: &LagGauges, before: &GroupLag, now: &GroupLag) {
    for partition in &before.partitions {
        if now.partitions.iter().any(|known| known.partition == partition.partition) {
            continue;
        }
        let partition = partition.partition.to_string();
        let labels = &[before.group.as_str(), before.topic.as_str(), partition.as_str()];
        let LagGauges { records, missing, unreadable, kafka_lag, kafka_group_offset, .. } = gauges;
        for gauge in [records, missing, unreadable, kafka_lag, kafka_group_offset] {
            // an offset that was never committed was never exported
            let _ = gauge.remove_label_values(labels);
        }
        let _ = gauges.seconds.remove_label_values(labels);
        let _ = gauges.kafka_end_offset.remove_label_values(&labels[1..]);
    }
}

/// Of a group as a whole; `desired` is how many members it should have. What is not known is not exported.
pub(super) fn set_group(gauges: &LagGauges, report: &Group, desired: Option<usize>) {
    let group = report.group.as_str();
    for status in Status::ALL {
        let holds = i64::from(status == report.status);
        gauges.status.with_label_values(&[group, status.name()]).set(holds);
    }
    let partitions = report.topics.iter().flat_map(|topic| &topic.partitions);
    let unknown = partitions.filter(|partition| partition.status == Status::Unknown).count();
    gauges.unknown_partitions.with_label_values(&[group]).set(i64::try_from(unknown).unwrap_or(i64::MAX));
    let LagGauges { members, desired_consumers, .. } = gauges;
    for (gauge, value) in [(members, report.members), (desired_consumers, desired)] {
        match value {
            Some(value) => gauge.with_label_values(&[group]).set(i64::try_from(value).unwrap_or(i64::MAX)),
            None => drop(gauge.remove_label_values(&[group])),
        }
    }
    match report.seconds_to_catch_up {
        Some(seconds) => gauges.seconds_to_catch_up.with_label_values(&[group]).set(seconds),
        None => drop(gauges.seconds_to_catch_up.remove_label_values(&[group])),
    }
}

/// Of a queue without partitions, whose label is empty: for Prometheus it is not there.
pub(super) fn set_queue(gauges: &LagGauges, group: &str, topic: &str, report: &QueueReport) {
    let labels = &[group, topic, ""];
    let waiting = i64::try_from(report.lag).unwrap_or(i64::MAX);
    gauges.records.with_label_values(labels).set(waiting);
    gauges.kafka_lag.with_label_values(labels).set(waiting);
    match report.lag_seconds {
        Some(seconds) => gauges.seconds.with_label_values(labels).set(seconds),
        None => drop(gauges.seconds.remove_label_values(labels)),
    }
}

pub(super) fn set(gauges: &LagGauges, group: &str, topic: &str, report: &PartitionReport) {
    let partition = report.partition.to_string();
    let labels = &[group, topic, &partition];
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    // what is not known is not exported: the value before would look like news
    let LagGauges { records, missing, unreadable, kafka_lag, kafka_group_offset, .. } = gauges;
    for (gauge, value) in [
        (records, report.lag.map(count)),
        (missing, report.missing.map(count)),
        (unreadable, report.unreadable.map(count)),
        (kafka_lag, report.lag.map(count)),
        // as Kafka's exporters do, nothing is exported for an offset that was never committed
        (kafka_group_offset, report.committed_offset),
    ] {
        match value {
            Some(value) => gauge.with_label_values(labels).set(value),
            None => drop(gauge.remove_label_values(labels)),
        }
    }
    match report.lag_seconds {
        Some(seconds) => gauges.seconds.with_label_values(labels).set(seconds),
        None => drop(gauges.seconds.remove_label_values(labels)),
    }
    // what may be found of a partition counts from the start
    let _ = (gauges.rewinds.with_label_values(labels), gauges.skips.with_label_values(labels));
    if let Some(end) = report.end_offset {
        gauges.kafka_end_offset.with_label_values(&[topic, &partition]).set(end);
    }
}
