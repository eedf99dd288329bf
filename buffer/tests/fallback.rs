//! The contract suite over Kafka with Redis as its fallback, and what happens while Kafka is away.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use floodgate_buffer::{
    BatchLimits, Outcome, Publish, Receipts, Record, SpillLag, Strategy, Topic, contract,
};
use floodgate_schemas::EventType;
use floodgate_testkit::{Kafka, KafkaOptions, Redis, RedisOptions, wait};

const OF: EventType = EventType::Like;
const DEADLINE: Duration = Duration::from_secs(120);

struct Servers {
    kafka: Kafka,
    redis: Redis,
}

impl Servers {
    fn start() -> Servers {
        let properties = vec![("group.min.session.timeout.ms".to_owned(), "500".to_owned())];
        let kafka = Kafka::start(KafkaOptions { properties, ..KafkaOptions::default() });
        Servers { kafka: kafka.unwrap(), redis: Redis::start(RedisOptions::default()).unwrap() }
    }

    /// Those of all tests that leave them alone.
    fn shared() -> &'static Servers {
        static SERVERS: OnceLock<Servers> = OnceLock::new();
        SERVERS.get_or_init(Servers::start)
    }

    fn open(&self, prefix: &str, redis: toml::Table) -> Arc<dyn Strategy> {
        let mut kafka = toml::toml! { session_timeout_ms = 6000
        message_timeout_ms = 1500
        commit_interval_ms = 20 };
        kafka.insert("brokers".to_owned(), self.kafka.bootstrap().into());
        let mut section = toml::toml! { lease_ms = 1000 };
        section.insert("url".to_owned(), self.redis.url().into());
        section.extend(redis);
        contract::opened_with_fallback(("kafka", kafka), ("redis", section), prefix)
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        static TESTS: AtomicUsize = AtomicUsize::new(0);
        let strategy =
            self.open(&format!("test-{}.", TESTS.fetch_add(1, Ordering::Relaxed)), toml::Table::new());
        strategy.topics().unwrap().create().unwrap();
        strategy
    }
}

floodgate_buffer::contract_suite!(Servers::shared().strategy());

fn limits() -> BatchLimits {
    BatchLimits { events: 100, bytes: 1 << 20, wait: Duration::ZERO, drain: Duration::from_secs(1) }
}

/// Publishes so many records of these keys, which go on counting from `from`, one after the other, and says what became of each.
async fn publish(publishers: &[&dyn Publish], keys: usize, numbers: std::ops::Range<usize>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for number in numbers {
        let receipts = Receipts::new(keys);
        for index in 0..keys {
            let (key, value) = (format!("key-{index}"), format!("{index}:{number}"));
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            let record = Record { topic: Topic::Events(OF), key, value, headers: &[] };
            let publisher = publishers[number % publishers.len()];
            publisher.offer(&record, receipts.receipt(index)).unwrap();
        }
        receipts.all().await;
        outcomes.extend((0..keys).map(|key| receipts.outcome(key)));
    }
    outcomes
}

async fn spill(strategy: &Arc<dyn Strategy>) -> SpillLag {
    let strategy = Arc::clone(strategy);
    tokio::task::spawn_blocking(move || strategy.spill().expect("a fallback").unwrap()).await.unwrap()
}

async fn ready(publisher: &dyn Publish) {
    wait::until_async("readiness", DEADLINE, async || publisher.ready().ok()).await.unwrap();
}

