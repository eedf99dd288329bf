//! What an acknowledgement of Redis waits for: memory, disk, replicas.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Outcome, Receipts, Record, Strategy, Topic, contract};
use floodgate_schemas::EventType;
use floodgate_testkit::{Redis, RedisOptions, RedisVersion, wait};

const OF: EventType = EventType::Like;
const DEADLINE: Duration = Duration::from_secs(60);

fn server(version: RedisVersion, settings: &[(&str, &str)]) -> Redis {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Redis::start(RedisOptions { version, settings }).unwrap()
}

fn open(redis: &Redis, ack: &str) -> Arc<dyn Strategy> {
    let mut section = toml::toml! {
        lease_ms = 2000
        answer_timeout_ms = 3000
        replicas = 1
    };
    section.insert("url".to_owned(), redis.url().into());
    section.insert("ack".to_owned(), ack.into());
    contract::opened("redis", section, "")
}

async fn publish(strategy: &Arc<dyn Strategy>) -> Outcome {
    let receipts = Receipts::new(1);
    let record = Record { topic: Topic::Events(OF), key: Some(b"key"), value: Some(b"value"), headers: &[] };
    if strategy.publisher().unwrap().offer(&record, receipts.receipt(0)).is_err() {
        return Outcome::NotStored;
    }
    receipts.all().await;
    receipts.outcome(0)
}

async fn ready(strategy: &Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    wait::until_async("readiness", DEADLINE, async || publisher.ready().ok()).await.unwrap();
}

async fn unready(strategy: &Arc<dyn Strategy>, needle: &str) {
    let publisher = strategy.publisher().unwrap();
    let told = async || publisher.ready().err().filter(|reason| reason.contains(needle));
    wait::until_async(needle, DEADLINE, told).await.unwrap();
}

async fn waiting(strategy: &Arc<dyn Strategy>) -> u64 {
    let strategy = Arc::clone(strategy);
    tokio::task::spawn_blocking(move || strategy.lag(OF).unwrap().waiting()).await.unwrap()
}

/// The whole suite on servers besides the one that `redis.rs` has, and with another acknowledgement.
macro_rules! suite_on {
    ($version:expr, $ack:literal) => {
        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicUsize, Ordering};

        use super::*;

        fn strategy() -> Arc<dyn Strategy> {
            static REDIS: OnceLock<Redis> = OnceLock::new();
            static TESTS: AtomicUsize = AtomicUsize::new(0);
            let redis = REDIS.get_or_init(|| server($version, &[]));
            let mut section = toml::toml! { lease_ms = 2000 };
            section.insert("url".to_owned(), redis.url().into());
            section.insert("ack".to_owned(), $ack.into());
            contract::opened("redis", section, &format!("test-{}.", TESTS.fetch_add(1, Ordering::Relaxed)))
        }

        floodgate_buffer::contract_suite!(strategy());
    };
}

mod on_the_disk_of_redis_8 {
    suite_on!(RedisVersion::V8_2, "fsync");
}

mod on_redis_6 {
    suite_on!(RedisVersion::V6_2, "memory");
}

mod on_the_disk_of_valkey {
    suite_on!(RedisVersion::Valkey, "fsync");
}

/// What the disk does not confirm in time is unknown, and it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_never_synced_confirms_nothing() {
    let redis = server(RedisVersion::V8_2, &[("appendfsync", "no")]);
    let strategy = open(&redis, "fsync");
    ready(&strategy).await;
    assert_eq!(publish(&strategy).await, Outcome::Unknown);
    assert_eq!(waiting(&strategy).await, 1);
    redis.cli(&["CONFIG", "SET", "appendfsync", "everysec"]).unwrap();
    let stored = async || (publish(&strategy).await == Outcome::Stored).then_some(());
    wait::until_async("a synced event", DEADLINE, stored).await.unwrap();
    redis.process().unwrap().kill().unwrap();
    redis.start_again().unwrap();
    ready(&strategy).await;
    assert!(waiting(&strategy).await >= 2);
}

/// An event is stored when so many replicas have it, and unknown while too few answer; with none that is up to date nothing is
/// ready. A replica that takes over has all that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_confirm_what_they_have() {
    let primary = server(RedisVersion::System, &[]);
    let strategy = open(&primary, "replica");
    unready(&strategy, "0 replicas that are up to date").await;
    let follows = format!("127.0.0.1 {}", primary.port());
    let replica = server(RedisVersion::System, &[("replicaof", &follows)]);
    ready(&strategy).await;
    for _ in 0..20 {
        assert_eq!(publish(&strategy).await, Outcome::Stored);
    }
    replica.process().unwrap().freeze().unwrap();
    assert_eq!(publish(&strategy).await, Outcome::Unknown);
    replica.process().unwrap().thaw().unwrap();
    ready(&strategy).await;
    primary.process().unwrap().kill().unwrap();
    replica.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let promoted = open(&replica, "memory");
    ready(&promoted).await;
    assert!(waiting(&promoted).await >= 20, "{}", waiting(&promoted).await);
    // its scripts are not there, and are sent with their text
    assert_eq!(publish(&promoted).await, Outcome::Stored);
}

/// A server that becomes a replica of another takes nothing more and keeps its connections: they are left, as the name may lead to
/// the new one by now. It is well again when it is no replica any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_a_replica_is_left() {
    let (former, other) = (server(RedisVersion::System, &[]), server(RedisVersion::System, &[]));
    let strategy = open(&former, "memory");
    ready(&strategy).await;
    assert_eq!(publish(&strategy).await, Outcome::Stored);
    let clients = || {
        let list = former.cli(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
        let id = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        list.lines().filter(|line| !line.contains("cmd=client")).map(id).collect::<Vec<_>>()
    };
    let before = clients();
    assert!(!before.is_empty());
    former.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).unwrap();
    assert_eq!(publish(&strategy).await, Outcome::NotStored);
    unready(&strategy, "READONLY").await;
    let left = async || clients().iter().all(|id| !before.contains(id)).then_some(());
    wait::until_async("other connections", DEADLINE, left).await.unwrap();
    former.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    ready(&strategy).await;
    assert_eq!(publish(&strategy).await, Outcome::Stored);
}

/// Redis before 7.2 cannot wait for its disk, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_wait_for_its_disk_is_refused() {
    let redis = server(RedisVersion::System, &[]);
    let strategy = open(&redis, "fsync");
    unready(&strategy, "needs Redis 7.2").await;
}
