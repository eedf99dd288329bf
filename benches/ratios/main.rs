//! Floodgate against references, in one run, as ratios: machines differ and are noisy, ratios less so.
//!
//! ```sh
//! cargo bench --bench ratios            # needs wrk and what ./scripts/setup installs
//! ```
//!
//! Everything compared runs in turn, A/B/C then C/B/A, several rounds; the median of a round's ratios is what
//! counts, smallest and largest say how far to trust it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod references;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::like;
use floodgate_schemas::{Event, Keying, Like, LikeAction, Timestamp};
use floodgate_store::{Apply, Store};
use floodgate_testkit::{KafkaOptions, PostgresOptions, Process, ScratchDir, ports, wait};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use support::world::{Servers, World};

const ROUNDS: usize = 3;
const WRK_SECONDS: u64 = 6;
const LIKES: u64 = 300_000;
const BATCH: usize = 2000;
/// Members of the group, and connections of the loop it is compared with.
const CONNECTIONS: usize = 2;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["reference-bare", port] => runtime.block_on(references::bare(port.parse().unwrap())),
        ["reference-naive", port, brokers, topic] => {
            runtime.block_on(references::naive(port.parse().unwrap(), brokers, topic));
        }
        _ => compare(&runtime),
    }
}

fn compare(runtime: &tokio::runtime::Runtime) {
    let kafka = KafkaOptions { quick_jit: false, heap_mb: 1024, ..KafkaOptions::default() };
    let servers = Servers::start(kafka, PostgresOptions::default()).unwrap();
    println!("{:<44} {:>10} {:>10} {:>7} {:>15}", "figure", "floodgate", "reference", "ratio", "min..max");
    ingress(&servers);
    drain(runtime, &servers);
}

/// One line of the table, from (floodgate, reference) of each round.
fn print(figure: &str, rounds: &[(f64, f64)]) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratios: Vec<f64> = rounds.iter().map(|(ours, reference)| ours / reference).collect();
    let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
    println!(
        "{figure:<44} {:>10.0} {:>10.0} {:>7.2} {:>15}",
        median(rounds.iter().map(|round| round.0).collect()),
        median(rounds.iter().map(|round| round.1).collect()),
        median(ratios.clone()),
        format!("{low:.2}..{high:.2}"),
    );
}

/// Single expectation writes, answered 202 after the broker's acknowledgement.
fn ingress(servers: &Servers) {
    let world = World::ready(&servers.kafka, &servers.postgres).unwrap();
    let scratch = ScratchDir::new("references").unwrap();
    let node = world.start(&["serve"]).unwrap();
    let topic = world.named("floodgate.expectation.v1");
    let bare = reference(&scratch, "reference-bare", &[]);
    let naive = reference(&scratch, "reference-naive", &[servers.kafka.bootstrap(), topic]);
    // warm: connections to brokers, Kafka's just-in-time compiler
    for address in [node.http, naive.1] {
        wrk(address, 200, 5);
    }
    for connections in [1000, 200, 50] {
        let (mut to_bare, mut to_naive) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut order = [(0, bare.1), (1, node.http), (2, naive.1)];
            if round % 2 == 1 {
                order.reverse();
            }
            let mut rates = [0.0; 3];
            for (which, address) in order {
                rates[which] = wrk(address, connections, WRK_SECONDS);
            }
            to_bare.push((rates[1], rates[0]));
            to_naive.push((rates[1], rates[2]));
        }
        print(&format!("A1 req/s, {connections} connections / bare axum"), &to_bare);
        print(&format!("A1 req/s, {connections} connections / naive axum+kafka"), &to_naive);
    }
}

