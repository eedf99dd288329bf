//! A world for one test: servers, a database and topics of its own, and the real binary, run as commands and as nodes.
//!
//! The environment of the binary is empty but for what is set here, and its folder is a fresh one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Kafka, Postgres, Process, Redis, RedisOptions, ScratchDir, ports, wait};
use serde_json::Value;

use super::client::{Ask, Client};
use super::lag::lagging;
pub use super::lag::{lag_records, partitions, spilled};
use super::load::{Load, LoadOptions, Recording};
use super::model;
pub use super::node::READY;
use super::node::{Node, PROBED, Spawn};
use super::plan::{Plan, coupon_id};
pub use super::servers::{Servers, is_redis};
use super::state::State;
use super::toggles::TOGGLED;

/// From the last write to a lag of 0, rebalances after a kill included.
pub const DRAINED: Duration = Duration::from_secs(240);
const COMMAND: Duration = Duration::from_secs(240);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct World {
    settings: Mutex<BTreeMap<String, String>>,
    processes: Mutex<Vec<Arc<Process>>>,
    folder: ScratchDir,
    logs: ScratchDir,
    /// What is run.
    build: Mutex<PathBuf>,
}

impl Spawn for World {
    fn spawn(&self, args: &[String], http: SocketAddr, admin: SocketAddr) -> Result<Arc<Process>> {
        self.spawn_with_stderr(args, http, admin, None)
    }
}

impl World {
    /// An empty folder, no settings: what a newcomer has.
    pub fn empty() -> Result<World> {
        let (folder, logs) = (ScratchDir::new("world")?, ScratchDir::new("logs")?);
        let build = Mutex::new(PathBuf::from(env!("CARGO_BIN_EXE_floodgate")));
        Ok(World { settings: Mutex::default(), processes: Mutex::default(), folder, logs, build })
    }

    /// Settings for a fresh database and Kafka, or Redis lists where `FLOODGATE_TEST_STRATEGY` is `redis`. Neither topics nor tables
    /// are made.
    pub fn bare(kafka: &Kafka, postgres: &Postgres) -> Result<World> {
        if is_redis() {
            static REDIS: OnceLock<Redis> = OnceLock::new();
            return World::on_redis(
                REDIS.get_or_init(|| Redis::start(RedisOptions::default()).unwrap()),
                postgres,
            );
        }
        let world = World::on(postgres)?;
        world.set("buffer.strategy", "kafka");
        world.set("buffer.kafka.brokers", kafka.bootstrap());
        Ok(world)
    }

    /// Settings for Redis lists and a fresh database, without tables.
    pub fn on_redis(redis: &Redis, postgres: &Postgres) -> Result<World> {
        let world = World::on(postgres)?;
        world.set("buffer.strategy", "redis");
        world.set("buffer.redis.url", redis.url());
        world.set("buffer.redis.lease_ms", "1500");
        Ok(world)
    }

    /// A fresh database, and names that no other world has.
    fn on(postgres: &Postgres) -> Result<World> {
        static WORLDS: AtomicU32 = AtomicU32::new(1);
        let world = World::empty()?;
        world.set("topics.prefix", format!("w{}.", WORLDS.fetch_add(1, Ordering::Relaxed)));
        world.set("store.url", postgres.create_database()?);
        Ok(world)
    }

    /// The same with topics and tables.
    pub fn ready(kafka: &Kafka, postgres: &Postgres) -> Result<World> {
        let world = World::bare(kafka, postgres)?;
        world.succeed(&["topics", "create"])?;
        world.succeed(&["migrate"])?;
        Ok(world)
    }

    /// Shorter waits than an operator would choose, for tests that kill and stop.
    pub fn hurried(self) -> World {
        self.set("buffer.kafka.session_timeout_ms", "3000");
        self.set("shutdown.grace_ms", "200");
        self.set("consumers.retry_max_ms", "500");
        self.set("lag.refresh_ms", "200");
        self
    }

    /// Sets a configuration key for what is started from here on.
    pub fn set(&self, key: &str, value: impl Into<String>) {
        self.settings.lock().unwrap().insert(variable(key), value.into());
    }

    /// Sets a variable of the environment for what is started from here on.
    pub fn set_variable(&self, name: &str, value: impl Into<String>) {
        self.settings.lock().unwrap().insert(name.to_owned(), value.into());
    }

    /// From here on another build of the binary is run.
    pub fn set_build(&self, build: impl Into<PathBuf>) {
        *self.build.lock().unwrap() = build.into();
    }

    pub fn setting(&self, key: &str) -> String {
        self.settings.lock().unwrap().get(&variable(key)).cloned().unwrap_or_default()
    }

    /// A number that is in force.
    pub fn number(&self, key: &str) -> Result<f64> {
        let config: toml::Table = self.succeed(&["config"])?.parse()?;
        let value = key.split('.').try_fold(&toml::Value::Table(config), |of, name| of.get(name)).cloned();
        Ok(value.and_then(|value| value.as_integer()).with_context(|| format!("no {key}"))? as f64)
    }

