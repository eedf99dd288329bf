//! The pipeline over the in-memory strategy, with a store and a publisher that do as they are told.

mod followed;
mod holding;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use floodgate_buffer::contract::PublishAs;
use floodgate_buffer::{
    Header, NotTaken, Outcome as Stored, Receipt, Receipts, Record, Refused, Strategy, Topic, Word,
};
use floodgate_observe::Metrics;
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::{Counted, HandClock, at, like};
use floodgate_schemas::{Codecs, Event, EventType, Like, LikeAction, Timestamp};
use floodgate_store::{Apply, ApplyError, ApplyOutcome};
use floodgate_traces::Tracer;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::metrics::PipelineMetrics;
use crate::pipeline::Pipeline;
use crate::{ConsumersConfig, Health};

/// Refuses likers named `bad…`, fails with what is planned first, keeps what it applied.
#[derive(Default)]
struct Database {
    planned: Mutex<VecDeque<ApplyError>>,
    applied: Mutex<Vec<String>>,
    transactions: Mutex<Vec<usize>>,
    /// When they were applied, as it was told.
    times: Mutex<Vec<Timestamp>>,
    /// Whether bad likers are refused no longer.
    is_mended: AtomicBool,
    refused: AtomicUsize,
    /// Whether the next transaction meets a bug.
    has_bug: AtomicBool,
}

impl Apply<Like> for Database {
    fn apply<'a>(
        &'a self,
        events: &'a [Like],
        now: Timestamp,
    ) -> floodgate_store::BoxFuture<'a, Result<Vec<ApplyOutcome>, ApplyError>> {
        Box::pin(async move {
            assert!(!self.has_bug.swap(false, Ordering::Relaxed), "planted");
            if let Some(error) = self.planned.lock().pop_front() {
                return Err(error);
            }
            let is_bad = |event: &Like| event.liker_account_id.as_str().starts_with("bad");
            if !self.is_mended.load(Ordering::Relaxed) && events.iter().any(is_bad) {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(ApplyError::BadRow("a bad liker".to_owned()));
            }
            self.transactions.lock().push(events.len());
            self.times.lock().push(now);
            self.applied.lock().extend(events.iter().map(|event| event.liker_account_id.to_string()));
            Ok(vec![ApplyOutcome::Applied; events.len()])
        })
    }
}

/// A record as it was published.
type Published = (Vec<u8>, Vec<(String, String)>);

/// Refuses as planned, then keeps dead letters.
#[derive(Default)]
struct DeadLetters {
    refusals: Mutex<VecDeque<Refused>>,
    /// What readiness said whenever a letter came.
    readiness: Mutex<Vec<Result<(), String>>>,
    health: Health,
    kept: Mutex<Vec<Published>>,
}

impl DeadLetters {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        assert_eq!(record.topic, Topic::DeadLetters);
        self.readiness.lock().push(self.health.ready());
        if let Some(reason) = self.refusals.lock().pop_front() {
            return Err(NotTaken { reason, receipt });
        }
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let headers =
            record.headers.iter().map(|(name, value)| (text(name), text(value.unwrap_or_default())));
        self.kept.lock().push((record.value.unwrap_or_default().to_vec(), headers.collect()));
        if let Some(wake) = receipt.complete(Stored::Stored) {
            wake.wake();
        }
        Ok(())
    }
}

struct World {
    strategy: Arc<dyn Strategy>,
    database: Arc<Database>,
    dead_letters: Arc<DeadLetters>,
    health: Health,
    config: ConsumersConfig,
    clock: Arc<HandClock>,
    metrics: Metrics,
    tracer: Tracer,
}

impl World {
    fn new() -> Self {
        Self::with_partitions(1)
    }

    fn with_partitions(partitions: u32) -> Self {
        let health = Health::default();
        let config = ConsumersConfig {
            batch_max_events: 1000,
            batch_max_bytes: 1 << 20,
            batch_max_wait_ms: 0,
            instances: 1,
            drain_ms: 1000,
            retry_min_ms: 1,
            retry_max_ms: 2,
            dead_letter_share_max: 0.5,
            dead_letter_storm_min: 10,
        };
        Self {
            config,
            strategy: floodgate_buffer::contract::in_memory(partitions, 10_000, "test."),
            database: Arc::default(),
            dead_letters: Arc::new(DeadLetters { health: health.clone(), ..DeadLetters::default() }),
            health,
            clock: Arc::new(HandClock::new(at(0))),
            metrics: Metrics::new().unwrap(),
            tracer: Tracer::off(),
        }
    }

