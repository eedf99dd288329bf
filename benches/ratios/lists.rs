//! Redis lists: what they take, give and bring into the database, against Redis' own tool and against Kafka. Redis keeps all in
//! memory here: what a disk does to it is the disk's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_buffer::{BatchLimits, Receipts, Record, Strategy, Topic, contract};
use floodgate_schemas::codec::encode;
use floodgate_schemas::{Event, EventType, Keying, Like};
use floodgate_testkit::{Redis, RedisOptions, ScratchDir, wait};

use crate::backlog::{CONNECTIONS, likes_of};
use crate::drain::{consumed, drain, in_a_world};
use crate::ingress::{SECONDS, bodies_of, single_writes};
use crate::references;
use crate::side::Side;
use crate::support::world::{READY, Servers, World};
use crate::table::{Cpu, Run, Table, rounds};
use crate::worlds::drop_database;

const ROUNDS: usize = 3;
/// What Redis' tool pushes and pops.
const RECORDS: usize = 1_000_000;
/// How large each is: about what a like takes in a list, its key included.
const RECORD_BYTES: &str = "150";
/// Of one `LPOP`.
const POPPED: usize = 1000;
/// Records offered at a time.
const OFFERED: usize = 10_000;
const DEADLINE: Duration = Duration::from_secs(300);

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants_any(&["C1", "C1b", "C2", "C3"]) {
        return Ok(());
    }
    let settings = [("appendonly", "no")].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let redis = Redis::start(RedisOptions { settings, ..RedisOptions::default() })?;
    if table.wants_any(&["C1", "C1b"]) {
        accepted(servers, &redis, table)?;
    }
    let likes = likes_of(10_000);
    if table.wants("C2") {
        let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| match side {
            0 => read_and_trimmed(&redis, &likes),
            _ => popped(&redis),
        })?;
        table.add("C2", runs.iter().map(|run| (&run[0], &run[1])));
    }
    if table.wants("C3") {
        let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| match side {
            0 => into_the_database(servers, &redis, &likes),
            _ => in_a_world(servers, |world| drain(servers, world, &likes)),
        })?;
        table.add("C3", runs.iter().map(|run| (&run[0], &run[1])));
    }
    Ok(())
}

/// A world on empty lists that hold as much as comes.
fn world(servers: &Servers, redis: &Redis) -> Result<World> {
    redis.cli(&["FLUSHALL"])?;
    let world = World::on_redis(redis, &servers.postgres)?;
    world.set("buffer.redis.max_events", "100000000");
    world.set("buffer.redis.max_bytes", "16000000000");
    world.set("consumers.instances", CONNECTIONS.to_string());
    world.succeed(&["migrate"])?;
    Ok(world)
}

fn accepted(servers: &Servers, redis: &Redis, table: &mut Table) -> Result<()> {
    let world = world(servers, redis)?;
    let node = world.start(&["serve"])?;
    let scratch = ScratchDir::new("references")?;
    let (_bare, bare) = references::start(&scratch, "bare", &[])?;
    let path = "/api/v6/expectations";
    let ours = Side { name: "floodgate", address: node.http, pid: node.process().pid(), path };
    let queue = ("Redis", redis.process()?.pid());
    // what was taken before is in nobody's way
    let emptied = |run: Result<Run>| {
        redis.cli(&["FLUSHALL"])?;
        run
    };
    if table.wants("C1") {
        let sides = [&ours, &bare];
        for side in sides {
            emptied(single_writes(side, queue, 200, SECONDS))?;
        }
        let runs: Vec<[Run; 2]> =
            rounds(ROUNDS, |side| emptied(single_writes(sides[side], queue, 1000, SECONDS)))?;
        table.add("C1", runs.iter().map(|run| (&run[0], &run[1])));
    }
    if table.wants("C1b") {
        let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| {
            emptied(match side {
                0 => bodies_of("100", &node, queue),
                _ => benchmark(redis, RECORDS * 3, &["-P", "16", "-d", RECORD_BYTES, "-t", "rpush"], &[]),
            })
        })?;
        table.add("C1b", runs.iter().map(|run| (&run[0], &run[1])));
    }
    node.stop()
}

