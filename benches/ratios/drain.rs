//! From the topics into the database, against whatever else could have brought the rows there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floodgate_schemas::{Event, EventType, Like, Timestamp};
use floodgate_store::{Apply, Store};
use floodgate_testkit::wait;

use crate::backlog::{CONNECTIONS, COUPON, STOCK, coupon_requests, expectations, likes_of};
use crate::peers::{Benthos, Debezium};
use crate::support::client::Ask;
use crate::support::node::Node;
use crate::support::world::{Servers, World};
use crate::table::{Cpu, Run, Table, rounds};
use crate::tools::filler::Filler;
use crate::worlds::{drop_database, fresh_tables, world};
use crate::{copy, locking};

const ROUNDS: usize = 3;
/// What the bare loop applies at once: the default of `consumers.batch_max_events`.
const BATCH: usize = 10_000;
const DEADLINE: Duration = Duration::from_secs(300);
const GROUPS_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if table.wants_any(&["B1", "B2", "B4", "B5", "D2", "D3", "P2", "P2e"]) {
        // Kafka's just-in-time compiler
        in_a_world(servers, |world| drain(servers, world, &likes_of(10_000)))?;
    }
    if table.wants_any(&["B1", "B2", "B4", "P2", "P2e"]) {
        likes(servers, table)?;
    }
    if table.wants("B5") {
        let sides = [likes_of(1), likes_of(10_000)];
        let runs: Vec<[Run; 2]> =
            rounds(ROUNDS, |side| in_a_world(servers, |world| drain(servers, world, &sides[side])))?;
        table.add("B5", runs.iter().map(|run| (&run[0], &run[1])));
    }
    if table.wants_any(&["D2", "D3"]) {
        coupons(servers, table)?;
    }
    Ok(())
}

fn likes(servers: &Servers, table: &mut Table) -> Result<()> {
    let likes = likes_of(10_000);
    let expectations = expectations();
    let mut again = Vec::new();
    let runs: Vec<[Run; 6]> = rounds(ROUNDS, |side| match side {
        0 => in_a_world(servers, |world| {
            let run = drain(servers, world, &likes)?;
            if table.wants("B4") {
                again.push(replay(servers, world, &likes)?);
            }
            Ok(run)
        }),
        1 if table.wants("B1") => copy::likes(servers, &likes),
        2 if table.wants("B2") => bare_loop(servers, &likes),
        3 if table.wants_any(&["P2", "P2e"]) => Benthos::sink(servers, &likes),
        4 if table.wants_any(&["P2", "P2e"]) => Debezium::sink(servers, &likes),
        5 if table.wants("P2e") => in_a_world(servers, |world| drain(servers, world, &expectations)),
        _ => Ok(Run::default()),
    })?;
    let faster = |run: &[Run; 6]| if run[3].value >= run[4].value { 3 } else { 4 };
    table.add("B1", runs.iter().map(|run| (&run[0], &run[1])));
    table.add("B2", runs.iter().map(|run| (&run[0], &run[2])));
    table.add("B4", again.iter().zip(runs.iter().map(|run| &run[0])));
    table.add("P2", runs.iter().map(|run| (&run[0], &run[faster(run)])));
    table.add("P2e", runs.iter().map(|run| (&run[5], &run[faster(run)])));
    Ok(())
}

