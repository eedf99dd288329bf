//! The contract suite over the Kafka strategy, on a real broker.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use floodgate_buffer::{BatchLimits, Outcome, Receipts, Record, Strategy, Topic, TopicState, contract};
use floodgate_schemas::EventType;
use floodgate_testkit::{Kafka, KafkaOptions};

/// One broker for all tests of this file; every test has topics of its own.
fn bootstrap() -> String {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA
        .get_or_init(|| {
            // sessions shorter than a broker allows by default, for tests that wait for one to end
            let properties = vec![("group.min.session.timeout.ms".to_owned(), "500".to_owned())];
            Kafka::start(KafkaOptions { properties, ..KafkaOptions::default() }).expect("a broker starts")
        })
        .bootstrap()
}

fn prefix() -> String {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    format!("test-{}.", TESTS.fetch_add(1, Ordering::Relaxed))
}

fn without_topics(brokers: String, changes: &[(&str, i64)]) -> Arc<dyn Strategy> {
    opened(brokers, changes, &prefix())
}

fn opened(brokers: String, changes: &[(&str, i64)], prefix: &str) -> Arc<dyn Strategy> {
    let mut section = toml::toml! {
        linger_ms = 2
        // all but the first gather: with a few records none would
        linger_above_events = 0
        producers = 3
        session_timeout_ms = 6000
        max_poll_interval_ms = 30000
        commit_interval_ms = 20
    };
    section.insert("brokers".to_owned(), brokers.into());
    section.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), toml::Value::Integer(*value))));
    contract::opened("kafka", section, prefix)
}

fn strategy() -> Arc<dyn Strategy> {
    strategy_with(&[])
}

fn strategy_with(changes: &[(&str, i64)]) -> Arc<dyn Strategy> {
    let strategy = without_topics(bootstrap(), changes);
    let reports = strategy.topics().unwrap().create().unwrap();
    assert!(reports.iter().all(|report| report.state == TopicState::Created), "{reports:?}");
    strategy
}

floodgate_buffer::contract_suite!(strategy());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_the_strategy() {
    let prefix = prefix();
    let open = || opened(bootstrap(), &[], &prefix);
    open().topics().unwrap().create().unwrap();
    contract::records_outlive_the_strategy(open).await;
}

/// The same where each record goes out at once, by whichever producer its partition has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_do_not_gather_arrive_in_key_order() {
    contract::records_arrive_in_key_order(strategy_with(&[("linger_above_events", i64::MAX)])).await;
}

/// With no broker nothing is acknowledged: the queue fills, and is relieved when messages time out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    let port = floodgate_testkit::ports::free_port().unwrap();
    let strategy = without_topics(
        format!("127.0.0.1:{port}"),
        &[("queue_max_events", 100), ("message_timeout_ms", 1500)],
    );
    contract::a_full_queue_refuses(strategy, 100, async || {}).await;
}

/// What never left the process is reported as certainly not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_broker_stores_nothing_for_certain() {
    let port = floodgate_testkit::ports::free_port().unwrap();
    let strategy = without_topics(format!("127.0.0.1:{port}"), &[("message_timeout_ms", 1000)]);
    let publisher = strategy.publisher().unwrap();
    let receipts = Receipts::new(1);
    let record = Record { topic: Topic::DeadLetters, key: None, value: Some(b"x"), headers: &[] };
    publisher.offer(&record, receipts.receipt(0)).unwrap();
    receipts.all().await;
    assert_eq!(receipts.outcome(0), Outcome::NotStored);
    assert!(publisher.ready().unwrap_err().contains("127.0.0.1"));
    assert_eq!(publisher.waiting().events, 0);
}

/// Missing topics are told with the command that makes them, to publishers, members and lag readers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_name_the_command() {
    let strategy = without_topics(bootstrap(), &[]);
    let publisher = strategy.publisher().unwrap();
    let told =
        floodgate_testkit::wait::until("readiness to name the command", Duration::from_secs(30), || {
            publisher.ready().err().filter(|reason| reason.contains("floodgate topics create"))
        });
    assert!(told.unwrap().contains("floodgate.like.v1"));
    let limits = BatchLimits { events: 1, bytes: 1, wait: Duration::ZERO, drain: Duration::ZERO };
    let mut member = strategy.subscribe(EventType::Like, limits).unwrap();
    assert!(member.next().await.unwrap_err().0.contains("floodgate topics create"));
    assert!(strategy.lag(EventType::Coupon).unwrap_err().0.contains("floodgate topics create"));
    let missing = strategy.topics().unwrap().describe().unwrap();
    assert!(missing.iter().all(|topic| topic.partitions.is_none()));
}

