//! The contract suite over the Redis strategy, on a real server.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use floodgate_buffer::{
    BatchLimits, Outcome, Partition, Receipts, Record, Refused, Strategy, Topic, contract,
};
use floodgate_schemas::EventType;
use floodgate_testkit::{Redis, RedisOptions, wait};

const OF: EventType = EventType::Like;
const TOPIC: Topic = Topic::Events(OF);

/// One server for all tests of this file that leave it alone; every test has keys of its own.
fn server() -> &'static Redis {
    static REDIS: OnceLock<Redis> = OnceLock::new();
    REDIS.get_or_init(|| Redis::start(RedisOptions::default()).expect("a Redis starts"))
}

fn open(url: &str, prefix: &str, changes: &[(&str, toml::Value)]) -> Arc<dyn Strategy> {
    let mut section = toml::toml! { lease_ms = 2000 };
    section.insert("url".to_owned(), url.into());
    section.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    contract::opened("redis", section, prefix)
}

fn prefix() -> String {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    format!("test-{}.", TESTS.fetch_add(1, Ordering::Relaxed))
}

fn strategy() -> Arc<dyn Strategy> {
    open(&server().url(), &prefix(), &[])
}

floodgate_buffer::contract_suite!(strategy());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_the_strategy() {
    let prefix = prefix();
    contract::records_outlive_the_strategy(|| open(&server().url(), &prefix, &[])).await;
}

fn limits() -> BatchLimits {
    BatchLimits { events: 50, bytes: 1 << 20, wait: Duration::ZERO, drain: Duration::from_secs(1) }
}

fn record<'r>(key: &'r [u8], value: &'r [u8]) -> Record<'r> {
    Record { topic: TOPIC, key: Some(key), value: Some(value), headers: &[] }
}

async fn outcome(strategy: &Arc<dyn Strategy>, record: &Record<'_>) -> Outcome {
    let receipts = Receipts::new(1);
    strategy.publisher().unwrap().offer(record, receipts.receipt(0)).unwrap();
    receipts.all().await;
    receipts.outcome(0)
}

/// With a server that does not answer nothing is acknowledged: the queue fills. Once the lists are full it is consumers that
/// make room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let changes = [("max_events", 100.into()), ("answer_timeout_ms", 60_000.into())];
    let strategy = open(&redis.url(), "", &changes);
    let publisher = strategy.publisher().unwrap();
    wait::until_async("readiness", Duration::from_secs(60), async || publisher.ready().ok()).await.unwrap();
    redis.process().unwrap().freeze().unwrap();
    let consumer = Arc::clone(&strategy);
    contract::a_full_queue_refuses(strategy, 100, async || {
        redis.process().unwrap().thaw().unwrap();
        let mut member = consumer.subscribe(OF, limits()).unwrap();
        let batch = member.next().await.unwrap().unwrap();
        member.commit(batch);
        member.close().await.unwrap();
    })
    .await;
}

/// More members than partitions: those that have none have joined all the same, and take over what others leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_without_a_partition_join() {
    let (url, prefix) = (server().url(), prefix());
    let strategy = open(&url, &prefix, &[]);
    contract::publish(&*strategy.publisher().unwrap(), 30, 300).await;
    let mut members = Vec::new();
    for _ in 0..30 {
        let mut member = strategy.subscribe(OF, limits()).unwrap();
        tokio::time::timeout(Duration::from_secs(60), member.joined()).await.unwrap().unwrap();
        members.push(member);
    }
    // all but the last, which may have none, leave
    let mut last = members.pop().unwrap();
    for member in members {
        member.close().await.unwrap();
    }
    contract::assert_complete_in_key_order(&contract::drain(&mut *last, 300).await, 30, 300);
    last.close().await.unwrap();
}

