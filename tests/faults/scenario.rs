//! How scenarios are run: each by name, with a seed that it prints and replays, on servers of its own that serve all
//! its seeds.
//!
//! `cargo test --test faults` runs each scenario with one seed; the variables of [`floodgate_testkit::faults`] ask for
//! more. Slow scenarios are run with a quarter of the seeds asked for, clusters with a tenth.
//!
//! Events wait in Kafka; with `FLOODGATE_TEST_STRATEGY=redis` they wait in Redis lists, and the scenarios that hold for any strategy
//! are run ([`scenario_of_any`]), the others are passed over.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use floodgate_testkit::{
    Kafka, KafkaOptions, Link, Postgres, PostgresOptions, Proxy, Redis, RedisOptions, faults, wait,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::load::{Recording, Verdict};
use crate::support::node::Node;
use crate::support::plan::{Plan, PlanSize};
use crate::support::world::{READY, Servers, World, is_redis};

/// How long one seed takes, hence how many are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Under 20 seconds.
    Quick,
    /// Longer: a minute or two, one of them ten.
    Slow,
    /// Three brokers.
    Cluster,
}

impl Pace {
    fn seeds(self, quick: u64) -> u64 {
        match self {
            Self::Quick => quick,
            Self::Slow => quick.div_ceil(4),
            Self::Cluster => quick.div_ceil(10),
        }
    }
}

/// As many keys are on every of four partitions, but once in a hundred thousand cases.
const PROBES_EVERYWHERE: usize = 40;

/// Whether everything is to be shown at its full length, and not as short as fits between other tests.
pub fn is_full() -> bool {
    faults::asked_for().is_some()
}

/// One seed of a scenario.
pub struct Round<'s> {
    buffer: &'s Buffer,
    pub postgres: &'s Postgres,
    pub seed: u64,
    dice: RefCell<StdRng>,
    recovery: Cell<Option<Duration>>,
    /// Kept to the end of the round, so that a violation can be told together with what its processes said.
    worlds: RefCell<Vec<Arc<World>>>,
}

/// Where events wait.
enum Buffer {
    Kafka(Kafka),
    Redis(Redis),
}

/// Servers with the settings most scenarios want: one broker that can also be reached through a link.
pub fn servers() -> Result<Servers> {
    Servers::start(kafka(1), PostgresOptions::default())
}

pub fn kafka(brokers: usize) -> KafkaOptions {
    KafkaOptions { brokers, linked: true, ..Servers::hurried_kafka() }
}

/// Runs a scenario of Kafka's with all its seeds.
pub fn scenario(
    number: &str,
    name: &str,
    pace: Pace,
    servers: impl FnOnce() -> Result<Servers>,
    body: impl Fn(&Round<'_>) -> Result<()>,
) {
    if is_redis() {
        println!("scenario {number} {name} is Kafka's alone");
        return;
    }
    let servers = || servers().map(|Servers { kafka, postgres }| (Buffer::Kafka(kafka), postgres));
    run(number, name, pace, servers, body);
}

/// Runs a scenario that holds for any strategy with all its seeds.
pub fn scenario_of_any(
    number: &str,
    name: &str,
    pace: Pace,
    servers: impl FnOnce() -> Result<Servers>,
    body: impl Fn(&Round<'_>) -> Result<()>,
) {
    if !is_redis() {
        return scenario(number, name, pace, servers, body);
    }
    run(number, &format!("{name}@redis"), pace, redis_servers, body);
}

/// Runs a scenario of Redis' with all its seeds.
pub fn scenario_of_redis(number: &str, name: &str, pace: Pace, body: impl Fn(&Round<'_>) -> Result<()>) {
    run(number, name, pace, redis_servers, body);
}

fn redis_servers() -> Result<(Buffer, Postgres)> {
    let redis = Redis::start(RedisOptions::default())?;
    Ok((Buffer::Redis(redis), Postgres::start(PostgresOptions::default())?))
}

fn run(
    number: &str,
    name: &str,
    pace: Pace,
    servers: impl FnOnce() -> Result<(Buffer, Postgres)>,
    body: impl Fn(&Round<'_>) -> Result<()>,
) {
    let wanted = faults::seeds_of(name, faults::asked_for().map(|quick| pace.seeds(quick)));
    if wanted.is_empty() {
        return;
    }
    let (buffer, postgres) = servers().unwrap();
    for seed in wanted {
        println!("scenario {number} {name}, seed {seed}");
        let round = Round {
            buffer: &buffer,
            postgres: &postgres,
            seed,
            dice: StdRng::seed_from_u64(seed).into(),
            recovery: Cell::new(None),
            worlds: RefCell::default(),
        };
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&round)));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            bail!("the scenario panicked: {}", text.unwrap_or_else(|| "see its output".to_owned()))
        });
        let told = outcome.err().map(|error| format!("{error:#}"));
        let (took, recovered) = (began.elapsed(), round.recovery.get());
        faults::note_outcome(number, name, seed, took, recovered, told.as_deref().unwrap_or(faults::PASSED));
        if let Some(violation) = told {
            round.worlds.borrow().iter().for_each(|world| world.tell_logs());
            // a scenario at its full length is another one than the short one of CI
            let length = faults::asked_for().map(|seeds| format!("FLOODGATE_FAULTS_SEEDS={seeds} "));
            let replays = format!("{}FLOODGATE_TEST_SEED={seed}", length.unwrap_or_default());
            // servers in an unknown state prove nothing about the next seed
            panic!("scenario {number} {name} failed ({replays} replays it): {violation}");
        }
    }
}

