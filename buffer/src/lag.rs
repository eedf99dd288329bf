//! How far groups are behind, in the words operators know from Kafka.

use floodgate_schemas::EventType;

use crate::{Offset, Partition};

/// One group's position in its topic at one moment, whether or not anyone consumes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupLag {
    /// The events it applies.
    pub of: EventType,
    /// The group's full name.
    pub group: String,
    /// The topic's full name.
    pub topic: String,
    /// Members now; `None` where the strategy could not tell.
    pub members: Option<usize>,
    /// Every partition of the topic, in order.
    pub partitions: Vec<PartitionLag>,
}

/// One group's position in one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: Partition,
    /// The offset of the oldest record still there.
    pub start: Offset,
    /// The offset the next record will get.
    pub end: Offset,
    /// The next offset the group reads; `None` when it never committed.
    pub committed: Option<Offset>,
    /// When the oldest record not yet applied was appended, in milliseconds since the Unix epoch; `None`
    /// when there is none, or when it could not be read.
    pub oldest_unapplied_ms: Option<i64>,
}

impl PartitionLag {
    /// Records waiting: the end offset less the committed one, or less the start where that is later or
    /// the group never committed. Never negative: after a truncation the commit may lie beyond the end.
    pub fn lag(&self) -> u64 {
        let from = self.committed.map_or(self.start, |committed| committed.max(self.start));
        u64::try_from(self.end.0.saturating_sub(from.0)).unwrap_or(0)
    }

    /// Records that expired before the group read them.
    pub fn missing(&self) -> u64 {
        let Some(committed) = self.committed else {
            return 0;
        };
        u64::try_from(self.start.0.saturating_sub(committed.0)).unwrap_or(0)
    }

    /// The age of the oldest unapplied record, in seconds; 0 when caught up, `None` where it could not be read.
    pub fn lag_seconds(&self, now_ms: i64) -> Option<f64> {
        if self.lag() == 0 {
            return Some(0.0);
        }
        self.oldest_unapplied_ms.map(|appended_at_ms| (now_ms - appended_at_ms).max(0) as f64 / 1e3)
    }
}

/// The offsets cannot be read now; the last known ones stay true for their time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LagError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(start: i64, end: i64, committed: Option<i64>) -> PartitionLag {
        PartitionLag {
            partition: Partition(0),
            start: Offset(start),
            end: Offset(end),
            committed: committed.map(Offset),
            oldest_unapplied_ms: Some(1_000),
        }
    }

    #[test]
    fn lag_is_counted_from_what_can_still_be_read() {
        assert_eq!((lag(0, 10, Some(4)).lag(), lag(0, 10, Some(4)).missing()), (6, 0));
        assert_eq!((lag(3, 10, None).lag(), lag(3, 10, None).missing()), (7, 0));
        assert_eq!((lag(5, 10, Some(2)).lag(), lag(5, 10, Some(2)).missing()), (5, 3));
        assert_eq!((lag(0, 10, Some(12)).lag(), lag(0, 10, Some(12)).missing()), (0, 0));
        assert_eq!((lag(10, 10, Some(4)).lag(), lag(10, 10, Some(4)).missing()), (0, 6));
    }

    #[test]
    fn seconds_are_zero_when_caught_up() {
        assert_eq!(lag(0, 10, Some(4)).lag_seconds(3_500), Some(2.5));
        assert_eq!(lag(0, 10, Some(10)).lag_seconds(3_500), Some(0.0));
        assert_eq!(lag(0, 10, Some(4)).lag_seconds(500), Some(0.0));
        let unread = PartitionLag { oldest_unapplied_ms: None, ..lag(0, 10, Some(4)) };
        assert_eq!(unread.lag_seconds(3_500), None);
    }
}
