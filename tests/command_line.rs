//! What the binary says and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{ports, wait};
use jiff::Timestamp;
use serde_json::Value;
use support::answers::{accepted, keys, problem, valid_expectation};
use support::node::Node;
use support::world::{Ended, READY, Servers, World, partitions, run};

/// One command: arguments, settings, exit code, and what must be in its words.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a [&'a str]);

fn check(world: &World, (args, settings, code, needles): Case<'_>) -> Result<Ended> {
    let ended = world.command_with(args, settings)?;
    ensure!(
        ended.code == code,
        "floodgate {args:?} {settings:?} ended with {}, not {code}: {ended:?}",
        ended.code
    );
    for needle in needles {
        let said = if code == 0 { &ended.stdout } else { &ended.stderr };
        ensure!(said.contains(needle), "floodgate {args:?} {settings:?} does not say {needle:?}: {ended:?}");
    }
    ensure!(code == 0 || ended.stdout.is_empty(), "results without success: {ended:?}");
    Ok(ended)
}

#[test]
fn mistakes_of_usage_and_configuration_end_with_2_and_say_what_to_change() {
    let world = World::empty().unwrap();
    std::fs::write(world.folder().join("typo.toml"), "[buffer.kafka]\nbroker = 'x'\n").unwrap();
    std::fs::write(world.folder().join("broken.toml"), "[http\n").unwrap();
    let key = "[[auth.keys]]\nid = 'game'\nscopes = ['read']\nsha256 = '";
    std::fs::write(world.folder().join("idle.toml"), format!("{key}{}'\n", "0".repeat(64))).unwrap();
    let kafka = ("buffer.strategy", "kafka");
    let cases: &[Case<'_>] = &[
        (
            &["config"],
            &[("buffer.strategie", "kafka")],
            2,
            &["`buffer.strategie`", "did you mean `buffer.strategy`?"],
        ),
        (&[], &[("topic.partitions", "3")], 2, &["did you mean `topics`?"]),
        (
            &["--config", "typo.toml"],
            &[],
            2,
            &["typo.toml", "`buffer.kafka.broker`", "did you mean `buffer.kafka.brokers`?"],
        ),
        (&["--config", "broken.toml", "config", "--check"], &[], 2, &["broken.toml"]),
        (&["--config", "absent.toml"], &[], 2, &["absent.toml"]),
        (&["--config", "idle.toml", "config", "--check"], &[], 2, &["auth.keys does nothing without"]),
        (
            &["serve"],
            &[("auth.jwt.issuer", "https://i.example")],
            2,
            &["auth.jwt.issuer does nothing without"],
        ),
        (&["config"], &[("http.allow_origins", "https://a,*")], 2, &["http.allow_origins", "alone"]),
        (
            &["config"],
            &[("rate_limit.trusted_proxies", "proxy")],
            2,
            &["rate_limit.trusted_proxies", "10.0.0.1"],
        ),
        (&["config"], &[("buffer.strategy", "kafak")], 2, &["buffer.strategy", "kafak", "in-memory"]),
        (&["config"], &[("topics.partitions", "ten")], 2, &["TOPICS__PARTITIONS", "whole number"]),
        (&["config"], &[("topics.partitions", "0")], 2, &["topics.partitions"]),
        (
            &["config"],
            &[kafka, ("buffer.kafka.message_timeout_ms", "5000")],
            2,
            &["http.request_deadline_ms"],
        ),
        (&["serve"], &[kafka, ("buffer.kafka.client.acks", "1")], 2, &["acks"]),
        (
            &["serve"],
            &[kafka, ("buffer.kafka.client.enable_auto_commit", "true")],
            2,
            &["enable.auto.commit"],
        ),
        (&["run"], &[("store.url", "oracle://db")], 2, &["url", "sqlite", "postgres"]),
        (&["serve"], &[], 2, &["floodgate run", "in-memory"]),
        (&["consume"], &[], 2, &["floodgate run", "in-memory"]),
        (&["lag", "--json"], &[], 2, &["/lag"]),
        (&["dlq", "list"], &[], 2, &["/dlq"]),
        (&["dlq", "replay", "--rate", "0"], &[kafka], 2, &["--rate"]),
        (&["dlq", "replay", "--until", "noon"], &[kafka], 2, &["--until noon", "RFC 3339"]),
        (&["dlq"], &[], 2, &["list", "show", "replay"]),
        (
            &["consume", "--group", "floodgate.likes"],
            &[kafka],
            2,
            &["floodgate.likes", "floodgate.coupon, floodgate.like"],
        ),
        (&["serv"], &[], 2, &["serv"]),
        (&["topics"], &[], 2, &["create", "describe"]),
    ];
    run(|| cases.iter().try_for_each(|case| check(&world, *case).map(drop)));
}

