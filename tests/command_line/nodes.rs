//! What has to be made before nodes are ready, what they then say of themselves, and the lag of their groups.

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{ports, wait};
use jiff::Timestamp;
use serde_json::Value;

use crate::check;
use crate::support::answers::{accepted, keys, problem, valid_expectation};
use crate::support::node::Node;
use crate::support::world::{READY, Servers, World, partitions, run};

#[test]
fn topics_and_tables_come_from_their_commands_and_nodes_name_them() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    let like = world.named("floodgate.like.v1");
    run(|| {
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("floodgate topics create")?;
        let answer = serve.get("/readyz")?;
        ensure!(answer.status == 503, "the clients' /readyz: {} {}", answer.status, answer.text());
        problem(&serve.ask(&valid_expectation())?, 503, "not-stored", None)?;

        let created = check(&world, (&["topics", "create"], &[], 0, &[&like, "created"]))?;
        ensure!(created.stdout.matches(": created").count() == 4, "{created:?}");
        let again = check(&world, (&["topics", "create"], &[], 0, &[&like, "exists"]))?;
        ensure!(again.stdout.matches(": exists").count() == 4, "{again:?}");
        let more = [("topics.partitions", "12")];
        let reason = [&*like, "10 partitions", "12", "keys"];
        let differs = world.command_with(&["topics", "create"], &more)?;
        ensure!(differs.code == 1 && reason.iter().all(|word| differs.stderr.contains(word)), "{differs:?}");
        check(&world, (&["topics", "describe"], &[], 0, &[&like, "10 partitions", "leader"]))?;
        serve.wait_ready()?;

        // nobody has consumed; the broker may still be making itself the leader of the new partitions
        let lag = wait::until("the lag of new topics", READY, || world.lag().ok())?;
        lag_has_its_shape(&world, &lag)?;
        let none = partitions(&lag).all(|(_, partition)| partition["committedOffset"].is_null());
        ensure!(none, "committed before anyone consumed: {lag}");
        ensure!(groups(&lag).all(|group| group["status"] == "EMPTY" && group["members"] == 0), "{lag}");

        let consume = world.launch(&["consume"])?;
        consume.wait_unready("floodgate migrate")?;
        check(&world, (&["migrate"], &[], 0, &["created"]))?;
        check(&world, (&["migrate"], &[], 0, &["up to date"]))?;
        consume.wait_ready()?;

        accepted(&serve.ask(&valid_expectation())?)?;
        wait::until("the write to be read", READY, || {
            (serve.get("/api/v6/characters/4711/expectations").ok()?.status == 200).then_some(())
        })?;
        world.wait_drained(READY)?;
        let lag = world.lag()?;
        lag_has_its_shape(&world, &lag)?;
        let committed: Vec<_> =
            partitions(&lag).filter(|(_, partition)| partition["committedOffset"] == 1).collect();
        ensure!(committed.len() == 1 && committed[0].0 == world.named("floodgate.expectation"), "{lag}");
        ensure!(groups(&lag).all(|group| group["status"] == "OK"), "{lag}");

        // the operators' listener tells the same, and the ingress alone exports it
        let served = serve.ask_admin("/lag")?.json();
        lag_has_its_shape(&world, &served)?;
        for (name, group) in
            [("floodgate_lag_records", "group"), ("kafka_consumergroup_lag", "consumergroup")]
        {
            let metrics = serve.metrics()?;
            let labels = [(group, &*world.named("floodgate.like"))];
            ensure!(metrics.count(name, &labels) == 10, "{name}: {} series", metrics.count(name, &labels));
            ensure!(consume.metrics()?.count(name, &[]) == 0, "consumers export {name} too");
        }
        // one group alone
        consume.stop()?;
        let one = world.start(&["consume", "--group", "floodgate.like"])?;
        wait::until("one group to have members", READY, || {
            let lag = world.lag().ok()?;
            let members: Vec<i64> = groups(&lag).filter_map(|group| group["members"].as_i64()).collect();
            (members.iter().filter(|members| **members > 0).count() == 1).then_some(())
        })?;
        one.stop()?;
        serve.stop()
    });
}

/// For people: a table, again and again until interrupted; a pipe gets no control characters.
#[test]
fn lag_is_told_as_a_table_and_watched() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        // the verdicts first, then a line for each group: what stands like its group is folded into it
        let table = world.succeed(&["lag"])?;
        let lines: Vec<&str> = table.lines().collect();
        let group = world.named("floodgate.like");
        ensure!(lines[2] == format!("{group}: EMPTY, no members, and nothing waits"), "{table}");
        let columns: Vec<&str> = lines[4].split_whitespace().collect();
        let wanted = ["GROUP", "PARTITIONS", "STATUS", "WAITING", "OLDEST", "IN", "APPLIED"];
        ensure!(columns == wanted && lines.len() == 5 + 3, "{table}");
        ensure!(lines.iter().all(|line| line.chars().count() <= 120), "{table}");
        let all = world.succeed(&["lag", "--all"])?;
        let columns: Vec<&str> = all.lines().nth(4).context("no table")?.split_whitespace().collect();
        let wanted = [&wanted[..], &["FROM", "TO", "EXPIRED"]].concat();
        ensure!(columns == wanted && all.lines().count() == 5 + 3 + 30, "{all}");
        ensure!(!all.contains('\u{1b}'), "colour in a pipe");
        world.succeed(&["lag", "--fail-above", "0"])?;

        let watch = world.launch(&["lag", "--watch"])?;
        wait::until("three tables", READY, || {
            (watch.process().stdout().matches("GROUP").count() >= 3).then_some(())
        })?;
        ensure!(!watch.process().stdout().contains('\u{1b}'), "control characters in a pipe");
        watch.process().kill()
    });
}

