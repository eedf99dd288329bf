//! What every route works with, opened once.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Parts, Publish};
use floodgate_observe::{HttpMetrics, Metrics, RequestMetrics};
use floodgate_schemas::{Chance, Clock, Encoder, Keying};
use floodgate_store::Reads;
use floodgate_traces::Tracer;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

use crate::admission::Admission;
use crate::bodies::Bodies;
use crate::cache::ExpectationCache;
use crate::clock::AcceptanceClock;
use crate::config::{HttpConfig, Limits};
use crate::door::{Door, DoorConfig};
use crate::heavy::Heavy;
use crate::instances::Instances;
use crate::keys::Keys;
use crate::metrics::PublishMetrics;
use crate::origins;
use crate::problem::KINDS;
use crate::waiting::Waiting;

/// What every route shares.
pub struct Ingress {
    pub(crate) publisher: Arc<dyn Publish>,
    pub(crate) reads: Arc<dyn Reads>,
    pub(crate) keying: Keying,
    pub(crate) clock: AcceptanceClock,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) encoder: Encoder,
    pub(crate) tracer: Tracer,
    pub(crate) admission: Admission,
    pub(crate) instances: Instances,
    pub(crate) origins: Option<CorsLayer>,
    pub(crate) limits: Limits,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) heavy: Heavy,
    pub(crate) cache: ExpectationCache,
    pub(crate) keys: Keys,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) door: Door,
    pub(crate) metrics: PublishMetrics,
    pub(crate) requests: RequestMetrics,
    pub(crate) http: HttpMetrics,
}

/// What an ingress depends on besides what it works with.
pub struct Handed {
    /// Says when events are accepted, and how far ahead clients' times may lie.
    pub clock: Arc<dyn Clock>,
    /// Draws the ids of events that come without a key.
    pub chance: Arc<dyn Chance>,
    /// Writes events as bytes.
    pub encoder: Encoder,
    /// Follows requests.
    pub tracer: Tracer,
    /// Lets requests in.
    pub admission: Admission,
    /// Which coupon requests are refused.
    pub door: DoorConfig,
}

impl Ingress {
    /// An ingress over a buffer and a database.
    pub fn new(
        config: &HttpConfig,
        keying: Keying,
        publisher: Arc<dyn Publish>,
        reads: Arc<dyn Reads>,
        metrics: &Metrics,
        Handed { clock, chance, encoder, tracer, admission, door }: Handed,
    ) -> Arc<Self> {
        let http = &metrics.http;
        KINDS.iter().for_each(|kind| drop(http.problems.with_label_values(&[kind.name])));
        let cache_time = Duration::from_millis(config.cache_ms);
        let wait_poll = Duration::from_millis(config.wait_poll_ms);
        Arc::new(Self {
            publisher,
            keying,
            clock: AcceptanceClock::new(clock),
            origins: origins::allowed(&config.allow_origins),
            limits: config.limits(),
            bodies: Bodies::counted(config.bodies_max_bytes, http.bodies_bytes.count()),
            heavy: Heavy::new(config.limits().request_deadline / 2),
            cache: ExpectationCache::new(
                Arc::clone(&reads),
                cache_time,
                config.cache_entries_max,
                http.clone(),
            ),
            keys: Keys::new(config.idempotency_keys_max, &*chance),
            instances: Instances::new(Arc::clone(&chance)),
            chance,
            encoder,
            tracer,
            admission,
            waiting: Waiting::new(Arc::clone(&reads), wait_poll, config.waiters_max, http.clone()),
            door: Door::new(&reads, door, &metrics.door),
            reads,
            metrics: PublishMetrics::new(metrics),
            requests: metrics.requests.clone(),
            http: http.clone(),
        })
    }

    /// From here on `/readyz` says 503, so that load balancers look elsewhere. Requests are still served, but none
    /// waits for a decision any more.
    pub fn drain(&self) {
        self.waiting.over.cancel();
    }

    /// Whether nothing stands between requests and their routes.
    pub(crate) fn is_plain(&self) -> bool {
        self.admission.is_told_by_connections() && !self.tracer.is_on() && self.origins.is_none()
    }

    pub(crate) fn is_draining(&self) -> bool {
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
        self.admission.ready()?;
        self.encoder.ready().map_err(|no_id| no_id.to_string())?;
        self.publisher.ready()
    }

    /// Keeps up to date what letting requests in depends on, until `stop`.
    pub async fn keep_admitting(&self, stop: &CancellationToken) {
        self.admission.run(stop).await;
    }

    /// Takes no more events and waits until those taken are acknowledged, at most `deadline`. Returns how many
    /// are not.
    pub async fn flush(&self, deadline: Duration) -> usize {
        self.publisher.close(deadline).await
    }
}
