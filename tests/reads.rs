//! Reads that are shared: decisions that clients wait for, and expectations from memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Postgres, PostgresOptions, wait};
use serde_json::{Value, json};
use support::answers::{accepted, eventually, expectation, pending, problem};
use support::client::{Answer, Ask, Client, runtime};
use support::node::Node;
use support::world::{READY, Servers, World, run};
use uuid::Uuid;

fn wait_for(request: Uuid, wait_ms: u32) -> Ask {
    Ask::get(format!("/api/v6/coupon-requests/{request}?waitMs={wait_ms}"))
}

/// Many requests at once, answered on tasks of their own.
fn ask_all(
    node: &Node,
    asks: Vec<Ask>,
) -> Vec<tokio::task::JoinHandle<Result<Answer, support::client::Failure>>> {
    let client = Arc::new(Client::new(node.http));
    let send = |ask: Ask| {
        let client = Arc::clone(&client);
        runtime().spawn(async move { client.send(&ask).await })
    };
    asks.into_iter().map(send).collect()
}

fn answers(
    asked: Vec<tokio::task::JoinHandle<Result<Answer, support::client::Failure>>>,
) -> Result<Vec<Value>> {
    asked
        .into_iter()
        .map(|answer| {
            let answer = runtime().block_on(answer)?.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            Ok(answer.json())
        })
        .collect()
}

fn waiters(node: &Node, count: f64) -> Result<()> {
    wait::until(&format!("{count} waiters"), READY, || {
        (node.metrics().ok()?.sum("floodgate_waiters", &[]) == count).then_some(())
    })
    .with_context(|| format!("{:?}", node.metrics().map(|metrics| metrics.sum("floodgate_waiters", &[]))))
}

#[test]
fn clients_wait_until_their_coupon_is_decided() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let serve = world.start(&["serve"])?;
        serve.ask(&Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"c","stock":1}"#))?;
        let issue = |user: &str| {
            let body = json!({"userId": user}).to_string();
            pending(&serve.ask(&Ask::new("POST", "/api/v6/coupons/c/issues").json(body))?)
        };
        let (ann, bob) = (issue("ann")?, issue("bob")?);
        // nobody decides yet: no decision is an answer too
        ensure!(serve.ask(&wait_for(ann, 100))?.json() == json!({"requestId": ann, "status": "PENDING"}));
        let asked =
            ask_all(&serve, vec![wait_for(ann, 30_000), wait_for(ann, 30_000), wait_for(bob, 30_000)]);
        waiters(&serve, 3.0)?;
        let consume = world.start(&["consume"])?;
        let decided = answers(asked)?;
        let statuses: Vec<_> = decided.iter().map(|body| body["status"].clone()).collect();
        ensure!(statuses == ["ISSUED", "ISSUED", "SOLD_OUT"], "{decided:?}");
        ensure!(decided[0]["rank"] == 1 && decided[0]["requestId"] == json!(ann), "{decided:?}");
        // however short a wait is, it is long enough for one look
        for _ in 0..5 {
            ensure!(serve.ask(&wait_for(bob, 1))?.json()["status"] == "SOLD_OUT");
        }
        waiters(&serve, 0.0)?;

        // a stopping node lets nobody wait
        let asked = ask_all(&serve, vec![wait_for(Uuid::now_v7(), 30_000)]);
        waiters(&serve, 1.0)?;
        serve.process().terminate()?;
        ensure!(answers(asked)?[0]["status"] == "PENDING");
        serve.stopped()?;
        consume.stop()
    });
}