/// Who exports the groups' gauges is decided by the role, or by the configuration.
#[test]
fn gauges_of_groups_come_from_the_role_that_should_export_them() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let exports = |node: &Node| -> Result<usize> {
            wait::until("the lag", READY, || {
                let as_of = node.ask_admin("/lag").ok()?.json()["groups"][2]["asOf"].clone();
                as_of.is_string().then_some(())
            })?;
            Ok(node.metrics()?.count("floodgate_lag_records", &[]))
        };
        let (serve, consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        ensure!(exports(&serve)? == 30 && exports(&consume)? == 0, "by role");
        // every role tells /lag
        lag_has_its_shape(&world, &consume.ask_admin("/lag")?.json())?;
        world.set("lag.export", "off");
        ensure!(exports(&world.start(&["serve"])?)? == 0, "off");
        world.set("lag.export", "on");
        ensure!(exports(&world.start(&["consume"])?)? == 30, "on");
        Ok(())
    });
}

#[test]
fn a_consumer_takes_the_groups_it_is_told() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (coupon, like) = (world.named("floodgate.coupon"), world.named("floodgate.like"));
        let consume = world.start(&["consume", "--group", &coupon, "--group", &like])?;
        let lag = world.lag()?;
        let members = |of: &str| {
            let name = world.named(&format!("floodgate.{of}"));
            let group = groups(&lag).find(|group| group["group"] == name);
            group.and_then(|group| group["members"].as_i64()).with_context(|| lag.to_string())
        };
        ensure!(members("expectation")? == 0 && members("coupon")? > 0 && members("like")? > 0, "{lag}");
        consume.stop()
    });
}

/// Writes need no database, not even when the ingress starts; an older schema is named like a missing one.
#[test]
fn an_ingress_starts_while_the_database_is_away() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    let url = world.setting("store.url");
    run(|| {
        world.set("store.url", format!("postgres://ann@127.0.0.1:{}/floodgate", ports::free_port()?));
        let serve = world.start(&["serve"])?;
        accepted(&serve.ask(&valid_expectation())?)?;
        problem(&serve.get("/api/v6/coupons/c")?, 503, "database-unavailable", None)?;
        serve.stop()?;

        world.set("store.url", &url);
        postgres.psql(&url, "UPDATE floodgate_migrations SET version = version - 1")?;
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("older than this build; run `floodgate migrate`")?;
        consume.stop()
    });
}

#[test]
fn a_member_that_the_brokers_refuse_says_why() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap();
    // these brokers allow a second and more
    world.set("buffer.kafka.session_timeout_ms", "500");
    run(|| {
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("buffer.kafka.session_timeout_ms")?;
        consume.stop()
    });
}

fn groups(lag: &Value) -> impl Iterator<Item = &Value> {
    lag["groups"].as_array().into_iter().flatten()
}

fn lag_has_its_shape(world: &World, lag: &Value) -> Result<()> {
    let is = |object: &Value, names: &[&str]| keys(object) == names.iter().copied().collect();
    ensure!(is(lag, &["asOf", "groups"]), "{lag}");
    lag["asOf"].as_str().context("no asOf")?.parse::<Timestamp>()?;
    for event in ["expectation", "coupon", "like"] {
        let name = world.named(&format!("floodgate.{event}"));
        let group =
            groups(lag).find(|group| group["group"] == name).with_context(|| format!("no {name}: {lag}"))?;
        ensure!(
            is(
                group,
                &[
                    "group",
                    "asOf",
                    "status",
                    "reason",
                    "members",
                    "ratesPerSecond",
                    "secondsToCatchUp",
                    "usefulMembers",
                    "topics"
                ]
            ),
            "{group}"
        );
        let topic = &group["topics"][0];
        ensure!(is(topic, &["topic", "partitions"]) && topic["topic"] == format!("{name}.v1"), "{topic}");
        let partitions = topic["partitions"].as_array().context("no partitions")?;
        ensure!(partitions.len() == 10, "{topic}");
        for (number, partition) in partitions.iter().enumerate() {
            let names = [
                "partition",
                "startOffset",
                "endOffset",
                "committedOffset",
                "lag",
                "unreadable",
                "lagSeconds",
                "missing",
                "member",
                "status",
                "ratesPerSecond",
            ];
            ensure!(is(partition, &names) && partition["partition"] == number, "{partition}");
        }
    }
    ensure!(groups(lag).count() == 3, "{lag}");
    Ok(())
}
