//! The pipeline over the in-memory strategy, with a store and a publisher that do as they are told.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use floodgate_buffer::{
    BoxFuture, Header, Outcome as Stored, Publish, Receipt, Receipts, Record, Refused, Strategy, Topic,
    Waiting,
};
use floodgate_observe::Metrics;
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::like;
use floodgate_schemas::{Event, EventType, Like, LikeAction, Timestamp};
use floodgate_store::{Apply, ApplyError, Outcome};
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
    /// Whether bad likers are refused no longer.
    is_mended: AtomicBool,
    refused: AtomicUsize,
}

impl Apply<Like> for Database {
    fn apply<'a>(
        &'a self,
        events: &'a [Like],
        _: Timestamp,
    ) -> floodgate_store::BoxFuture<'a, Result<Vec<Outcome>, ApplyError>> {
        Box::pin(async move {
            if let Some(error) = self.planned.lock().pop_front() {
                return Err(error);
            }
            let is_bad = |event: &Like| event.liker_account_id.as_str().starts_with("bad");
            if !self.is_mended.load(Ordering::Relaxed) && events.iter().any(is_bad) {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(ApplyError::BadRow("a bad liker".to_owned()));
            }
            self.transactions.lock().push(events.len());
            self.applied.lock().extend(events.iter().map(|event| event.liker_account_id.to_string()));
            Ok(vec![Outcome::Applied; events.len()])
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

impl Publish for DeadLetters {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), Refused> {
        assert_eq!(record.topic, Topic::DeadLetters);
        self.readiness.lock().push(self.health.ready());
        if let Some(refused) = self.refusals.lock().pop_front() {
            return Err(refused);
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

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

struct World {
    strategy: Arc<dyn Strategy>,
    database: Arc<Database>,
    dead_letters: Arc<DeadLetters>,
    health: Health,
}

impl World {
    fn new() -> Self {
        let health = Health::default();
        Self {
            strategy: floodgate_buffer::contract::in_memory(1, 10_000, "test."),
            database: Arc::default(),
            dead_letters: Arc::new(DeadLetters { health: health.clone(), ..DeadLetters::default() }),
            health,
        }
    }

    fn publish(&self, value: &[u8], headers: &[Header<'_>]) {
        let record =
            Record { topic: Topic::Events(EventType::Like), key: Some(b"k"), value: Some(value), headers };
        self.strategy.publisher().unwrap().offer(&record, Receipts::new(1).receipt(0)).unwrap();
    }

    fn publish_likes(&self, likers: &[&str]) {
        for (number, liker) in (0..).zip(likers) {
            let mut value = Vec::new();
            encode(&like(number, "target", liker, LikeAction::Like, 0), &mut value);
            self.publish(&value, &[]);
        }
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
        let pipeline = Pipeline::<Like> {
            ahead_max_micros: 300_000_000,
            strategy: Arc::clone(&self.strategy),
            publisher: Arc::clone(&self.dead_letters) as Arc<dyn Publish>,
            store: Arc::clone(&self.database) as Arc<dyn Apply<Like>>,
            metrics: Arc::new(PipelineMetrics::new(&Metrics::new().unwrap(), Like::TYPE)),
            config,
            health: self.health.member(),
            stop,
            event: PhantomData,
        };
        tokio::time::timeout(Duration::from_secs(30), pipeline.run())
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
async fn a_partition_of_bad_rows_is_held_until_they_are_good() {
    let world = World::new();
    let likers: Vec<String> = (0..300).map(|n| format!("bad-{n:03}")).collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    let stop = CancellationToken::new();
    let mended = async {
        until(|| world.health.ready().is_err_and(|trouble| trouble.contains("partition 0"))).await;
        // tried again and again, a few records at a time
        let tries = world.database.refused.load(Ordering::Relaxed);
        until(|| world.database.refused.load(Ordering::Relaxed) > tries + 200).await;
        assert!(world.reasons().is_empty(), "held, and yet dead-lettered");
        world.database.is_mended.store(true, Ordering::Relaxed);
        until(|| world.health.ready().is_ok() && world.database.applied.lock().len() == 300).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), mended);
    assert_eq!(*world.database.applied.lock(), likers, "in order, each once");
    assert!(world.reasons().is_empty());
}

/// What only this process holds is not left behind for being bad.
#[tokio::test]
async fn a_held_partition_is_dead_lettered_when_its_process_ends() {
    let world = World::new();
    let likers: Vec<String> = (0..300).map(|n| format!("bad-{n:03}")).collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    let stop = CancellationToken::new();
    let stopped = async {
        until(|| world.health.ready().is_err_and(|trouble| trouble.contains("partition 0"))).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), stopped);
    assert_eq!(world.reasons(), vec!["bad-row"; 300]);
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
    let facts: Vec<_> = headers[..7].iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        facts,
        [
            ("trace", "abc"),
            ("floodgate-dlq-topic", "test.floodgate.like.v1"),
            ("floodgate-dlq-partition", "0"),
            ("floodgate-dlq-offset", "1"),
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
