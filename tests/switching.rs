//! `docs/switching.md` as it stands: its configurations and its commands, run under load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Process, Redis, RedisOptions, ports, wait};
use support::client::{Ask, Client};
use support::load::{Load, LoadOptions};
use support::model::{self, Order};
use support::plan::{Plan, PlanSize, coupon_id, seed};
use support::state::State;
use support::world::{DRAINED, READY, Servers, World, run};

const PAGE: &str = include_str!("../docs/switching.md");

/// Behind the page's commands: what runs in the end goes on until the test has seen all of it.
const UNTIL_SEEN: &str = "
touch switched
until [ -e seen ]; do sleep 0.1; done
kill -TERM $first_serve $second_serve $new_consume
wait $first_serve; wait $second_serve; wait $new_consume
";

/// How long all of it may take.
const SCRIPT: Duration = Duration::from_secs(400);

/// The contents of the page's blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// What the page says where this test has something of its own.
type Places = BTreeMap<String, String>;

fn placed(text: &str, places: &Places) -> String {
    // marked first: what is put in has numbers as well
    let marked = places
        .keys()
        .enumerate()
        .fold(text.to_owned(), |text, (n, from)| text.replace(from, &format!("@{n}@")));
    places.values().enumerate().fold(marked, |text, (n, to)| text.replace(&format!("@{n}@"), to))
}

/// The configurations and the commands, as the page has them.
fn prepare(folder: &Path, places: &Places) -> Result<String> {
    for block in blocks("toml") {
        let name = block
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .context("a block without a name")?;
        std::fs::write(folder.join(name), placed(block, places))?;
    }
    let script: Vec<&str> = blocks("sh");
    ensure!(script.len() == 6, "{} blocks of commands", script.len());
    Ok(placed(&script.join("\n"), places) + UNTIL_SEEN)
}

/// Both directions under load: everything that is accepted takes effect once, and the old place is empty at the end.
#[test]
fn switching_as_the_page_says() {
    let servers = Servers::shared();
    for (old, new) in [("redis", "kafka"), ("kafka", "redis")] {
        let redis = Redis::start(RedisOptions::default()).unwrap();
        let world = World::bare(&servers.kafka, &servers.postgres).unwrap();
        run(|| switch(&world, servers, &redis, old, new));
    }
}

fn switch(world: &World, servers: &Servers, redis: &Redis, old: &str, new: &str) -> Result<()> {
    let mut places: Places = [
        ("redis://127.0.0.1:6379", redis.url()),
        ("\"127.0.0.1:9092\"", format!("\"{}\"", servers.kafka.bootstrap())),
        ("postgres://user:password@127.0.0.1/floodgate", world.setting("store.url")),
        ("old=redis", format!("old={old}")),
        ("new=kafka", format!("new={new}")),
    ]
    .map(|(from, to)| (from.to_owned(), to))
    .into();
    let mut http = Vec::new();
    for port in [8081, 8082, 9601, 9602, 9603, 9604] {
        let free = ports::free_port()?;
        places.insert(port.to_string(), free.to_string());
        if port < 9000 {
            http.push(SocketAddr::from((Ipv4Addr::LOCALHOST, free)));
        }
    }
    let script = prepare(world.folder(), &places)?;
    // tables, and the place where all begins, are there already
    world.succeed(&["migrate"])?;
    if old == "kafka" {
        world.succeed(&["topics", "create"])?;
    }
    let mut command = Command::new("bash");
    let bin = Path::new(env!("CARGO_BIN_EXE_floodgate")).parent().context("no folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(world.folder()).env_clear();
    command.env("PATH", format!("{}:{path}", bin.display()));
    command.env("FLOODGATE__TOPICS__PREFIX", world.setting("topics.prefix"));
    command.env("FLOODGATE__SHUTDOWN__GRACE_MS", "200");
    let process = Process::spawn("switching", command, world.folder())?;

    let client = Client::new(http[0]);
    let answers = || client.ask(&Ask::get("/readyz")).is_ok_and(|answer| answer.status == 200).then_some(());
    wait::until("the first ingress", READY, answers).with_context(|| process.log_tail())?;
    let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(8000)));
    let body = format!(r#"{{"couponId":"{}","stock":{}}}"#, coupon_id(0), plan.stocks[0]);
    let created = client.ask(&Ask::new("POST", "/api/v6/coupons").json(body));
    ensure!(created.as_ref().is_ok_and(|answer| answer.status == 201), "{created:?}");
    let options = LoadOptions { rate: 300, workers: 32, ..LoadOptions::default() };
    let load = Load::start(&plan, &http, options);

    let is_switched = || match process.exit_status() {
        Some(exit) => Some(Err(anyhow::anyhow!("the page's commands ended with {exit}"))),
        None => world.folder().join("switched").exists().then_some(Ok(())),
    };
    wait::until("the switch", SCRIPT, is_switched)
        .map_err(Into::into)
        .flatten()
        .with_context(|| process.log_tail())?;
    let told = process.stdout();
    ensure!(told.contains(&format!("{old} is empty")), "{told}");
    let recording = load.finish().with_context(|| process.log_tail())?;
    world.set("buffer.strategy", new);
    world.set("buffer.redis.url", redis.url());
    world.wait_drained(DRAINED)?;
    let state = State::from_postgres(&servers.postgres, &world.setting("store.url"))?;
    model::check_with(Order::WithinEachLog, &recording, &state, &Default::default())?;
    let left = world.command_with(&["lag", "--json"], &[("buffer.strategy", old)])?;
    let left: serde_json::Value = serde_json::from_str(&left.stdout).with_context(|| format!("{left:?}"))?;
    ensure!(support::world::lag_records(&left) == 0, "{left}");
    std::fs::write(world.folder().join("seen"), "")?;
    let exit = process.wait_exit(SCRIPT).with_context(|| process.log_tail())?;
    ensure!(exit.success(), "the last ones ended with {exit}\n{}", process.log_tail());
    Ok(())
}

/// One process is left and entered by a restart; what it held is applied before it ends.
#[test]
fn from_one_process_to_redis() {
    let servers = Servers::shared();
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let world = World::bare(&servers.kafka, &servers.postgres).unwrap();
    run(|| {
        world.succeed(&["migrate"])?;
        world.set("buffer.strategy", "in-memory");
        world.set("buffer.redis.url", redis.url());
        let run = world.start(&["run"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(4000)));
        world.create_coupons(&run, &plan)?;
        let load = world.load(&plan, &[&run], LoadOptions { rate: 400, ..LoadOptions::default() });
        load.wait_for(0.3)?;
        let refused =
            world.command_with(&["drain", "--from", "in-memory"], &[("buffer.strategy", "redis")])?;
        ensure!(refused.code == 2 && refused.stderr.contains("SIGTERM"), "{refused:?}");
        run.stop()?;
        world.set("buffer.strategy", "redis");
        let consume = world.start(&["consume"])?;
        let mut serve = run;
        serve.args = vec!["serve".to_owned()];
        serve.start_again(&world)?;
        let recording = load.finish()?;
        world.check(&servers.postgres, &recording)?;
        serve.stop()?;
        consume.stop()
    });
}

/// What cannot be drained is told in a sentence.
#[test]
fn what_cannot_be_drained() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("buffer.strategy", "redis");
        for (from, reason) in
            [("redis", "configured strategy"), ("kafak", "in-memory, redis, kafka"), ("in-memory", "SIGTERM")]
        {
            let ended = world.command(&["drain", "--from", from])?;
            ensure!(ended.code == 2 && ended.stderr.contains(reason), "{from}: {ended:?}");
        }
        Ok(())
    });
}