/// The bound is checked where the records are: what does not fit is refused whole, and certainly not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_takes_no_more_than_its_bound() {
    let (url, prefix) = (server().url(), prefix());
    let two = [(); 2].map(|()| open(&url, &prefix, &[("max_events", 10.into())]));
    let publishers = two.each_ref().map(|strategy| strategy.publisher().unwrap());
    for publisher in &publishers {
        wait::until_async("readiness", Duration::from_secs(60), async || publisher.ready().ok())
            .await
            .unwrap();
    }
    let receipts = Receipts::new(20);
    let mut refused = 0;
    for index in 0..20 {
        let offered = publishers[index % 2].offer(&record(b"one key", b"v"), receipts.receipt(index));
        refused += usize::from(offered.is_err_and(|not_taken| not_taken.reason == Refused::Full));
    }
    receipts.all().await;
    let stored = (0..20).filter(|index| receipts.outcome(*index) == Outcome::Stored).count();
    let not_stored = (0..20).filter(|index| receipts.outcome(*index) == Outcome::NotStored).count();
    assert!(stored <= 10 && stored + not_stored + refused == 20, "{stored} {not_stored} {refused}");
    let lag = tokio::task::spawn_blocking(move || two[0].lag(OF).unwrap().waiting()).await.unwrap();
    assert_eq!(lag, stored as u64);
}

/// What is in the lists survives the server's crash, and members go on where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_loses_nothing_it_acknowledged() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let strategy = open(&redis.url(), "", &[]);
    let publisher = strategy.publisher().unwrap();
    contract::publish(&*publisher, 7, 500).await;
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let mut values = contract::drain(&mut *member, 100).await;
    redis.process().unwrap().kill().unwrap();
    let unreachable = async || publisher.ready().err().filter(|reason| reason.contains("Redis at 127.0.0.1"));
    wait::until_async("unreadiness", Duration::from_secs(60), unreachable).await.unwrap();
    assert_eq!(
        outcome(&strategy, &record(b"k", b"away")).await,
        Outcome::NotStored,
        "no connection: nothing was sent"
    );
    redis.start_again().unwrap();
    // what was handed out and not trimmed comes again
    while values.iter().collect::<std::collections::BTreeSet<_>>().len() < 500 {
        values.extend(contract::drain(&mut *member, 1).await);
    }
    member.close().await.unwrap();
    assert!(!values.iter().any(|value| value == "away"));
}

/// A member whose lease ended while it stood still trims nothing: its partitions are others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_lease_trims_nothing() {
    let (url, prefix) = (server().url(), prefix());
    let (mine, others) = (open(&url, &prefix, &[]), open(&url, &prefix, &[]));
    contract::publish(&*mine.publisher().unwrap(), 1, 20).await;
    let mut zombie = mine.subscribe(OF, limits()).unwrap();
    let in_work = zombie.next().await.unwrap().unwrap();
    let partition = in_work.iter().next().unwrap().origin.partition;
    // as if it had been away for longer than its lease: another one took the partition
    let list = format!("{prefix}{{floodgate.like.v1:{partition}}}");
    server().cli(&["HSET", &format!("{list}:meta"), "owner", "another", "epoch", "99"]).unwrap();
    zombie.commit(in_work);
    let is_gone = async || (!zombie.owns(partition)).then_some(());
    wait::until_async("the loss of the partition", Duration::from_secs(60), is_gone).await.unwrap();
    assert_eq!(server().cli(&["LLEN", &list]).unwrap().trim(), "20", "nothing was trimmed");
    drop(zombie);
    let mut next = others.subscribe(OF, limits()).unwrap();
    contract::assert_complete_in_key_order(&contract::drain(&mut *next, 20).await, 1, 20);
    next.close().await.unwrap();
}

