//! Lag as operators see it: read in the background, told as JSON and as gauges.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{GroupLag, Lag, LagError, Names, PartitionLag, SpillLag};
use floodgate_observe::LagGauges;
use floodgate_schemas::{Clock, EventType, Timestamp};
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
    /// What waits in the fallback; nothing where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spill: Option<SpillReport>,
}

/// What waits in the fallback until it is stored where it belongs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpillReport {
    /// The fallback.
    pub strategy: &'static str,
    /// Records.
    pub waiting: u64,
    /// Age of the oldest of them, in seconds; `null` when it could not be read.
    pub oldest_seconds: Option<f64>,
    /// `idle` when none waits, `filling` while new ones go there, else `draining`.
    pub state: &'static str,
}

impl SpillReport {
    /// As it is now.
    pub fn new(spill: &SpillLag, clock: &dyn Clock) -> Self {
        Self {
            strategy: spill.strategy,
            waiting: spill.waiting,
            oldest_seconds: spill.oldest_seconds(clock.now().as_micros() / 1000),
            state: match (spill.waiting, spill.is_filling) {
                (0, _) => "idle",
                (_, true) => "filling",
                (_, false) => "draining",
            },
        }
    }
}

/// One group.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub group: String,
    /// When its positions were read; `null` when they never were.
    pub as_of: Option<String>,
    /// `EMPTY` without members, `LAGGING` with records waiting, else `OK`; `UNKNOWN` before the first reading, and where nothing is
    /// known to wait but not every partition is known.
    pub status: &'static str,
    /// How many members it has; `null` when the strategy cannot tell.
    pub members: Option<usize>,
    /// How much waits where the strategy numbers no records; there are no partitions then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueReport>,
    /// Its topics.
    pub topics: Vec<TopicLag>,
}

/// What waits in a queue without offsets.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueReport {
    /// Records waiting.
    pub lag: u64,
    /// Age of the oldest of them, in seconds; `null` when it could not be read.
    pub lag_seconds: Option<f64>,
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
    /// The oldest record's offset; `null`, as the others, where the position is not known.
    pub start_offset: Option<i64>,
    /// The next record's offset.
    pub end_offset: Option<i64>,
    /// The next offset the group reads; `null` when it never committed.
    pub committed_offset: Option<i64>,
    /// Records waiting.
    pub lag: Option<u64>,
    /// Those of them that cannot be read yet, since a transaction of another program is open.
    pub unreadable: Option<u64>,
    /// Age of the oldest of them, in seconds; `null` when it could not be read.
    pub lag_seconds: Option<f64>,
    /// Records that expired before they were read.
    pub missing: Option<u64>,
    /// Why the position is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
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
    pub fn take(strategy: &dyn Lag, of: EventType, clock: &dyn Clock) -> Result<Self, LagError> {
        // before, not after: nothing that is told is older than it says
        let as_of = clock.now();
        Ok(Self { as_of, lag: strategy.lag(of)? })
    }
}

impl LagReport {
    /// What was read.
    pub fn new(readings: &[Reading], spill: Option<SpillReport>) -> Self {
        Self {
            as_of: oldest(readings).map(|at| at.to_string()),
            groups: readings.iter().map(Group::new).collect(),
            spill,
        }
    }

    /// The latest of every group, also of those that were never read.
    fn latest(names: &Names, latest: &[Option<Reading>], spill: Option<SpillReport>) -> Self {
        let as_of = oldest(latest.iter().flatten()).map(|at| at.to_string());
        let group = |(of, reading): (EventType, &Option<Reading>)| match reading {
            Some(reading) => Group::new(reading),
            None => Group::never_read(names, of),
        };
        let groups = EventType::ALL.into_iter().zip(latest).map(group).collect();
        Self { as_of, groups, spill }
    }
}

fn oldest<'r>(readings: impl IntoIterator<Item = &'r Reading>) -> Option<Timestamp> {
    readings.into_iter().map(|reading| reading.as_of).min()
}

