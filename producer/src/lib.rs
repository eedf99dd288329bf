//! HTTP in, events out: the ingress.
//!
//! A write is read, checked and encoded ([`routes`]), offered to the buffer and answered only when the buffer
//! has said what became of it ([`publish`]). What the buffer says decides the answer, and nothing else does:
//!
//! | the record is | answer |
//! |---|---|
//! | acknowledged | 202 |
//! | certainly not stored | 503 with `Retry-After` |
//! | perhaps stored, or nothing was heard by the deadline | 504 |
//!
//! Writes never touch the database; the reads and the creation of coupons do. Every error of every route
//! becomes an answer in one place, [`problem`].

mod bodies;
mod cache;
mod clock;
mod config;
mod connection;
mod extract;
mod keys;
mod lanes;
pub mod problem;
mod publish;
mod routes;
mod server;
#[cfg(test)]
mod testing;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Parts, Publish};
use floodgate_observe::{HttpMetrics, Metrics};
use floodgate_schemas::{Chance, Clock, Keying};
use floodgate_store::Reads;

pub use config::HttpConfig;
pub use lanes::Lanes;
pub use server::{Server, ServerError};

/// What every route shares.
pub struct Ingress {
    publisher: Arc<dyn Publish>,
    reads: Arc<dyn Reads>,
    keying: Keying,
    clock: clock::AcceptanceClock,
    chance: Arc<dyn Chance>,
    limits: config::Limits,
    bodies: Arc<bodies::Bodies>,
    cache: cache::ExpectationCache,
    keys: keys::Keys,
    waiting: Arc<waiting::Waiting>,
    metrics: publish::PublishMetrics,
    http: HttpMetrics,
}

impl Ingress {
    /// An ingress over a buffer and a database. `clock` says when events are accepted and how far ahead clients' times may lie,
    /// `chance` draws the ids of those that come without a key.
    pub fn new(
        config: &HttpConfig,
        keying: Keying,
        publisher: Arc<dyn Publish>,
        reads: Arc<dyn Reads>,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
    ) -> Arc<Self> {
        let http = &metrics.http;
        let cache_time = Duration::from_millis(config.cache_ms);
        let wait_poll = Duration::from_millis(config.wait_poll_ms);
        Arc::new(Self {
            publisher,
            keying,
            clock: clock::AcceptanceClock::new(clock),
            limits: config.limits(),
            bodies: bodies::Bodies::new(config.bodies_max_bytes),
            cache: cache::ExpectationCache::new(
                Arc::clone(&reads),
                cache_time,
                config.cache_entries_max,
                http.clone(),
            ),
            keys: keys::Keys::new(config.idempotency_keys_max, &*chance),
            chance,
            waiting: waiting::Waiting::new(Arc::clone(&reads), wait_poll, config.waiters_max, http.clone()),
            reads,
            metrics: publish::PublishMetrics::new(metrics),
            http: http.clone(),
        })
    }

    /// From here on `/readyz` says 503, so that load balancers look elsewhere. Requests are still served, but none
    /// waits for a decision any more.
    pub fn drain(&self) {
        self.waiting.over.cancel();
    }

    fn is_draining(&self) -> bool {
        self.waiting.over.is_cancelled()
    }

    /// Whether this ingress can take events.
    ///
    /// # Errors
    /// One sentence that says why not and what to do.
    pub fn ready(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err("shutting down".to_owned());
        }
        if let Some(trouble) = Parts::of_this_process().trouble() {
            return Err(trouble);
        }
        self.publisher.ready()
    }

    /// Takes no more events and waits until those taken are acknowledged, at most `deadline`. Returns how many
    /// are not.
    pub async fn flush(&self, deadline: Duration) -> usize {
        self.publisher.close(deadline).await
    }
}
