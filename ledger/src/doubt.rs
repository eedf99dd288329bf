//! What is gone from the log: lost where it certainly was never applied, and else nobody can tell.
//!
//! A committed offset says that everything before it was applied, or dead-lettered. So what has expired before it was
//! done, is only not checked, and needs no operator. What has expired at or beyond it was lost if the group had still
//! not read it by then; and where a group has no committed offset nothing says how far it was.

use std::fmt;

use floodgate_buffer::{GroupLag, Offset, PartitionLag};
use floodgate_schemas::{EventId, Timestamp};
use serde::Serialize;

use crate::range::OffsetRange;
use crate::record::RecordReport;
use crate::state::Damage;

/// An event that is older than this, under a group that has never committed, is hardly on its way: a group commits within
/// seconds of the first event it applies.
const OLD_MS: i64 = 3_600_000;

/// The kind of doubt about a missing event whose dead letter may have expired.
pub const DEAD_LETTER_EXPIRED: &str = "deadLetterExpired";

/// The kind of doubt about a missing event whose dead letter may be where letters cannot be read now.
pub const DEAD_LETTER_UNREAD: &str = "deadLetterUnread";

const DAMAGED: &str = "damaged";
const PARTITION_UNKNOWN: &str = "partitionUnknown";

/// Records that nobody can apply any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// `expiredUnread`, or `compacted`: removed because a later record has the same key.
    pub kind: &'static str,
    /// The type's name.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// The topic's full name.
    pub topic: String,
    /// Where they stood.
    #[serde(flatten)]
    pub range: OffsetRange,
    /// The group that was to apply them.
    pub group: String,
    /// How many offsets these are.
    pub records: u64,
    /// What can be done.
    pub mend: String,
}

impl Lost {
    pub(crate) fn unread(lag: &GroupLag, range: OffsetRange) -> Self {
        let mend = "nothing in the log brings them back: clients have to send them again; start consumers before \
                    topics.retention_hours are over";
        Self::new("expiredUnread", lag, range, mend)
    }

    pub(crate) fn compacted(lag: &GroupLag, range: OffsetRange) -> Self {
        let mend = "set cleanup.policy=delete on the topic; what is gone clients have to send again, unless it was \
                    applied before";
        Self::new("compacted", lag, range, mend)
    }

    fn new(kind: &'static str, lag: &GroupLag, range: OffsetRange, mend: &str) -> Self {
        Self {
            kind,
            of: lag.of.name(),
            topic: lag.topic.clone(),
            range,
            group: lag.group.clone(),
            records: range.offsets(),
            mend: mend.to_owned(),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, topic, range, group, mend, .. } = self;
        match self.kind {
            "compacted" => write!(f, "{of} {topic} {range}: removed by compaction; {mend}"),
            _ => write!(f, "{of} {topic} {range}: expired before the group {group} read them; {mend}"),
        }
    }
}

/// Something of which nobody can tell whether it is a violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Doubt {
    /// `groupNeverCommitted`, `expiredWithoutCommit`, `expiredWhileChecked`, `deadLetterExpired`, `deadLetterUnread`,
    /// `damaged`, `partitionUnknown` or `offsetsWithoutRecord`.
    pub kind: &'static str,
    /// The type's name.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// The topic's full name.
    #[serde(skip)]
    pub(crate) topic: String,
    /// The group that was to apply it.
    pub group: String,
    /// How many events, records or offsets it is about.
    pub count: u64,
    /// Where these stood, or stand.
    #[serde(flatten)]
    pub range: Option<OffsetRange>,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// Its key, as in [`RecordReport`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is not known, and why.
    pub detail: String,
    /// What helps.
    pub mend: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.detail, self.mend)
    }
}

impl Doubt {
    fn new(
        kind: &'static str,
        lag: &GroupLag,
        range: Option<OffsetRange>,
        detail: String,
        mend: String,
    ) -> Self {
        Self {
            kind,
            of: lag.of.name(),
            topic: lag.topic.clone(),
            group: lag.group.clone(),
            count: range.map_or(1, |range| range.offsets()),
            range,
            event_id: None,
            key: None,
            detail,
            mend,
        }
    }

    /// Where events are that were not looked at, if it is about such.
    pub(crate) fn leaves_unread(&self) -> Option<String> {
        let topic = &self.topic;
        match (self.kind, self.range) {
            (DAMAGED, Some(OffsetRange { partition, from_offset, .. })) => {
                Some(format!("{topic}/{partition}/{from_offset}"))
            }
            (PARTITION_UNKNOWN, _) => Some(topic.clone()),
            _ => None,
        }
    }

