//! Clients that do not wait for each other's answers: a constant rate, whatever becomes of the writes before. Answers are
//! timed from when a write was due, so that what a slow server makes wait is counted, and not left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{KafkaOptions, PostgresOptions, wait};

use crate::support::load::{Load, LoadOptions, Recording, Verdict};
use crate::support::node::Node;
use crate::support::plan::{Plan, PlanSize, seed};
use crate::support::world::{Servers, World};
use crate::table::{Cpu, Run, Table};
use crate::worlds;

const ROUNDS: usize = 3;
/// Of a latency's tail, which varies most.
const TAIL_ROUNDS: usize = 5;
/// The coupon's stock is that of a plan of so many writes.
const COUPON_FOR_WRITES: usize = 150_000;
/// What the narrow link carries: about 5,000 single writes a second.
const NARROW_KB_PER_SECOND: u32 = 1250;
const NARROW_RATE: usize = 5000;
const SECONDS: usize = 10;
/// Before a latency is measured.
const WARM_SECONDS: usize = 2;
/// Writes a second while the database is away and comes back, where the machine can take twice as many.
const OUTAGE_RATE_MAX: f64 = 10_000.0;
const OUTAGE: Duration = Duration::from_secs(60);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);
/// The default of `consumers.batch_max_wait_ms`, and 4 ms for gathering: little gathers at half load, so the default of
/// `buffer.kafka.linger_ms` is not granted whole.
const WAITS_SECONDS: f64 = 0.014;

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    // one that cannot be taken on this machine is told, and the others are taken
    let mut failures = Vec::new();
    if table.wants("A7") {
        failures.extend(overload(table).err().map(|error| format!("A7: {error:#}")));
    }
    if table.wants("E2") {
        failures.extend(accept_to_row(servers, table).err().map(|error| format!("E2: {error:#}")));
    }
    if table.wants("E3") {
        failures.extend(outage(servers, table).err().map(|error| format!("E3: {error:#}")));
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

fn plan(writes: usize) -> Arc<Plan> {
    Arc::new(Plan::mixed(seed(), PlanSize::about(writes)))
}

/// Writes once each, from so many clients: as fast as they are answered, or at a rate.
fn once_each(workers: usize, rate: u32) -> LoadOptions {
    LoadOptions { workers, rate, retry: false, repeat_every: 0, ..LoadOptions::default() }
}

fn load(world: &World, serve: &Node, writes: usize, workers: usize, rate: u32) -> Result<Recording> {
    finish(world.load(&plan(writes), &[serve], once_each(workers, rate)), rate)
}

/// A load that must have reached its rate.
fn finish(load: Load, rate: u32) -> Result<Recording> {
    let recording = load.finish()?;
    let offered = recording.attempts() as f64 / recording.seconds;
    ensure!(offered > 0.9 * f64::from(rate), "only {offered:.0} writes a second of {rate} were sent");
    Ok(recording)
}

/// A node that takes writes, and the coupon that the plans ask for.
fn serve(world: &World) -> Result<Node> {
    let serve = world.start(&["serve"])?;
    world.create_coupons(&serve, &plan(COUPON_FOR_WRITES))?;
    Ok(serve)
}

/// Twice what a narrow link to the broker carries.
fn overload(table: &mut Table) -> Result<()> {
    let kafka = KafkaOptions { linked: true, quick_jit: false, heap_mb: 1024, ..KafkaOptions::default() };
    let servers = Servers::start(kafka, PostgresOptions::default())?;
    let world = worlds::world(&servers)?;
    world.set("buffer.kafka.queue_max_events", "1000");
    world.set("buffer.kafka.brokers", servers.kafka.linked_bootstrap());
    let serve = serve(&world)?;
    servers.kafka.link(0)?.throttle(NARROW_KB_PER_SECOND)?;
    load(&world, &serve, NARROW_RATE * 2, 500, 0)?;
    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        let first = load(&world, &serve, NARROW_RATE * SECONDS, 500, 0)?;
        ensure!(first.count(Verdict::Accepted) == first.fates.len(), "{}", first.answers);
        let capacity = first.fates.len() as f64 / first.seconds;
        let twice = 2.0 * capacity;
        // the load generator may not get that far; what it offered is told
        let second =
            world.load(&plan(twice as usize * SECONDS), &[&serve], once_each(3000, twice as u32)).finish()?;
        let accepted = second.count(Verdict::Accepted) as f64 / second.seconds;
        ensure!(second.refusals.len() > 100, "hardly anybody was refused: {}", second.answers);
        let at = |share: f64| second.refusals[(second.refusals.len() as f64 * share) as usize];
        let offered = second.attempts() as f64 / second.seconds;
        let note =
            format!("offered {offered:.0}/s; refused within {:.1?} (p50), {:.1?} (p99)", at(0.5), at(0.99));
        runs.push([
            Run { value: accepted, note, ..Run::default() },
            Run { value: capacity, ..Run::default() },
        ]);
    }
    table.add("A7", runs.iter().map(|run| (&run[0], &run[1])));
    serve.stop()
}

