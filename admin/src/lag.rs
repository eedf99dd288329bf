//! Lag as operators see it: read in the background, told as JSON and as gauges.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{GroupLag, LagSnapshot, PartitionLag, Strategy, Topic};
use floodgate_observe::LagGauges;
use floodgate_schemas::{EventType, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// What `/lag` and `floodgate lag --json` say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LagReport {
    /// When the positions were read; `null` when they never were.
    pub as_of: Option<String>,
    /// Every configured group.
    pub groups: Vec<Group>,
}

/// One group.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Its name.
    pub group: String,
    /// `EMPTY` without members, `LAGGING` with records waiting, else `OK`.
    pub status: &'static str,
    /// How many members it has; `null` when the strategy cannot tell.
    pub members: Option<usize>,
    /// Its topics.
    pub topics: Vec<TopicLag>,
}

/// One topic of a group.
#[derive(Debug, Clone, Serialize)]
pub struct TopicLag {
    /// Its name.
    pub topic: String,
    /// Every partition.
    pub partitions: Vec<PartitionReport>,
}

/// One partition of a group.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionReport {
    /// Its number.
    pub partition: i32,
    /// The oldest record's offset.
    pub start_offset: i64,
    /// The next record's offset.
    pub end_offset: i64,
    /// The next offset the group reads; `null` when it never committed.
    pub committed_offset: Option<i64>,
    /// Records waiting.
    pub lag: u64,
    /// Age of the oldest of them, in seconds.
    pub lag_seconds: f64,
    /// Records that expired before they were read.
    pub missing: u64,
    /// The member that reads it; not told yet.
    pub member: Option<String>,
}

impl LagReport {
    /// A snapshot that was read at `as_of`; ages count to that moment.
    pub fn new(snapshot: &LagSnapshot, as_of: Timestamp) -> Self {
        let now_ms = as_of.as_micros() / 1000;
        let groups = snapshot.groups.iter().map(|group| Group::new(group, now_ms)).collect();
        Self { as_of: Some(as_of.to_string()), groups }
    }

    /// Before the first answer: the groups are known, nothing of them.
    fn never_read(strategy: &dyn Strategy) -> Self {
        let group = |of: EventType| Group {
            group: strategy.group_name(of),
            status: "EMPTY",
            members: None,
            topics: vec![TopicLag { topic: strategy.topic_name(Topic::Events(of)), partitions: Vec::new() }],
        };
        Self { as_of: None, groups: EventType::ALL.map(group).into() }
    }
}

impl Group {
    fn new(group: &GroupLag, now_ms: i64) -> Self {
        let lag: u64 = group.partitions.iter().map(PartitionLag::lag).sum();
        let status = match (group.members, lag) {
            (Some(0), _) => "EMPTY",
            (_, 0) => "OK",
            _ => "LAGGING",
        };
        let partitions = group.partitions.iter().map(|lag| PartitionReport::new(lag, now_ms)).collect();
        Self {
            group: group.group.clone(),
            status,
            members: group.members,
            topics: vec![TopicLag { topic: group.topic.clone(), partitions }],
        }
    }
}

impl PartitionReport {
    fn new(lag: &PartitionLag, now_ms: i64) -> Self {
        Self {
            partition: lag.partition.0,
            start_offset: lag.start.0,
            end_offset: lag.end.0,
            committed_offset: lag.committed.map(|offset| offset.0),
            lag: lag.lag(),
            lag_seconds: lag.lag_seconds(now_ms),
            missing: lag.missing(),
            member: None,
        }
    }
}

/// Reads the groups' positions again and again.
pub struct LagWatch {
    strategy: Arc<dyn Strategy>,
    gauges: Option<LagGauges>,
    latest: Mutex<Arc<LagReport>>,
}

impl LagWatch {
    /// Over a strategy; `gauges` only in the process that exports them.
    pub fn new(strategy: Arc<dyn Strategy>, gauges: Option<LagGauges>) -> Arc<Self> {
        let latest = Mutex::new(Arc::new(LagReport::never_read(&*strategy)));
        Arc::new(Self { strategy, gauges, latest })
    }

    /// The newest report.
    pub fn latest(&self) -> Arc<LagReport> {
        Arc::clone(&self.latest.lock())
    }

    /// Reads every `refresh` until `stop`.
    pub async fn run(self: Arc<Self>, refresh: Duration, stop: CancellationToken) {
        let mut well = true;
        while !stop.is_cancelled() {
            let strategy = Arc::clone(&self.strategy);
            let read = tokio::task::spawn_blocking(move || strategy.lag()).await;
            match read {
                Ok(Ok(snapshot)) => {
                    self.keep(&snapshot);
                    well = true;
                }
                Ok(Err(error)) => {
                    // the publisher's readiness tells of a broker that is away; once is enough here
                    if std::mem::replace(&mut well, false) {
                        tracing::warn!("lag not read, the last values stay: {error}");
                    }
                }
                Err(error) => tracing::error!(%error, "lag not read"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(refresh) => {}
            }
        }
    }

    fn keep(&self, snapshot: &LagSnapshot) {
        let now = Timestamp::now();
        let report = LagReport::new(snapshot, now);
        if let Some(gauges) = &self.gauges {
            gauges.as_of.set(now.as_micros() as f64 / 1e6);
            for group in &report.groups {
                for topic in &group.topics {
                    topic
                        .partitions
                        .iter()
                        .for_each(|partition| set(gauges, &group.group, &topic.topic, partition));
                }
            }
        }
        *self.latest.lock() = Arc::new(report);
    }
}

fn set(gauges: &LagGauges, group: &str, topic: &str, report: &PartitionReport) {
    let partition = report.partition.to_string();
    let labels = &[group, topic, &partition];
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    gauges.records.with_label_values(labels).set(count(report.lag));
    gauges.seconds.with_label_values(labels).set(report.lag_seconds);
    gauges.missing.with_label_values(labels).set(count(report.missing));
    gauges.kafka_lag.with_label_values(labels).set(count(report.lag));
    // as Kafka's exporters do, nothing is exported for an offset that was never committed
    if let Some(committed) = report.committed_offset {
        gauges.kafka_group_offset.with_label_values(labels).set(committed);
    }
    gauges.kafka_end_offset.with_label_values(&[topic, &partition]).set(report.end_offset);
}
