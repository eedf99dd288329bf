//! The members of this process, each a pipeline of its own.

use std::sync::Arc;

use floodgate_buffer::{Parts, Publish, Strategy, Then};
use floodgate_observe::Metrics;
use floodgate_schemas::{Chance, Clock, Codecs, Event, EventType};
use floodgate_store::{Apply, Store};
use floodgate_traces::Tracer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ConsumersConfig;
use crate::forget::Forgetting;
use crate::health::{Health, MemberHealth};
use crate::metrics::PipelineMetrics;
use crate::pipeline::Pipeline;
use crate::site;

/// Members at work. Each ends with `Err` when something of its end went wrong: a sentence about it.
pub type Members = JoinSet<Result<(), String>>;

/// A member that meets a bug must not vanish unseen: readiness tells, and it begins anew. What it had not committed comes
/// again, to it or another.
pub(crate) async fn watch<E: Event>(pipeline: Pipeline<E>, health: MemberHealth) -> Result<(), String> {
    let pipeline = Arc::new(pipeline);
    loop {
        match tokio::spawn(Arc::clone(&pipeline).run()).await {
            Ok(ended) => return ended.map_err(|error| error.to_string()),
            Err(bug) => {
                let trouble = format!("a consumer of {} events met a bug and begins anew: {bug}", E::TYPE);
                tracing::error!(group = pipeline.strategy.names().group(E::TYPE), "{trouble}");
                health.troubled(trouble.clone());
                if pipeline.patience().pause(pipeline.config.retry_max()).await.is_err() {
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
    /// How many days decisions on coupon requests are kept that gave nothing; 0: for ever.
    pub decisions_retention_days: u32,
    /// How many members each group gets here.
    pub instances: usize,
    /// Whether all goes well.
    pub health: Health,
    /// Tells every member to finish what is in its hands and leave.
    pub stop: CancellationToken,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What pauses between tries are drawn from.
    pub chance: Arc<dyn Chance>,
    /// What events are read with.
    pub codecs: Codecs,
    /// Tells of events whose requests are followed.
    pub tracer: Tracer,
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
                self.start_group::<floodgate_schemas::CouponIssue>(self.store.clone(), members);
                self.forget_decisions();
            }
            EventType::Like => self.start_group::<floodgate_schemas::Like>(self.store.clone(), members),
        }
    }

    fn forget_decisions(&self) {
        if self.decisions_retention_days == 0 {
            return;
        }
        let forgetting = Arc::new(Forgetting {
            store: Arc::clone(&self.store),
            days: self.decisions_retention_days,
            clock: Arc::clone(&self.clock),
            deleted: self.metrics.decisions_deleted.clone(),
        });
        let stop = self.stop.clone();
        let run = move || {
            let (forgetting, stop) = (Arc::clone(&forgetting), stop.clone());
            async move { forgetting.run(&stop).await }
        };
        tokio::spawn(Parts::of_this_process().keep("old-decisions", Then::GoOn, run));
    }

    fn start_group<E: Event>(&self, store: Arc<dyn Apply<E>>, members: &mut Members) {
        let metrics =
            Arc::new(PipelineMetrics::new(&self.metrics, E::TYPE, self.strategy.names().group(E::TYPE)));
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
                clock: Arc::clone(&self.clock),
                chance: Arc::clone(&self.chance),
                codecs: self.codecs.clone(),
                tracer: self.tracer.clone(),
            };
            members.spawn(watch(pipeline, health));
        }
    }
}
