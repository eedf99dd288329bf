//! What the unit tests share: an ingress over a buffer and a database that do what they are told.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use floodgate_buffer::{NotTaken, Outcome, Publish, Receipt, Record, Refused, Topic};
use floodgate_observe::Metrics;
use floodgate_schemas::examples::{Counted, HandClock, at};
use floodgate_schemas::{CharacterId, CouponId, Encoder, EventId, Keying, LikerAccountId, TargetOcid};
use floodgate_store::{
    BoxFuture, Coupon, CouponCreated, Decision, ExpectationRow, NewCoupon, ReadError, Reads, SchemaState,
};
use floodgate_traces::{TRACEPARENT, Tracer};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::config::HttpConfig;
use crate::door::DoorConfig;
use crate::ingress::{Handed, Ingress};
use crate::{routes, service};

/// What becomes of a record.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    Stored,
    /// In the place of where it belongs.
    Spilled,
    NotStored,
    Unknown,
    /// Nobody ever says.
    Silence,
    Refused(Refused),
}

/// A record that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) topic: Topic,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) traceparent: Option<String>,
    /// Where it was offered.
    pub(crate) on: std::thread::ThreadId,
}

/// Stores records, unless told otherwise.
#[derive(Default)]
pub(crate) struct Buffer {
    fates: Mutex<VecDeque<Fate>>,
    kept: Mutex<Vec<Kept>>,
    unanswered: Mutex<Vec<Receipt>>,
    pub(crate) unready: Mutex<Option<String>>,
    /// What is unacknowledged when it is closed.
    pub(crate) left_behind: AtomicUsize,
}

impl Buffer {
    /// What becomes of the next records, in order.
    pub(crate) fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().extend(fates);
    }

    /// The receipts of what was met with silence since this was asked last.
    pub(crate) fn unanswered(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.unanswered.lock())
    }

    /// What was stored since this was asked last.
    pub(crate) fn take(&self) -> Vec<Kept> {
        std::mem::take(&mut self.kept.lock())
    }
}

impl Publish for Buffer {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        let outcome = match self.fates.lock().pop_front().unwrap_or(Fate::Stored) {
            Fate::Spilled => Outcome::Spilled,
            Fate::Stored => {
                let [key, value] =
                    [record.key, record.value].map(|part| part.map(<[u8]>::to_vec).unwrap_or_default());
                self.kept.lock().push(Kept {
                    topic: record.topic,
                    key,
                    value,
                    traceparent: record
                        .headers
                        .iter()
                        .find(|(name, _)| *name == TRACEPARENT.as_bytes())
                        .map(|(_, value)| String::from_utf8(value.unwrap().to_vec()).unwrap()),
                    on: std::thread::current().id(),
                });
                Outcome::Stored
            }
            Fate::NotStored => Outcome::NotStored,
            Fate::Unknown => Outcome::Unknown,
            Fate::Silence => {
                self.unanswered.lock().push(receipt);
                return Ok(());
            }
            Fate::Refused(reason) => return Err(NotTaken { reason, receipt }),
        };
        if let Some(wake) = receipt.complete(outcome) {
            wake.wake();
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        self.unready.lock().clone().map_or(Ok(()), Err)
    }

    fn waiting(&self) -> floodgate_buffer::Waiting {
        floodgate_buffer::Waiting::default()
    }

    fn spills_to(&self) -> Option<&'static str> {
        Some("elsewhere")
    }

    fn close(&self, _: Duration) -> floodgate_buffer::BoxFuture<'_, usize> {
        Box::pin(async { self.left_behind.load(Ordering::Relaxed) })
    }
}

