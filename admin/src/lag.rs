//! Lag as operators see it: read in the background, told as JSON and as gauges.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{GroupLag, LagError, PartitionLag, Strategy, Topic};
use floodgate_observe::LagGauges;
use floodgate_schemas::{EventType, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What `/lag` and `floodgate lag --json` say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LagReport {
    /// When the positions were read, the oldest of them; `null` when none ever was.
    pub as_of: Option<String>,
    /// Every configured group.
    pub groups: Vec<Group>,
}

/// One group.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub group: String,
    /// When its positions were read; `null` when they never were.
    pub as_of: Option<String>,
    /// `EMPTY` without members, `LAGGING` with records waiting, else `OK`; `UNKNOWN` before the first reading.
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
    /// Age of the oldest of them, in seconds; `null` when it could not be read.
    pub lag_seconds: Option<f64>,
    /// Records that expired before they were read.
    pub missing: u64,
    /// The member that reads it; not told yet.
    pub member: Option<String>,
}

/// One group's positions and when they were read.
#[derive(Debug, Clone)]
pub struct Reading {
    as_of: Timestamp,
    lag: GroupLag,
}

impl Reading {
    /// Reads one group now. Blocks on the network.
    ///
    /// # Errors
    /// [`LagError`] when it cannot be read now.
    pub fn take(strategy: &dyn Strategy, of: EventType) -> Result<Self, LagError> {
        // before, not after: nothing that is told is older than it says
        let as_of = Timestamp::now();
        Ok(Self { as_of, lag: strategy.lag(of)? })
    }
}

impl LagReport {
    /// What was read.
    pub fn new(readings: &[Reading]) -> Self {
        Self {
            as_of: oldest(readings).map(|at| at.to_string()),
            groups: readings.iter().map(Group::new).collect(),
        }
    }

    /// The latest of every group, also of those that were never read.
    fn latest(strategy: &dyn Strategy, latest: &[Option<Reading>]) -> Self {
        let as_of = oldest(latest.iter().flatten()).map(|at| at.to_string());
        let group = |(of, reading): (EventType, &Option<Reading>)| match reading {
            Some(reading) => Group::new(reading),
            None => Group::never_read(strategy, of),
        };
        let groups = EventType::ALL.into_iter().zip(latest).map(group).collect();
        Self { as_of, groups }
    }
}

fn oldest<'r>(readings: impl IntoIterator<Item = &'r Reading>) -> Option<Timestamp> {
    readings.into_iter().map(|reading| reading.as_of).min()
}

impl Group {
    /// Its names are known, and nothing else.
    fn never_read(strategy: &dyn Strategy, of: EventType) -> Self {
        Self {
            group: strategy.group_name(of),
            as_of: None,
            status: "UNKNOWN",
            members: None,
            topics: vec![TopicLag { topic: strategy.topic_name(Topic::Events(of)), partitions: Vec::new() }],
        }
    }