    /// A partition that nobody told anything about.
    pub(crate) fn of_partition(lag: &GroupLag, partition: i32, reason: &str) -> Self {
        let detail = format!(
            "{} {} partition {partition}: unchecked, as its position is not known: {reason}",
            lag.of, lag.topic
        );
        let mend = "another check, once its leader is there, looks at it".to_owned();
        Self::new(PARTITION_UNKNOWN, lag, None, detail, mend)
    }

    /// Records that expired at or beyond the group's committed offset.
    pub(crate) fn expired(lag: &GroupLag, has_committed: bool, range: OffsetRange) -> Self {
        let place = format!("{} {} {range}", lag.of, lag.topic);
        match has_committed {
            false => Self::new(
                "expiredWithoutCommit",
                lag,
                Some(range),
                format!(
                    "{place}: expired, and the group {} has committed nothing there (or its commits were deleted or have \
                     expired): whether they were applied cannot be told",
                    lag.group
                ),
                "this ends when the group commits in that partition".to_owned(),
            ),
            true => Self::new(
                "expiredWhileChecked",
                lag,
                Some(range),
                format!("{place}: expired before this check could look at them"),
                "another check tells whether the group has read them".to_owned(),
            ),
        }
    }

    /// Offsets that hold something else than what was written.
    pub(crate) fn damaged(lag: &GroupLag, committed: Option<i64>, damage: &Damage) -> Self {
        let Damage { range, reason } = damage;
        let group = &lag.group;
        let what = match committed {
            Some(committed) if range.until_offset <= committed => format!(
                "the group {group} has committed behind it, and whether the database has what it held cannot be told"
            ),
            _ => format!("the group {group} stands before it or within it, and does not go on"),
        };
        let detail = format!(
            "{} {} {range}: damaged, so that nobody can read it ({reason}); {what}",
            lag.of, lag.topic
        );
        let mend = "restore the partition's log from a good copy; if there is none, clients have to send again what it held"
            .to_owned();
        Self::new(DAMAGED, lag, Some(*range), detail, mend)
    }

    /// A record whose dead letter may have been among those that expired.
    pub(crate) fn letter_expired(lag: &GroupLag, record: RecordReport) -> Self {
        Self::letter(DEAD_LETTER_EXPIRED, lag, record, "may have expired")
    }

    /// A record whose dead letter may be where letters cannot be read now.
    pub(crate) fn letter_unread(lag: &GroupLag, record: RecordReport) -> Self {
        Self::letter(DEAD_LETTER_UNREAD, lag, record, "may be among those that cannot be read")
    }

    fn letter(kind: &'static str, lag: &GroupLag, record: RecordReport, may: &str) -> Self {
        let (from_offset, partition) = (record.offset, record.partition);
        let range = OffsetRange { partition, from_offset, until_offset: from_offset + 1 };
        let mend = match record.event_id {
            Some(_) => format!("`floodgate reapply {}` applies it, if it can be", record.origin),
            None => "it is no event: nothing is to be applied".to_owned(),
        };
        let detail = format!("{record}, is not in the database, and its dead letter {may}");
        Self { event_id: record.event_id, key: record.key, ..Self::new(kind, lag, Some(range), detail, mend) }
    }

    /// Offsets without a record, on a topic that may be compacted.
    pub(crate) fn without_record(lag: &GroupLag, range: OffsetRange, reason: &str) -> Self {
        let detail = format!(
            "{} {} {range}: no record, of a transaction's end or because compaction removed it; {reason}",
            lag.of, lag.topic
        );
        let mend = "allow this user to describe the topic's configuration".to_owned();
        Self::new("offsetsWithoutRecord", lag, Some(range), detail, mend)
    }

    /// Of a group that has committed nothing, with `waiting` events and records that are not in the database, whether
    /// something says that they are not simply on their way. Members read a log without commits from its start: with
    /// them they are.
    pub(crate) fn of_group(lag: &GroupLag, waiting: u64, has_rows: bool, now: Timestamp) -> Option<Self> {
        let has_committed = lag.partitions.iter().any(|partition| partition.committed.is_some());
        if waiting == 0 || has_committed || lag.members.is_some_and(|members| members > 0) {
            return None;
        }
        let mut signs = Vec::new();
        if has_rows {
            signs.push("its tables hold rows".to_owned());
        }
        if lag.partitions.iter().any(|partition| partition.start > Offset(0)) {
            signs.push("records of its topic have expired".to_owned());
        }
        let oldest_ms = lag.partitions.iter().filter_map(|partition| partition.oldest_unapplied_ms).min();
        let oldest = oldest_ms.and_then(|ms| Timestamp::from_micros(ms.saturating_mul(1000)).ok());
        if let Some(oldest) = oldest.filter(|oldest| now.seconds_since(*oldest) * 1e3 > OLD_MS as f64) {
            signs.push(format!("its oldest event waits since {oldest}"));
        }
        if signs.is_empty() {
            return None;
        }
        let detail = format!(
            "group {} has never committed (or its commits were deleted or have expired), and {}: whether {waiting} events \
             that are not in the database are on their way or were lost cannot be told",
            lag.group,
            signs.join(", and ")
        );
        let mend = "start its consumers: they read from the log's start, bring what is not there and change nothing else";
        Some(Self { count: waiting, ..Self::new("groupNeverCommitted", lag, None, detail, mend.to_owned()) })
    }
}

