//! An ingress over nothing, and a clock that stands while anybody works.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{NotTaken, Outcome, Publish, Receipt, Record};
use floodgate_observe::Metrics;
use floodgate_producer::{Admission, DoorConfig, Handed, HttpConfig, Ingress, Server, TlsConfig};
use floodgate_schemas::examples::{Counted, HandClock, at};
use floodgate_schemas::{CharacterId, CouponId, Encoder, EventId, Keying, LikerAccountId, TargetOcid};
use floodgate_store::{
    BoxFuture, Coupon, CouponCreated, Decision, ExpectationRow, NewCoupon, ReadError, Reads, SchemaState,
};
use floodgate_traces::Tracer;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    static SERVER: RefCell<Option<Arc<Server>>> = const { RefCell::new(None) };
}

/// Does something that is not waited for longer than an hour, of a clock that goes on when nothing else does.
pub fn in_time<T>(what: impl Future<Output = T>) -> T {
    let patient = async { tokio::time::timeout(Duration::from_secs(3600), what).await };
    RUNTIME.with(|runtime| runtime.block_on(patient)).expect("it hangs")
}

/// The same server for all that is tried, which remembers no more than it may.
pub fn server() -> Arc<Server> {
    SERVER.with_borrow_mut(|server| Arc::clone(server.get_or_insert_with(open)))
}

fn open() -> Arc<Server> {
    let config = HttpConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        allow_open: false,
        body_max_bytes: 1000,
        bodies_max_bytes: 100_000,
        head_max_bytes: 8192,
        target_max_bytes: 200,
        events_max: 10,
        send_timeout_ms: 10_000,
        idle_timeout_ms: 75_000,
        linger_max_bytes: 10_000,
        linger_ms: 2_000,
        request_deadline_ms: 30_000,
        clock_ahead_max_ms: 300_000,
        connections_max: 10,
        connections_per_client_max: 0,
        streams_per_connection_max: 10,
        waiters_max: 10,
        wait_poll_ms: 20,
        cache_ms: 0,
        cache_entries_max: 100,
        idempotency_keys_max: 100,
        allow_origins: Vec::new(),
        tls: TlsConfig::default(),
    };
    let clock = Arc::new(HandClock::new(at(0)));
    let handed = Handed {
        clock: Arc::clone(&clock) as _,
        chance: Arc::new(Counted::default()),
        encoder: Encoder::single_object(),
        tracer: Tracer::off(),
        admission: Admission::off(clock),
        door: DoorConfig::OPEN,
    };
    let metrics = Metrics::new().expect("metrics");
    let ingress =
        Ingress::new(&config, Keying::default(), Arc::new(Nowhere), Arc::new(Nothing), &metrics, handed);
    let opened = RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        Server::bind(&config, &ingress)
    });
    Arc::new(opened.expect("a free port"))
}

/// Takes every record, and keeps none.
struct Nowhere;

impl Publish for Nowhere {
    fn offer(&self, _: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        if let Some(wake) = receipt.complete(Outcome::Stored) {
            wake.wake();
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn waiting(&self) -> floodgate_buffer::Waiting {
        floodgate_buffer::Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

/// A database without rows.
struct Nothing;

impl Reads for Nothing {
    fn expectations(&self, _: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn coupon<'a>(&'a self, _: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    fn coupons_named<'a>(&'a self, _: &'a [CouponId]) -> BoxFuture<'a, Result<Vec<Coupon>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn coupons(&self, _: u32) -> BoxFuture<'_, Result<Vec<Coupon>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn create_coupon<'a>(&'a self, _: &'a NewCoupon) -> BoxFuture<'a, Result<CouponCreated, ReadError>> {
        Box::pin(async { Ok(CouponCreated::Created) })
    }

    fn decisions<'a>(&'a self, _: &'a [EventId]) -> BoxFuture<'a, Result<Vec<Decision>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn like_count<'a>(&'a self, _: &'a TargetOcid) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async { Ok(0) })
    }

    fn liked<'a>(
        &'a self,
        _: &'a TargetOcid,
        _: &'a LikerAccountId,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(async { Ok(false) })
    }

    fn schema_state(&self) -> BoxFuture<'_, Result<SchemaState, ReadError>> {
        Box::pin(async { Err(ReadError::Unavailable("there is none".to_owned())) })
    }
}