    /// A topic's or group's name with this world's prefix.
    pub fn named(&self, name: &str) -> String {
        self.setting("topics.prefix") + name
    }

    /// The folder in which the binary runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command to its end, whatever that is.
    pub fn command(&self, args: &[&str]) -> Result<Ended> {
        self.command_with(args, &[])
    }

    /// The same with more settings.
    pub fn command_with(&self, args: &[&str], settings: &[(&str, &str)]) -> Result<Ended> {
        let mut command = self.binary(args);
        command.envs(settings.iter().map(|(key, value)| (variable(key), value)));
        self.end(args, command)
    }

    /// The same without the right of root to write whatever it likes: what may be written is what files' modes say.
    pub fn command_bound_by_modes(&self, args: &[&str], settings: &[(&str, &str)]) -> Result<Ended> {
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        let program = env!("CARGO_BIN_EXE_floodgate");
        let without = ["setpriv", "--bounding-set=-dac_override", program];
        let mut command = self.program(if is_root { &without } else { &without[2..] }, args);
        command.envs(settings.iter().map(|(key, value)| (variable(key), value)));
        self.end(args, command)
    }

    fn end(&self, args: &[&str], command: Command) -> Result<Ended> {
        let name = args.first().copied().unwrap_or("floodgate").replace('/', "-");
        let process = Process::spawn(&name, command, self.logs.path())?;
        let exit = process.wait_exit(COMMAND)?;
        let code = exit.code().with_context(|| format!("floodgate {args:?} ended with {exit}"))?;
        Ok(Ended { code, stdout: process.stdout(), stderr: process.stderr() })
    }

    /// Runs a command that must not fail, and returns its results.
    pub fn succeed(&self, args: &[&str]) -> Result<String> {
        let Ended { code, stdout, stderr } = self.command(args)?;
        ensure!(code == 0, "floodgate {args:?} ended with {code}\n{stdout}\n{stderr}");
        Ok(stdout)
    }

    /// Starts a node and waits until it is ready.
    pub fn start(&self, args: &[&str]) -> Result<Node> {
        let node = self.launch(args)?;
        node.wait_ready()?;
        Ok(node)
    }

    /// Starts a node and waits for something else than readiness.
    pub fn start_and(&self, args: &[&str], wait: impl FnOnce(&Node) -> Result<()>) -> Result<Node> {
        let node = self.launch(args)?;
        wait(&node)?;
        Ok(node)
    }

    /// Starts a node on ports of its own and does not wait.
    pub fn launch(&self, args: &[&str]) -> Result<Node> {
        self.launch_with_stderr(args, None)
    }