impl Group {
    /// Its names are known, and nothing else.
    fn never_read(names: &Names, of: EventType) -> Self {
        Self {
            group: names.group(of).to_owned(),
            as_of: None,
            status: "UNKNOWN",
            members: None,
            queue: None,
            topics: vec![TopicLag { topic: names.events(of).to_owned(), partitions: Vec::new() }],
        }
    }

    /// Ages count to the moment of the reading.
    fn new(Reading { as_of, lag: group }: &Reading) -> Self {
        let now_ms = as_of.as_micros() / 1000;
        let status = match (group.members, group.waiting()) {
            (Some(0), _) => "EMPTY",
            (_, 0) if !group.unknown.is_empty() => "UNKNOWN",
            (_, 0) => "OK",
            _ => "LAGGING",
        };
        let known = group.partitions.iter().map(|lag| PartitionReport::new(lag, now_ms));
        let unknown = group.unknown.iter().map(|(partition, why)| PartitionReport::unknown(partition.0, why));
        let mut partitions: Vec<_> = known.chain(unknown).collect();
        partitions.sort_by_key(|report| report.partition);
        Self {
            group: group.group.clone(),
            as_of: Some(as_of.to_string()),
            status,
            members: group.members,
            queue: group
                .queue
                .map(|queue| QueueReport { lag: queue.waiting, lag_seconds: queue.lag_seconds(now_ms) }),
            topics: vec![TopicLag { topic: group.topic.clone(), partitions }],
        }
    }
}

impl PartitionReport {
    fn new(lag: &PartitionLag, now_ms: i64) -> Self {
        Self {
            partition: lag.partition.0,
            start_offset: Some(lag.start.0),
            end_offset: Some(lag.end.0),
            committed_offset: lag.committed.map(|offset| offset.0),
            lag: Some(lag.lag()),
            unreadable: Some(lag.unreadable()),
            lag_seconds: lag.lag_seconds(now_ms),
            missing: Some(lag.missing()),
            unknown: None,
            member: None,
        }
    }

    fn unknown(partition: i32, why: &str) -> Self {
        Self {
            partition,
            start_offset: None,
            end_offset: None,
            committed_offset: None,
            lag: None,
            unreadable: None,
            lag_seconds: None,
            missing: None,
            unknown: Some(why.to_owned()),
            member: None,
        }
    }
}

/// Reads the groups' positions again and again.
pub struct LagWatch {
    lag: Arc<dyn Lag>,
    names: Names,
    gauges: Option<LagGauges>,
    clock: Arc<dyn Clock>,
    /// By event type.
    latest: Mutex<[Option<Reading>; EventType::ALL.len()]>,
    spill: Mutex<Option<SpillReport>>,
}

