//! Events in, rows out: one consumer group per event type, several members per process.
//!
//! A member is a loop that reads as a sentence: receive a batch, decode it, apply it, dead-letter what can
//! never be applied, commit. [`pipeline`] is that loop. The order is the promise: an offset is committed only
//! after everything before it is in the database or safely in the dead-letter topic.
//!
//! Two kinds of failure must not be confused. What *passes* (a database that is away, busy or denies access)
//! is tried again for as long as it takes, with the partition held, and never reaches the dead letters. What
//! *never passes* (bytes that are no event, a row the database will not have) is taken out of the batch, alone,
//! and the rest goes on: [`apply`] finds bad rows by halving the batch. Unless most of a partition never passes: then it
//! is held, see [`storm`]. A record that only a newer build can read passes too: its partition waits for one, see [`hold`].

mod ahead;
mod apply;
mod backoff;
mod config;
mod dead_letter;
mod decode;
mod follow;
mod forget;
mod health;
mod hold;
mod members;
mod metrics;
mod patience;
mod pipeline;
mod site;
mod storm;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
mod words;

pub use config::ConsumersConfig;
pub use health::Health;
pub use members::{Consumers, Members};