/// Answers with what it was given.
#[derive(Default)]
pub(crate) struct Database {
    pub(crate) expectations: Mutex<Vec<ExpectationRow>>,
    pub(crate) coupon: Mutex<Option<Coupon>>,
    pub(crate) created: Mutex<Option<CouponCreated>>,
    pub(crate) decisions: Mutex<Vec<Decision>>,
    pub(crate) likes: Mutex<(u64, bool)>,
    /// Why it does not answer.
    pub(crate) away: Mutex<Option<ReadError>>,
    /// How often it is asked for decisions before it meets a bug; afterwards it meets none any more.
    pub(crate) bug_at_lookup: Mutex<Option<usize>>,
    /// How many requests' decisions were asked for at a time.
    pub(crate) lookups: Mutex<Vec<usize>>,
    /// What a look-up waits for, once it has begun.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
    /// How often expectations were read.
    pub(crate) reads: AtomicUsize,
}

impl Database {
    fn answer<'a, T: Send + 'a>(&self, found: T) -> BoxFuture<'a, Result<T, ReadError>> {
        let answer = self.away.lock().clone().map_or(Ok(found), Err);
        Box::pin(async { answer })
    }
}

impl Reads for Database {
    fn expectations(&self, character: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let rows = self.expectations.lock();
        self.answer(rows.iter().filter(|row| row.character_id == character).cloned().collect())
    }

    fn coupon<'a>(&'a self, coupon: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>> {
        let found = self.coupon.lock().clone();
        self.answer(found.filter(|found| found.terms.coupon_id == *coupon))
    }

    fn coupons_named<'a>(&'a self, ids: &'a [CouponId]) -> BoxFuture<'a, Result<Vec<Coupon>, ReadError>> {
        let found = self.coupon.lock().clone();
        self.answer(found.filter(|found| ids.contains(&found.terms.coupon_id)).into_iter().collect())
    }

    fn coupons(&self, _: u32) -> BoxFuture<'_, Result<Vec<Coupon>, ReadError>> {
        self.answer(self.coupon.lock().iter().cloned().collect())
    }

    fn create_coupon<'a>(&'a self, coupon: &'a NewCoupon) -> BoxFuture<'a, Result<CouponCreated, ReadError>> {
        let created = self.created.lock().unwrap_or(CouponCreated::Created);
        *self.coupon.lock() = Some(Coupon { terms: coupon.clone(), issued: 0.try_into().unwrap() });
        self.answer(created)
    }

    fn decisions<'a>(&'a self, requests: &'a [EventId]) -> BoxFuture<'a, Result<Vec<Decision>, ReadError>> {
        Box::pin(async {
            let lookups = {
                let mut lookups = self.lookups.lock();
                lookups.push(requests.len());
                lookups.len()
            };
            assert!(self.bug_at_lookup.lock().take_if(|bug| *bug == lookups).is_none(), "planted");
            let gate = self.gate.lock().take();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            let decided = self.decisions.lock();
            let found = decided.iter().filter(|decision| requests.contains(&decision.request_id));
            self.away.lock().clone().map_or_else(|| Ok(found.cloned().collect()), Err)
        })
    }

    fn like_count<'a>(&'a self, _: &'a TargetOcid) -> BoxFuture<'a, Result<u64, ReadError>> {
        self.answer(self.likes.lock().0)
    }

    fn liked<'a>(
        &'a self,
        _: &'a TargetOcid,
        _: &'a LikerAccountId,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        self.answer(self.likes.lock().1)
    }

    fn schema_state(&self) -> BoxFuture<'_, Result<SchemaState, ReadError>> {
        Box::pin(async { Err(ReadError::Unavailable("nobody asks".to_owned())) })
    }
}

/// What is logged on this thread, until it is dropped.
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

/// Where lines are written.
#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn start() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let into = Lines(Arc::clone(&lines));
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || into.clone()).finish();
        Self { lines, _guard: tracing::subscriber::set_default(log) }
    }

    /// The lines with these words.
    pub(crate) fn lines(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.lines.lock().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// Has one line to which a problem leads, with these words.
    pub(crate) fn has(&self, problem: &Value, words: &str) {
        let instance = problem["instance"].as_str().and_then(|name| name.strip_prefix("urn:uuid:"));
        let lines = self.lines(instance.unwrap_or_else(|| panic!("no instance: {problem}")));
        assert!(lines.len() == 1 && lines[0].contains(words), "{words}: {lines:?}");
    }
}

