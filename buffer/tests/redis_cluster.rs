//! The Redis strategy on a cluster: three nodes, of which some die, and replicas that take over.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use floodgate_buffer::{
    BatchLimits, Outcome, Partition, Receipts, Record, Strategy, Subscription, Topic, contract,
};
use floodgate_schemas::EventType;
use floodgate_testkit::{Redis, RedisCluster, wait};

const OF: EventType = EventType::Like;
const DEADLINE: Duration = Duration::from_secs(90);
const PARTITIONS: usize = 10;

fn open(url: &str, prefix: &str, ack: &str) -> Arc<dyn Strategy> {
    open_leased(url, prefix, ack, 2000)
}

fn open_leased(url: &str, prefix: &str, ack: &str, lease_ms: i64) -> Arc<dyn Strategy> {
    let mut section = toml::toml! { replicas = 1 };
    section.insert("lease_ms".to_owned(), lease_ms.into());
    section.insert("url".to_owned(), url.into());
    section.insert("ack".to_owned(), ack.into());
    contract::opened("redis", section, prefix)
}

fn strategy() -> Arc<dyn Strategy> {
    static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    let cluster = CLUSTER.get_or_init(|| RedisCluster::start(0, &[]).expect("a cluster starts"));
    open(&cluster.url(), &format!("test-{}.", TESTS.fetch_add(1, Ordering::Relaxed)), "memory")
}

floodgate_buffer::contract_suite!(strategy());

fn limits() -> BatchLimits {
    BatchLimits { events: 50, bytes: 1 << 20, wait: Duration::ZERO, drain: Duration::from_secs(1) }
}

/// What became of a record in this partition.
async fn put(strategy: &Arc<dyn Strategy>, partition: usize, value: &str) -> Outcome {
    let key = contract::key_of(partition, PARTITIONS);
    let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
    let receipts = Receipts::new(1);
    let record = Record { topic: Topic::Events(OF), key, value, headers: &[] };
    match strategy.publisher().unwrap().offer(&record, receipts.receipt(0)) {
        Ok(()) => {
            receipts.all().await;
            receipts.outcome(0)
        }
        Err(_) => Outcome::NotStored,
    }
}

/// Puts records into every partition until one of each is stored, and adds them to what is promised.
async fn put_everywhere(strategy: &Arc<dyn Strategy>, what: &str, promised: &mut BTreeSet<String>) {
    for partition in 0..PARTITIONS {
        let mut tries = 0;
        wait::until_async(&format!("{what} in partition {partition}"), DEADLINE, async || {
            tries += 1;
            let value = format!("{what}-{partition}-{tries}");
            let outcome = put(strategy, partition, &value).await;
            (outcome == Outcome::Stored).then(|| promised.insert(value))
        })
        .await
        .unwrap();
    }
}

/// Reads and commits until all that is promised came.
async fn take(member: &mut dyn Subscription, promised: &BTreeSet<String>) {
    let mut found = BTreeSet::new();
    while !found.is_superset(promised) {
        let batch = tokio::time::timeout(DEADLINE, member.next()).await;
        let batch = batch.unwrap_or_else(|_| panic!("{:?} are missing", promised - &found)).unwrap().unwrap();
        found.extend(contract::values_of(&batch));
        member.commit(batch);
    }
}

/// Which node has the list of each partition.
fn nodes_of(cluster: &RedisCluster) -> BTreeMap<usize, usize> {
    let holds = |node: &Redis, partition: usize| {
        let answer = node.cli(&["LLEN", &format!("{{floodgate.like.v1:{partition}}}")]);
        answer.is_ok_and(|answer| answer.trim().parse::<u64>().is_ok())
    };
    let node_of = |partition| cluster.nodes[..3].iter().position(|node| holds(node, partition)).unwrap();
    (0..PARTITIONS).map(|partition| (partition, node_of(partition))).collect()
}

async fn ready(strategy: &Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    let mut reason = String::new();
    let ready = async || publisher.ready().map_err(|told| reason = told).ok();
    wait::until_async("readiness", DEADLINE, ready).await.unwrap_or_else(|_| panic!("{reason}"));
}

