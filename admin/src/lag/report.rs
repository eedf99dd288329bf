//! What `/lag` and `floodgate lag` say of positions that were read.

use floodgate_buffer::{GroupLag, Lag, LagError, Names, PartitionLag, SpillLag};
use floodgate_schemas::{Clock, EventType, Timestamp};
use serde::Serialize;

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
    pub(super) as_of: Timestamp,
    pub(super) lag: GroupLag,
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
    pub(super) fn latest(names: &Names, latest: &[Option<Reading>], spill: Option<SpillReport>) -> Self {
        let as_of = oldest(latest.iter().flatten()).map(|at| at.to_string());
        let group = |(of, reading): (EventType, &Option<Reading>)| match reading {
            Some(reading) => Group::new(reading),
            None => Group::never_read(names, of),
        };
        let groups = EventType::ALL.into_iter().zip(latest).map(group).collect();
        Self { as_of, groups, spill }
    }
}

pub(super) fn oldest<'r>(readings: impl IntoIterator<Item = &'r Reading>) -> Option<Timestamp> {
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
    pub(super) fn new(Reading { as_of, lag: group }: &Reading) -> Self {
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

    pub(super) fn unknown(partition: i32, why: &str) -> Self {
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
