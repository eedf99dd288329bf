//! One, two, four and five ingresses and consumers, on Kafka and on Redis lists, give the same answers and the same rows; none is
//! lost when they are restarted one after the other, and when there are fewer of them. `./scripts/processes` prints the table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Redis, RedisOptions};
use support::load::{LoadOptions, Recording, Verdict};
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::state::State;
use support::world::{Servers, World, run};

/// Between other tests as few as show a difference.
const COUNTS: [usize; 4] = [1, 2, 4, 5];
const FEW: [usize; 2] = [1, 2];

/// What must be the same however many processes there were.
#[derive(Debug, PartialEq)]
struct Rows {
    answered: BTreeSet<uuid::Uuid>,
    expectations: BTreeMap<(i64, u8), String>,
    likes: BTreeMap<(String, String), String>,
    counts: BTreeMap<String, i64>,
    coupons: BTreeMap<String, (i32, i32)>,
    /// Who gets a coupon depends on who comes first; how many do does not.
    decided: BTreeSet<uuid::Uuid>,
    outcomes: BTreeMap<String, usize>,
}

impl Rows {
    fn new(recording: &Recording, state: State) -> Self {
        let mut outcomes = BTreeMap::new();
        for decision in state.decisions.values() {
            *outcomes.entry(decision.outcome.clone()).or_default() += 1;
        }
        let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");
        Self {
            answered: recording.ids(Verdict::Accepted).into_iter().collect(),
            expectations: state.expectations.iter().map(|(key, row)| (*key, debug(row))).collect(),
            likes: state.likes.iter().map(|(key, row)| (key.clone(), debug(row))).collect(),
            counts: state.counts.into_iter().collect(),
            coupons: state.coupons.into_iter().collect(),
            decided: state.decisions.into_keys().collect(),
            outcomes,
        }
    }
}

/// Runs the plan through so many processes, which are restarted one after the other, and of which one ends before the others.
fn through(world: &World, servers: &Servers, plan: &Arc<Plan>, count: usize) -> Result<(Rows, f64)> {
    let mut serves = (0..count).map(|_| world.start(&["serve"])).collect::<Result<Vec<_>>>()?;
    let mut consumes = (0..count).map(|_| world.start(&["consume"])).collect::<Result<Vec<_>>>()?;
    world.create_coupons(&serves[0], plan)?;
    let began = Instant::now();
    let load = world.load(plan, &serves.iter().collect::<Vec<_>>(), LoadOptions::default());
    load.wait_for(0.3)?;
    let rate = load.accepted() as f64 / began.elapsed().as_secs_f64();
    for consume in &mut consumes {
        consume.stop()?;
        consume.start_again(world)?;
    }
    for serve in &mut serves {
        serve.stop()?;
        serve.start_again(world)?;
    }
    if count > 1 {
        let (serve, consume) = (serves.pop().context("none")?, consumes.pop().context("none")?);
        serve.stop()?;
        consume.stop()?;
    }
    let recording = load.finish()?;
    world.check(&servers.postgres, &recording)?;
    serves.iter().chain(&consumes).try_for_each(Node::stop)?;
    let state = State::from_postgres(&servers.postgres, &world.setting("store.url"))?;
    Ok((Rows::new(&recording, state), rate))
}

#[test]
fn as_many_as_there_are_they_do_the_same() {
    let servers = Servers::shared();
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let writes = std::env::var("FLOODGATE_PROCESSES_WRITES").ok().and_then(|text| text.parse().ok());
    let counts: &[usize] = if writes.is_some() { &COUNTS } else { &FEW };
    // everybody gets a coupon, or which of two requests of one user is a duplicate would decide who comes too late
    let size = PlanSize::about(writes.unwrap_or(3000));
    let size = PlanSize { stock: size.users as i32, ..size };
    let plan = Arc::new(Plan::mixed(seed(), size));
    let mut first: Option<Rows> = None;
    let mut table = format!("{:<8} {:>9} {:>12} {:>12}\n", "strategy", "processes", "writes/s", "each");
    for strategy in ["kafka", "redis"] {
        for &count in counts {
            let world = match strategy {
                "redis" => World::on_redis(&redis, &servers.postgres).unwrap(),
                _ => World::bare(&servers.kafka, &servers.postgres).unwrap(),
            }
            .hurried();
            run(|| {
                world.succeed(&["topics", "create"])?;
                world.succeed(&["migrate"])?;
                let (rows, rate) = through(&world, servers, &plan, count)?;
                table += &format!("{strategy:<8} {count:>9} {rate:>12.0} {:>12.0}\n", rate / count as f64);
                match &first {
                    Some(first) => ensure!(*first == rows, "{count} processes on {strategy} differ"),
                    None => first = Some(rows),
                }
                Ok(())
            });
        }
    }
    println!("{table}");
}
