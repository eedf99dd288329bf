//! The listener itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use floodgate_buffer::{Parts, Publish};
use floodgate_listener::Linger;
use floodgate_observe::{Metrics, StateGauges};
use floodgate_schemas::{Chance, Clock};
use prometheus::{IntGauge, IntGaugeVec};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::AdminConfig;
use crate::connections::{CONNECTIONS_MAX, Places, serve};
use crate::dead_letters::DeadLetterTopic;
use crate::dlq::{DeadLetters, dismiss, dlq, replay};
use crate::door::{Door, admit, look, sign_in, sign_out};
use crate::find::{Finder, LookForEvents, by_id, by_key};
use crate::lag::LagWatch;
use crate::live::{About, Live, LookAtCoupons, VIEWERS_MAX, live as live_events};
use crate::page;
use crate::problem::Problem;
use crate::readiness::{Readiness, is_ready};

/// The listener cannot be opened, or broke.
#[derive(Debug)]
pub struct AdminError {
    listen: SocketAddr,
    source: std::io::Error,
}

impl std::fmt::Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { listen, source } = self;
        write!(f, "admin.listen: cannot listen on {listen}: {source}")
    }
}

impl std::error::Error for AdminError {}

/// What operators can ask of a process.
pub struct Operators {
    /// What runs here.
    pub about: About,
    /// All metrics.
    pub metrics: Metrics,
    /// How far groups are.
    pub lag: Arc<LagWatch>,
    /// How often that is read, and the page is told.
    pub refresh: Duration,
    /// Whether this process can do its work.
    pub readiness: Readiness,
    /// Where dead letters are.
    pub dead_letters: DeadLetterTopic,
    /// By which events are stored.
    pub publisher: Arc<dyn Publish>,
    /// Looks for events.
    pub find: LookForEvents,
    /// Looks at coupons.
    pub coupons: LookAtCoupons,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What nobody can foresee.
    pub chance: Arc<dyn Chance>,
    /// Looks at what is measured only when somebody asks for the metrics.
    pub measure: Measure,
}

/// Sets gauges of what this crate knows nothing of.
pub type Measure = Arc<dyn Fn(&StateGauges) + Send + Sync>;

struct Shared {
    metrics: Metrics,
    lag: Arc<LagWatch>,
    readiness: Readiness,
    buffer: &'static str,
    publisher: Arc<dyn Publish>,
    measure: Measure,
}

/// What the page is told, again and again while somebody looks.
#[derive(Clone)]
pub struct Updates {
    live: Arc<Live>,
    refresh: Duration,
}

impl Updates {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        self.live.run(self.refresh, stop).await;
    }
}

/// A listener that is open; [`AdminServer::run`] serves it.
pub struct AdminServer {
    listener: TcpListener,
    router: Router,
    linger: Linger,
    open: IntGauge,
    live: Arc<Live>,
    refresh: Duration,
}

