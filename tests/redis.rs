//! Ingress and consumers in processes of their own, with real Redis lists and Postgres between and behind them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::{Arc, OnceLock};

use anyhow::{Context, ensure};
use floodgate_testkit::{Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir};
use serde_json::Value;
use support::answers::problem;
use support::client::Ask;
use support::load::LoadOptions;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::world::{DRAINED, READY, World, run};

/// One database server for all tests of this file; each has a Redis of its own, and may kill it.
fn postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    POSTGRES.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

fn world(redis: &Redis) -> World {
    let world = World::on_redis(redis, postgres()).unwrap().hurried();
    world.succeed(&["migrate"]).unwrap();
    world
}

/// The same answers and rows as on Kafka, though a consumer is killed and Redis dies and comes back in the midst of it, and the
/// ingress is restarted.
#[test]
fn the_whole_job_survives_kills() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let world = world(&redis);
    run(|| {
        let serves = [world.start(&["serve"])?, world.start(&["serve"])?];
        let mut consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(6000)));
        world.create_coupons(&serves[0], &plan)?;
        let load = world.load(&plan, &[&serves[0], &serves[1]], LoadOptions::default());
        load.wait_for(0.2)?;
        consumes[0].kill()?;
        load.wait_for(0.4)?;
        redis.process()?.kill()?;
        redis.start_again()?;
        load.wait_for(0.6)?;
        consumes[0].start_again(&world)?;
        let recording = load.finish()?;
        world.check(postgres(), &recording)?;
        let verified = world.command(&["verify", "--json"])?;
        ensure!(verified.code == 0, "{verified:?}");
        consumes.iter().chain(&serves).try_for_each(Node::stop)
    });
}

/// While Redis is away nothing is accepted and the ingress says so; reads go on.
#[test]
fn without_redis_nothing_is_accepted() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let world = world(&redis);
    run(|| {
        let serve = world.start(&["serve"])?;
        redis.process()?.kill()?;
        serve.wait_unready("Redis at 127.0.0.1")?;
        // a process that never saw it says of its groups that nobody knows, and names it
        let other = world.start_and(&["serve"], |node| node.wait_unready("Redis at 127.0.0.1"))?;
        let told = other.metrics()?;
        for group in ["floodgate.like", "floodgate.coupon", "floodgate.expectation"] {
            let labels = [("group", world.named(group)), ("status", "UNKNOWN".to_owned())];
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            ensure!(told.sum("floodgate_group_status", &labels) == 1.0, "{group}");
        }
        let mut reasons = told.series("floodgate_unready", &[]);
        ensure!(
            reasons.any(|(series, _)| series.contains("Redis at 127.0.0.1:#")),
            "the reason cannot be read"
        );
        other.kill()?;
        problem(&serve.ask(&Ask::new("PUT", "/api/v6/characters/a/likes/b"))?, 503, "not-stored", None)?;
        ensure!(serve.get("/api/v6/characters/a/likes")?.status == 200);
        redis.start_again()?;
        serve.wait_ready()?;
        serve.stop()
    });
}