    /// Ages count to the moment of the reading.
    fn new(Reading { as_of, lag: group }: &Reading) -> Self {
        let now_ms = as_of.as_micros() / 1000;
        let lag: u64 = group.partitions.iter().map(PartitionLag::lag).sum();
        let status = match (group.members, lag) {
            (Some(0), _) => "EMPTY",
            (_, 0) => "OK",
            _ => "LAGGING",
        };
        let partitions = group.partitions.iter().map(|lag| PartitionReport::new(lag, now_ms)).collect();
        Self {
            group: group.group.clone(),
            as_of: Some(as_of.to_string()),
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
    /// By event type.
    latest: Mutex<[Option<Reading>; EventType::ALL.len()]>,
}

impl LagWatch {
    /// Over a strategy; `gauges` only in the process that exports them.
    pub fn new(strategy: Arc<dyn Strategy>, gauges: Option<LagGauges>) -> Arc<Self> {
        Arc::new(Self { strategy, gauges, latest: Mutex::default() })
    }

    /// The newest report.
    pub fn latest(&self) -> LagReport {
        LagReport::latest(&*self.strategy, &*self.latest.lock())
    }

    /// Reads every `refresh` until `stop`. One group that cannot be read keeps its last values and holds up no other.
    pub async fn run(self: Arc<Self>, refresh: Duration, stop: CancellationToken) {
        let groups = EventType::ALL.map(|of| Arc::clone(&self).run_one(of, refresh, stop.clone()));
        futures_util::future::join_all(groups).await;
    }

    async fn run_one(self: Arc<Self>, of: EventType, refresh: Duration, stop: CancellationToken) {
        let mut well = true;
        let mut turns = tokio::time::interval(refresh);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            let strategy = Arc::clone(&self.strategy);
            match tokio::task::spawn_blocking(move || Reading::take(&*strategy, of)).await {
                Ok(Ok(reading)) => {
                    self.keep(reading);
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
        }
    }

    fn keep(&self, reading: Reading) {
        let of = reading.lag.of as usize;
        let mut latest = self.latest.lock();
        let before = latest[of].replace(reading);
        let Some(reading) = &latest[of] else { return };
        if let Some(before) = &before {
            self.tell_rewinds(&before.lag, &reading.lag);
        }
        let Some(gauges) = &self.gauges else { return };
        if let Some(before) = before
            && before.lag.partitions.len() > reading.lag.partitions.len()
        {
            forget(gauges, &before.lag, reading.lag.partitions.len());
        }
        let report = Group::new(reading);
        for topic in &report.topics {
            for partition in &topic.partitions {
                set(gauges, &report.group, &topic.topic, partition);
            }
        }
        if let Some(as_of) = oldest(latest.iter().flatten()) {
            gauges.as_of.set(as_of.as_micros() as f64 / 1e6);
        }
    }
}

impl LagWatch {
    /// Nobody of ours moves a committed offset back: someone reset it, it expired, or the topic was made anew. What is
    /// read again changes nothing, but an operator should know.
    fn tell_rewinds(&self, before: &GroupLag, now: &GroupLag) {
        let (group, topic) = (&now.group, &now.topic);
        for (before, now) in before.partitions.iter().zip(&now.partitions) {
            let Some(was) = before.committed else { continue };
            if now.committed.is_some_and(|committed| committed >= was) {
                continue;
            }
            let (partition, found) =
                (now.partition, now.committed.map_or("gone".to_owned(), |now| now.to_string()));
            tracing::error!(
                %group, %topic, %partition, %was, now = found,
                "the committed offset moved back: what lies between is applied again, which changes nothing"
            );
            if let Some(gauges) = &self.gauges {
                let partition = partition.to_string();
                gauges.rewinds.with_label_values(&[group.as_str(), topic, &partition]).inc();
            }
        }
    }
}

/// Partitions that a topic no longer has, as it was made anew with fewer.
fn forget(gauges: &LagGauges, before: &GroupLag, left: usize) {
    for partition in &before.partitions[left..] {
        let partition = partition.partition.to_string();
        let labels = &[before.group.as_str(), before.topic.as_str(), partition.as_str()];
        let LagGauges { records, missing, kafka_lag, kafka_group_offset, .. } = gauges;
        for gauge in [records, missing, kafka_lag, kafka_group_offset] {
            // an offset that was never committed was never exported
            let _ = gauge.remove_label_values(labels);
        }
        let _ = gauges.seconds.remove_label_values(labels);
        let _ = gauges.kafka_end_offset.remove_label_values(&labels[1..]);
    }
}

fn set(gauges: &LagGauges, group: &str, topic: &str, report: &PartitionReport) {
    let partition = report.partition.to_string();
    let labels = &[group, topic, &partition];
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    gauges.records.with_label_values(labels).set(count(report.lag));
    // an age that is not known is not exported: the one before would look like good news
    match report.lag_seconds {
        Some(seconds) => gauges.seconds.with_label_values(labels).set(seconds),
        None => drop(gauges.seconds.remove_label_values(labels)),
    }
    gauges.missing.with_label_values(labels).set(count(report.missing));
    gauges.kafka_lag.with_label_values(labels).set(count(report.lag));
    // as Kafka's exporters do, nothing is exported for an offset that was never committed
    match report.committed_offset {
        Some(committed) => gauges.kafka_group_offset.with_label_values(labels).set(committed),
        None => drop(gauges.kafka_group_offset.remove_label_values(labels)),
    }
    gauges.kafka_end_offset.with_label_values(&[topic, &partition]).set(report.end_offset);
}