/// Two processes publish one after the other while Kafka goes away and comes back: everything is taken, what Kafka did not take
/// waits in Redis, and all of a key arrives in the order in which it was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_does_not_take_follows_in_order_when_it_is_back() {
    let servers = Servers::start();
    let (mine, others) = (servers.open("", toml::Table::new()), servers.open("", toml::Table::new()));
    mine.topics().unwrap().create().unwrap();
    let publishers = [mine.publisher().unwrap(), others.publisher().unwrap()];
    for publisher in &publishers {
        ready(&**publisher).await;
    }
    let publishers = publishers.each_ref().map(|publisher| &**publisher);
    const KEYS: usize = 20;
    let before = publish(&publishers, KEYS, 0..10).await;
    assert!(before.iter().all(|outcome| *outcome == Outcome::Stored), "{before:?}");
    assert_eq!(
        spill(&mine).await,
        SpillLag { strategy: "redis", waiting: 0, room: Some(1_000_000), oldest_ms: None, is_filling: false }
    );
    servers.kafka.kill(0).unwrap();
    let away = publish(&publishers, KEYS, 10..40).await;
    assert!(away.iter().all(|outcome| *outcome == Outcome::Spilled), "{away:?}");
    let waiting = spill(&mine).await;
    assert!(waiting.is_filling && waiting.waiting == away.len() as u64, "{waiting:?}");
    servers.kafka.start_again(0).unwrap();
    // while they are moved
    let back = publish(&publishers, KEYS, 40..60).await;
    assert!(back.iter().all(|outcome| outcome.is_stored()), "{back:?}");
    let is_empty = async || (spill(&mine).await.waiting == 0).then_some(());
    wait::until_async("everything to be moved", DEADLINE, is_empty).await.unwrap();
    let direct = async || {
        let outcomes = publish(&publishers, 1, 1000..1002).await;
        outcomes.iter().all(|outcome| *outcome == Outcome::Stored).then_some(())
    };
    wait::until_async("events to go to Kafka", DEADLINE, direct).await.unwrap();
    let mut member = mine.subscribe(OF, limits()).unwrap();
    let mut values: Vec<String> = Vec::new();
    while values.len() < KEYS * 60 {
        let batch = member.next().await.unwrap().unwrap();
        let new: Vec<String> = contract::values_of(&batch);
        // what was moved and not trimmed in time is there twice
        for value in new {
            if !values.contains(&value) && value.split_once(':').is_some_and(|(_, n)| n.len() < 4) {
                values.push(value);
            }
        }
        member.commit(batch);
    }
    contract::assert_complete_in_key_order(&values, KEYS, KEYS * 60);
    member.close().await.unwrap();
    for publisher in publishers {
        assert_eq!(publisher.close(Duration::from_secs(10)).await, 0);
    }
}

/// When the fallback holds as much as it may, it is as if there were none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_fallback_refuses() {
    let servers = Servers::start();
    let strategy = servers.open("", toml::toml! { max_events = 50 });
    strategy.topics().unwrap().create().unwrap();
    let publisher = strategy.publisher().unwrap();
    ready(&*publisher).await;
    servers.kafka.kill(0).unwrap();
    let outcomes = async {
        let (mut spilled, mut refused) = (0, 0);
        while refused < 20 {
            let receipts = Receipts::new(1);
            let record =
                Record { topic: Topic::Events(OF), key: Some(b"k"), value: Some(b"v"), headers: &[] };
            match publisher.offer(&record, receipts.receipt(0)) {
                Ok(()) => {
                    receipts.all().await;
                    spilled += usize::from(receipts.outcome(0) == Outcome::Spilled);
                    refused += usize::from(receipts.outcome(0) == Outcome::NotStored);
                }
                Err(_) => refused += 1,
            }
        }
        spilled
    };
    assert_eq!(tokio::time::timeout(DEADLINE, outcomes).await.unwrap(), 50);
    let unready = async || {
        publisher.ready().err().filter(|reason| reason.contains("buffer.fallback: the lists are full"))
    };
    wait::until_async("unreadiness", DEADLINE, unready).await.unwrap();
}

/// What may be in Kafka stays unknown: it is not stored elsewhere, whatever becomes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_in_kafka_is_not_spilled() {
    let servers = Servers::start();
    let strategy = servers.open("", toml::Table::new());
    strategy.topics().unwrap().create().unwrap();
    let publisher = strategy.publisher().unwrap();
    ready(&*publisher).await;
    assert_eq!(publish(&[&*publisher], 1, 0..1).await, [Outcome::Stored]);
    // it is on the wire when nobody answers any more
    servers.kafka.freeze(0).unwrap();
    assert_eq!(publish(&[&*publisher], 1, 1..2).await, [Outcome::Unknown]);
    assert_eq!(spill(&strategy).await.waiting, 0);
    servers.kafka.process(0).unwrap().thaw().unwrap();
}