fn reference(scratch: &ScratchDir, kind: &str, args: &[String]) -> (Process, SocketAddr) {
    let port = ports::free_port().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(kind).arg(port.to_string()).args(args);
    let process = Process::spawn(kind, command, scratch.path()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait::until(kind, Duration::from_secs(20), || std::net::TcpStream::connect(address).ok()).unwrap();
    (process, address)
}

/// Requests per second that were answered 2xx.
fn wrk(address: SocketAddr, connections: usize, seconds: u64) -> f64 {
    let output = Command::new("wrk")
        .args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s")])
        .args(["-s", concat!(env!("CARGO_MANIFEST_DIR"), "/benches/wrk/expectations.lua")])
        .arg(format!("http://{address}"))
        .output()
        .expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number_after = |label: &str| -> Option<f64> {
        text.split(label).nth(1)?.split_whitespace().next()?.trim_end_matches(',').parse().ok()
    };
    assert!(number_after("Non-2xx or 3xx responses:").is_none(), "answers other than 2xx:\n{text}");
    number_after("Requests/sec:").unwrap_or_else(|| panic!("wrk said:\n{text}"))
}

/// Likes with counters: from the topic into Postgres, against a bare loop of the same statements.
fn drain(runtime: &tokio::runtime::Runtime, servers: &Servers) {
    let likes: Vec<Like> = (0..LIKES)
        .map(|n| {
            like(n, &format!("target-{}", n % 10_000), &format!("liker-{n}"), LikeAction::Like, n as i64)
        })
        .collect();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut rates = [0.0; 2];
        let mut order = [0, 1];
        if round % 2 == 1 {
            order.reverse();
        }
        for which in order {
            rates[which] = match which {
                0 => drain_topic(servers, &likes),
                _ => runtime.block_on(bare_loop(servers, &likes)),
            };
        }
        rounds.push((rates[0], rates[1]));
    }
    print("B2 rows/s, likes with counters / bare SQL loop", &rounds);
}

fn drain_topic(servers: &Servers, likes: &[Like]) -> f64 {
    let world = World::ready(&servers.kafka, &servers.postgres).unwrap();
    world.set("consumers.instances", CONNECTIONS.to_string());
    world.set("consumers.batch_max_events", BATCH.to_string());
    publish(&servers.kafka.bootstrap(), &world.named("floodgate.like.v1"), likes);
    let node = world.start(&["consume", "--group", "floodgate.like"]).unwrap();
    let applied = || node.metrics().ok().map(|metrics| metrics.sum("processed_tasks_total", &[]));
    let deadline = Duration::from_secs(120);
    let (first, began) = wait::until("the first rows", deadline, || {
        applied().filter(|applied| *applied > 0.0).map(|applied| (applied, Instant::now()))
    })
    .unwrap();
    wait::until("the last row", deadline, || applied().filter(|applied| *applied >= LIKES as f64)).unwrap();
    let rate = (LIKES as f64 - first) / began.elapsed().as_secs_f64();
    node.stop().unwrap();
    rate
}

fn publish(brokers: &str, topic: &str, likes: &[Like]) {
    let producer: ThreadedProducer<_> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    let (mut key, mut value) = (String::new(), Vec::new());
    for like in likes {
        key.clear();
        value.clear();
        like.write_partition_key(Keying::default(), &mut key);
        encode(like, &mut value).unwrap();
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// The same batches of the same events through the same store, without Kafka.
async fn bare_loop(servers: &Servers, likes: &[Like]) -> f64 {
    let url = servers.postgres.create_database().unwrap();
    let config = floodgate_store::Config {
        url,
        max_connections: 16,
        connect_timeout_ms: 5000,
        statement_timeout_ms: 15_000,
        lock_timeout_ms: 5000,
        apply_timeout_ms: 30_000,
    };
    floodgate_store::migrate(&config).await.unwrap();
    let store: Arc<dyn Store> = floodgate_store::open(&config).unwrap();
    let began = Instant::now();
    let mut loops = Vec::new();
    for share in likes.chunks(likes.len().div_ceil(CONNECTIONS)) {
        let (store, share) = (Arc::clone(&store), share.to_vec());
        loops.push(tokio::spawn(async move {
            for batch in share.chunks(BATCH) {
                Apply::<Like>::apply(&*store, batch, Timestamp::now()).await.unwrap();
            }
        }));
    }
    for done in loops {
        done.await.unwrap();
    }
    LIKES as f64 / began.elapsed().as_secs_f64()
}