/// An ingress and what it stands on.
pub(crate) struct World {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) database: Arc<Database>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) metrics: Metrics,
    /// Stands at ten o'clock of the examples' day until it is set.
    pub(crate) clock: Arc<HandClock>,
    router: Router,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The status and, of a problem, its name.
    pub(crate) fn told(&self) -> (u16, &str) {
        let name = self.body["type"].as_str().and_then(|name| name.strip_prefix("/problems/"));
        (self.status.as_u16(), name.unwrap_or_default())
    }

    pub(crate) fn content(&self) -> (u16, &Value) {
        (self.status.as_u16(), &self.body)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Where requests come from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn config() -> HttpConfig {
    HttpConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        allow_open: false,
        body_max_bytes: 1000,
        bodies_max_bytes: 100_000,
        head_max_bytes: 8192,
        target_max_bytes: 200,
        events_max: 10,
        send_timeout_ms: 20_000,
        idle_timeout_ms: 20_000,
        linger_max_bytes: 10_000,
        linger_ms: 20_000,
        request_deadline_ms: 20_000,
        clock_ahead_max_ms: 300_000,
        connections_max: 10,
        connections_per_client_max: 0,
        streams_per_connection_max: 10,
        waiters_max: 10,
        wait_poll_ms: 20,
        cache_ms: 3_600_000,
        cache_entries_max: 100,
        idempotency_keys_max: 100,
        allow_origins: Vec::new(),
        tls: crate::TlsConfig::default(),
    }
}

impl World {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        Self::traced(config, Tracer::off())
    }

    /// One whose requests are followed.
    pub(crate) fn traced(config: &HttpConfig, tracer: Tracer) -> Self {
        Self::handed(config, tracer, Encoder::single_object())
    }

    /// One that follows requests, and writes events so.
    pub(crate) fn handed(config: &HttpConfig, tracer: Tracer, encoder: Encoder) -> Self {
        let admission = Admission::off(Arc::new(HandClock::new(at(0))));
        Self::opened(config, tracer, encoder, (admission, DoorConfig::OPEN))
    }

    /// One that does not let everybody in.
    pub(crate) fn guarded(config: &HttpConfig, admission: Admission) -> Self {
        Self::opened(config, Tracer::off(), Encoder::single_object(), (admission, DoorConfig::OPEN))
    }

    /// One that refuses coupon requests.
    pub(crate) fn with_door(config: &HttpConfig, door: DoorConfig) -> Self {
        let admission = Admission::off(Arc::new(HandClock::new(at(0))));
        Self::opened(config, Tracer::off(), Encoder::single_object(), (admission, door))
    }

    fn opened(
        config: &HttpConfig,
        tracer: Tracer,
        encoder: Encoder,
        (admission, door): (Admission, DoorConfig),
    ) -> Self {
        let (buffer, database) = (Arc::<Buffer>::default(), Arc::<Database>::default());
        let metrics = Metrics::new().unwrap();
        let (publisher, reads) = (Arc::clone(&buffer) as _, Arc::clone(&database) as _);
        let clock = Arc::new(HandClock::new(at(0)));
        let chance = Arc::new(Counted::default());
        let handed = Handed { clock: Arc::clone(&clock) as _, chance, encoder, tracer, admission, door };
        let ingress = Ingress::new(config, Keying::default(), publisher, reads, &metrics, handed);
        let router = routes::router(Arc::clone(&ingress));
        Self { buffer, database, ingress, metrics, clock, router }
    }

    /// Sends a request, with these header fields, and takes the answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = service::answered(
            &self.ingress,
            &self.router,
            &self.ingress.admission.peer(PEER),
            request.body(body.into()).unwrap(),
        )
        .await
        .unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// How many events of a type were refused by the name of a problem.
    pub(crate) fn refused(&self, of: &str, problem: &str) -> u64 {
        self.metrics.events_refused.with_label_values(&[of, problem]).get()
    }

    pub(crate) fn accepted(&self, of: &str) -> u64 {
        self.metrics.events_accepted.with_label_values(&[of]).get()
    }
}