/// A node that dies takes its own lists along and no others: what is on them is taken and read as before, the lag names the rest.
/// It is back with all that it acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_keeps_nothing_of_the_others() {
    let cluster = RedisCluster::start(0, &[]).unwrap();
    // one URL of a cluster leads to the others
    let strategy = open(&cluster.nodes[1].url(), "", "memory");
    ready(&strategy).await;
    let mut promised = BTreeSet::new();
    put_everywhere(&strategy, "before", &mut promised).await;
    let nodes = nodes_of(&cluster);
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    take(&mut *member, &promised).await;
    put_everywhere(&strategy, "waiting", &mut promised).await;

    // who is a member is told by a node of its own
    let tells = |node: &Redis| node.cli(&["ZCARD", "{floodgate.like.v1}:members"]).is_ok();
    let tells = cluster.nodes.iter().position(tells).unwrap();
    let (away, dies) =
        nodes.iter().map(|(partition, node)| (*partition, *node)).find(|(_, node)| *node != tells).unwrap();
    let of_others: Vec<usize> = (0..PARTITIONS).filter(|partition| nodes[partition] != dies).collect();
    assert!(!of_others.is_empty() && of_others.len() < PARTITIONS, "{nodes:?}");
    cluster.nodes[dies].process().unwrap().kill().unwrap();
    let publisher = strategy.publisher().unwrap();
    let unready = async || publisher.ready().err().map(drop);
    wait::until_async("unreadiness", DEADLINE, unready).await.unwrap();
    assert_eq!(put(&strategy, away, "away").await, Outcome::NotStored);
    let mut others = BTreeSet::new();
    for partition in &of_others {
        let value = format!("others-{partition}");
        assert_eq!(put(&strategy, *partition, &value).await, Outcome::Stored);
        others.insert(value);
    }
    take(&mut *member, &others).await;
    // one that comes now has its share of the others
    let late = open(&cluster.nodes[tells].url(), "", "memory");
    let mut second = late.subscribe(OF, limits()).unwrap();
    tokio::time::timeout(DEADLINE, second.joined()).await.unwrap().unwrap();
    second.close().await.unwrap();
    let asked = Arc::clone(&strategy);
    let lag = tokio::task::spawn_blocking(move || asked.lag(OF)).await.unwrap().unwrap();
    let known: Vec<usize> =
        lag.partitions.iter().map(|found| usize::try_from(found.partition.0).unwrap()).collect();
    assert_eq!(known, of_others, "{:?}", lag.unknown);
    assert!(lag.unknown.iter().all(|(Partition(p), _)| nodes[&usize::try_from(*p).unwrap()] == dies));

    cluster.nodes[dies].start_again().unwrap();
    ready(&strategy).await;
    put_everywhere(&strategy, "after", &mut promised).await;
    let left: BTreeSet<String> =
        promised.iter().filter(|value| !value.starts_with("before")).cloned().collect();
    let in_lists = |value: &String| {
        value.starts_with("after") || {
            let partition = value.split('-').nth(1).unwrap().parse::<usize>().unwrap();
            nodes[&partition] == dies
        }
    };
    let left: BTreeSet<String> = left.into_iter().filter(in_lists).collect();
    take(&mut *member, &left).await;
    member.close().await.unwrap();
}

