//! The consuming half of a strategy: one member of a group.

use std::time::Duration;

use crate::{Batch, BoxFuture, Offset, Partition, Word};

/// How much one batch holds at most, and how long a record waits for company.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records.
    pub events: usize,
    /// Keys, values and headers, in bytes; a single larger record is a batch of its own.
    pub bytes: usize,
    /// From the first record of a batch until it is handed out though not full.
    pub wait: Duration,
    /// How long a partition that moves away waits for its batch in work to be committed.
    pub drain: Duration,
}

/// One member of a consumer group. Dropping it leaves the group; records not committed are delivered again.
pub trait Subscription: Send {
    /// Waits until the group has given this member its share of the partitions, which may be nothing.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`SubscribeError`]: this member is of no use; subscribe anew, later.
    fn joined(&mut self) -> BoxFuture<'_, Result<(), SubscribeError>>;

    /// The next batch, as soon as one is full or its first record has waited long enough. `None` after
    /// [`Subscription::stop`], once nothing is left that would be lost with this process. Cancel-safe.
    ///
    /// # Errors
    /// [`SubscribeError`]: this member is of no more use; subscribe anew, later.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, SubscribeError>>;

    /// Every record of `batch` is done: its effect is durable, or it is dead-lettered. Committing to the
    /// strategy may follow shortly after. There is no bound on how long that takes: a database that is away is waited for, and the
    /// records stay this member's meanwhile. Ignored for partitions this member lost in the meantime: their
    /// records are delivered to the new owner.
    fn commit(&mut self, batch: Batch);

    /// Takes nothing more from one partition for this long, then delivers it again from its first record that was not
    /// committed. The other partitions go on. What a batch in work holds of it must not be given back: see
    /// [`Batch::retain_partitions`]. What was cut out of a batch that was given back comes again in this way alone, with a pause of
    /// 0 at once.
    fn hold(&mut self, partition: Partition, pause: Duration);

    /// Whether a partition is this member's, as far as it knows.
    fn owns(&self, partition: Partition) -> bool;

    /// Its partitions that do not go on although the pipeline would, and why. Asked every second or so; what passes
    /// within moments is not told.
    fn standing(&self) -> Vec<Standing> {
        Vec::new()
    }

    /// What happened to its positions that operators must know of, since this was asked last. It is in the log as well, with
    /// partitions and offsets.
    fn incidents(&mut self) -> Vec<Incident> {
        Vec::new()
    }

    /// How often partitions came to it or left it since this was asked last; where members own none, never.
    fn rebalances(&mut self) -> u64 {
        0
    }

    /// Leaves word beside the position in a partition of why it does not go on, for whoever looks at the group from outside
    /// ([`crate::PartitionLag::word`]); `None` once it goes on. It may be cut short. Ignored for partitions that are not this
    /// member's.
    fn leave_word(&mut self, partition: Partition, word: Option<&Word>);

    /// No more new records: [`Subscription::next`] hands out what would be lost with this process
    /// ([`crate::Reach::outlives_process`]), then says `None`.
    fn stop(&mut self);

    /// Commits what was given back, waiting for the acknowledgement, and leaves the group.
    ///
    /// # Errors
    /// [`SubscribeError`] when the last commit was not acknowledged: a repeat of those records follows.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), SubscribeError>>;
}

/// A partition that does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The partition.
    pub partition: Partition,
    /// The offset at which it stands, where that is known.
    pub offset: Option<Offset>,
    /// Why, in a sentence for operators.
    pub reason: String,
}

/// Something that happened to the position of a member in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Incident {
    /// Records expired before they were read.
    ExpiredUnread,
    /// The log is another one than its position was of, and is read from its start.
    AnotherLog,
    /// Another program set the offset.
    OffsetSetByOthers,
}

impl Incident {
    /// Every one.
    pub const ALL: [Incident; 3] =
        [Incident::ExpiredUnread, Incident::AnotherLog, Incident::OffsetSetByOthers];

    /// Its name as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Incident::ExpiredUnread => "expired-unread",
            Incident::AnotherLog => "another-log",
            Incident::OffsetSetByOthers => "offset-set-by-others",
        }
    }
}

/// A group member that cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SubscribeError(pub String);