#[test]
fn what_cannot_be_done_ends_with_1_and_says_why() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::empty().unwrap();
    run(|| {
        let nobody = format!("127.0.0.1:{}", ports::free_port()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free_port()?))?;
        let taken = listener.local_addr()?.to_string();
        let free = format!("127.0.0.1:{}", ports::free_port()?);
        let right = postgres.create_database()?;
        let wrong = right.replace("testkit:testkit@", "testkit:open-sesame@");
        let away = format!("postgres://ann:open-sesame@{nobody}/floodgate");
        let strategy = ("buffer.strategy", "kafka");
        let brokers = kafka.bootstrap();
        let cases: &[Case<'_>] = &[
            (&["migrate"], &[("store.url", &wrong)], 1, &["password", "testkit:***@"]),
            (&["migrate"], &[("store.url", &away)], 1, &[&nobody]),
            (
                &["topics", "create"],
                &[strategy, ("buffer.kafka.brokers", &nobody)],
                1,
                &[&nobody, "buffer.kafka.brokers"],
            ),
            (&["topics", "describe"], &[strategy, ("buffer.kafka.brokers", &nobody)], 1, &[&nobody]),
            (&["lag", "--json"], &[strategy, ("buffer.kafka.brokers", &nobody)], 1, &["Kafka"]),
            (&[], &[("http.listen", &taken)], 1, &["http.listen", &taken]),
            (&[], &[("http.listen", &free), ("admin.listen", &taken)], 1, &["admin.listen", &taken]),
            (
                &["topics", "describe"],
                &[strategy, ("buffer.kafka.brokers", &brokers), ("topics.prefix", "none.")],
                1,
                &["none.floodgate.like.v1", "floodgate topics create"],
            ),
            (
                &["lag", "--json"],
                &[strategy, ("buffer.kafka.brokers", &brokers), ("topics.prefix", "none.")],
                1,
                &["none.floodgate.", "floodgate topics create"],
            ),
            (
                &["dlq", "list"],
                &[strategy, ("buffer.kafka.brokers", &brokers), ("topics.prefix", "none.")],
                1,
                &["none.floodgate.dlq.v1", "floodgate topics create"],
            ),
            (&["dlq", "replay"], &[strategy, ("buffer.kafka.brokers", &nobody)], 1, &["dead letters"]),
        ];
        for case in cases {
            // what describe has to show comes before its failure
            let ended = match case.0 {
                ["topics", "describe"] => world.command_with(case.0, case.1)?,
                _ => check(&world, *case)?,
            };
            ensure!(
                ended.code == 1 && case.3.iter().all(|needle| ended.stderr.contains(needle)),
                "{ended:?}"
            );
            ensure!(!format!("{ended:?}").contains("open-sesame"), "tells the password: {ended:?}");
        }
        Ok(())
    });
}

