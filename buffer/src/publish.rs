//! The publishing half of a strategy.

use std::time::Duration;

use crate::{BoxFuture, Outcome, Partition, Receipt, Record, Topic, TopicFinding, Waiting, Wake};

/// Takes records. Shared by all requests.
pub trait Publish: Send + Sync {
    /// Hands one record over without waiting. After `Ok` the receipt is completed exactly once. A record with a key belongs to
    /// the partition that [`crate::murmur2_partition`] gives for it and the topic's partitions, which is where Kafka's clients in
    /// Java put it; readers look for it there.
    ///
    /// # Errors
    /// [`NotTaken`] gives the receipt back and says whether trying again can help; the record is certainly not stored.
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken>;

    /// Whether a record like this is ever taken, as far as its size says.
    ///
    /// # Errors
    /// Why not.
    fn may_take(&self, record: &Record<'_>) -> Result<(), Refused> {
        let _ = record;
        Ok(())
    }

    /// Whether records can be taken now.
    ///
    /// # Errors
    /// One sentence that says what is missing and what to do.
    fn ready(&self) -> Result<(), String>;

    /// What was wrong with the topics when they were looked at last.
    fn findings(&self) -> Vec<TopicFinding> {
        Vec::new()
    }

    /// Records taken and not yet acknowledged (Kafka) or applied (memory).
    fn waiting(&self) -> Waiting;

    /// How much may wait; `None` where nothing bounds it.
    fn room(&self) -> Option<Waiting> {
        None
    }

    /// The strategy that takes what this one does not, if there is one: its records' outcome is [`Outcome::Spilled`].
    fn spills_to(&self) -> Option<&'static str> {
        None
    }

    /// Refuses new records from here on and waits until none is unacknowledged, at most `deadline`.
    /// Returns how many still are; their receipts read `Unknown`.
    fn close(&self, deadline: Duration) -> BoxFuture<'_, usize>;
}

/// The publishing half of a strategy as the place for what another one does not take. Several processes publish to it, and each
/// asks whether a partition has records there before it publishes past it. Where processes do not share it ([`crate::Reach::is_shared`])
/// each knows of its own records alone, and order per key holds within each.
pub trait Reserve: Publish {
    /// How many records of a partition wait here, as it was seen last, and how many are on their way from this process.
    fn held(&self, topic: Topic, partition: Partition) -> usize;

    /// Whether it cannot be seen now, since nobody answers.
    fn is_away(&self) -> bool;

    /// Whether that was seen so lately that nothing can have been acknowledged since, by any process, that it does not count.
    fn is_fresh(&self) -> bool;
}

/// Takes records that a strategy had accepted and certainly did not store, so that they may be stored elsewhere.
pub trait Spill: Send + Sync {
    /// Takes a record as it was offered, headers and all, and the duty to complete its receipt; nobody else speaks of it any
    /// more. Records of one partition come in the order in which they were offered, as far as the strategy gave them up in
    /// order. Never blocks. Returns the request if it can go on at once.
    #[must_use = "the request sleeps until it is woken"]
    fn spill(&self, record: &Record<'_>, receipt: Receipt) -> Option<Wake>;
}

/// There is no elsewhere: the record is reported as what it is.
pub(crate) struct NotStored;

impl Spill for NotStored {
    fn spill(&self, _: &Record<'_>, receipt: Receipt) -> Option<Wake> {
        receipt.complete(Outcome::NotStored)
    }
}

/// A record that was not taken, and is certainly not stored, with the duty to say so: it may be offered elsewhere.
#[derive(Debug)]
pub struct NotTaken {
    /// Why.
    pub reason: Refused,
    /// What the record was offered with.
    pub receipt: Receipt,
}

impl From<NotTaken> for Refused {
    fn from(not_taken: NotTaken) -> Self {
        not_taken.reason
    }
}

impl Refused {
    /// Whether the same record may be taken later, or elsewhere.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Full | Self::Unavailable(_))
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue holds as much as its configuration allows: retry later.
    #[error("the queue is full")]
    Full,
    /// The strategy cannot take records now: retry later.
    #[error("{0}")]
    Unavailable(String),
    /// The record is larger than a record may ever be: do not retry.
    #[error("the record is larger than the topic takes")]
    TooLarge,
    /// The process is stopping: retry elsewhere.
    #[error("shutting down")]
    Closed,
}