/// Redis' own tool: so many requests of a kind, a second.
fn benchmark(redis: &Redis, requests: usize, options: &[&str], command: &[&str]) -> Result<Run> {
    let cpu = Cpu::watch(&[("Redis", redis.process()?.pid())]);
    let mut tool = std::process::Command::new("redis-benchmark");
    tool.args(["-p", &redis.port().to_string(), "-n", &requests.to_string(), "--csv"]).args(options);
    let ended = tool.args(command).output().context("redis-benchmark comes with redis-tools")?;
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(ended.status.success(), "redis-benchmark: {told}{}", String::from_utf8_lossy(&ended.stderr));
    // what was done, and then how often a second
    let rate = told.lines().last().and_then(|line| line.split("\",\"").nth(1)?.parse().ok());
    let value = rate.with_context(|| format!("redis-benchmark: {told}"))?;
    Ok(Run { value, cpu: cpu.per_event(requests as f64), note: String::new() })
}

/// Strategies on these lists, as a process of its own would have one.
fn open(redis: &Redis, prefix: &str) -> Arc<dyn Strategy> {
    let mut section = toml::toml! { max_events = 100000000 };
    section.insert("max_bytes".to_owned(), 16_000_000_000_i64.into());
    section.insert("url".to_owned(), redis.url().into());
    contract::opened("redis", section, prefix)
}

/// Puts all events into their lists.
async fn fill<E: Event>(strategy: &Arc<dyn Strategy>, events: &[E]) -> Result<()> {
    let publisher = strategy.publisher()?;
    wait::until_async("Redis to take events", READY, async || publisher.ready().ok()).await?;
    let (mut key, mut value) = (String::new(), Vec::new());
    for chunk in events.chunks(OFFERED) {
        let receipts = Receipts::new(chunk.len());
        for (number, event) in chunk.iter().enumerate() {
            key.clear();
            value.clear();
            event.write_partition_key(Keying::default(), &mut key);
            encode(event, &mut value);
            let (key, value) = (Some(key.as_bytes()), Some(value.as_slice()));
            let record = Record { topic: Topic::Events(E::TYPE), key, value, headers: &[] };
            let taken = publisher.offer(&record, receipts.receipt(number));
            ensure!(taken.is_ok(), "{taken:?}");
        }
        receipts.all().await;
    }
    Ok(())
}

/// Read in batches of the default size, each trimmed when it is given back.
fn read_and_trimmed(redis: &Redis, likes: &[Like]) -> Result<Run> {
    redis.cli(&["FLUSHALL"])?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let strategy = open(redis, "");
        fill(&strategy, likes).await?;
        let limits = BatchLimits {
            events: 10_000,
            bytes: 16 << 20,
            wait: Duration::from_millis(10),
            drain: Duration::from_secs(8),
        };
        let cpu = Cpu::watch(&[("reader", std::process::id()), ("Redis", redis.process()?.pid())]);
        let mut member = strategy.subscribe(EventType::Like, limits)?;
        member.joined().await?;
        let (began, mut read) = (Instant::now(), 0);
        while read < likes.len() {
            let batch = tokio::time::timeout(DEADLINE, member.next()).await??.context("it ended")?;
            read += batch.len();
            member.commit(batch);
        }
        member.close().await?;
        let value = read as f64 / began.elapsed().as_secs_f64();
        Ok(Run { value, cpu: cpu.per_event(read as f64), note: String::new() })
    })
}

/// By a command that takes them away, whatever becomes of them.
fn popped(redis: &Redis) -> Result<Run> {
    redis.cli(&["FLUSHALL"])?;
    benchmark(redis, RECORDS, &["-P", "64", "-d", RECORD_BYTES, "-t", "rpush"], &[])?;
    let pop = POPPED.to_string();
    let run = benchmark(redis, RECORDS / POPPED, &["-c", "1"], &["LPOP", "mylist", &pop])?;
    let cpu = run.cpu.into_iter().map(|(name, micros)| (name, micros / POPPED as f64)).collect();
    Ok(Run { value: run.value * POPPED as f64, cpu, ..run })
}

fn into_the_database(servers: &Servers, redis: &Redis, likes: &[Like]) -> Result<Run> {
    let world = world(servers, redis)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { fill(&open(redis, &world.named("")), likes).await })?;
    servers.postgres.psql("postgres", "CHECKPOINT")?;
    // not waited for: by the time it is ready the best part may be over
    let node = world.launch(&["consume", "--group", EventType::Like.group()])?;
    let run = consumed(servers, &node, ("Redis", redis.process()?.pid()), likes.len())?;
    node.stop()?;
    drop_database(servers, &world.setting("store.url"))?;
    Ok(run)
}
