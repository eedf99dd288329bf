//! `examples/` as it stands: the commands of each README, run against the real binary, over HTTP once as they are and once with a key
//! and over a way on which answers get lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "examples/detour.rs"]
mod detour;
mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use detour::{Detour, Turn};
use flate2::read::MultiGzDecoder;
use floodgate_buffer::murmur2_partition;
use floodgate_testkit::{Process, process};
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use support::client::{Ask, runtime};
use support::topic::Topics;
use support::world::{DRAINED, Ended, Servers, World, run};

const PARTITIONS: usize = 10;

/// For what is over in seconds.
const EXAMPLE: Duration = Duration::from_secs(240);

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The commands of a README.
fn commands(readme: &Path) -> Result<String> {
    let page = std::fs::read_to_string(readme)?;
    let mut blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let script = blocks.next().with_context(|| format!("{} has no commands", readme.display()))?;
    ensure!(blocks.next().is_none(), "{} has several blocks of commands", readme.display());
    Ok(script.to_owned())
}

/// Does what a README says, in a copy of its folder and with what `scripts/setup` got in `PATH`.
fn follow(world: &World, example: &str, variables: &[(&str, &str)]) -> Result<Ended> {
    let folder = world.folder().join(example);
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(examples().join(example))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    let testkit = process::target_folder().join("testkit");
    let ours = Path::new(env!("CARGO_BIN_EXE_floodgate")).parent().context("no folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let before = [ours.to_owned(), testkit.join("python/bin"), testkit.join("bin")];
    let path = std::env::join_paths(before.into_iter().chain(std::env::split_paths(&path)))?;

    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &commands(&folder.join("README.md"))?]);
    command.current_dir(&folder).env_clear().env("PATH", path).env("K6_NO_USAGE_REPORT", "true");
    // where Maven keeps what it got
    command.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
    command.envs(variables.iter().copied());
    let process = Process::spawn(example, command, world.folder())?;
    let exit = process.wait_exit(EXAMPLE)?;
    let code = exit.code().with_context(|| format!("{example} ended with {exit}"))?;
    Ok(Ended { code, stdout: process.stdout(), stderr: process.stderr() })
}

/// The same, and it must go well. What it said.
fn succeed(world: &World, example: &str, variables: &[(&str, &str)]) -> Result<String> {
    let Ended { code, stdout, stderr } = follow(world, example, variables)?;
    ensure!(code == 0, "{example} ended with {code}\n{stdout}\n{stderr}");
    Ok(stdout + &stderr)
}

/// The key that the list of examples says how to make, and a configuration, `floodgate.toml`, by which nobody may do anything without.
fn key(world: &World) -> Result<String> {
    let command = commands(&examples().join("README.md"))?;
    let args: Vec<&str> = command.split_whitespace().skip(1).collect();
    let told = world.succeed(&args)?;
    let (key, lines) = told.split_once('\n').context("no key")?;
    std::fs::write(world.folder().join("floodgate.toml"), format!("[auth]\nmode = \"keys\"\n{lines}"))?;
    Ok(key.to_owned())
}

/// One number of the rows in `floodgate.db`.
fn number(world: &World, query: &'static str) -> Result<i64> {
    let url = format!("sqlite://{}", world.folder().join("floodgate.db").display());
    runtime().block_on(async {
        let mut connection = SqliteConnection::connect(&url).await?;
        Ok(sqlx::query_scalar(query).fetch_one(&mut connection).await?)
    })
}

