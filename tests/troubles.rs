//! A system with several things wrong at once, looked at as an operator would: each is named by `floodgate lag`, by `/lag` and on the
//! page within a minute, in a sentence that says where and why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::coupon_issue;
use floodgate_testkit::wait;
use serde_json::Value;
use support::browser::Browser;
use support::client::Ask;
use support::node::Node;
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, partitions, run};

/// What is said of a group by whoever asks.
struct Told {
    status: String,
    reason: String,
}

fn told(report: &Value, group: &str) -> Result<Told> {
    let groups = report["groups"].as_array().context("no groups")?;
    let found = groups.iter().find(|found| found["group"] == group).context("not the group")?;
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Ok(Told { status: text("status"), reason: text("reason") })
}

/// Waits until the command, a process and its page all say that a group stands so, for a reason that has all `needles` in it.
/// Returns the sentence.
fn is_named(
    (world, serve, browser): (&World, &Node, &Browser),
    group: &str,
    status: &str,
    needles: &[&str],
) -> Result<String> {
    let group = world.named(group);
    let (mut by_command, mut by_process, mut by_page) = (String::new(), String::new(), String::new());
    // the page begins sentences with a capital
    let fits = |told: &Told| {
        let reason = told.reason.to_lowercase();
        told.status == status && needles.iter().all(|needle| reason.contains(&needle.to_lowercase()))
    };
    wait::until(&format!("{group} to be told {status}"), Duration::from_secs(60), || {
        let report: Value = serde_json::from_str(&world.command(&["lag", "--json"]).ok()?.stdout).ok()?;
        let command = told(&report, &group).ok()?;
        let process = told(&serve.ask_admin("/lag").ok()?.json(), &group).ok()?;
        (by_command, by_process) = (command.reason.clone(), process.reason.clone());
        if !fits(&command) || !fits(&process) {
            return None;
        }
        let page = told(&browser.asks(serve, &["verdicts"]).ok()?, &group).ok()?;
        by_page = page.reason.clone();
        fits(&page).then_some(())
    })
    .with_context(|| {
        format!("the command says {by_command:?}, the process {by_process:?}, the page {by_page:?}")
    })?;
    let table = world.command(&["lag"])?.stdout.replace("\n    ", " ");
    ensure!(table.contains(&format!("{group}: {status}, ")), "{table}");
    Ok(by_command)
}

fn like(serve: &Node, from: usize, count: usize) -> Result<()> {
    let likes: Vec<_> = (from..from + count)
        .map(|n| {
            let target = format!("star-{n}");
            serde_json::json!({"type": "like", "targetOcid": target, "likerAccountId": "ann", "action": "LIKE"})
        })
        .collect();
    let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(Value::from(likes).to_string()))?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(())
}

#[test]
fn three_troubles_are_each_named_within_a_minute() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        // long enough that the group does not notice by itself
        world.set("buffer.kafka.session_timeout_ms", "120000");
        world.set("consumers.instances", "1");
        let browser = Browser::new()?;
        let serve = world.start(&["serve"])?;
        let seen = (&world, &serve, &browser);
        let (likes, coupons) = (world.named("floodgate.like"), world.named("floodgate.coupon"));
        let freezes = world.start(&["consume", "--group", &likes])?;
        let _goes_on = world.start(&["consume", "--group", &likes, "--group", &coupons])?;
        like(&serve, 0, 200)?;
        world.wait_drained(DRAINED)?;
        let owners = |report: &Value| {
            let owners = partitions(report).filter(|(group, _)| *group == likes);
            owners
                .filter_map(|(_, partition)| partition["member"].as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        wait::until("two members that share the partitions", DRAINED, || {
            let mut owners = owners(&world.lag().ok()?);
            owners.sort();
            let all = owners.len();
            owners.dedup();
            (all == 10 && owners.len() == 2).then_some(())
        })?;

        // a member stands still
        freezes.process().freeze()?;
        like(&serve, 1000, 500)?;
        // a record that consumers of this build cannot read
        let mut newer = Vec::new();
        encode(&coupon_issue(9, "summer", "ann"), &mut newer);
        newer[2..10].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
        let topic = world.named("floodgate.coupon.v1");
        let (partition, offset) = Topics::of(&world).put(&topic, b"summer", &newer, ("trace", "1"))?;
        // one key gets nearly all, and nobody is there for it
        for _ in 0..3 {
            let writes: Vec<_> = (0..200)
                .map(|n| {
                    serde_json::json!({
                        "type": "expectation", "characterId": if n % 20 == 0 { n + 1 } else { 4711 }, "presetNo": 1,
                        "totalExpectedCost": 1, "blackCubeCost": 0, "redCubeCost": 0, "additionalCubeCost": 0,
                        "starforceCost": 0, "calculatedAt": "2026-01-01T00:00:00Z",
                    })
                })
                .collect();
            let batch = Ask::new("POST", "/api/v6/events").json(Value::from(writes).to_string());
            ensure!(serve.ask(&batch)?.status == 200);
        }

        let held = format!("partition {partition} at offset {offset}");
        let needles = [&held[..], "is held: written with an unknown schema, fingerprint 0123456789abcdef"];
        println!("held: {}", is_named(seen, "floodgate.coupon", "HELD", &needles)?);
        let needles =
            ["no members: 600 events wait", "; key 4711 is ", " % of the first 500 that wait on partition"];
        println!("hot: {}", is_named(seen, "floodgate.expectation", "EMPTY", &needles)?);
        println!(
            "frozen: {}",
            is_named(seen, "floodgate.like", "STALLED", &["all read by ", " at 127.0.0.1"])?
        );
        // whose they are is told of each
        let report = world.lag()?;
        let standing =
            partitions(&report).filter(|(group, partition)| *group == likes && partition["lag"] != 0);
        let mut owners: Vec<_> = standing.map(|(_, partition)| partition["member"].to_string()).collect();
        owners.sort();
        owners.dedup();
        ensure!(owners.len() == 1 && owners[0].contains(" at 127.0.0.1"), "{owners:?}");
        // and the log of the process says that it is this member
        let id = owners[0].trim_matches('"').split(' ').next().context("no id")?.to_owned();
        ensure!(freezes.process().stderr().contains(&format!("\"member\":\"{id}\"")), "{id} is in no log");

        let ended = world.command(&["lag", "--fail-above", "100", "--over", "0"])?;
        ensure!(ended.code == 1 && ended.stderr.contains("events wait, more than 100"), "{ended:?}");
        freezes.process().thaw()?;
        wait::until("the likes to be applied", DRAINED, || {
            let report = world.lag().ok()?;
            let like = told(&report, &likes).ok()?;
            (like.status == "OK").then_some(())
        })?;
        freezes.stop()
    });
}
