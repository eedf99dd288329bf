//! `GET /live`: what the page shows, as server-sent events: the course of the last minutes, then a snapshot after every reading.
//!
//! One snapshot is composed for all viewers, and none while nobody looks. Rates are of this process's counters between two
//! snapshots; what a role does not do is unknown, and not 0.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use floodgate_buffer::BoxFuture;
use floodgate_observe::Metrics;
use floodgate_schemas::{Clock, EventType, Timestamp};
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::counted::{Counted, Quantiles};
use crate::lag::LagWatch;
use crate::problem::Problem;
use crate::readiness::{Readiness, is_ready};

/// Viewers at a time; more are refused.
pub(crate) const VIEWERS_MAX: usize = 64;

/// How long one is told at most: a page comes again, and whoever has forgotten that it listens does not.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// How often the database is asked for coupons while somebody looks.
const COUPONS_INTERVAL: Duration = Duration::from_secs(5);

/// What runs here.
#[derive(Debug, Clone)]
pub struct About {
    /// `run`, `serve` or `consume`.
    pub role: &'static str,
    /// This build.
    pub version: &'static str,
    /// When the process started.
    pub started_at: Timestamp,
    /// The strategy's name.
    pub strategy: &'static str,
    /// Where events wait.
    pub place: String,
    /// What a 202 means.
    pub promise: String,
}

impl About {
    fn accepts(&self) -> bool {
        self.role != "consume"
    }

    fn applies(&self) -> bool {
        self.role != "serve"
    }
}

/// A coupon and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CouponReport {
    /// Its id.
    pub coupon_id: String,
    /// How many there were.
    pub stock: i32,
    /// How many are issued.
    pub issued: i32,
    /// How many are left.
    pub remaining: i32,
}

/// Asks for coupons worth showing; `None` when nobody answers.
pub type LookAtCoupons = Arc<dyn Fn() -> BoxFuture<'static, Option<Vec<CouponReport>>> + Send + Sync>;

/// What the page is told.
pub(crate) struct Live {
    pub(crate) about: About,
    pub(crate) lag: Arc<LagWatch>,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) coupons: LookAtCoupons,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) snapshots: watch::Sender<Arc<str>>,
    pub(crate) places: Arc<Semaphore>,
}

impl Live {
    /// Composes a snapshot every `refresh` while somebody looks, until `stop`.
    pub(crate) async fn run(&self, refresh: Duration, stop: CancellationToken) {
        let mut turns = tokio::time::interval(refresh);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut coupons, mut asked_at) = (None, None, None::<Instant>);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            if self.snapshots.receiver_count() == 0 {
                // rates over the time in which nobody looked would be of no use
                before = None;
                continue;
            }
            if asked_at.is_none_or(|at| at.elapsed() >= COUPONS_INTERVAL) {
                asked_at = Some(Instant::now());
                coupons = (self.coupons)().await;
            }
            let now = Counted::now(&self.metrics);
            let snapshot = self.snapshot(before.as_ref(), &now, coupons.as_deref());
            before = Some(now);
            self.snapshots.send_replace(Arc::from(snapshot.to_string()));
        }
    }

    fn snapshot(&self, before: Option<&Counted>, now: &Counted, coupons: Option<&[CouponReport]>) -> Value {
        let About { role, version, started_at, strategy, place, promise } = &self.about;
        let ready = is_ready(&self.readiness);
        let (accepts, applies) = (self.about.accepts(), self.about.applies());
        let per_second = |of: fn(&Counted) -> [u64; EventType::ALL.len()], is_done: bool| {
            let rates = before.filter(|_| is_done).map(|before| now.rates_since(before, of))?;
            let named =
                EventType::ALL.into_iter().map(|of| (of.name().to_owned(), json!(rates[of as usize])));
            Some(Value::Object(named.collect()))
        };
        let refused =
            before.filter(|_| accepts).map(|before| now.rate_since(before, |counted| counted.refused));
        let quantiles = |of: fn(&Counted) -> &Quantiles, is_done: bool| {
            let taken = before.filter(|_| is_done).and_then(|before| of(now).since(of(before)))?;
            Some(json!({ "p50": taken.milliseconds(0.5), "p99": taken.milliseconds(0.99) }))
        };
        json!({
            "asOf": self.clock.now().to_string(),
            "process": { "role": role, "version": version, "startedAt": started_at.to_string() },
            "ready": { "ok": ready.is_ok(), "detail": ready.err() },
            "strategy": { "name": strategy, "place": place, "promise": promise },
            "lag": self.lag.latest(),
            "rates": {
                "acceptedPerSecond": per_second(|counted| counted.accepted, accepts),
                "refusedPerSecond": refused,
                "appliedPerSecond": per_second(|counted| counted.applied, applies),
                "acceptToRowMs": quantiles(|counted| &counted.accept_to_apply, applies),
                "publishMs": quantiles(|counted| &counted.publish, accepts),
            },
            "coupons": coupons,
        })
    }

    /// The course, then every snapshot from the next one on.
    fn events(self: Arc<Self>, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
        let history =
            Event::default().event("history").data(json!({ "groups": self.lag.history() }).to_string());
        let mut snapshots = self.snapshots.subscribe();
        // what was composed for earlier viewers may be of another day
        snapshots.mark_unchanged();
        let until = tokio::time::Instant::now() + TOLD_FOR;
        unfold((Some(history), snapshots, place), move |(history, mut snapshots, place)| async move {
            if let Some(history) = history {
                return Some((Ok(history), (None, snapshots, place)));
            }
            tokio::time::timeout_at(until, snapshots.changed()).await.ok()?.ok()?;
            let snapshot = snapshots.borrow_and_update().to_string();
            Some((Ok(Event::default().event("snapshot").data(snapshot)), (None, snapshots, place)))
        })
    }
}

pub(crate) async fn live(State(live): State<Arc<Live>>) -> Response {
    let Ok(place) = Arc::clone(&live.places).try_acquire_owned() else {
        let detail = format!("{VIEWERS_MAX} viewers look already; /lag says the same");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many viewers", &detail)
            .into_response();
    };
    Sse::new(live.events(place)).keep_alive(KeepAlive::default()).into_response()
}