    /// The same, with another standard error than a file.
    pub fn launch_with_stderr(&self, args: &[&str], stderr: Option<Stdio>) -> Result<Node> {
        let address = || Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()?)));
        let (http, admin): (Result<_>, Result<_>) = (address(), address());
        let (http, admin) = (http?, admin?);
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let process = self.spawn_with_stderr(&args, http, admin, stderr)?;
        Ok(Node { args, http, admin, process, clients: [Client::new(http), Client::new(admin)] })
    }

    fn spawn_with_stderr(
        &self,
        args: &[String],
        http: SocketAddr,
        admin: SocketAddr,
        stderr: Option<Stdio>,
    ) -> Result<Arc<Process>> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = self.binary(&args);
        command.env("FLOODGATE__HTTP__LISTEN", http.to_string());
        command.env("FLOODGATE__ADMIN__LISTEN", admin.to_string());
        let name = args.first().copied().unwrap_or("default");
        let process = Arc::new(Process::spawn_with_stderr(name, command, self.logs.path(), stderr)?);
        self.processes.lock().unwrap().push(Arc::clone(&process));
        Ok(process)
    }

    fn binary(&self, args: &[&str]) -> Command {
        let build = self.build.lock().unwrap().display().to_string();
        self.program(&[&build], args)
    }

    /// The binary, or something that runs it.
    fn program(&self, program: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(args).current_dir(self.folder()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("RUST_BACKTRACE", "1");
        command.envs(&*self.settings.lock().unwrap());
        command
    }

    /// `floodgate lag --json`, one reading.
    pub fn lag(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.succeed(&["lag", "--json", "--over", "0"])?)?)
    }

    /// Waits until no group has anything to do.
    pub fn wait_drained(&self, deadline: Duration) -> Result<()> {
        let mut last = String::new();
        wait::until("a lag of 0", deadline, || {
            let lag = self.lag().inspect_err(|error| last = format!("{error:#}")).ok()?;
            last = lagging(&lag);
            (lag_records(&lag) == 0 && spilled(&lag) == 0).then_some(())
        })
        .with_context(|| format!("waiting: {last}"))
    }

    /// Creates the coupons of a plan through a node.
    pub fn create_coupons(&self, node: &Node, plan: &Plan) -> Result<()> {
        for (number, stock) in plan.stocks.iter().enumerate() {
            let body = format!(r#"{{"couponId":"{}","stock":{stock}}}"#, coupon_id(number as u16));
            let answer = node.ask(&Ask::new("POST", "/api/v6/coupons").json(body))?;
            ensure!(answer.status == 201, "{} {}", answer.status, answer.text());
        }
        Ok(())
    }

    /// Waits until a node that holds events itself has applied all it held when this was called.
    pub fn wait_applied(&self, node: &Node, deadline: Duration) -> Result<()> {
        let (called, mut last) = (jiff::Timestamp::now(), String::new());
        wait::until("a lag of 0", deadline, || {
            let lag = node.ask_admin("/lag").ok()?.json();
            last = lagging(&lag);
            let as_of: jiff::Timestamp = lag["asOf"].as_str()?.parse().ok()?;
            (as_of > called && lag_records(&lag) == 0).then_some(())
        })
        .with_context(|| format!("waiting: {last}"))
    }

    /// A fingerprint of all rows that changes when any of them is written again, even with what it holds already.
    pub fn rows(&self, postgres: &Postgres) -> Result<String> {
        let tables = ["expectations", "coupons", "coupon_issues", "coupon_requests", "likes", "like_counts"];
        let rows =
            tables.map(|table| format!("SELECT '{table}' || xmin || t::text AS row FROM {table} AS t"));
        let sql = format!(
            "SELECT md5(string_agg(row, E'\n' ORDER BY row)) FROM ({}) AS rows",
            rows.join(" UNION ALL ")
        );
        postgres.psql(&self.setting("store.url"), &sql)
    }

    /// Committed offsets of all groups and partitions; those never committed are left out.
    pub fn committed(&self) -> Result<BTreeMap<(String, i64), i64>> {
        let lag = self.lag()?;
        let committed = partitions(&lag).filter_map(|(group, partition)| {
            Some((
                (group.to_owned(), partition["partition"].as_i64()?),
                partition["committedOffset"].as_i64()?,
            ))
        });
        Ok(committed.collect())
    }

    /// Starts a load on ingress nodes.
    pub fn load(&self, plan: &Arc<Plan>, ingresses: &[&Node], options: LoadOptions) -> Load {
        let addresses: Vec<SocketAddr> = ingresses.iter().map(|node| node.http).collect();
        Load::start(plan, &addresses, options)
    }

    /// Waits until everything is applied and compares the database with what the recording allows.
    pub fn check(&self, postgres: &Postgres, recording: &Recording) -> Result<()> {
        self.check_but(postgres, recording, &[])
    }

    /// The same, without the expectations of some characters, which the test wrote itself.
    pub fn check_but(&self, postgres: &Postgres, recording: &Recording, but: &[i64]) -> Result<()> {
        self.wait_drained(DRAINED)?;
        let mut state = State::from_postgres(postgres, &self.setting("store.url"))?;
        state.expectations.retain(|(character, _), _| !but.contains(character));
        let is_planned = |target: &str| !target.starts_with(PROBED) && !target.starts_with(TOGGLED);
        state.likes.retain(|(target, _), _| is_planned(target));
        state.counts.retain(|target, _| is_planned(target));
        model::check(recording, &state, &Default::default())
    }
}

impl World {
    /// Prints what all its processes said last.
    pub fn tell_logs(&self) {
        for process in self.processes.lock().unwrap().iter() {
            eprintln!("{}", process.log_tail());
        }
    }

    /// The events that all its consumers applied which have ended in order, as they said at their end.
    pub fn applied_by_ended(&self) -> Result<u64> {
        let processes = self.processes.lock().unwrap();
        let ended =
            processes.iter().filter(|process| process.exit_status().is_some_and(|exit| exit.success()));
        let mut applied = 0;
        for log in ended.map(|process| process.stderr()) {
            let Some(line) = log.lines().find(|line| line.contains("every finished batch is committed"))
            else {
                continue;
            };
            let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            applied += line["fields"]["events"].as_u64().or(line["events"].as_u64()).context("no events")?;
        }
        Ok(applied)
    }

    /// Partitions that left a member whose batch in work did not finish in time, by the logs of all processes.
    pub fn undrained_partitions(&self) -> usize {
        let processes = self.processes.lock().unwrap();
        let logs = processes.iter().map(|process| process.stderr());
        let of_log = |log: String| -> usize {
            let revoked = log.lines().filter(|line| line.contains("partitions revoked"));
            let undrained = revoked.filter(|line| !line.contains("\"drained\":true"));
            // a list of numbers, as text
            let list = |line: &str| {
                line.split('[').nth(1).and_then(|rest| rest.split(']').next()).map(str::to_owned)
            };
            undrained.filter_map(list).map(|list| list.split(',').filter(|n| !n.is_empty()).count()).sum()
        };
        logs.map(of_log).sum()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("FLOODGATE_TEST_LOGS").is_some() {
            self.tell_logs();
        }
    }
}

/// The environment's name of a configuration key.
fn variable(key: &str) -> String {
    format!("FLOODGATE__{}", key.to_uppercase().replace('.', "__"))
}

/// A test's body: what it returns as an error is told before its world's logs are.
pub fn run(test: impl FnOnce() -> Result<()>) {
    if let Err(error) = test() {
        panic!("failed: {error:#}");
    }
}