/// Over TLS, with a user and a password, and a certificate of an authority that the system does not know. Whoever is not
/// let in is told why, and no password is shown.
#[test]
fn over_tls_with_a_password() {
    let folder = ScratchDir::new("tls").unwrap();
    let user = [("user", "writer on >s3cret ~* &* +@all")];
    let (redis, port) = Redis::start_with_tls(folder.path(), &user).unwrap();
    let world = world(&redis);
    run(|| {
        let url = |password: &str| format!("rediss://writer:{password}@localhost:{port}");
        world.set("buffer.redis.url", url("s3cret"));
        let stranger = world.launch(&["serve"])?;
        stranger.wait_unready("certificate")?;
        stranger.stop()?;
        world.set_variable("SSL_CERT_FILE", folder.path().join("ca.pem").display().to_string());
        world.set("buffer.redis.url", url("wr0ng"));
        let refused = world.launch(&["serve"])?;
        refused.wait_unready("WRONGPASS")?;
        ensure!(!refused.process().stderr().contains("wr0ng"), "{}", refused.process().stderr());
        refused.stop()?;
        world.set("buffer.redis.url", url("s3cret"));
        let (serve, consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        ensure!(serve.ask(&Ask::new("PUT", "/api/v6/characters/a/likes/b"))?.status == 202);
        world.wait_drained(DRAINED)?;
        let lag = world.lag()?;
        ensure!(lag["groups"].as_array().is_some_and(|groups| groups.len() == 3), "{lag}");
        ensure!(redis.cli(&["ACL", "LOG"])?.contains("writer"), "it was refused as that user once");
        let shown = world.succeed(&["config"])?;
        ensure!(!shown.contains("s3cret"), "{shown}");
        [serve, consume].iter().try_for_each(Node::stop)
    });
}

/// What operators ask: lag with members, dead letters from the list to their replay, and in a sentence what there is not.
#[test]
fn operators_find_what_they_know() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let world = world(&redis);
    run(|| {
        let sql = |statement: &str| postgres().psql(&world.setting("store.url"), statement);
        sql(&support::rule::refuse("house_rule", "likes", "new.liker_account_id LIKE 'forbidden%'"))?;
        let serve = world.start(&["serve"])?;
        for liker in ["a", "forbidden", "b"] {
            let like = serve.ask(&Ask::new("PUT", format!("/api/v6/characters/star/likes/{liker}")))?;
            ensure!(like.status == 202, "{like:?}");
        }
        let lag: Value = serde_json::from_str(&world.succeed(&["lag", "--json"])?)?;
        let groups = lag["groups"].as_array().context("no groups")?;
        let likes = groups
            .iter()
            .find(|group| group["group"] == world.named("floodgate.like"))
            .context("no group of likes")?;
        let waiting = |group: &Value| -> i64 {
            let partitions = group["topics"][0]["partitions"].as_array().cloned().unwrap_or_default();
            partitions.iter().filter_map(|partition| partition["lag"].as_i64()).sum()
        };
        ensure!((groups.len(), waiting(likes), likes["members"].as_i64()) == (3, 3, Some(0)), "{lag}");
        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let letters = world.succeed(&["dlq", "list", "--json"])?;
        ensure!(letters.lines().count() == 1 && letters.contains("floodgate.like.v1"), "{letters}");
        // while its rule stands it fails again, and the later letter can be dismissed
        let failed = world.command(&["dlq", "replay", "--all", "--wait"])?;
        let told = "1 replayed: 0 applied, 1 failed again\n";
        ensure!(failed.code == 1 && failed.stdout.ends_with(told), "{failed:?}");
        let dismiss = ["dlq", "dismiss", "--type", "like", "--because", "a test"];
        ensure!(world.succeed(&dismiss)?.starts_with("1 dead letter dismissed"));
        let told = world.succeed(&["dlq", "list"])?;
        ensure!(told.ends_with("0 open; 1 replayed, 1 dismissed\n"), "{told}");
        let like = serve.ask(&Ask::new("PUT", "/api/v6/characters/star/likes/forbidden"))?;
        ensure!(like.status == 202, "{like:?}");
        world.wait_drained(DRAINED)?;
        sql(&support::rule::take("house_rule", "likes"))?;
        let replayed = world.succeed(&["dlq", "replay", "--all", "--wait"])?;
        ensure!(replayed.ends_with("\n1 replayed: 1 applied, 0 failed again\n"), "{replayed}");
        ensure!(sql("SELECT count FROM like_counts WHERE target_ocid = 'star'")?.trim() == "3");
        let topics = world.command(&["topics", "describe"])?;
        ensure!(topics.code == 0 && topics.stdout.contains("nothing to create"), "{topics:?}");
        consume.stop()?;
        serve.stop()
    });
}

/// A Redis that is set so that it may lose what is answered 202 is told so, in words, by the log.
#[test]
fn settings_that_break_the_promise_are_told() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let world = world(&redis);
    run(|| {
        redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "appendonly", "no"])?;
        let serve = world.start(&["serve"])?;
        for told in ["maxmemory-policy is allkeys-lru", "appendonly is no"] {
            serve.process().wait_for_log(told, READY)?;
        }
        serve.stop()
    });
}