/// A Redis that was started again may have lost what came last, and gives its offsets to other records: a member that knew them
/// begins anew at the head, and trims nothing by what it knew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_dataset_is_read_from_its_head() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let strategy = open(&redis.url(), "", &[]);
    let publisher = strategy.publisher().unwrap();
    let key = contract::key_of(0, 10);
    let publish = async |value: &'static [u8]| {
        wait::until_async("readiness", Duration::from_secs(60), async || publisher.ready().ok())
            .await
            .unwrap();
        assert_eq!(outcome(&strategy, &record(key.as_bytes(), value)).await, Outcome::Stored);
    };
    publish(b"first").await;
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    // it owns the partition, in what is copied as well
    let mut in_work = vec![member.next().await.unwrap().unwrap()];
    let older = redis.copy_data().unwrap();
    publish(b"lost").await;
    publish(b"lost, too").await;
    while in_work.iter().map(|batch| batch.len()).sum::<usize>() < 3 {
        in_work.push(member.next().await.unwrap().unwrap());
    }
    redis.process().unwrap().kill().unwrap();
    let unready = async || publisher.ready().err().map(drop);
    wait::until_async("unreadiness", Duration::from_secs(60), unready).await.unwrap();
    // others are there before the member looks again, under the offsets of those that were lost
    let elsewhere = Redis::start(RedisOptions::default()).unwrap();
    elsewhere.process().unwrap().kill().unwrap();
    elsewhere.restore_data(&older).unwrap();
    elsewhere.start_again().unwrap();
    let there = open(&elsewhere.url(), "", &[]);
    for value in [&b"second"[..], b"third"] {
        assert_eq!(outcome(&there, &record(key.as_bytes(), value)).await, Outcome::Stored);
    }
    elsewhere.process().unwrap().kill().unwrap();
    redis.restore_data(&elsewhere.copy_data().unwrap()).unwrap();
    redis.start_again().unwrap();
    in_work.into_iter().for_each(|batch| member.commit(batch));
    let mut again = Vec::new();
    while !["second", "third"].iter().all(|value| again.iter().any(|read| read == value)) {
        let batch = tokio::time::timeout(Duration::from_secs(60), member.next()).await.expect("they come");
        let batch = batch.unwrap().unwrap();
        again.extend(contract::values_of(&batch));
        member.commit(batch);
    }
    assert_eq!(again, ["first", "second", "third"]);
    member.close().await.unwrap();
}

/// A Redis that takes no more for want of memory is still emptied, and takes records again then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_out_of_memory_is_emptied() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let strategy = open(&redis.url(), "", &[]);
    let publisher = strategy.publisher().unwrap();
    contract::publish(&*publisher, 7, 200).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert_eq!(outcome(&strategy, &record(b"k", b"too much")).await, Outcome::NotStored);
    assert!(publisher.ready().unwrap_err().contains("takes no records"), "{:?}", publisher.ready());
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    contract::assert_complete_in_key_order(&contract::drain(&mut *member, 200).await, 7, 200);
    let group = Arc::clone(&strategy);
    let waiting = async || {
        let group = Arc::clone(&group);
        let lag = tokio::task::spawn_blocking(move || group.lag(OF).unwrap().waiting()).await.unwrap();
        (lag == 0).then_some(())
    };
    wait::until_async("everything to be trimmed", Duration::from_secs(60), waiting).await.unwrap();
    let meta = |field| redis.cli(&["HGET", "{floodgate.like.v1:0}:meta", field]).unwrap();
    let (lease, epoch) = (|| meta("lease"), meta("epoch"));
    let first = lease();
    let is_renewed = async || (lease() != first).then_some(());
    wait::until_async("a lease to be renewed", Duration::from_secs(60), is_renewed).await.unwrap();
    assert_eq!(meta("epoch"), epoch, "it was renewed, and not taken anew after it had ended");
    member.close().await.unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    wait::until_async("readiness", Duration::from_secs(60), async || publisher.ready().ok()).await.unwrap();
}

/// Lists that some process would not read are not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_refused() {
    let prefix = prefix();
    let strategy = open(&server().url(), &prefix, &[]);
    wait::until_async("readiness", Duration::from_secs(60), async || {
        strategy.publisher().unwrap().ready().ok()
    })
    .await
    .unwrap();
    server().cli(&["SET", &format!("{prefix}{{floodgate.like.v1}}:partitions"), "5"]).unwrap();
    let publisher = strategy.publisher().unwrap();
    let told = async || publisher.ready().err().filter(|reason| reason.contains("has 5 partitions"));
    wait::until_async("the refusal", Duration::from_secs(60), told).await.unwrap();
    let refused = publisher.offer(&record(b"k", b"v"), Receipts::new(1).receipt(0)).unwrap_err();
    assert!(matches!(refused.reason, Refused::Unavailable(_)), "{refused:?}");
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let failed = member.joined().await.unwrap_err();
    assert!(failed.to_string().contains("topics.partitions is 10"), "{failed}");
}