/// Whether each of these numbers is what it should be.
fn check(world: &World, wanted: &[(&'static str, i64)]) -> Result<()> {
    for (query, wanted) in wanted {
        let found = number(world, query)?;
        ensure!(found == *wanted, "{found} and not {wanted}: {query}");
    }
    Ok(())
}

/// An example against a binary without any configuration: what it prints, what rows it leaves.
fn plain(example: &str, rows: &[(&'static str, i64)], look: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let world = World::empty()?;
    let node = world.start(&[])?;
    let told = succeed(&world, example, &[("FLOODGATE_URL", &format!("http://{}", node.http))])?;
    look(&told)?;
    world.wait_applied(&node, DRAINED)?;
    check(&world, rows).with_context(|| told)?;
    node.stop()
}

/// The same where a key is asked for and answers get lost: nothing is lost or doubled. Without a key it ends at its first answer. Gives
/// the requests that came.
fn hard(
    example: &str,
    turns: &[Turn],
    rows: &[(&'static str, i64)],
    look: impl FnOnce(&str) -> Result<()>,
) -> Result<Vec<Ask>> {
    let world = World::empty()?;
    let key = key(&world)?;
    let node = world.start(&["--config", "floodgate.toml"])?;
    let detour = Detour::to(node.http, turns)?;
    let told = succeed(&world, example, &[("FLOODGATE_URL", &detour.url()), ("FLOODGATE_KEY", &key)])?;
    look(&told)?;
    let came = detour.came();
    ensure!(detour.left() == 0, "{} turns were not taken", detour.left());
    world.wait_applied(&node, DRAINED)?;
    check(&world, rows).with_context(|| told)?;

    let detour = Detour::to(node.http, &[])?;
    let Ended { code, stdout, stderr } = follow(&world, example, &[("FLOODGATE_URL", &detour.url())])?;
    ensure!(code != 0 && (stdout + &stderr).contains("401"), "{example} ended with {code}: {stderr}");
    ensure!(detour.came().len() == 1, "{example} tried {} times without a key", detour.came().len());
    check(&world, rows)?;
    node.stop()?;
    Ok(came)
}

/// What was lost came again as it was, with its keys.
fn check_again(turns: &[Turn], came: &[Ask]) -> Result<()> {
    let lost =
        turns.iter().zip(came.windows(2)).filter(|(turn, _)| !matches!(turn, Turn::Pass | Turn::Unsure));
    for (turn, pair) in lost {
        let [first, again] = [0, 1].map(|n: usize| {
            let Ask { method, path, headers, .. } = &pair[n];
            (method, path, headers, text(&pair[n]))
        });
        ensure!(first == again, "{turn:?}: first {first:?}, then {again:?}");
    }
    Ok(())
}

/// A body, inflated.
fn text(ask: &Ask) -> String {
    let mut text = String::new();
    match MultiGzDecoder::new(&*ask.body).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::from_utf8_lossy(&ask.body).into_owned(),
    }
}

#[test]
fn curl() {
    let look = |told: &str| {
        let answers: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |name: &str| -> Vec<&Value> {
            answers.iter().map(|answer| &answer[name]).filter(|found| !found.is_null()).collect()
        };
        ensure!(of("rank") == [1, 2], "{told}");
        let decided: Value =
            of("status").into_iter().filter(|status| *status != "PENDING").cloned().collect();
        ensure!(decided == json!(["ISSUED", "ISSUED", "SOLD_OUT", "ACCEPTED", 422]), "{told}");
        let results: Vec<&Value> =
            answers.iter().flat_map(|answer| answer["results"].as_array()).flatten().collect();
        let results: Vec<&Value> = results.into_iter().map(|result| &result["status"]).collect();
        ensure!(results == ["accepted", "accepted", "rejected"], "{told}");
        ensure!(of("field") == ["userId"] && of("remaining") == [0], "{told}");
        Ok(())
    };
    let rows = [
        ("SELECT count(*) FROM coupons WHERE stock = 2 AND issued = 2", 1),
        ("SELECT count(*) FROM coupon_issues WHERE user_id || rank IN ('ann1', 'ben2')", 2),
        ("SELECT count(*) FROM coupon_requests", 4),
        ("SELECT count(*) FROM likes WHERE liked AND liker_account_id IN ('ann', 'ben')", 2),
        ("SELECT count FROM like_counts", 2),
    ];
    let turns = [Turn::Refused(503), Turn::Pass, Turn::Refused(429), Turn::Pass, Turn::Late];
    run(|| plain("curl", &rows, look));
    run(|| check_again(&turns, &hard("curl", &turns, &rows, look)?));
}

#[test]
fn python() {
    let look = |told: &str| {
        ensure!(told.starts_with("1999 accepted, 1 refused\nhero-0 by hero-0: "), "{told}");
        Ok(())
    };
    let rows = [
        ("SELECT count(*) FROM likes WHERE liked", 1999),
        ("SELECT sum(count) FROM like_counts", 1999),
        ("SELECT count(*) FROM like_counts", 10),
    ];
    let turns = [
        Turn::Refused(503),
        Turn::Late,
        Turn::Broken,
        Turn::Unsure,
        Turn::Pass,
        Turn::Refused(429),
        Turn::Broken,
    ];
    run(|| plain("python", &rows, look));
    run(|| {
        let came = hard("python", &turns, &rows, look)?;
        check_again(&turns, &came)?;
        // of a batch only what was not stored
        let unsure = turns.iter().position(|turn| *turn == Turn::Unsure).context("no such turn")?;
        let [batch, again] = [unsure, unsure + 1].map(|n| text(&came[n]));
        let lines: Vec<&str> = batch.lines().take(2).collect();
        ensure!(batch.lines().count() == 500 && again.lines().eq(lines), "{again}");
        Ok(())
    });
}

#[test]
fn cloudevents() {
    let look = |told: &str| {
        let modes: Vec<&str> = told.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        ensure!(modes == ["binary", "structured", "batch", "batch", "batch"], "{told}");
        Ok(())
    };
    let rows = [
        ("SELECT count(*) FROM likes WHERE liked AND target_ocid = 'hero-7'", 4),
        ("SELECT count(*) FROM expectations WHERE character_id = 7 AND total_expected_cost = '1200.50'", 1),
    ];
    let turns = [Turn::Refused(503), Turn::Late, Turn::Broken, Turn::Pass, Turn::Refused(429), Turn::Late];
    run(|| plain("cloudevents", &rows, look));
    run(|| check_again(&turns, &hard("cloudevents", &turns, &rows, look)?));
}

#[test]
fn k6() {
    let look = |told: &str| {
        ensure!(told.contains("100 of 100 pieces were given to 500 users"), "{told}");
        Ok(())
    };
    let rows = [
        ("SELECT issued FROM coupons WHERE stock = 100", 100),
        ("SELECT count(DISTINCT rank) FROM coupon_issues", 100),
        ("SELECT count(*) FROM coupon_requests", 500),
        ("SELECT count(DISTINCT user_id) FROM coupon_requests", 500),
    ];
    // under other keys there were more requests than users
    let turns = [Turn::Refused(503), Turn::Pass, Turn::Late, Turn::Refused(429), Turn::Broken];
    run(|| plain("k6", &rows, look));
    run(|| hard("k6", &turns, &rows, look).map(drop));
}

/// As many ask for as much as with `floodgate burst`, to a tenth, and what is asked for is answered.
#[test]
fn shapes_in_k6_are_those_of_burst() {
    run(|| {
        let world = World::empty()?;
        let node = world.start(&["run"])?;
        let (url, operators) = (format!("http://{}", node.http), format!("http://{}", node.admin));
        let k6 = process::target_folder().join("testkit/bin/k6");
        let file = |name: &str| world.folder().join(name).display().to_string();
        let read = |name: &str| -> Result<Value> {
            Ok(serde_json::from_str(&std::fs::read_to_string(world.folder().join(name))?)?)
        };
        // a few seconds each, of thousands of requests
        for (shape, speed, times) in [("pt-001", "40", "1"), ("lt-001", "500", "20"), ("st-001", "400", "10")]
        {
            let mut command = Command::new(&k6);
            command.args(["run", "--quiet", "--summary-export", &file("k6.json")]);
            command.arg(examples().join("k6/shapes.js"));
            command.envs([("SHAPE", shape), ("SPEED", speed), ("TIMES", times), ("FLOODGATE_URL", &url)]);
            let process = Process::spawn("k6", command, world.folder())?;
            let exit = process.wait_exit(EXAMPLE)?;
            // 99: answers were slower than expected, as machines are
            ensure!(matches!(exit.code(), Some(0 | 99)), "{}{}", process.stdout(), process.stderr());
            let summary = read("k6.json")?;
            let [asked, failed] = [("http_reqs", "count"), ("http_req_failed", "value")]
                .map(|(metric, value)| summary["metrics"][metric][value].as_f64());
            let args = ["burst", "--url", &url, "--operators", &operators, "--json", &file("burst.json")];
            let args = [&args[..], &["--shape", shape, "--speed", speed, "--times", times]].concat();
            let ended = world.command(&args)?;
            let report = read("burst.json").with_context(|| ended.stderr.clone())?;
            let sent = report["sent"].as_f64().context("no requests")?;
            // one of k6's creates the coupon, and on a busy machine it leaves some out, which it counts
            let left_out = summary["metrics"]["dropped_iterations"]["count"].as_f64().unwrap_or_default();
            let share = (asked.context("no requests of k6")? - 1.0 + left_out) / sent;
            ensure!((0.9..=1.1).contains(&share) && failed == Some(0.0), "{shape}: {share}, {summary:#}");
            ensure!(report["accepted"] == report["sent"] && report["inversions"] == 0, "{report:#}");
        }
        node.stop()
    });
}

/// What Java writes by itself has a row, on the partition that an ingress would choose, and twice is as once.
#[test]
fn java() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    world.set("topics.prefix", "");
    run(|| {
        world.succeed(&["topics", "create"])?;
        world.succeed(&["migrate"])?;
        let brokers = world.setting("buffer.kafka.brokers");
        let consume = world.start(&["consume", "--group", "like"])?;
        for _ in 0..2 {
            let told = succeed(&world, "java", &[("KAFKA_BROKERS", &brokers)])?;
            ensure!(told.contains("100 likes are in floodgate.like.v1"), "{told}");
            world.wait_drained(DRAINED)?;
            let url = world.setting("store.url");
            let rows =
                postgres.psql(&url, "SELECT count(*), count(DISTINCT occurred_at) FROM likes WHERE liked")?;
            ensure!(rows.trim() == "100|100", "{rows}");
            let counted = postgres.psql(&url, "SELECT count(*), sum(count) FROM like_counts")?;
            ensure!(counted.trim() == "10|100", "{counted}");
        }
        let ids = Topics::of(&world).event_ids(&world)?;
        ensure!(ids.len() == 100 && ids.values().all(|times| *times == 2), "{ids:?}");
        let mut keys = BTreeSet::new();
        for record in Topics::of(&world).read_all("floodgate.like.v1")? {
            let key = record.key.clone().context("no key")?;
            let place = murmur2_partition(&key, PARTITIONS);
            ensure!(i32::try_from(place)? == record.partition, "{record:?}, not on {place}");
            keys.insert(String::from_utf8(key)?);
        }
        let wanted = (0..100).map(|n| format!("hero-{}\u{1f}fan-{n}", n % 10));
        ensure!(keys == wanted.collect(), "{keys:?}");
        let letters = Topics::of(&world).read_all("floodgate.dlq.v1")?;
        ensure!(letters.is_empty(), "{letters:?}");
        consume.stop()
    });
}

/// Each example is in the list, is run here, and is told in ten lines, or one more for each command more.
#[test]
fn every_example_has_a_short_readme_and_is_run() {
    let index = std::fs::read_to_string(examples().join("README.md")).unwrap();
    let here = include_str!("examples.rs");
    let mut found = 0;
    for entry in std::fs::read_dir(examples()).unwrap().map(Result::unwrap) {
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let readme = entry.path().join("README.md");
        let more = commands(&readme).unwrap().lines().count() - 1;
        let lines = std::fs::read_to_string(&readme).unwrap().lines().count();
        assert!(
            lines <= 10 + more,
            "{name}: a README of {lines} lines, with {more} commands after the first"
        );
        assert!(index.contains(&format!("]({name})")), "examples/README.md does not name {name}");
        assert!(here.contains(&format!("fn {name}() {{")), "{name} is not run");
        found += 1;
    }
    assert_eq!(found, 5);
}