/// Java clients, and the other strategies, find a key where we put it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_placed_as_java_clients_place_them() {
    // murmur2 of the text, made positive, modulo ten: computed apart from any client
    let placed = [("1", 9), ("4711", 2), ("summer", 2), ("target\u{1f}liker", 9)];
    let strategy = strategy();
    let publisher = strategy.publisher().unwrap();
    let receipts = Receipts::new(placed.len());
    for (index, (key, _)) in placed.iter().enumerate() {
        let topic = Topic::Events(EventType::Like);
        let record = Record { topic, key: Some(key.as_bytes()), value: Some(key.as_bytes()), headers: &[] };
        publisher.offer(&record, receipts.receipt(index)).unwrap();
    }
    receipts.all().await;
    let limits = BatchLimits { events: 1, bytes: 1, wait: Duration::ZERO, drain: Duration::from_secs(1) };
    let mut member = strategy.subscribe(EventType::Like, limits).unwrap();
    let mut found = Vec::new();
    while found.len() < placed.len() {
        let batch = member.next().await.unwrap().unwrap();
        found.extend(batch.iter().map(|record| {
            (String::from_utf8(record.key.unwrap().to_vec()).unwrap(), record.origin.partition.0)
        }));
        member.commit(batch);
    }
    found.sort();
    let mut wanted = placed.map(|(key, partition)| (key.to_owned(), partition));
    wanted.sort();
    assert_eq!(found, wanted);
    member.close().await.unwrap();
}

/// Creating twice changes nothing; another partition count is told, not changed.
#[test]
fn creating_topics_is_idempotent() {
    let strategy = strategy();
    let again = strategy.topics().unwrap().create().unwrap();
    assert!(again.iter().all(|report| report.state == TopicState::Existed), "{again:?}");
    let described = strategy.topics().unwrap().describe().unwrap();
    assert!(described.iter().all(|topic| topic.partitions.as_ref().is_some_and(|p| p.len() == 10)));
}

/// While the database stalls, the member goes on polling: it stays in the group for longer than a member that
/// does not poll may, keeps its partitions, and in the end nothing was delivered twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_pipeline_keeps_its_partitions() {
    const MAX_POLL_INTERVAL: Duration = Duration::from_millis(2000);
    let strategy = strategy_with(&[
        ("session_timeout_ms", 1500),
        ("max_poll_interval_ms", MAX_POLL_INTERVAL.as_millis() as i64),
    ]);
    contract::publish(&*strategy.publisher().unwrap(), 1, 200).await;
    let limits =
        BatchLimits { events: 10, bytes: 1 << 20, wait: Duration::ZERO, drain: Duration::from_secs(1) };
    let mut member = strategy.subscribe(EventType::Like, limits).unwrap();
    let in_work = member.next().await.unwrap().unwrap();

    let stalled = Instant::now();
    while stalled.elapsed() < 2 * MAX_POLL_INTERVAL {
        let strategy = Arc::clone(&strategy);
        let group =
            tokio::task::spawn_blocking(move || strategy.lag(EventType::Like)).await.unwrap().unwrap();
        assert_eq!(group.members, Some(1), "the member left after {:?}", stalled.elapsed());
        assert_eq!(group.partitions.iter().map(|p| p.lag()).sum::<u64>(), 200, "nothing is done yet");
    }

    let mut values = contract::values_of(&in_work);
    member.commit(in_work);
    values.extend(contract::drain(&mut *member, 200 - values.len()).await);
    contract::assert_complete_in_key_order(&values, 1, 200);
    member.close().await.unwrap();
}

/// A cluster that makes topics when somebody names them must not make ours, with its defaults, before
/// `floodgate topics create` does: publishers, members and lag readers name them without consequence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lenient_cluster_makes_no_topics_by_accident() {
    let properties = vec![("auto.create.topics.enable".to_owned(), "true".to_owned())];
    let kafka = Kafka::start(KafkaOptions { properties, ..KafkaOptions::default() }).unwrap();
    let strategy = without_topics(kafka.bootstrap(), &[("message_timeout_ms", 1000)]);
    let publisher = strategy.publisher().unwrap();
    let receipts = Receipts::new(1);
    let record = Record { topic: Topic::DeadLetters, key: None, value: Some(b"x"), headers: &[] };
    if publisher.offer(&record, receipts.receipt(0)).is_ok() {
        receipts.all().await;
        assert_eq!(receipts.outcome(0), Outcome::NotStored);
    }
    let limits = BatchLimits { events: 1, bytes: 1, wait: Duration::ZERO, drain: Duration::ZERO };
    let mut member = strategy.subscribe(EventType::Like, limits).unwrap();
    assert!(member.joined().await.unwrap_err().0.contains("floodgate topics create"));
    assert!(strategy.lag(EventType::Like).is_err());
    assert!(publisher.ready().unwrap_err().contains("floodgate topics create"));
    let described = strategy.topics().unwrap().describe().unwrap();
    assert!(described.iter().all(|topic| topic.partitions.is_none()), "{described:?}");
}
