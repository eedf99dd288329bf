//! What the binary says and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "command_line/logs.rs"]
mod logs;
#[path = "command_line/nodes.rs"]
mod nodes;
mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::ports;
use serde_json::Value;
use support::world::{Ended, Servers, World, run};

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
            &["FLOODGATE__BUFFER__STRATEGIE", "did you mean FLOODGATE__BUFFER__STRATEGY?"],
        ),
        (&[], &[("topic.partitions", "3")], 2, &["did you mean FLOODGATE__TOPICS__PARTITIONS?"]),
        (&[], &[("topic.number", "3")], 2, &["did you mean `topics`?"]),
        (
            &["--config", "typo.toml"],
            &[],
            2,
            &["typo.toml", "`buffer.kafka.broker`", "did you mean `buffer.kafka.brokers`?"],
        ),
        (&["--config", "broken.toml", "config", "--check"], &[], 2, &["broken.toml"]),
        (&["--config", "absent.toml"], &[], 2, &["absent.toml"]),
        (&["--config", "absent.toml", "burst"], &[], 2, &["--config does nothing here"]),
        (
            &["--config", "typo.toml", "key", "new", "--id", "a", "--scope", "read"],
            &[],
            2,
            &["--config does nothing"],
        ),
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
        (&["dlq", "replay"], &[kafka], 2, &["--reason", "--all"]),
        (&["dlq", "replay", "--dry-run"], &[kafka], 2, &["--reason", "--all"]),
        (&["dlq", "replay", "--all", "--type", "like"], &[kafka], 2, &["one of both"]),
        (&["dlq", "replay", "--all", "--wait=0"], &[kafka], 2, &["--wait"]),
        (&["dlq", "dismiss", "--because", "a test"], &[kafka], 2, &["--reason", "--all"]),
        (&["dlq", "dismiss", "--all"], &[kafka], 2, &["--because"]),
        (&["dlq", "dismiss", "--all", "--because", " "], &[kafka], 2, &["--because", "1 to 500"]),
        (&["dlq"], &[], 2, &["list", "show", "replay", "dismiss"]),
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
            (
                &["dlq", "replay", "--all"],
                &[strategy, ("buffer.kafka.brokers", &nobody)],
                1,
                &["dead letters"],
            ),
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

/// From here on a pipe that nobody reads takes the place of stdout, as behind `| head` that has seen enough.
fn stop_reading(world: &World) -> Result<()> {
    let script = world.folder().join("without-reader");
    let binary = env!("CARGO_BIN_EXE_floodgate");
    let pipe = "mkfifo pipe.$$ && exec 4<>pipe.$$ 3>pipe.$$ 4<&-";
    std::fs::write(&script, format!("#!/bin/sh\n{pipe}\nexec {binary} \"$@\" >&3 3>&-\n"))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    world.set_build(script);
    Ok(())
}

/// What a command says that is no line of the log.
fn last_words(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter(|line| !line.starts_with('{')).collect()
}

#[test]
fn commands_end_quietly_with_whoever_reads_them() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?;
        let commands: &[&[&str]] = &[
            &["--help"],
            &["lag", "--help"],
            &["--version"],
            &["config"],
            &["key", "new", "--id", "a", "--scope", "read"],
            &["schema", "show", "like"],
            &["schema", "list"],
            &["completions", "bash"],
            &["man"],
            &["topics", "describe"],
            &["migrate"],
            &["lag", "--over", "0"],
            &["lag", "--json", "--over", "0"],
            &["dlq", "list"],
            &["dlq", "show", "floodgate.like.v1/0/0"],
            &["dlq", "replay", "--all"],
            &["dlq", "dismiss", "--all", "--because", "a test"],
            &["verify"],
            &["reapply", "--missing"],
            &["where", "01a3c5e7-0000-7000-8000-000000000001"],
            &["topics", "create"],
            &["config", "--origins"],
            &["doctor"],
            &["row", "show", "like", "star", "ann"],
            &["row", "reset", "like", "star", "ann"],
        ];
        let read = commands.iter().map(|args| world.command(args)).collect::<Result<Vec<_>>>()?;
        stop_reading(&world)?;
        for (args, read) in commands.iter().zip(read) {
            let unread = world.command(args)?;
            ensure!(read.code == 1 || !read.stdout.is_empty(), "{args:?} says nothing: {read:?}");
            let is_quiet = last_words(&unread) == last_words(&read);
            ensure!(unread.code == read.code && is_quiet, "{args:?}: {unread:?}, not {read:?}");
        }
        let watch = world.command(&["lag", "--watch"])?;
        ensure!(watch.code == 0 && last_words(&watch).is_empty(), "{watch:?}");
        Ok(())
    });
}

/// By the shells and the tools that read them.
#[test]
fn shells_complete_and_pages_are_read() {
    run(|| {
        let world = World::empty()?;
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = world.succeed(&["completions", shell])?;
            ensure!(script.contains("floodgate") && script.contains("fail-above"), "{shell}: {script}");
        }
        let script = world.folder().join("completions.bash");
        std::fs::write(&script, world.succeed(&["completions", "bash"])?)?;
        let complete = "COMP_WORDS=(floodgate sch); COMP_CWORD=1; _floodgate floodgate sch floodgate; echo ${COMPREPLY[@]}";
        let sourced = format!(". {} && {complete}", script.display());
        let told = std::process::Command::new("bash").args(["-c", &sourced]).output()?;
        ensure!(told.status.success() && told.stdout == b"schema\n", "{told:?}");

        let page = world.succeed(&["man", "dlq", "replay"])?;
        ensure!(page.contains(".TH floodgate-dlq-replay 1") && page.contains("attempts\\-max"), "{page}");
        let examples = ".SH EXAMPLES\n.nf\n  floodgate dlq replay \\-\\-all";
        ensure!(page.contains(examples) && page.contains(".SH NOTES\nExit codes: 0 done"), "{page}");
        ensure!(world.succeed(&["man"])?.contains(".TH floodgate 1"));
        let unknown = world.command(&["man", "dlq", "replays"])?;
        ensure!(unknown.code == 2 && unknown.stderr.contains("dlq replays"), "{unknown:?}");
        let pages = world.folder().join("pages");
        std::fs::create_dir(&pages)?;
        world.succeed(&["man", "--dir", "pages"])?;
        for name in ["floodgate", "floodgate-lag", "floodgate-schema-check", "floodgate-row-reset-like"] {
            ensure!(pages.join(format!("{name}.1")).is_file(), "no page {name}");
        }
        Ok(())
    });
}