impl AdminServer {
    /// Opens the listener. Requests that are answered before they were read are read on within `linger`.
    ///
    /// # Errors
    /// [`AdminError`] with the address and the system's reason.
    pub async fn bind(
        config: &AdminConfig,
        operators: Operators,
        linger: Linger,
    ) -> Result<Self, AdminError> {
        let Operators {
            about,
            metrics,
            lag,
            refresh,
            readiness,
            dead_letters,
            publisher,
            find,
            coupons,
            clock,
            chance,
            measure,
        } = operators;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| AdminError { listen: config.listen, source })?;
        let refused = metrics.operators_refused.clone();
        let door = Arc::new(Door::new(config, refused, Arc::clone(&clock), &*chance));
        let live = Arc::new(Live {
            about,
            lag: Arc::clone(&lag),
            metrics: metrics.clone(),
            readiness: Arc::clone(&readiness),
            coupons,
            clock,
            snapshots: watch::Sender::new(Arc::from("")),
            places: Arc::new(Semaphore::new(VIEWERS_MAX)),
        });
        let letters = Arc::new(DeadLetters::new(dead_letters.clone(), Arc::clone(&publisher)));
        let finder = Arc::new(Finder::new(find));
        let buffer = dead_letters.strategy.name();
        let open = metrics.state.operators_connections.clone();
        metrics.state.operators_connections_max.set(i64::try_from(CONNECTIONS_MAX).unwrap_or(i64::MAX));
        let shared = Arc::new(Shared { metrics, lag, readiness, buffer, publisher, measure });
        let router = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/lag", get(lag_report))
            .with_state(shared)
            .route("/dlq", get(dlq).with_state(Arc::clone(&letters)))
            .route("/dlq/replay", post(replay).with_state(Arc::clone(&letters)))
            .route("/dlq/dismiss", post(dismiss).with_state(letters))
            .route("/where", get(by_key).with_state(Arc::clone(&finder)))
            .route("/where/{event_id}", get(by_id).with_state(finder))
            .route("/live", get(live_events).with_state(Arc::clone(&live)))
            .route("/", get(page::index))
            .route("/page/{file}", get(page::asset))
            .route("/session", get(look).post(sign_in).delete(sign_out).with_state(Arc::clone(&door)))
            .fallback(async || {
                let detail = "here are /, /metrics, /healthz, /readyz, /lag, /where and /dlq";
                Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
            })
            .method_not_allowed_fallback(async || {
                let (title, detail) =
                    ("Not with this method", "only GET, and POST to /dlq/replay, /dlq/dismiss and /session");
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, detail)
            })
            .layer(from_fn_with_state(door, admit));
        Ok(Self { listener, router, linger, open, live, refresh })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's, when it cannot say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What tells the page, to be run beside the listener.
    pub fn updates(&self) -> Updates {
        Updates { live: Arc::clone(&self.live), refresh: self.refresh }
    }

    /// Serves until `stop`. Requests being served then are cut off: nothing here is worth waiting for.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = serve(self.listener, self.router, self.linger, Places::new(CONNECTIONS_MAX, self.open)) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> Response {
    let (waiting, room) = (shared.publisher.waiting(), shared.publisher.room());
    let state = &shared.metrics.state;
    let set = |gauges: &IntGaugeVec, count: usize| {
        gauges.with_label_values(&[shared.buffer]).set(i64::try_from(count).unwrap_or(i64::MAX));
    };
    for (gauges, count) in [
        (&shared.metrics.buffer_size, waiting.events),
        (&shared.metrics.buffer_size_bytes, waiting.bytes),
        (&state.buffer_events, waiting.events),
        (&state.buffer_bytes, waiting.bytes),
    ] {
        set(gauges, count);
    }
    if let Some(room) = room {
        set(&state.buffer_events_max, room.events);
        set(&state.buffer_bytes_max, room.bytes);
    }
    state.set_ready(&is_ready(&shared.readiness));
    (shared.measure)(state);
    shared.metrics.topic_findings.reset();
    for finding in shared.publisher.findings() {
        let kind = if finding.breaks { "breaks" } else { "told" };
        let labels = &[finding.topic.as_str(), finding.property, kind];
        shared.metrics.topic_findings.with_label_values(labels).set(1);
    }
    for (part, count) in Parts::of_this_process().panics() {
        let counter = shared.metrics.part_panics.with_label_values(&[part.as_str()]);
        counter.inc_by(count.saturating_sub(counter.get()));
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response()
}

async fn healthz() -> Response {
    match Parts::of_this_process().died() {
        None => Json(json!({"status": "ok"})).into_response(),
        Some(reason) => not_ready(&reason),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match is_ready(&shared.readiness) {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        Err(detail) => not_ready(&detail),
    }
}

fn not_ready(detail: &str) -> Response {
    let title = "This instance cannot do its work now";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", title, detail).into_response()
}

async fn lag_report(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.lag.latest()).into_response()
}