/// What somebody pushed by hand stands, in plain sight, and nothing behind it is passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_record_is_told() {
    let prefix = prefix();
    let strategy = open(&server().url(), &prefix, &[]);
    let list = format!("{prefix}{{floodgate.like.v1:0}}");
    server().cli(&["RPUSH", &list, "hello"]).unwrap();
    let key = contract::key_of(0, 10);
    assert_eq!(outcome(&strategy, &record(key.as_bytes(), b"behind")).await, Outcome::Stored);
    let member = strategy.subscribe(OF, limits()).unwrap();
    let stands = async || member.standing().into_iter().next();
    let standing =
        wait::until_async("a partition that stands", Duration::from_secs(60), stands).await.unwrap();
    assert_eq!((standing.partition, standing.offset.map(|offset| offset.0)), (Partition(0), Some(0)));
    assert!(standing.reason.contains("no record of floodgate"), "{}", standing.reason);
    assert_eq!(server().cli(&["LLEN", &list]).unwrap().trim(), "2");
}

/// A wait for the disk that this server does not know is told before anything is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_cannot_wait_for_is_told() {
    let strategy = open(&server().url(), &prefix(), &[("ack", "fsync".into())]);
    let publisher = strategy.publisher().unwrap();
    let told = async || publisher.ready().err().filter(|reason| reason.contains("needs Redis 7.2"));
    let is_new = server().cli(&["COMMAND", "INFO", "WAITAOF"]).unwrap().to_lowercase().contains("waitaof");
    if !is_new {
        wait::until_async("the refusal", Duration::from_secs(60), told).await.unwrap();
    }
}

/// Replicas that are not there are not waited for in vain for ever, and the outcome is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_without_enough_replicas_is_an_unknown_outcome() {
    let changes = [("ack", "replica".into()), ("answer_timeout_ms", 1000.into())];
    let strategy = open(&server().url(), &prefix(), &changes);
    assert_eq!(outcome(&strategy, &record(b"k", b"v")).await, Outcome::Unknown);
    let lag = tokio::task::spawn_blocking(move || strategy.lag(OF).unwrap().waiting()).await.unwrap();
    assert_eq!(lag, 1, "it may be applied");
}

/// Dead letters go when there are too many, and when they are older than they are kept: each time others come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_bounded_by_count_and_age() {
    let prefix = prefix();
    let strategy = open(&server().url(), &prefix, &[("dead_letters_max", 5.into())]);
    let list = format!("{prefix}{{floodgate.dlq.v1:0}}");
    let letter = async |value: &'static [u8]| {
        let record = Record { topic: Topic::DeadLetters, key: None, value: Some(value), headers: &[] };
        assert_eq!(outcome(&strategy, &record).await, Outcome::Stored);
    };
    for _ in 0..8 {
        letter(b"letter").await;
    }
    let state = || {
        let base = server().cli(&["HGET", &format!("{list}:meta"), "base"]).unwrap();
        let there = server().cli(&["LLEN", &list]).unwrap();
        (base.trim().to_owned(), there.trim().to_owned())
    };
    assert_eq!(state(), ("3".to_owned(), "5".to_owned()));
    // as if the first two had been written long ago
    let age = "for place = 0, 1 do local letter = redis.call('LINDEX', KEYS[1], place) \
               redis.call('LSET', KEYS[1], place, string.sub(letter, 1, 1) .. string.rep('\\0', 8) .. string.sub(letter, 10)) end";
    server().cli(&["EVAL", age, "1", &list]).unwrap();
    letter(b"another").await;
    assert_eq!(state(), ("5".to_owned(), "4".to_owned()));
}
