//! What `/lag` and `floodgate lag` say of positions that were read.

use floodgate_buffer::{Names, Partition, PartitionLag, SpillLag};
use floodgate_lag::{PartitionVerdict, Rates, Status, Verdict};
use floodgate_schemas::{Clock, EventType, Timestamp};
use serde::{Serialize, Serializer};

use super::courses::{Courses, Latest};
use super::hot::HotKey;
use super::reading::Reading;

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
    /// How it stands, as the course of its offsets tells ([`Status`]); `UNKNOWN` before the first reading, and since the last that
    /// failed.
    #[serde(serialize_with = "name_of")]
    pub status: Status,
    /// The same in a sentence.
    pub reason: String,
    /// How many members it has; `null` when the strategy cannot tell.
    pub members: Option<usize>,
    /// What came and what was applied lately; `null` before a second reading.
    pub rates_per_second: Option<RatesReport>,
    /// After how many seconds nothing waits any more, at these rates; `null` for never, or not known.
    pub seconds_to_catch_up: Option<f64>,
    /// How many members have something to do.
    pub useful_members: Option<usize>,
    /// How much waits where the strategy numbers no records; there are no partitions then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueReport>,
    /// Its topics.
    pub topics: Vec<TopicLag>,
}

/// Records a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RatesReport {
    /// Those that came.
    pub r#in: f64,
    /// Those that were applied, dead letters among them.
    pub applied: f64,
}

impl From<Rates> for RatesReport {
    fn from(rates: Rates) -> Self {
        // more digits would say more than is known
        let rounded = |rate: f64| (rate * 10.0).round() / 10.0;
        Self { r#in: rounded(rates.came), applied: rounded(rates.applied) }
    }
}

fn name_of<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
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
    /// How it stands.
    #[serde(serialize_with = "name_of")]
    pub status: Status,
    /// What came and what was applied lately.
    pub rates_per_second: Option<RatesReport>,
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
    /// The member that reads it; `null` when nobody does, or where it cannot be told.
    pub member: Option<String>,
    /// What that member says of why it does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// The key that is most of what waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_key: Option<HotKey>,
}

impl LagReport {
    /// What is known of the groups that were ever read.
    pub fn known(courses: &Courses, spill: Option<SpillReport>) -> Self {
        let known: Vec<_> = EventType::ALL.into_iter().filter_map(|of| courses.latest(of)).collect();
        let as_of = oldest(known.iter().map(|known| &known.reading)).map(|at| at.to_string());
        Self { as_of, groups: known.into_iter().map(Group::new).collect(), spill }
    }

    /// What is known of every group, also of those that were never read.
    pub(super) fn all(names: &Names, courses: &Courses, spill: Option<SpillReport>) -> Self {
        let groups = EventType::ALL.map(|of| Group::of(names, courses, of)).into();
        Self { groups, ..Self::known(courses, spill) }
    }
}

pub(super) fn oldest<'r>(readings: impl IntoIterator<Item = &'r Reading>) -> Option<Timestamp> {
    readings.into_iter().map(|reading| reading.as_of).min()
}

impl Group {
    /// What is known of a group, if it was ever read.
    pub(super) fn of(names: &Names, courses: &Courses, of: EventType) -> Self {
        courses.latest(of).map_or_else(|| Self::never_read(names, of, courses.failed(of)), Self::new)
    }

    /// Its names are known, and nothing else.
    fn never_read(names: &Names, of: EventType, why: Option<&str>) -> Self {
        Self {
            group: names.group(of).to_owned(),
            as_of: None,
            status: Status::Unknown,
            reason: why.map_or_else(|| "not read yet".to_owned(), |why| format!("not read yet: {why}")),
            members: None,
            rates_per_second: None,
            seconds_to_catch_up: None,
            useful_members: None,
            queue: None,
            topics: vec![TopicLag { topic: names.events(of).to_owned(), partitions: Vec::new() }],
        }
    }

    /// Records that wait, as far as that is known.
    pub fn waiting(&self) -> u64 {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let counted = self.queue.map_or(0, |queue| queue.lag);
        partitions.filter_map(|partition| partition.lag).sum::<u64>() + counted
    }

