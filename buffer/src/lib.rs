//! Where events wait between HTTP and the database: the only crate that knows which strategies exist.
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
//! Everything above these traits is the same for every strategy. [`configure`] is the one place that looks at
//! which strategy is configured; adding one is a folder beside `memory` and a line in `choice.rs`.

mod batch;
mod choice;
#[cfg(feature = "contract")]
pub mod contract;
mod counts;
mod decoded;
mod drain;
mod fallback;
mod kafka;
mod kind;
mod lag;
mod log;
mod memory;
mod murmur2;
mod names;
mod origin;
mod parts;
mod publish;
mod receipt;
mod record;
mod redis;
mod refusal;
mod share;
mod strategy;
mod subscription;
mod topics;
mod waiting;

pub use batch::{Batch, Received};
pub use choice::{
    Configured, configure, configure_one, defaults, idle, mask, passed_through, strategy_names,
};
pub use decoded::Decoded;
pub use drain::{Drain, DrainError, Moved};
pub use floodgate_schemas::BoxFuture;
pub use floodgate_schemas::dead_letter::Header;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use kafka::fuzzing;
pub use kind::{Given, Surroundings, TopicsConfig};
pub use lag::{GroupLag, Lag, LagError, PartitionLag, QueueLag, SpillLag, Word};
pub use log::{Chunk, Log, LogBounds, LogError, Logs, PartitionReader, Piece};
pub use murmur2::murmur2_partition;
pub use names::Names;
pub use origin::{EventOrigin, NamedOrigin};
pub use parts::{Parts, Then};
pub use publish::{NotTaken, Publish, Refused, Reserve, Spill};
pub use receipt::{Outcome, Receipt, Receipts, Sender, Wake};
pub use record::{LogId, Offset, Origin, Partition, Record, Topic};
pub use refusal::{Absent, OpenError};
pub use strategy::{Reach, Strategy};
pub use subscription::{BatchLimits, Incident, Standing, SubscribeError, Subscription};
pub use topics::{
    PartitionDescription, TopicDescription, TopicFinding, TopicProperties, TopicReport, TopicState, Topics,
    TopicsError,
};
pub use waiting::Waiting;