/// Coupon requests for one coupon: every tenth user asks twice, a quarter gets one.
fn coupons(servers: &Servers, table: &mut Table) -> Result<()> {
    let requests = coupon_requests();
    let expectations = expectations();
    let runs: Vec<[Run; 3]> = rounds(ROUNDS, |side| match side {
        0 => in_a_world(servers, |world| {
            let serve = world.start(&["serve"])?;
            let body = format!(r#"{{"couponId":"{COUPON}","stock":{STOCK}}}"#);
            let created = serve.ask(&Ask::new("POST", "/api/v6/coupons").json(body))?;
            ensure!(created.status == 201, "{}", created.text());
            serve.stop()?;
            drain(servers, world, &requests)
        }),
        1 => in_a_world(servers, |world| drain(servers, world, &expectations)),
        _ if table.wants("D3") => locking::coupons(servers),
        _ => Ok(Run::default()),
    })?;
    table.add("D2", runs.iter().map(|run| (&run[0], &run[1])));
    table.add("D3", runs.iter().map(|run| (&run[0], &run[2])));
    Ok(())
}

/// Runs in a fresh world, which leaves no rows for the next one to be slowed by.
pub fn in_a_world(servers: &Servers, run: impl FnOnce(&World) -> Result<Run>) -> Result<Run> {
    let world = world(servers)?;
    world.set("consumers.instances", CONNECTIONS.to_string());
    let run = run(&world)?;
    drop_database(servers, &world.setting("store.url"))?;
    Ok(run)
}

/// All events from the topic into the database: a second, from the first batch on.
pub fn drain<E: Event>(servers: &Servers, world: &World, events: &[E]) -> Result<Run> {
    let mut filler = Filler::new(&servers.kafka.bootstrap())?;
    let topic = world.named(E::TYPE.topic());
    events.iter().try_for_each(|event| filler.put(&topic, event))?;
    filler.flush()?;
    consume::<E>(servers, world, events.len())
}

/// The same events once more, from the topic's start.
fn replay<E: Event>(servers: &Servers, world: &World, events: &[E]) -> Result<Run> {
    forget_group(servers, world, E::TYPE)?;
    consume::<E>(servers, world, events.len())
}

fn consume<E: Event>(servers: &Servers, world: &World, count: usize) -> Result<Run> {
    servers.postgres.psql("postgres", "CHECKPOINT")?;
    // not waited for: by the time it is ready the best part may be over
    let node = world.launch(&["consume", "--group", E::TYPE.group()])?;
    let queue = ("Kafka", servers.kafka.pid(0)?);
    let run = consumed(servers, &node, queue, count)?;
    node.stop()?;
    Ok(run)
}

/// What a consumer that was just launched does with a backlog of so many.
pub fn consumed(servers: &Servers, node: &Node, queue: (&'static str, u32), count: usize) -> Result<Run> {
    let (value, cpu) = rate_and_cpu(servers, node, queue, count)?;
    let metrics = node.metrics()?;
    let [batches, seconds] =
        ["floodgate_apply_seconds_count", "floodgate_apply_seconds_sum"].map(|name| metrics.sum(name, &[]));
    let (events, milliseconds) = (count as f64 / batches, 1000.0 * seconds / batches);
    let note = format!("{events:.0} events a batch, applied in {milliseconds:.0} ms");
    Ok(Run { value, cpu, note })
}

/// Events a second from the first batch to the last, and what they cost each process. The node was just launched.
pub fn rate_and_cpu(
    servers: &Servers,
    node: &Node,
    queue: (&'static str, u32),
    events: usize,
) -> Result<(f64, Vec<(&'static str, f64)>)> {
    let cpu =
        Cpu::watch(&[("floodgate", node.process().pid()), queue, ("Postgres", servers.postgres.pid()?)]);
    let applied = || node.metrics().ok().map(|metrics| metrics.sum("processed_tasks_total", &[]));
    let (first, began) = wait::until("the first rows", DEADLINE, || {
        applied().filter(|applied| *applied > 0.0).map(|applied| (applied, Instant::now()))
    })?;
    wait::until("the last row", DEADLINE, || applied().filter(|applied| *applied >= events as f64))?;
    let rate = (events as f64 - first) / began.elapsed().as_secs_f64();
    Ok((rate, cpu.per_event(events as f64)))
}

/// Reads a group's topic from its start again the next time.
pub fn forget_group(servers: &Servers, world: &World, of: EventType) -> Result<()> {
    let group = world.named(of.group());
    let args = ["--bootstrap-server", &servers.kafka.bootstrap(), "--delete", "--group", &group];
    servers.kafka.run_tool(GROUPS_TOOL, &args).map(drop)
}

/// The same events in the order they were sent, through the same store, without Kafka.
fn bare_loop(servers: &Servers, likes: &[Like]) -> Result<Run> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (url, config) = fresh_tables(servers, &runtime)?;
    let store: Arc<dyn Store> = floodgate_store::open(&config)?;
    // its work is that of tasks on the runtime's threads, as in the product
    let shares: Vec<Vec<Like>> =
        likes.chunks(likes.len().div_ceil(CONNECTIONS)).map(<[Like]>::to_vec).collect();
    let cpu = Cpu::watch(&[("loop", std::process::id()), ("Postgres", servers.postgres.pid()?)]);
    let began = Instant::now();
    runtime.block_on(async {
        let loops = shares.into_iter().map(|share| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for batch in share.chunks(BATCH) {
                    Apply::<Like>::apply(&*store, batch, Timestamp::now()).await?;
                }
                anyhow::Ok(())
            })
        });
        for done in loops.collect::<Vec<_>>() {
            done.await??;
        }
        anyhow::Ok(())
    })?;
    let value = likes.len() as f64 / began.elapsed().as_secs_f64();
    let run = Run { value, cpu: cpu.per_event(likes.len() as f64), note: String::new() };
    drop(store);
    drop_database(servers, &url)?;
    Ok(run)
}