impl Round<'_> {
    /// The broker of a scenario that is Kafka's.
    pub fn kafka(&self) -> &Kafka {
        match self.buffer {
            Buffer::Kafka(kafka) => kafka,
            Buffer::Redis(_) => panic!("a scenario of Kafka's, run on Redis"),
        }
    }

    /// The Redis of a scenario that is its own.
    pub fn redis(&self) -> &Redis {
        match self.buffer {
            Buffer::Redis(redis) => redis,
            Buffer::Kafka(_) => panic!("a scenario of Redis', run on Kafka"),
        }
    }

    /// What is started from here on reaches events only through a link that can be disturbed.
    pub fn link(&self, world: &World) -> Result<Link> {
        match self.buffer {
            Buffer::Kafka(kafka) => {
                world.set("buffer.kafka.brokers", kafka.linked_bootstrap());
                kafka.link(0).cloned()
            }
            Buffer::Redis(redis) => {
                let link = Proxy::start()?.link(redis.port())?;
                world.set("buffer.redis.url", format!("redis://127.0.0.1:{}", link.port()));
                Ok(link)
            }
        }
    }

    /// What is started from here on reaches events as usual.
    pub fn unlink(&self, world: &World) {
        match self.buffer {
            Buffer::Kafka(kafka) => world.set("buffer.kafka.brokers", kafka.bootstrap()),
            Buffer::Redis(redis) => world.set("buffer.redis.url", redis.url()),
        }
    }

    /// A world of its own: topics of four partitions, a fresh database, timeouts of seconds.
    pub fn world(&self) -> Result<Arc<World>> {
        self.world_with(&[])
    }

    /// The same with more settings.
    pub fn world_with(&self, settings: &[(&str, &str)]) -> Result<Arc<World>> {
        let bare = match self.buffer {
            Buffer::Kafka(kafka) => World::bare(kafka, self.postgres),
            Buffer::Redis(redis) => World::on_redis(redis, self.postgres),
        };
        let world = Arc::new(bare?.hurried());
        self.worlds.borrow_mut().push(Arc::clone(&world));
        world.set("topics.partitions", "4");
        settings.iter().for_each(|(key, value)| world.set(key, *value));
        world.succeed(&["topics", "create"])?;
        world.succeed(&["migrate"])?;
        Ok(world)
    }

    /// A mixed plan of about so many writes.
    pub fn plan(&self, writes: usize) -> Arc<Plan> {
        Arc::new(Plan::mixed(self.seed, PlanSize::about(writes)))
    }

    /// A share between two.
    pub fn between(&self, from: f64, to: f64) -> f64 {
        self.dice.borrow_mut().random_range(from..to)
    }

    /// One of so many, from 0.
    pub fn one_of(&self, count: usize) -> usize {
        self.dice.borrow_mut().random_range(0..count)
    }

    /// Measures how long it takes from the end of the fault until a write sent then is accepted, applied and read.
    pub fn recovers(&self, serve: &Node, since: Instant) -> Result<()> {
        serve.probe(&format!("{}-{}", self.seed, since.elapsed().as_nanos()), READY * 2)?;
        self.recovery.set(Some(since.elapsed()));
        Ok(())
    }

    /// The same for keys of all partitions, within a time that a reader of the scenario would call seconds.
    pub fn recovers_everywhere(&self, serve: &Node, since: Instant) -> Result<()> {
        for number in 0..PROBES_EVERYWHERE {
            serve.probe(&format!("{}-{number}-{}", self.seed, since.elapsed().as_nanos()), READY * 2)?;
        }
        self.recovery.set(Some(since.elapsed()));
        Ok(())
    }

    /// The fault has to last for this long.
    pub fn lasts(&self, duration: Duration) {
        let since = Instant::now();
        let over = || (since.elapsed() >= duration).then_some(());
        wait::until("the fault to last", duration * 2, over).unwrap();
    }

    /// The oracle: everything is drained, every write has the effect its answers allow, and the ledger balances.
    pub fn judge(&self, world: &World, recording: &Recording) -> Result<()> {
        world.check(self.postgres, recording)?;
        let ledger = self.balances(world)?;
        let sum = |name: &str| -> u64 {
            ledger["types"].as_array().into_iter().flatten().filter_map(|of| of[name].as_u64()).sum()
        };
        ensure!(sum("inFlight") == 0, "drained, and yet in flight: {ledger}");
        let accepted = recording.ids(Verdict::Accepted).len() as u64;
        let expired = ledger["types"].as_array().into_iter().flatten().any(|of| of["unchecked"] != json!([]));
        // what is applied is gone from a list
        let is_kept = matches!(self.buffer, Buffer::Kafka(_));
        ensure!(sum("events") >= accepted || expired || !is_kept, "{accepted} were accepted: {ledger}");
        Ok(())
    }

    /// `floodgate verify` finds nothing. Returns its report.
    pub fn balances(&self, world: &World) -> Result<Value> {
        let ended = world.command(&["verify", "--json"])?;
        ensure!(ended.code == 0, "floodgate verify: {}\n{}", ended.stdout, ended.stderr);
        Ok(serde_json::from_str(&ended.stdout)?)
    }
}