/// At half of what all of it together can do, from acceptance to the commit, once the consumers are warm.
fn accept_to_row(servers: &Servers, table: &mut Table) -> Result<()> {
    let world = worlds::world(servers)?;
    let serve = serve(&world)?;
    let writes = 150_000;
    let consume = world.start(&["consume"])?;
    load(&world, &serve, writes / 5, 256, 0)?;
    // the consumers keep up with what these clients can send
    let half = writes as f64 / load(&world, &serve, writes, 256, 0)?.seconds / 2.0;
    world.wait_drained(CAUGHT_UP_WITHIN)?;
    let mut runs = Vec::new();
    for _ in 0..TAIL_ROUNDS {
        let cpu = Cpu::watch(&[
            ("serve", serve.process().pid()),
            ("Kafka", servers.kafka.pid(0)?),
            ("consume", consume.process().pid()),
            ("Postgres", servers.postgres.pid()?),
            ("load", std::process::id()),
        ]);
        let options = once_each(2000, half as u32);
        let load = world.load(&plan(half as usize * (SECONDS + WARM_SECONDS)), &[&serve], options);
        load.wait_for(WARM_SECONDS as f64 / (SECONDS + WARM_SECONDS) as f64)?;
        let before = (serve.metrics()?, consume.metrics()?);
        let recording = finish(load, half as u32)?;
        ensure!(recording.count(Verdict::Accepted) == recording.fates.len(), "{}", recording.answers);
        let answered = answered_after(&recording);
        world.wait_drained(CAUGHT_UP_WITHIN)?;
        let (served, consumed) = (serve.metrics()?.since(&before.0), consume.metrics()?.since(&before.1));
        let [p50, p99] =
            [0.5, 0.99].map(|share| consumed.quantile("floodgate_accept_to_apply_seconds", share));
        let commit = consumed.quantile("floodgate_apply_seconds", 0.99);
        let publish = served.quantile("floodgate_publish_seconds", 0.99);
        let [p50_ms, p99_ms, publish_ms, commit_ms] =
            [p50, p99, publish, commit].map(|seconds| seconds * 1e3);
        let note = format!(
            "at {half:.0} writes/s: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms; p99 of publishing {publish_ms:.1} ms, of a \
             transaction {commit_ms:.1} ms; answered after {:.1} ms (p50), {:.1} ms (p99)",
            answered[0], answered[1]
        );
        let allowed = WAITS_SECONDS + 3.0 * commit;
        let cpu = cpu.per_event(recording.fates.len() as f64);
        runs.push([Run { value: p99, cpu, note }, Run { value: allowed, ..Run::default() }]);
    }
    table.add("E2", runs.iter().map(|run| (&run[0], &run[1])));
    consume.stop()?;
    serve.stop()
}

/// Median and 99th percentile, in milliseconds, of the time from when a write was due to its answer, after the warm-up.
fn answered_after(recording: &Recording) -> [f64; 2] {
    let measured = recording.fates.iter().filter(|fate| fate.due >= WARM_SECONDS as u32 * 1_000_000);
    let mut took: Vec<u32> = measured.map(|fate| fate.accepted - fate.due).collect();
    took.sort_unstable();
    [0.5, 0.99].map(|share| f64::from(took[(took.len() as f64 * share) as usize]) / 1e3)
}

/// The database is away for a minute while writes go on.
fn outage(servers: &Servers, table: &mut Table) -> Result<()> {
    let world = worlds::world(servers)?;
    let (serve, consume) = (serve(&world)?, world.start(&["consume"])?);
    let lasts = OUTAGE + Duration::from_secs(45);
    let writes = 60_000;
    let half = f64::from(writes) / load(&world, &serve, writes as usize, 256, 0)?.seconds / 2.0;
    world.wait_drained(CAUGHT_UP_WITHIN)?;
    let rate = half.min(OUTAGE_RATE_MAX) as u32;
    let plan = plan(rate as usize * lasts.as_secs() as usize);
    let options = LoadOptions { deadline: lasts * 2, ..once_each(2000, rate) };
    let load = world.load(&plan, &[&serve], options);
    load.wait_for(0.05)?;
    servers.postgres.stop()?;
    std::thread::sleep(OUTAGE);
    let applied = || consume.metrics().map(|metrics| metrics.sum("processed_tasks_total", &[]));
    let (before, accepted_before) = (applied()?, load.accepted());
    // from the order to start it on: what it takes to come back and to be noticed counts
    let began = Instant::now();
    servers.postgres.start_again()?;
    let (after, lasted) = wait::until("the backlog's end", CAUGHT_UP_WITHIN, || {
        let now = applied().ok()?;
        // less than a fifth of a second behind
        (now + f64::from(rate) / 5.0 >= load.accepted() as f64).then(|| (now, began.elapsed()))
    })
    .context("the consumers did not catch up")?;
    load.is_running()?;
    let offered = (load.accepted() - accepted_before) as f64 / began.elapsed().as_secs_f64();
    ensure!(offered > 0.9 * f64::from(rate), "only {offered:.0} writes a second of {rate} were sent");
    load.stop();
    let backlog = accepted_before as f64 - before;
    let note = format!(
        "at {rate} writes/s; {backlog:.0} events waited; caught up after {:.1} s",
        lasted.as_secs_f64()
    );
    let run = Run { value: (after - before) / lasted.as_secs_f64(), note, ..Run::default() };
    let reference = Run { value: offered, ..Run::default() };
    table.add("E3", [(&run, &reference)]);
    drop(load.finish()?);
    serve.stop()?;
    consume.stop()
}