    fn publish(&self, value: &[u8], headers: &[Header<'_>]) {
        self.publish_under(b"k", value, headers);
    }

    fn publish_under(&self, key: &[u8], value: &[u8], headers: &[Header<'_>]) {
        let topic = Topic::Events(EventType::Like);
        let record = Record { topic, key: Some(key), value: Some(value), headers };
        self.strategy.publisher().unwrap().offer(&record, Receipts::new(1).receipt(0)).unwrap();
    }

    fn publish_likes(&self, likers: &[&str]) {
        likers.iter().for_each(|liker| self.publish_like("k", liker));
    }

    fn publish_like(&self, key: &str, liker: &str) {
        self.publish_like_at(key, liker, 0);
    }

    fn publish_like_at(&self, key: &str, liker: &str, micros: i64) {
        let mut value = Vec::new();
        encode(&like(0, "target", liker, LikeAction::Like, micros), &mut value);
        self.publish_under(key.as_bytes(), &value, &[]);
    }

    /// Runs one member until everything published is done.
    async fn work(&self) {
        let stop = CancellationToken::new();
        // an in-memory member that is told to stop first finishes what waits: no need to guess when it is done
        stop.cancel();
        self.work_until(stop).await;
    }

    /// Runs one member until it is told to stop and everything published is done.
    async fn work_until(&self, stop: CancellationToken) {
        let (health, dead_letters) = (self.health.member(), Arc::clone(&self.dead_letters));
        let pipeline = Pipeline::<Like> {
            ahead_max_micros: 300_000_000,
            strategy: Arc::clone(&self.strategy),
            publisher: Arc::new(PublishAs::new(move |record: &Record<'_>, receipt| {
                dead_letters.offer(record, receipt)
            })),
            store: Arc::clone(&self.database) as Arc<dyn Apply<Like>>,
            metrics: Arc::new(PipelineMetrics::new(&self.metrics, Like::TYPE, "test")),
            config: self.config.clone(),
            health: health.clone(),
            stop,
            clock: Arc::clone(&self.clock) as _,
            chance: Arc::new(Counted::default()),
            codecs: Codecs::builtin(),
            tracer: self.tracer.clone(),
        };
        tokio::time::timeout(Duration::from_secs(30), crate::members::watch(pipeline, health))
            .await
            .expect("the member ends")
            .unwrap();
        assert_eq!(self.strategy.publisher().unwrap().waiting().events, 0, "records are left");
        assert_eq!(self.health.ready(), Ok(()));
    }

    fn reasons(&self) -> Vec<String> {
        let kept = self.dead_letters.kept.lock();
        kept.iter().map(|(_, headers)| header(headers, "floodgate-dlq-reason")).collect()
    }
}

fn header(headers: &[(String, String)], name: &str) -> String {
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

#[tokio::test]
async fn bad_rows_are_singled_out_and_the_others_applied_in_order() {
    let world = World::new();
    let likers: Vec<String> = (0..100)
        .map(|n| if [0, 42, 43, 99].contains(&n) { format!("bad-{n}") } else { format!("good-{n:02}") })
        .collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    world.work().await;
    let good: Vec<String> = likers.iter().filter(|liker| liker.starts_with("good")).cloned().collect();
    assert_eq!(*world.database.applied.lock(), good);
    assert_eq!(world.reasons(), ["bad-row"; 4]);
    let kept = world.dead_letters.kept.lock();
    let offsets: Vec<_> = kept.iter().map(|(_, headers)| header(headers, "floodgate-dlq-offset")).collect();
    assert_eq!(offsets, ["0", "42", "43", "99"]);
    assert!(world.database.transactions.lock().len() < 40, "halving, not one by one");
}

/// Waits until readiness says so, or for what is left to be done.
async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it happens");
}

#[tokio::test]
async fn what_is_no_event_is_dead_lettered_byte_for_byte() {
    let world = World::new();
    world.publish_likes(&["before"]);
    world.publish(b"\x00\xffpoison", &[(b"trace", Some(b"abc"))]);
    world.publish_likes(&["after"]);
    world.work().await;
    assert_eq!(*world.database.applied.lock(), ["before", "after"]);
    let kept = world.dead_letters.kept.lock();
    let [(value, headers)] = &kept[..] else { panic!("{} dead letters", kept.len()) };
    assert_eq!(value, b"\x00\xffpoison");
    let mut log = world.strategy.logs().unwrap().open(Topic::Events(EventType::Like)).unwrap();
    let log = log.bounds().unwrap().log.unwrap();
    let facts: Vec<_> = headers[..8].iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        facts,
        [
            ("trace", "abc"),
            ("floodgate-dlq-topic", "test.floodgate.like.v1"),
            ("floodgate-dlq-partition", "0"),
            ("floodgate-dlq-offset", "1"),
            ("floodgate-dlq-log", log.as_str()),
            ("floodgate-dlq-group", "test.floodgate.like"),
            ("floodgate-dlq-reason", "not-avro"),
            ("floodgate-dlq-message", "not Avro single-object encoding (no C3 01 marker)"),
        ]
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_and_costs_no_event() {
    let world = World::new();
    world.publish_likes(&["a", "b"]);
    let away = || ApplyError::Retry("the database is away".to_owned());
    world.database.planned.lock().extend([away(), away(), away()]);
    world.work().await;
    assert_eq!(*world.database.applied.lock(), ["a", "b"]);
    assert!(world.reasons().is_empty(), "what passes is never dead-lettered");
}

/// A database that gets nothing done but in small parts gets small parts, in order, and larger ones again later.
#[tokio::test]
async fn a_batch_that_takes_too_long_is_applied_in_parts() {
    let world = World::new();
    let likers: Vec<String> = (0..100).map(|n| format!("liker-{n:03}")).collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    let too_slow = || ApplyError::TooSlow("the database did not finish".to_owned());
    world.database.planned.lock().extend([too_slow(), too_slow(), too_slow()]);
    world.work().await;
    assert_eq!(*world.database.applied.lock(), likers);
    assert_eq!(*world.database.transactions.lock(), [12, 12, 1, 12, 12, 1, 24, 24, 2]);
    assert!(world.reasons().is_empty(), "what passes is never dead-lettered");
}

#[tokio::test]
async fn a_dead_letter_topic_that_refuses_is_waited_for() {
    let world = World::new();
    world.dead_letters.refusals.lock().extend([Refused::Full, Refused::Full, Refused::Full]);
    world.publish(b"poison 1", &[]);
    world.publish(b"poison 2", &[]);
    world.work().await;
    assert_eq!(world.reasons(), ["not-avro"; 2], "each exactly once here, none skipped");
}

/// It keeps its partition waiting, and whoever asks why is told what to do.
#[tokio::test]
async fn a_dead_letter_that_is_too_large_says_what_to_raise() {
    let world = World::new();
    world.dead_letters.refusals.lock().push_back(Refused::TooLarge);
    world.publish(&[b'x'; 5000], &[]);
    world.work().await;
    assert_eq!(world.reasons(), ["not-avro"]);
    let readiness = world.dead_letters.readiness.lock();
    let [_, Err(trouble)] = &readiness[..] else { panic!("{readiness:?}") };
    let bytes = trouble.split(' ').find_map(|word| word.parse::<usize>().ok());
    assert!(bytes.is_some_and(|bytes| (5200..5500).contains(&bytes)), "{trouble}");
    assert!(trouble.contains("message.max.bytes") && trouble.contains("max.message.bytes"), "{trouble}");
}

/// What failed again after a replay says so, however often; what only looks like a replay is a first failure.
#[tokio::test]
async fn attempts_count_on_from_the_last_replay() {
    let world = World::new();
    fn replay(attempts: &[u8]) -> Header<'_> {
        (b"floodgate-replay-attempts", Some(attempts))
    }
    world.publish(b"a first failure", &[(b"trace", Some(b"7"))]);
    world.publish(b"after a replay", &[replay(b"1")]);
    world.publish(b"after several", &[replay(b"1"), (b"trace", None), replay(b"4")]);
    for odd in [&b"many"[..], b"-1", b"\xff", b""] {
        world.publish(b"not a number", &[replay(odd)]);
    }
    world.publish(b"without a value", &[(b"floodgate-replay-attempts", None)]);
    world.publish(b"the most", &[replay(b"4294967295")]);
    world.work().await;
    let kept = world.dead_letters.kept.lock();
    let attempts: Vec<_> =
        kept.iter().map(|(_, headers)| header(headers, "floodgate-dlq-attempts")).collect();
    assert_eq!(attempts, ["1", "2", "5", "1", "1", "1", "1", "1", "4294967295"]);
    let (_, headers) = &kept[1];
    assert_eq!(headers[0], ("floodgate-replay-attempts".to_owned(), "1".to_owned()), "the original's stay");
}

/// A bug ends no member for good: what it had not committed comes again.
#[tokio::test]
async fn a_member_that_meets_a_bug_begins_anew() {
    let world = World::new();
    world.database.has_bug.store(true, Ordering::Relaxed);
    world.publish_likes(&["one", "two"]);
    world.work().await;
    assert_eq!(*world.database.applied.lock(), ["one", "two"]);
}

/// What time it is comes from the clock that was handed in: in dead letters, for the database, and for what lies ahead.
#[tokio::test]
async fn the_time_is_the_clocks() {
    let world = World::new();
    world.clock.set(at(60_000_000));
    for (liker, micros) in
        [("now", 60_000_000), ("latest", 360_000_000), ("ahead", 360_000_001), ("far", 1 << 50)]
    {
        world.publish_like_at("k", liker, micros);
    }
    world.publish(b"poison", &[]);
    world.work().await;
    assert_eq!(world.metrics.events_ahead.with_label_values(&["like"]).get(), 2);
    assert_eq!(*world.database.applied.lock(), ["now", "latest", "ahead", "far"], "they count all the same");
    assert_eq!(*world.database.times.lock(), [at(60_000_000)]);
    let kept = world.dead_letters.kept.lock();
    assert_eq!(header(&kept[0].1, "floodgate-dlq-failed-at"), at(60_000_000).to_string());
}