impl LagWatch {
    /// Over what tells it, of groups with these names; `gauges` only in the process that exports them.
    pub fn new(
        lag: Arc<dyn Lag>,
        names: Names,
        gauges: Option<LagGauges>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self { lag, names, gauges, clock, latest: Mutex::default(), spill: Mutex::default() })
    }

    /// The newest report.
    pub fn latest(&self) -> LagReport {
        LagReport::latest(&self.names, &*self.latest.lock(), self.spill.lock().clone())
    }

    /// Reads every `refresh` until `stop`. One group that cannot be read keeps its last values and holds up no other.
    pub async fn run(self: Arc<Self>, refresh: Duration, stop: CancellationToken) {
        let groups = EventType::ALL.map(|of| {
            let read = move |watch: &Self| Reading::take(&*watch.lag, of, &*watch.clock).map(Some);
            Arc::clone(&self).run_one(read, |watch, reading| watch.keep(reading), refresh, stop.clone())
        });
        let spill = Arc::clone(&self).run_one(
            |watch| watch.lag.spill().transpose().map(|spill| Some(SpillReport::new(&spill?, &*watch.clock))),
            |watch, spill| watch.keep_spill(spill),
            refresh,
            stop.clone(),
        );
        tokio::join!(futures_util::future::join_all(groups), spill);
    }

    /// Reads and keeps one thing again and again, if there is anything.
    async fn run_one<T: Send + 'static>(
        self: Arc<Self>,
        read: impl Fn(&Self) -> Result<Option<T>, LagError> + Copy + Send + 'static,
        keep: impl Fn(&Self, T),
        refresh: Duration,
        stop: CancellationToken,
    ) {
        let mut well = true;
        let mut turns = tokio::time::interval(refresh);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            let watch = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || read(&watch)).await {
                Ok(Ok(Some(found))) => {
                    keep(&self, found);
                    well = true;
                }
                Ok(Ok(None)) => return,
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

    fn keep_spill(&self, spill: SpillReport) {
        if let Some(gauges) = &self.gauges {
            let waiting = i64::try_from(spill.waiting).unwrap_or(i64::MAX);
            gauges.spill_waiting.with_label_values::<&str>(&[]).set(waiting);
        }
        *self.spill.lock() = Some(spill);
    }

    fn keep(&self, reading: Reading) {
        let of = reading.lag.of as usize;
        let mut latest = self.latest.lock();
        let before = latest[of].replace(reading);
        let Some(reading) = &latest[of] else { return };
        if let Some(before) = &before {
            self.tell_moves(&before.lag, &reading.lag);
        }
        let known_foreigners = before.as_ref().map_or(&[][..], |before| &before.lag.foreign_members);
        tell_foreigners(known_foreigners, &reading.lag);
        let Some(gauges) = &self.gauges else { return };
        if let Some(before) = before {
            forget(gauges, &before.lag, &reading.lag);
        }
        let foreigners = i64::try_from(reading.lag.foreign_members.len()).unwrap_or(i64::MAX);
        gauges.foreign_members.with_label_values(&[&reading.lag.group]).set(foreigners);
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
    /// read again changes nothing, but an operator should know. Nor does anybody of ours go on without marking its commits:
    /// an offset that another program moved forward passes over what was never applied.
    fn tell_moves(&self, before: &GroupLag, now: &GroupLag) {
        let (group, topic) = (&now.group, &now.topic);
        for now in &now.partitions {
            let before = before.partitions.iter().find(|before| before.partition == now.partition);
            let Some(was) = before.and_then(|before| before.committed) else { continue };
            let partition = now.partition;
            let counter = match now.committed {
                Some(committed) if committed > was && now.set_by_others => {
                    tracing::error!(
                        %group, %topic, %partition, %was, now = %committed, skipped = committed.0 - was.0,
                        "another program moved the committed offset forward: what lies between was not applied, unless it was \
                         before; `floodgate verify` tells and `floodgate reapply` mends"
                    );
                    self.gauges.as_ref().map(|gauges| &gauges.skips)
                }
                Some(committed) if committed >= was => continue,
                committed => {
                    let found = committed.map_or("gone".to_owned(), |now| now.to_string());
                    tracing::error!(
                        %group, %topic, %partition, %was, now = found,
                        "the committed offset moved back: what lies between is applied again, which changes nothing"
                    );
                    self.gauges.as_ref().map(|gauges| &gauges.rewinds)
                }
            };
            if let Some(counter) = counter {
                counter.with_label_values(&[group.as_str(), topic, &partition.to_string()]).inc();
            }
        }
    }
}

/// Members of other programs take partitions and commit offsets as they like.
fn tell_foreigners(before: &[String], now: &GroupLag) {
    if now.foreign_members != before && !now.foreign_members.is_empty() {
        tracing::error!(
            group = %now.group, members = now.foreign_members.join(", "),
            "the group has members of other programs: what they take is not applied"
        );
    }
}

/// Partitions that a topic no longer has, as it was made anew with fewer, and those that are not known any more.
fn forget(gauges: &LagGauges, before: &GroupLag, now: &GroupLag) {
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

fn set(gauges: &LagGauges, group: &str, topic: &str, report: &PartitionReport) {
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
    if let Some(end) = report.end_offset {
        gauges.kafka_end_offset.with_label_values(&[topic, &partition]).set(end);
    }
}

#[cfg(test)]
mod tests;