/// What of a partition had certainly expired when its group had not read it: the log began behind it at the first look,
/// and the group was still before it at the second.
pub(crate) fn expired_unread(first: &PartitionLag, second: &PartitionLag) -> Option<OffsetRange> {
    let (start, committed) = (first.start, second.committed?);
    (committed < start).then_some(OffsetRange {
        partition: first.partition.0,
        from_offset: committed.0,
        until_offset: start.0,
    })
}

#[cfg(test)]
mod tests {
    use floodgate_buffer::Partition;
    use floodgate_schemas::EventType;
    use floodgate_schemas::examples::at;

    use super::*;

    fn bounds(start: i64, committed: Option<i64>) -> PartitionLag {
        PartitionLag {
            partition: Partition(3),
            start: Offset(start),
            end: Offset(100),
            readable: Offset(100),
            committed: committed.map(Offset),
            set_by_others: false,
            nothing_until: None,
            oldest_unapplied_ms: None,
            member: None,
            word: None,
        }
    }

    #[test]
    fn what_expired_is_lost_only_where_the_group_had_not_read_it_afterwards() {
        let lost = |first, second: (i64, Option<i64>)| {
            let range = expired_unread(&first, &bounds(second.0, second.1))?;
            assert_eq!(range.partition, 3);
            Some((range.from_offset, range.until_offset))
        };
        assert_eq!(lost(bounds(9, Some(4)), (9, Some(4))), Some((4, 9)));
        // it read on meanwhile, from wherever
        assert_eq!(lost(bounds(9, Some(4)), (12, Some(8))), Some((8, 9)));
        assert_eq!(lost(bounds(9, Some(4)), (12, Some(9))), None);
        assert_eq!(lost(bounds(9, Some(4)), (12, None)), None);
    }

    #[test]
    fn a_group_without_a_commit_is_believed_until_something_speaks_against_it() {
        let now = at(0);
        let now_ms = now.as_micros() / 1000;
        let lag = |partitions, members| GroupLag {
            of: EventType::Like,
            group: "g".to_owned(),
            topic: "t".to_owned(),
            members,
            foreign_members: Vec::new(),
            partitions,
            unknown: Vec::new(),
            queue: None,
        };
        let of = |lag: &GroupLag, waiting, has_rows| {
            Doubt::of_group(lag, waiting, has_rows, now).map(|doubt| (doubt.count, doubt.detail))
        };
        let young = PartitionLag { oldest_unapplied_ms: Some(now_ms - OLD_MS), ..bounds(0, None) };
        let fresh = lag(vec![young.clone(), bounds(0, None)], Some(0));
        assert_eq!(of(&fresh, 5, false), None);
        let (count, told) = of(&fresh, 5, true).unwrap();
        assert!(
            count == 5 && told.contains("group g has never committed") && told.contains("hold rows"),
            "{told}"
        );
        // everything is there, whoever brought it
        assert_eq!(of(&fresh, 0, true), None);
        // members read from the start
        assert_eq!(of(&lag(vec![young.clone()], Some(1)), 5, true), None);
        // a partition that never had anything has no commit either
        assert_eq!(of(&lag(vec![young.clone(), bounds(0, Some(2))], Some(0)), 5, true), None);
        let (_, told) = of(&lag(vec![young.clone(), bounds(7, None)], None), 5, false).unwrap();
        assert!(
            told.contains("have expired, and") || told.contains("records of its topic have expired"),
            "{told}"
        );
        let old = PartitionLag { oldest_unapplied_ms: Some(now_ms - OLD_MS - 1), ..young };
        let (_, told) = of(&lag(vec![old, bounds(0, None)], Some(0)), 5, false).unwrap();
        assert!(told.contains("waits since 2026-11-21T08:59:59.999000Z"), "{told}");
    }
}
