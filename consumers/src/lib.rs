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

mod apply;
mod backoff;
mod config;
mod dead_letter;
mod health;
mod hold;
mod metrics;
mod pipeline;
mod site;
mod storm;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;

use floodgate_buffer::{Publish, Strategy};
use floodgate_observe::Metrics;
use floodgate_schemas::{Event, EventType};
use floodgate_store::{Apply, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::ConsumersConfig;
pub use health::Health;

use health::MemberHealth;
use metrics::PipelineMetrics;
use pipeline::Pipeline;

/// Members at work. Each ends with `Err` when something of its end went wrong: a sentence about it.
pub type Members = JoinSet<Result<(), String>>;

/// A member that meets a bug must not vanish unseen: readiness tells, and it begins anew. What it had not committed comes
/// again, to it or another.
async fn watch<E: Event>(pipeline: Pipeline<E>, health: MemberHealth) -> Result<(), String> {
    let pipeline = Arc::new(pipeline);
    loop {
        match tokio::spawn(Arc::clone(&pipeline).run()).await {
            Ok(ended) => return ended.map_err(|error| error.to_string()),
            Err(bug) => {
                let trouble = format!("a consumer of {} events met a bug and begins anew: {bug}", E::TYPE);
                tracing::error!("{trouble}");
                health.troubled(trouble.clone());
                if pipeline.pause(pipeline.config.retry_max()).await.is_err() {
                    return Err(trouble);
                }
            }
        }
    }
}

/// What all members of a process share.
pub struct Consumers {
    /// Where events come from.
    pub strategy: Arc<dyn Strategy>,
    /// Where dead letters go.
    pub publisher: Arc<dyn Publish>,
    /// Where events are applied.
    pub store: Arc<dyn Store>,
    /// What operators see.
    pub metrics: Metrics,
    /// The `[consumers]` section.
    pub config: ConsumersConfig,
    /// How far ahead of now clients' versions and times may lie, in microseconds: beyond it is told.
    pub ahead_max_micros: i64,
    /// How many members each group gets here.
    pub instances: usize,
    /// Whether all goes well.
    pub health: Health,
    /// Tells every member to finish what is in its hands and leave.
    pub stop: CancellationToken,
}

impl Consumers {
    /// Starts to watch whether the database stays the one it is, until `stop`.
    pub fn watch_site(&self, members: &mut Members) {
        members.spawn(site::watch(Arc::clone(&self.store), self.health.clone(), self.stop.clone()));
    }

    /// Starts the members of the group that applies `of`. Each ends after `stop`, with what went wrong then.
    pub fn start(&self, of: EventType, members: &mut Members) {
        match of {
            EventType::Expectation => {
                self.start_group::<floodgate_schemas::ExpectationWrite>(self.store.clone(), members)
            }
            EventType::Coupon => {
                self.start_group::<floodgate_schemas::CouponIssue>(self.store.clone(), members)
            }
            EventType::Like => self.start_group::<floodgate_schemas::Like>(self.store.clone(), members),
        }
    }

    fn start_group<E: Event>(&self, store: Arc<dyn Apply<E>>, members: &mut Members) {
        let metrics = Arc::new(PipelineMetrics::new(&self.metrics, E::TYPE));
        for _ in 0..self.instances {
            let health = self.health.member();
            let pipeline = Pipeline::<E> {
                strategy: Arc::clone(&self.strategy),
                publisher: Arc::clone(&self.publisher),
                store: Arc::clone(&store),
                metrics: Arc::clone(&metrics),
                config: self.config.clone(),
                ahead_max_micros: self.ahead_max_micros,
                health: health.clone(),
                stop: self.stop.clone(),
                event: PhantomData,
            };
            members.spawn(watch(pipeline, health));
        }
    }
}
