//! A backlog of two million mixed events, drained by one member a group, by two, and so on; and its likes alone.

use anyhow::{Result, ensure};
use floodgate_schemas::examples::{coupon_issue, expectation, like};
use floodgate_schemas::{EventType, LikeAction};

use crate::drain::{forget_group, rate_and_cpu};
use crate::support::world::{Servers, World};
use crate::tools::filler::Filler;
use crate::worlds::drop_database;

const EVENTS: u64 = 2_000_000;
const COUPONS: u64 = 100;
const PARTITIONS: [&str; 2] = ["10", "24"];
const ALL: &[EventType] = &EventType::ALL;
/// The likes' share, with nobody else at work.
const ALONE: &[EventType] = &[EventType::Like];
/// Which groups, and how many members in each.
const DRAINS: [(&[EventType], usize); 7] =
    [(ALL, 1), (ALL, 2), (ALL, 4), (ALL, 8), (ALL, 10), (ALONE, 1), (ALONE, 2)];

/// Of the backlog, those events that are of this type.
fn events(of: EventType) -> u64 {
    match of {
        EventType::Coupon => EVENTS / 5,
        _ => EVENTS / 5 * 2,
    }
}

pub fn print(servers: &Servers) -> Result<()> {
    println!("\n{EVENTS} mixed events (2/5 expectations, 2/5 likes, 1/5 coupon requests)");
    println!("partitions  groups  members  events/s  seconds  peak MiB  WAL bytes  CPU µs an event");
    for partitions in PARTITIONS {
        let world = World::bare(&servers.kafka, &servers.postgres)?;
        world.set("topics.partitions", partitions);
        world.succeed(&["topics", "create"])?;
        fill(servers, &world)?;
        // Kafka's just-in-time compiler
        drained(servers, &world, ALL)?;
        for (groups, members) in DRAINS {
            world.set("consumers.instances", members.to_string());
            // one for each member of each group, and some for requests
            world.set("store.max_connections", (3 * members * 4 / 3 + 4).to_string());
            let drained = drained(servers, &world, groups)?;
            println!("{partitions:>10}  {:>6}  {members:>7}  {drained}", groups.len());
        }
    }
    Ok(())
}

fn fill(servers: &Servers, world: &World) -> Result<()> {
    let mut filler = Filler::new(&servers.kafka.bootstrap())?;
    let [expectations, likes, coupons] =
        [EventType::Expectation, EventType::Like, EventType::Coupon].map(|of| world.named(of.topic()));
    for n in 0..EVENTS {
        match n % 5 {
            0 | 1 => filler.put(&expectations, &expectation(n, n as i64 / 3 + 1, n as i64 % 3 + 1, 1))?,
            2 | 3 => {
                let (target, liker) = (format!("target-{}", n % 10_007), format!("liker-{n}"));
                filler.put(&likes, &like(n, &target, &liker, LikeAction::Like, n as i64))?;
            }
            _ => {
                let (coupon, user) = (format!("coupon-{}", n / 5 % COUPONS), format!("user-{n}"));
                filler.put(&coupons, &coupon_issue(n, &coupon, &user))?;
            }
        }
    }
    filler.flush()
}

/// From the first batch of these groups to the last, into an empty database.
fn drained(servers: &Servers, world: &World, groups: &[EventType]) -> Result<String> {
    let events: u64 = groups.iter().copied().map(events).sum();
    drop_database(servers, &world.setting("store.url"))?;
    world.set("store.url", servers.postgres.create_database()?);
    world.succeed(&["migrate"])?;
    let stock = EVENTS / 5 / COUPONS / 4;
    let coupons = format!(
        "INSERT INTO coupons (coupon_id, stock, issued) SELECT 'coupon-' || n, {stock}, 0 \
         FROM generate_series(0, {COUPONS} - 1) AS n"
    );
    servers.postgres.psql(&world.setting("store.url"), &coupons)?;
    servers.postgres.psql("postgres", "CHECKPOINT")?;
    let written = || -> Result<f64> {
        Ok(servers.postgres.psql("postgres", "SELECT pg_current_wal_lsn() - '0/0'")?.trim().parse()?)
    };
    let written_before = written()?;
    let mut args = vec!["consume"];
    groups.iter().for_each(|of| args.extend(["--group", of.group()]));
    let node = world.launch(&args)?;
    let (rate, cpu) = rate_and_cpu(servers, &node, ("Kafka", servers.kafka.pid(0)?), events as usize)?;
    let wal = (written()? - written_before) / events as f64;
    let memory = node.process().peak_rss_bytes()? >> 20;
    node.stop()?;
    let counts = "SELECT (SELECT count(*) FROM expectations) + (SELECT count(*) FROM likes) \
                  + (SELECT count(*) FROM coupon_requests)";
    let rows = servers.postgres.psql(&world.setting("store.url"), counts)?;
    ensure!(rows.trim() == events.to_string(), "{} rows of {events}", rows.trim());
    for of in groups {
        forget_group(servers, world, *of)?;
    }
    let cpu: Vec<_> = cpu.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
    let seconds = events as f64 / rate;
    Ok(format!("{rate:>8.0}  {seconds:>7.1}  {memory:>8}  {wal:>9.0}  {}", cpu.join(", ")))
}