#[test]
fn thousands_that_wait_cost_few_queries_and_are_bounded() {
    const WAITERS: usize = 5000;
    let world = World::empty().unwrap();
    // of which one client may have three quarters
    world.set("http.waiters_max", "6667");
    run(|| {
        let node = world.start(&[])?;
        let begun = Instant::now();
        // longer than it takes to send them all, so that all wait at one moment
        let asks = (0..WAITERS).map(|_| wait_for(Uuid::now_v7(), 15_000)).collect();
        let asked = ask_all(&node, asks);
        waiters(&node, WAITERS as f64)?;
        // one more is not held
        let refused = node.ask(&wait_for(Uuid::now_v7(), 30_000))?;
        ensure!(refused.json()["status"] == "PENDING", "{}", refused.text());
        let metrics = node.metrics()?;
        ensure!(metrics.sum("floodgate_waiters_refused_total", &[]) == 1.0);
        ensure!(answers(asked)?.iter().all(|body| body["status"] == "PENDING"));
        let lookups = node.metrics()?.sum("floodgate_wait_lookups_total", &[]);
        // five times a second, however many wait
        let most = begun.elapsed().as_secs_f64() * 5.0 + 2.0;
        ensure!(lookups >= 1.0 && lookups <= most, "{lookups} queries, not at most {most}");
        waiters(&node, 0.0)?;
        node.stop()
    });
}

#[test]
fn expectations_are_served_from_memory_for_a_moment() {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let world = World::empty().unwrap();
    world.set("store.url", postgres.create_database().unwrap());
    world.set("http.cache_ms", "60000");
    run(|| {
        let node = world.start(&[])?;
        let write = |character: u64, cost: &str| {
            let mut body = expectation();
            body["characterId"] = json!(character);
            body["totalExpectedCost"] = json!(cost);
            accepted(&node.ask(&Ask::new("POST", "/api/v6/expectations").json(body.to_string()))?)
        };
        (1..=3).try_for_each(|character| write(character, "1").map(drop))?;
        world.wait_applied(&node, READY)?;
        let path = "/api/v6/characters/1/expectations";
        // single flight: whoever comes while it is read waits for that read
        let bodies = answers(ask_all(&node, (0..200).map(|_| Ask::get(path)).collect()))?;
        let misses = node.metrics()?.sum("floodgate_cache_reads_total", &[("result", "miss")]);
        ensure!(misses == 1.0, "{misses} reads of one character");
        let from_cache = bodies.iter().filter(|body| body["fromCache"] == true).count();
        ensure!(from_cache == 199, "{from_cache} of 200 from the cache");

        // the database goes: what is in memory serves, the rest is 503
        let unknown = format!("/api/v6/coupon-requests/{}", Uuid::now_v7());
        postgres.stop()?;
        for path in [unknown.clone(), format!("{unknown}?waitMs=300")] {
            problem(&node.get(&path)?, 503, "database-unavailable", None)?;
        }
        let read = node.get(path)?;
        ensure!(read.status == 200 && read.json()["fromCache"] == true, "{}", read.text());
        problem(&node.get("/api/v6/characters/2/expectations")?, 503, "database-unavailable", None)?;
        Ok(())
    });
}

#[test]
fn without_time_nothing_is_kept() {
    let world = World::empty().unwrap();
    world.set("http.cache_ms", "0");
    run(|| {
        let node = world.start(&[])?;
        accepted(&node.ask(&Ask::new("POST", "/api/v6/expectations").json(expectation().to_string()))?)?;
        let path = "/api/v6/characters/4711/expectations";
        eventually(&node, path, |_| true)?;
        ensure!(node.get(path)?.json()["fromCache"] == false);
        node.stop()
    });
}

/// The time an entry lives, seen from outside: within it old, after it new.
#[test]
fn a_newer_write_is_seen_once_the_time_is_over() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let path = "/api/v6/characters/4711/expectations";
        let mut body = expectation();
        for version in [1, 2] {
            body["version"] = json!(version);
            accepted(&node.ask(&Ask::new("POST", "/api/v6/expectations").json(body.to_string()))?)?;
            let read = eventually(&node, path, |read| read["presets"][0]["version"] == version)?;
            ensure!(read["fromCache"] == false, "the first read of a version came from memory");
        }
        node.stop()
    });
}
