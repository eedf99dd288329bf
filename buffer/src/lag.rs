//! How far groups are behind, in the words operators know from Kafka.

use floodgate_schemas::EventType;

use crate::{Offset, Partition};

/// How far the groups of a strategy are behind.
pub trait Lag: Send + Sync {
    /// Reads where the group that applies `of` is, whether or not anyone consumes, without joining it. Blocks on the network
    /// for at most a few seconds: not for async threads.
    ///
    /// # Errors
    /// [`LagError`] when that cannot be read now. Other groups may well be readable.
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError>;

    /// What waits where events go that this strategy does not take; `None` where there is no such place. Blocks as
    /// [`Lag::lag`] does.
    ///
    /// # Errors
    /// [`LagError`] when that cannot be read now.
    fn spill(&self) -> Option<Result<SpillLag, LagError>> {
        None
    }
}

/// What waits in the place of the strategy that was to have it, until that takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct SpillLag {
    /// The name of the strategy in which it waits.
    pub strategy: &'static str,
    /// Records.
    pub waiting: u64,
    /// How many may; `None` where this process stores none there.
    pub room: Option<usize>,
    /// When the oldest of them was appended, in milliseconds since the Unix epoch; `None` when there is none, or when it
    /// could not be read.
    pub oldest_ms: Option<i64>,
    /// Whether new records go there, not only those of partitions that have some there.
    pub is_filling: bool,
}

impl SpillLag {
    /// The age of the oldest record, in seconds; 0 when none waits, `None` where it could not be read.
    pub fn oldest_seconds(&self, now_ms: i64) -> Option<f64> {
        age_seconds(self.waiting, self.oldest_ms, now_ms)
    }
}

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
    /// What members that are not this program's call themselves.
    pub foreign_members: Vec<String>,
    /// The partitions of the topic whose position is known, in order.
    pub partitions: Vec<PartitionLag>,
    /// The others, and why it is not.
    pub unknown: Vec<(Partition, String)>,
    /// How much waits where the strategy keeps no offsets; there are no partitions then.
    pub queue: Option<QueueLag>,
}

impl GroupLag {
    /// Records waiting, as far as that is known.
    pub fn waiting(&self) -> u64 {
        let counted = self.queue.map_or(0, |queue| queue.waiting);
        self.partitions.iter().map(PartitionLag::lag).sum::<u64>() + counted
    }

    /// When the oldest of them was appended, in milliseconds since the Unix epoch, as far as that is known.
    pub fn oldest_ms(&self) -> Option<i64> {
        let of_partitions = self.partitions.iter().filter_map(|partition| partition.oldest_unapplied_ms);
        of_partitions.chain(self.queue.and_then(|queue| queue.oldest_ms)).min()
    }

    /// The age of the oldest of them, in seconds; 0 when none waits, `None` where that of one is not known, which may be older than
    /// all others.
    pub fn oldest_seconds(&self, now_ms: i64) -> Option<f64> {
        let of_partitions = self.partitions.iter().map(|partition| partition.lag_seconds(now_ms));
        let mut ages = of_partitions.chain(self.queue.map(|queue| queue.lag_seconds(now_ms)));
        ages.try_fold(0.0, |oldest, age| Some(f64::max(oldest, age?)))
    }
}

/// What waits in a queue that numbers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLag {
    /// Records.
    pub waiting: u64,
    /// When the oldest of them was appended, in milliseconds since the Unix epoch; `None` when there is none, or when it
    /// could not be read.
    pub oldest_ms: Option<i64>,
}

impl QueueLag {
    /// The age of the oldest record, in seconds; 0 when none waits, `None` where it could not be read.
    pub fn lag_seconds(&self, now_ms: i64) -> Option<f64> {
        age_seconds(self.waiting, self.oldest_ms, now_ms)
    }
}

fn age_seconds(waiting: u64, oldest_ms: Option<i64>, now_ms: i64) -> Option<f64> {
    if waiting == 0 {
        return Some(0.0);
    }
    oldest_ms.map(|appended_at_ms| now_ms.saturating_sub(appended_at_ms).max(0) as f64 / 1e3)
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
    /// Up to where records can be read now: where the first transaction of another program that is still open began, else
    /// the end.
    pub readable: Offset,
    /// The next offset the group reads; `None` when it never committed.
    pub committed: Option<Offset>,
    /// Whether another program committed it, or a build that did not mark its commits.
    pub set_by_others: bool,
    /// From where the group reads on up to here no offset has a record: markers of transactions, or what compaction took.
    /// `None` where nobody looked.
    pub nothing_until: Option<Offset>,
    /// When the oldest record not yet applied was appended, in milliseconds since the Unix epoch; `None`
    /// when there is none, or when it could not be read.
    pub oldest_unapplied_ms: Option<i64>,
    /// Who reads it, as operators find them; `None` when nobody does, or where it could not be told.
    pub member: Option<String>,
    /// What whoever reads it says of why it does not go on ([`crate::Subscription::leave_word`]).
    pub word: Option<Word>,
}