/// A master that dies is replaced by its replica: ingress and members find it, and nothing is missing that was acknowledged by both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_is_found() {
    let cluster = RedisCluster::start(1, &[]).unwrap();
    let strategy = open(&cluster.url(), "", "replica");
    ready(&strategy).await;
    let mut promised = BTreeSet::new();
    put_everywhere(&strategy, "before", &mut promised).await;
    let nodes = nodes_of(&cluster);
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let first = tokio::time::timeout(DEADLINE, member.next()).await.unwrap().unwrap().unwrap();
    assert!(!first.is_empty());
    // what is in work of the former master's lists is not taken off the new one's
    cluster.nodes[nodes[&0]].process().unwrap().kill().unwrap();
    cluster.wait_well().unwrap();
    member.commit(first);
    // its replica is a master without one: nothing more is acknowledged by two
    let strategy = open(&cluster.nodes[(nodes[&0] + 1) % 3].url(), "", "memory");
    put_everywhere(&strategy, "after", &mut promised).await;
    let of_the_dead = |value: &String| {
        let partition = value.split('-').nth(1).unwrap().parse::<usize>().unwrap();
        value.starts_with("after") || nodes[&partition] == nodes[&0]
    };
    let left: BTreeSet<String> = promised.into_iter().filter(of_the_dead).collect();
    take(&mut *member, &left).await;
    member.close().await.unwrap();
}

/// A replica that takes over may lack what came last, and gives those offsets to other records: a member that had read them begins
/// anew at the head, and trims nothing by what it knew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lacks_the_last_is_read_from_its_head() {
    let cluster = RedisCluster::start(1, &[("cluster-replica-validity-factor", "0")]).unwrap();
    // no lease ends meanwhile
    let strategy = open_leased(&cluster.url(), "", "memory", 600_000);
    ready(&strategy).await;
    assert_eq!(put(&strategy, 0, "first").await, Outcome::Stored);
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let mut in_work = vec![member.next().await.unwrap().unwrap()];
    let master = &cluster.nodes[nodes_of(&cluster)[&0]];
    let port = master.port().to_string();
    let follows = |node: &&Redis| node.cli(&["ROLE"]).unwrap().lines().any(|line| line == port);
    let replica = cluster.nodes[3..].iter().find(follows).unwrap();
    master.cli(&["WAIT", "1", "10000"]).unwrap();
    replica.cli(&["CONFIG", "SET", "masteruser", "nobody", "masterauth", "nothing"]).unwrap();
    master.cli(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    for value in ["lost-1", "lost-2"] {
        assert_eq!(put(&strategy, 0, value).await, Outcome::Stored);
    }
    while in_work.iter().map(|batch| batch.len()).sum::<usize>() < 3 {
        in_work.push(member.next().await.unwrap().unwrap());
    }
    master.process().unwrap().kill().unwrap();
    cluster.wait_well().unwrap();
    for value in ["second", "third"] {
        wait::until_async("room on the new master", DEADLINE, async || {
            (put(&strategy, 0, value).await == Outcome::Stored).then_some(())
        })
        .await
        .unwrap();
    }
    in_work.into_iter().for_each(|batch| member.commit(batch));
    take(&mut *member, &["first", "second", "third"].map(str::to_owned).into()).await;
    member.close().await.unwrap();
}

/// A slot that moves to another node is followed, with what is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed() {
    let cluster = RedisCluster::start(0, &[]).unwrap();
    let strategy = open(&cluster.url(), "", "memory");
    ready(&strategy).await;
    let mut promised = BTreeSet::new();
    put_everywhere(&strategy, "before", &mut promised).await;
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    take(&mut *member, &promised).await;
    let nodes = nodes_of(&cluster);
    let (from, to) = (nodes[&0], (nodes[&0] + 1) % 3);
    let id = |node: usize| cluster.nodes[node].cli(&["CLUSTER", "MYID"]).unwrap().trim().to_owned();
    let at = format!("127.0.0.1:{}", cluster.nodes[from].port());
    // the whole node is emptied, with its slots
    cluster.nodes[from]
        .cli(&[
            "--cluster",
            "reshard",
            &at,
            "--cluster-from",
            &id(from),
            "--cluster-to",
            &id(to),
            "--cluster-slots",
            "5461",
            "--cluster-yes",
        ])
        .unwrap();
    cluster.wait_well().unwrap();
    let mut after = BTreeSet::new();
    put_everywhere(&strategy, "after", &mut after).await;
    assert!(after.iter().all(|value| value.ends_with("-1")), "sent where the slot is now: {after:?}");
    take(&mut *member, &after).await;
    member.close().await.unwrap();
}