#[test]
fn config_prints_what_is_in_force_without_secrets() {
    let world = World::empty().unwrap();
    run(|| {
        let defaults: toml::Table = world.succeed(&["config"])?.parse()?;
        ensure!(defaults["store"]["url"].as_str() == Some("sqlite://floodgate.db"), "{defaults}");
        ensure!(defaults["topics"]["partitions"].as_integer() == Some(10), "{defaults}");
        ensure!(world.succeed(&["config", "--check"])?.is_empty(), "--check prints something");

        world.set("store.url", "postgres://ann:open-sesame@db/floodgate");
        world.set("buffer.kafka.client.sasl_password", "open-sesame");
        world.set("buffer.kafka.client.security_protocol", "SASL_SSL");
        let printed = world.succeed(&["config"])?;
        ensure!(!printed.contains("open-sesame"), "tells a secret:\n{printed}");
        let table: toml::Table = printed.parse()?;
        ensure!(table["store"]["url"].as_str() == Some("postgres://ann:***@db/floodgate"), "{printed}");
        let client = &table["buffer"]["kafka"]["client"];
        ensure!(client["sasl.password"].as_str() == Some("***"), "{printed}");
        ensure!(client["security.protocol"].as_str() == Some("SASL_SSL"), "{printed}");

        // a file wins over the default, the environment over the file
        std::fs::write(world.folder().join("some.toml"), "[topics]\npartitions = 3\nprefix = 'a.'\n")?;
        world.set("topics.prefix", "b.");
        let table: toml::Table = world.succeed(&["--config", "some.toml", "config"])?.parse()?;
        ensure!(table["topics"]["partitions"].as_integer() == Some(3), "{table}");
        ensure!(table["topics"]["prefix"].as_str() == Some("b."), "{table}");
        Ok(())
    });
}

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

/// Whether another schema could be the next one, in words and by the exit code.
#[test]
fn schemas_are_shown_and_checked() {
    run(|| {
        let world = World::empty()?;
        let shown = world.succeed(&["schema", "show", "like"])?;
        let schema: Value = serde_json::from_str(&shown)?;
        ensure!(schema["name"] == "Like", "{shown}");
        let written = |name: &str, change: &dyn Fn(&mut Vec<Value>)| -> Result<()> {
            let mut changed = schema.clone();
            change(changed["fields"].as_array_mut().context("no fields")?);
            Ok(std::fs::write(world.folder().join(name), changed.to_string())?)
        };
        let device = serde_json::json!({"name": "device", "type": ["null", "string"], "default": null});
        written("optional.avsc", &|fields| fields.insert(2, device.clone()))?;
        written("required.avsc", &|fields| {
            fields.push(serde_json::json!({"name": "device", "type": "string"}))
        })?;
        written("renamed.avsc", &|fields| {
            // what libraries take for a field that has its default
            fields[5]["aliases"] = serde_json::json!(["occurredAt"]);
            fields[5]["name"] = "happenedAt".into();
            fields[5]["default"] = 0.into();
        })?;
        written("millis.avsc", &|fields| fields[5]["type"]["logicalType"] = "timestamp-millis".into())?;
        std::fs::write(
            world.folder().join("other.avsc"),
            r#"{"type": "record", "name": "Other", "fields": []}"#,
        )?;
        written("symbol.avsc", &|fields| {
            fields[4]["type"]["symbols"] = serde_json::json!(["LIKE", "UNLIKE", "MORE"]);
        })?;
        std::fs::write(world.folder().join("broken.avsc"), "{")?;
        let cases: &[Case<'_>] = &[
            (&["schema", "check", "symbol.avsc"], &[], 1, &["field action: symbol MORE could not be read"]),
            (&["schema", "check", "broken.avsc"], &[], 2, &["broken.avsc: no JSON"]),
            (&["schema", "check", "optional.avsc"], &[], 0, &["could be the next schema of like events"]),
            (
                &["schema", "check", "required.avsc"],
                &[],
                1,
                &[
                    "it could not read what is on the topic: field device: it is not written, and has no default",
                ],
            ),
            (
                &["schema", "check", "renamed.avsc"],
                &[],
                1,
                &["field occurredAt: it is written as happenedAt, which is not known here"],
            ),
            (&["schema", "check", "millis.avsc"], &[], 1, &["timestamp-millis is not timestamp-micros"]),
            (&["schema", "check", "other.avsc"], &[], 2, &["say which with --type"]),
            (&["schema", "check", "other.avsc", "--type", "like"], &[], 1, &["is not floodgate.Like"]),
            (&["schema", "check", "nowhere.avsc"], &[], 2, &["nowhere.avsc"]),
            (&["schema", "show", "likes"], &[], 2, &["expectation, coupon, like"]),
        ];
        cases.iter().try_for_each(|case| check(&world, *case).map(drop))
    });
}