/// What a member leaves beside its position in a partition that does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Whether it takes nothing more of it for now; else it tries again and again.
    pub is_held: bool,
    /// Why, in a sentence for operators.
    pub why: String,
}

impl Word {
    /// Brokers take 4096 bytes beside an offset (`offset.metadata.max.bytes`) unless they are told otherwise; a sentence or two are
    /// enough.
    const TEXT_MAX_BYTES: usize = 1000;

    /// It takes nothing more for now.
    pub fn held(why: impl Into<String>) -> Self {
        Self { is_held: true, why: why.into() }
    }

    /// It tries again and again.
    pub fn trouble(why: impl Into<String>) -> Self {
        Self { is_held: false, why: why.into() }
    }

    /// As it is written beside a position: `held: …` or `trouble: …`, of at most [`Word::TEXT_MAX_BYTES`].
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}", if self.is_held { "held" } else { "trouble" }, self.why);
        text.truncate(text.floor_char_boundary(Self::TEXT_MAX_BYTES));
        text
    }

    /// What [`Word::text`] wrote; `None` where it is none of that.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (kind, why) = text.split_once(": ")?;
        matches!(kind, "held" | "trouble").then(|| Self { is_held: kind == "held", why: why.to_owned() })
    }
}

impl PartitionLag {
    /// Where the group reads on: at the committed offset, or at the start where that is later or it never committed.
    pub fn next_unapplied(&self) -> Offset {
        self.committed.map_or(self.start, |committed| committed.max(self.start))
    }

    /// Records waiting: the end offset less where the group reads on, but for offsets that are known to hold none. Never
    /// negative: after a truncation the commit may lie beyond the end.
    pub fn lag(&self) -> u64 {
        let from = self.nothing_until.map_or(self.next_unapplied(), |until| until.max(self.next_unapplied()));
        u64::try_from(self.end.0.saturating_sub(from.0)).unwrap_or(0)
    }

    /// Those of them that cannot be read yet, since a transaction of another program is open.
    pub fn unreadable(&self) -> u64 {
        self.lag().min(u64::try_from(self.end.0.saturating_sub(self.readable.0)).unwrap_or(0))
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
        age_seconds(self.lag(), self.oldest_unapplied_ms, now_ms)
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
            readable: Offset(end),
            committed: committed.map(Offset),
            set_by_others: false,
            nothing_until: None,
            oldest_unapplied_ms: Some(1_000),
            member: None,
            word: None,
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
    fn the_oldest_is_not_known_where_it_may_be_of_unknown_age() {
        let group = |partitions: Vec<PartitionLag>, queue| GroupLag {
            of: EventType::Like,
            group: "likes".to_owned(),
            topic: "like".to_owned(),
            members: None,
            foreign_members: Vec::new(),
            partitions,
            unknown: Vec::new(),
            queue,
        };
        let waits = |oldest_unapplied_ms| PartitionLag { oldest_unapplied_ms, ..lag(0, 10, Some(4)) };
        let done = PartitionLag { oldest_unapplied_ms: None, ..lag(0, 10, Some(10)) };
        let oldest = |partitions| group(partitions, None).oldest_seconds(3_500);
        assert_eq!(oldest(vec![]), Some(0.0));
        assert_eq!(oldest(vec![done.clone()]), Some(0.0));
        assert_eq!(oldest(vec![waits(Some(2_000)), done, waits(Some(1_000))]), Some(2.5));
        assert_eq!(oldest(vec![waits(Some(1_000)), waits(None)]), None);
        let queue =
            |waiting, oldest_ms| group(vec![], Some(QueueLag { waiting, oldest_ms })).oldest_seconds(3_500);
        assert_eq!((queue(0, None), queue(1, None), queue(1, Some(3_000))), (Some(0.0), None, Some(0.5)));
    }

    #[test]
    fn what_holds_no_record_is_no_lag_and_an_open_transaction_hides_nothing() {
        let markers = PartitionLag { nothing_until: Some(Offset(10)), ..lag(0, 10, Some(9)) };
        assert_eq!((markers.lag(), markers.lag_seconds(0)), (0, Some(0.0)));
        let behind_markers = PartitionLag { nothing_until: Some(Offset(6)), ..lag(0, 10, Some(4)) };
        assert_eq!(behind_markers.lag(), 4);
        let open = PartitionLag { readable: Offset(7), ..lag(0, 10, Some(4)) };
        assert_eq!((open.lag(), open.unreadable()), (6, 3));
        assert_eq!(PartitionLag { readable: Offset(7), ..lag(0, 10, Some(10)) }.unreadable(), 0);
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
