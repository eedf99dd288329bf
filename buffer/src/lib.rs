//! Where events wait between HTTP and the database: the only crate that knows Kafka or memory exist.
//!
//! A *strategy* holds records in *topics*, each cut into *partitions*. Within a partition records keep
//! their order and are numbered by *offset*; records with one key share a partition. A *consumer group*
//! reads a topic together, each partition by one member at a time, and remembers per partition the
//! *committed offset*: **the offset of the next record to read**, one past the last that is done.
//! *Lag* is what lies between the committed offset and the *end offset* (where the next record will go).
//!
//! Two promises cross this crate, and every strategy keeps them:
//!
//! * **Publishing.** [`Publish::offer`] never blocks. An accepted record gets exactly one [`Outcome`],
//!   through its [`Receipt`]: `Stored` only after the strategy's own acknowledgement, `NotStored` only if
//!   it certainly will not appear, `Unknown` in every other case. A receipt that gets lost reads `Unknown`.
//! * **Consuming.** Delivery is at least once and in partition order. A record counts as done when its
//!   batch is given back to [`Subscription::commit`], not before; whatever was not given back is delivered
//!   again after a crash, a stop or a move of the partition. What is committed never lies beyond what was
//!   given back. Making repeats harmless is the store's task.
//!
//! Everything above these traits is the same for every strategy. [`open`] holds the one place that looks at
//! which strategy is configured; adding one is a folder beside `memory` and a line there.

mod batch;
mod config;
#[cfg(feature = "contract")]
pub mod contract;
mod kafka;
mod lag;
mod log;
mod memory;
mod murmur2;
mod origin;
mod parts;
mod receipt;
mod record;
mod topics;
mod wake;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::EventType;

pub use batch::{Batch, Received};
pub use config::{BufferConfig, InMemoryConfig, KafkaConfig, PASS_THROUGH, StrategyKind, TopicsConfig};
pub use lag::{GroupLag, LagError, PartitionLag};
pub use log::{Chunk, Log, LogBounds, LogError};
pub use murmur2::murmur2_partition;
pub use origin::{EventOrigin, NamedOrigin, TopicNames};
pub use parts::{Parts, Then};
pub use receipt::{Outcome, Receipt, Receipts};
pub use record::{Header, Offset, Origin, Partition, Record, Topic};
pub use topics::{
    PartitionDescription, TopicDescription, TopicFinding, TopicProperties, TopicReport, TopicState,
    TopicsError,
};
pub use wake::{Wake, read_mail};

/// A boxed future: one allocation per batch or command, which keeps the traits object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way for events to wait. Opening it touches no network.
pub trait Strategy: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Where its records are, in words that tell one place from another. Holds no secrets.
    fn place(&self) -> String;

    /// What a 202 promises under it, in one sentence for operators.
    fn promise(&self) -> String;

    /// Whether other processes see the same records. If not, every role must run in one process.
    fn is_shared(&self) -> bool;

    /// How long after an offer its outcome is known at the latest; `None` where it is known at once. Whoever
    /// answers earlier can only say that the outcome is unknown.
    fn reports_within(&self) -> Option<Duration>;

    /// A topic's full name, prefix included.
    fn topic_name(&self, topic: Topic) -> String;

    /// The full name of the group that applies `of`, prefix included.
    fn group_name(&self, of: EventType) -> String;

    /// The publishing half. Starts its background threads and tasks, at most once: later calls give the same one. It must be
    /// called within a tokio runtime, which lives as long as records are offered.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn publisher(&self) -> Result<Arc<dyn Publish>, OpenError>;

    /// One more member of the group that applies `of`.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError>;

    /// Reads the offsets of the group that applies `of`, whether or not anyone consumes, without joining it. Blocks
    /// on the network for at most a few seconds: not for async threads.
    ///
    /// # Errors
    /// [`LagError`] when they cannot be read now. Other groups may well be readable.
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError>;

    /// Reads a topic past all groups.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    fn log(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError>;

    /// Creates the topics that are missing and reports on each. Blocks on the network.
    ///
    /// # Errors
    /// [`TopicsError`] when the strategy cannot be reached or refuses.
    fn create_topics(&self) -> Result<Vec<TopicReport>, TopicsError>;

    /// What is there of each topic. Blocks on the network.
    ///
    /// # Errors
    /// [`TopicsError`] when the strategy cannot be reached.
    fn describe_topics(&self) -> Result<Vec<TopicDescription>, TopicsError>;

    /// Whether a topic gives up older records of a key before their time, so that events vanish and leave offsets
    /// without a record. Blocks on the network.
    ///
    /// # Errors
    /// [`TopicsError`] when nobody says: the strategy cannot be reached, or does not tell this user.
    fn is_compacted(&self, topic: Topic) -> Result<bool, TopicsError>;
}

/// Takes records. Shared by all requests.
pub trait Publish: Send + Sync {
    /// Hands one record over without waiting. After `Ok` the receipt is completed exactly once; after an
    /// error the record is certainly not stored and the receipt means nothing.
    ///
    /// # Errors
    /// [`Refused`] says whether trying again can help.
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), Refused>;

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

    /// Refuses new records from here on and waits until none is unacknowledged, at most `deadline`.
    /// Returns how many still are; their receipts read `Unknown`.
    fn close(&self, deadline: Duration) -> BoxFuture<'_, usize>;
}

/// How much waits in a publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub events: usize,
    /// Their keys and values, in bytes.
    pub bytes: usize,
}

/// A record was not taken, and is certainly not stored.
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

/// How much one batch holds at most, and how long a record waits for company.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records.
    pub events: usize,
    /// Keys and values, in bytes; a single larger record is a batch of its own.
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
    /// [`Subscription::stop`], once nothing is left that only this process could deliver. Cancel-safe.
    ///
    /// # Errors
    /// [`SubscribeError`]: this member is of no more use; subscribe anew, later.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, SubscribeError>>;

    /// Every record of `batch` is done: its effect is durable, or it is dead-lettered. Committing to the
    /// strategy may follow shortly after. Ignored for partitions this member lost in the meantime: their
    /// records are delivered to the new owner.
    fn commit(&mut self, batch: Batch);

    /// Takes nothing more from one partition for this long, then delivers it again from its first record that was not
    /// committed. The other partitions go on. What a batch in work holds of it must not be given back: see
    /// [`Batch::retain_partitions`].
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

    /// No more new records: [`Subscription::next`] finishes what only this process holds, then says `None`.
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

/// A configuration under which the strategy cannot work: give up and tell the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The configured strategy. The one place that asks which it is.
///
/// # Errors
/// [`OpenError`] when its configuration cannot work.
pub fn open(buffer: &BufferConfig, topics: &TopicsConfig) -> Result<Arc<dyn Strategy>, OpenError> {
    Ok(match buffer.strategy {
        StrategyKind::InMemory => Arc::new(memory::InMemory::new(&buffer.in_memory, topics)),
        StrategyKind::Kafka => Arc::new(kafka::Kafka::new(&buffer.kafka, topics)?),
    })
}
