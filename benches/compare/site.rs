//! One strategy at work: an ingress and a consumer, or the one process that is both, with a database of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use jiff::Timestamp;

use crate::cases::{Case, Server};
use crate::fleet::Fleet;
use crate::support::load::{Load, LoadOptions};
use crate::support::node::{Metrics, Node};
use crate::support::plan::{Plan, Write, seed};
use crate::support::world::World;

/// Also of what an outage left behind.
pub const DRAINED: Duration = Duration::from_secs(600);
/// Clients that send their next write when the last is answered.
const CLIENTS: usize = 256;
/// Of the one coupon that all plans ask for.
const STOCK: i32 = 5000;
const TARGETS: u32 = 1000;

pub struct Site<'f> {
    pub fleet: &'f Fleet,
    pub case: &'f Case,
    pub world: World,
    pub ingress: Node,
    /// Where it is not the ingress.
    consumer: Option<Node>,
}

impl<'f> Site<'f> {
    pub fn open(fleet: &'f Fleet, case: &'f Case) -> Result<Site<'f>> {
        static SITES: AtomicU32 = AtomicU32::new(1);
        let world = World::empty()?;
        world.set("topics.prefix", format!("c{}.", SITES.fetch_add(1, Ordering::Relaxed)));
        world.set("store.url", fleet.postgres.create_database()?);
        case.settings.iter().for_each(|(key, value)| world.set(key, *value));
        for (key, place) in case.servers.iter().map(|server| fleet.place(*server)) {
            world.set(key, place);
        }
        world.succeed(&["migrate"])?;
        let (ingress, consumer) = if case.is_one_process() {
            (world.start(&["run"])?, None)
        } else {
            world.succeed(&["topics", "create"])?;
            (world.start(&["serve"])?, Some(world.start(&["consume"])?))
        };
        world.create_coupons(&ingress, &plan(0, 0))?;
        Ok(Site { fleet, case, world, ingress, consumer })
    }

    pub fn consumer(&self) -> &Node {
        self.consumer.as_ref().unwrap_or(&self.ingress)
    }

    /// SIGKILL, and started again while the clients go on.
    pub fn restart_ingress(&mut self) -> Result<()> {
        self.ingress.kill()?;
        self.ingress.start_again(&self.world)
    }

    /// SIGKILL.
    pub fn kill_consumer(&mut self) -> Result<()> {
        self.consumer.as_ref().context("it is the ingress")?.kill()
    }

    /// Which is ready when it has joined, so that Kafka must be there.
    pub fn start_consumer(&mut self) -> Result<()> {
        self.consumer.as_mut().context("it is the ingress")?.start_again(&self.world)
    }

    /// The server that is away where one is.
    pub fn server(&self) -> Result<Server> {
        self.case.servers.first().copied().context("it has no server")
    }

    /// The server in which events wait, also while the first one is away.
    pub fn holder(&self) -> Result<Server> {
        self.case.servers.last().copied().context("it has no server")
    }

    /// Sends a plan's writes, and again what was not accepted: as fast as they are answered, or so many a second.
    pub fn load(&self, plan: &Arc<Plan>, rate: Option<u32>) -> Load {
        let workers = if rate.is_some() { CLIENTS * 4 } else { CLIENTS };
        let rate = rate.unwrap_or_default();
        let options =
            LoadOptions { workers, rate, repeat_every: 0, deadline: DRAINED, ..LoadOptions::default() };
        self.world.load(plan, &[&self.ingress], options)
    }

    pub fn consumed(&self) -> Result<Metrics> {
        self.consumer().metrics()
    }

    /// Waits until the consumer has applied so many since an earlier scrape.
    pub fn wait_applied(&self, since: &Metrics, count: usize) -> Result<()> {
        wait::until(&format!("{count} rows"), DRAINED, || {
            let applied = self.consumed().ok()?.since(since).sum("floodgate_events_applied_total", &[]);
            (applied >= count as f64).then_some(())
        })?;
        Ok(())
    }

    /// Waits until nothing is left, not even what was accepted twice.
    pub fn wait_drained(&self) -> Result<()> {
        match &self.consumer {
            Some(_) => self.world.wait_drained(DRAINED),
            None => self.world.wait_applied(&self.ingress, DRAINED),
        }
    }

    pub fn close(self) -> Result<()> {
        self.ingress.stop()?;
        self.consumer.iter().try_for_each(Node::stop)?;
        self.fleet.clear(&self.world.setting("store.url"))
    }
}

/// So many writes: two fifths each of expectations and likes, one fifth of coupon requests. Each has a row of its own, so that
/// none that is lost is hidden by a greater one. `part` tells plans apart that go to one database.
pub fn plan(part: u32, writes: usize) -> Arc<Plan> {
    const PARTS_APART: u32 = 100_000_000;
    // an hour ago, whole seconds
    let at = (Timestamp::now().as_second() - 3600) * 1_000_000;
    let first = part * PARTS_APART;
    let write = |number: u32| match number % 5 {
        0 | 1 => Write::Expectation {
            character: number,
            preset: 1 + (number % 3) as u8,
            version: None,
            calculated_at: at,
            hundredths: u64::from(number) * 7919 % 10_000_000_000,
        },
        2 | 3 => Write::Like { target: number % TARGETS, liker: number, liked: true, occurred_at: at },
        _ => Write::Coupon { coupon: 0, user: number },
    };
    let writes = (first + 1..=first + writes as u32).map(write).collect();
    Arc::new(Plan { seed: seed(), writes, stocks: vec![STOCK] })
}

/// A load that ran out of writes measured something else.
pub fn ensure_enough(plan: &Plan, accepted: usize) -> Result<()> {
    ensure!(accepted < plan.writes.len(), "{accepted} writes were too few for the time");
    Ok(())
}