    /// Whether of some partitions nothing is known, or of none.
    pub fn is_partly_unknown(&self) -> bool {
        let mut partitions = self.topics.iter().flat_map(|topic| &topic.partitions).peekable();
        let is_empty = partitions.peek().is_none() && self.queue.is_none();
        is_empty || partitions.any(|partition| partition.lag.is_none())
    }

    /// Ages count to the moment of the reading.
    pub(super) fn new(Latest { reading, verdict, failed }: &Latest) -> Self {
        let Reading { as_of, lag: group, hot_keys, .. } = reading;
        let now_ms = as_of.as_micros() / 1000;
        // what was true then may be true no more
        let unknown_now = Verdict::unknown();
        let now = if failed.is_some() { &unknown_now } else { verdict };
        let of = |number: i32| now.partitions.get(&number);
        let known = group.partitions.iter().map(|lag| PartitionReport {
            hot_key: hot_keys.iter().find(|(hot, _)| *hot == lag.partition).map(|(_, hot)| hot.clone()),
            ..PartitionReport::new(lag, of(lag.partition.0), now_ms)
        });
        let unknown = group.unknown.iter().map(|(partition, why)| PartitionReport::unknown(partition.0, why));
        let mut partitions: Vec<_> = known.chain(unknown).collect();
        partitions.sort_by_key(|report| report.partition);
        let Verdict { status, rates_per_second, seconds_to_catch_up, useful_members, .. } = now;
        Self {
            group: group.group.clone(),
            as_of: Some(as_of.to_string()),
            status: *status,
            reason: match failed {
                Some(why) => format!(
                    "not read since: {why}; then it was {}, {}",
                    verdict.status.name(),
                    verdict.reason
                ),
                None => with_hot_key(&verdict.reason, hot_keys),
            },
            members: group.members.filter(|_| failed.is_none()),
            rates_per_second: rates_per_second.map(RatesReport::from),
            seconds_to_catch_up: *seconds_to_catch_up,
            useful_members: *useful_members,
            queue: group
                .queue
                .map(|queue| QueueReport { lag: queue.waiting, lag_seconds: queue.lag_seconds(now_ms) }),
            topics: vec![TopicLag { topic: group.topic.clone(), partitions }],
        }
    }
}

/// One key for all: whoever has several sees them on the partitions.
fn with_hot_key(reason: &str, hot_keys: &[(Partition, HotKey)]) -> String {
    match hot_keys.first() {
        Some((partition, HotKey { key, share, of })) => format!(
            "{reason}; key {key} is {:.0} % of the first {of} that wait on partition {partition}",
            share * 100.0
        ),
        None => reason.to_owned(),
    }
}

impl PartitionReport {
    fn new(lag: &PartitionLag, verdict: Option<&PartitionVerdict>, now_ms: i64) -> Self {
        Self {
            partition: lag.partition.0,
            status: verdict.map_or(Status::Unknown, |verdict| verdict.status),
            rates_per_second: verdict.and_then(|verdict| verdict.rates_per_second).map(RatesReport::from),
            start_offset: Some(lag.start.0),
            end_offset: Some(lag.end.0),
            committed_offset: lag.committed.map(|offset| offset.0),
            lag: Some(lag.lag()),
            unreadable: Some(lag.unreadable()),
            lag_seconds: lag.lag_seconds(now_ms),
            missing: Some(lag.missing()),
            unknown: None,
            member: lag.member.clone(),
            word: lag.word.as_ref().map(|word| word.why.clone()),
            hot_key: None,
        }
    }

    pub(super) fn unknown(partition: i32, why: &str) -> Self {
        Self {
            partition,
            status: Status::Unknown,
            rates_per_second: None,
            start_offset: None,
            end_offset: None,
            committed_offset: None,
            lag: None,
            unreadable: None,
            lag_seconds: None,
            missing: None,
            unknown: Some(why.to_owned()),
            member: None,
            word: None,
            hot_key: None,
        }
    }
}
