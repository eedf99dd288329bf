//! What is configured and does not do what it seems to is told, before anything runs; and of what is told nothing is a secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "configuration/secrets.rs"]
mod secrets;
#[path = "configuration/shared.rs"]
mod shared;
mod support;

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::ports;
use shared::{SECRET, ensure_untold, refused};
use support::world::{READY, Servers, World, run};

#[test]
fn near_misses_are_refused_before_anything_runs() {
    run(|| {
        for (name, value, words) in [
            ("FLOODGATE__BUFFER_STRATEGY", "kafka", "did you mean FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE_BUFFER__STRATEGY", "kafka", "did you mean FLOODGATE__BUFFER__STRATEGY?"),
            ("floodgate__buffer__strategy", "kafka", "did you mean FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE__STRATEGY", "kafka", "did you mean FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE__BUFFER__BROKERS", "k:9092", "did you mean FLOODGATE__BUFFER__KAFKA__BROKERS?"),
            ("FLOODGATE_BUFFER", "kafka", "did you mean FLOODGATE__BUFFER__STRATEGY?"),
            ("FLOODGATE_DATABASE_URL", "postgres://open-sesame@db", "did you mean FLOODGATE__STORE__URL?"),
            ("FLOODGATE_CONFIG", "floodgate.toml", "did you mean --config FILE?"),
            ("FLOODGATE__LOG__LEVEL", "inof", "log.level: `inof` selects nothing; did you mean `info`?"),
            ("FLOODGATE__LOG__LEVEL", "floodgate_bufer=debug,info", "did you mean `floodgate_buffer`?"),
        ] {
            let world = World::empty()?;
            world.set_variable(name, value);
            for args in [&[][..], &["run"], &["serve"], &["config"], &["config", "--check"], &["migrate"]] {
                refused(&world, args, &[words])?;
            }
            ensure!(!world.folder().join("floodgate.db").exists(), "{name}: something ran");
        }
        // what Kubernetes and people set for themselves
        let world = World::empty()?;
        for name in [
            "FLOODGATE_PORT",
            "FLOODGATE_SERVICE_HOST",
            "FLOODGATE_VERSION",
            "FLOODGATE_URL",
            "FLOODGATE_KEY",
        ] {
            world.set_variable(name, "x");
        }
        world.succeed(&["config"]).map(drop)
    });
}

/// Whatever is wrong with what holds a secret, the key is told and not the secret.
/// What somebody set and nothing makes anything of is no mistake, and is told wherever it would be looked for.
#[test]
fn what_is_set_and_does_nothing_is_told() {
    run(|| {
        for (key, value) in [
            ("buffer.kafka.brokers", "k:9092"),
            ("buffer.kafka.client.nonsense", "x"),
            ("buffer.redis.url", "http://open-sesame"),
            ("schema_registry.username", "ann"),
            ("otel.headers", "authorization=open-sesame"),
            ("topics.replication_factor", "3"),
            ("http.connections_per_client_max", "20000"),
        ] {
            let world = World::empty()?;
            world.set(key, value);
            let variable = format!("FLOODGATE__{}", key.replace('.', "__").to_uppercase());
            let words = format!("{key} ({variable}) is set and does nothing: ");
            for args in [&["config"][..], &["config", "--check"], &["doctor"], &["migrate"]] {
                let ended = world.command(args)?;
                let told = format!("{}{}", ended.stdout, ended.stderr);
                ensure!(ended.code == 0 && told.matches(&words).count() == 1, "{args:?}: {ended:?}");
                ensure_untold(&told)?;
            }
        }
        // by which another strategy is emptied
        let world = World::empty()?;
        world.set("buffer.redis.url", format!("redis://127.0.0.1:{}", ports::free_port()?));
        let told = world.command(&["drain", "--from", "redis"])?.stderr;
        ensure!(!told.contains("does nothing"), "{told}");
        Ok(())
    });
}

#[test]
fn a_file_that_everybody_may_change_is_told() {
    let world = World::empty().unwrap();
    run(|| {
        let file = world.folder().join("floodgate.toml");
        fs::write(&file, "")?;
        fs::set_permissions(&file, Permissions::from_mode(0o666))?;
        for (args, code) in
            [(&["config"][..], 0), (&["config", "--check"], 0), (&["doctor"], 0), (&["migrate"], 0)]
        {
            let ended = world.command(&[&["--config", "floodgate.toml"], args].concat())?;
            let told = format!("{}{}", ended.stdout, ended.stderr);
            ensure!(ended.code == code && told.contains("chmod o-w floodgate.toml"), "{args:?}: {ended:?}");
        }
        Ok(())
    });
}

/// Of an earlier build, or of somebody else's making.
#[test]
fn files_that_are_open_to_everybody_are_told() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("store.url", "sqlite://rows.db");
        world.succeed(&["migrate"])?;
        let told = || world.succeed(&["doctor"]);
        ensure!(!told()?.contains("chmod"), "{}", told()?);
        fs::set_permissions(world.folder().join("rows.db"), Permissions::from_mode(0o644))?;
        ensure!(
            told()?.contains("warn  configuration") && told()?.contains("chmod o-rw rows.db"),
            "{}",
            told()?
        );
        let node = world.start(&["run"])?;
        node.process().wait_for_log("chmod o-rw rows.db", READY)?;
        node.stop()
    });
}

#[test]
fn every_value_is_told_with_who_said_it() {
    let world = World::empty().unwrap();
    run(|| {
        fs::write(
            world.folder().join("floodgate.toml"),
            format!("[topics]\npartitions = 3\nprefix = 'a.'\n[store]\nurl = 'postgres://ann:{SECRET}@db/x'"),
        )?;
        world.set("topics.prefix", "b.");
        world.set("buffer.kafka.client.sasl_password", SECRET);
        let told = world.succeed(&["--config", "floodgate.toml", "config", "--origins"])?;
        for (line, origin) in [
            ("topics.partitions = 3", "floodgate.toml"),
            ("topics.prefix = \"b.\"", "FLOODGATE__TOPICS__PREFIX"),
            ("topics.replication_factor = 1", "default"),
            ("store.url = \"postgres://ann:***@db/x\"", "floodgate.toml"),
            (
                "buffer.kafka.client.\"sasl.password\" = \"***\"",
                "FLOODGATE__BUFFER__KAFKA__CLIENT__SASL_PASSWORD",
            ),
        ] {
            let found = told
                .lines()
                .find(|told| told.starts_with(line))
                .with_context(|| format!("{line}: {told}"))?;
            ensure!(found.ends_with(&format!("  # {origin}")), "{found}");
        }
        ensure_untold(&told)?;
        let read: toml::Table = told.parse()?;
        ensure!(read == world.succeed(&["--config", "floodgate.toml", "config"])?.parse()?, "{told}");
        Ok(())
    });
}

/// Nobody comes back once for each of what is away or wrong.
#[test]
fn everything_that_is_away_or_wrong_is_told_at_once() {
    let world = World::empty().unwrap();
    run(|| {
        let nobody = format!("127.0.0.1:{}", ports::free_port()?);
        world.set("buffer.strategy", "kafka");
        world.set("buffer.fallback", "redis");
        world.set("buffer.kafka.brokers", &nobody);
        world.set("buffer.redis.url", format!("redis://:open-sesame@{nobody}"));
        world.set("store.url", format!("postgres://ann:open-sesame@{nobody}/x"));
        world.set("schema_registry.url", format!("http://{nobody}"));
        world.set("auth.mode", "jwt");
        world.set("auth.jwt.jwks_url", format!("http://{nobody}/jwks"));
        world.set("auth.jwt.issuer", "https://issuer.example");
        world.set("auth.jwt.audience", "floodgate");
        if cfg!(feature = "otel") {
            world.set("otel.endpoint", format!("http://{nobody}"));
        }
        let away = ["events", "database", "schema registry", "clients' keys"];
        let traces = if cfg!(feature = "otel") { &["traces"][..] } else { &[] };
        let checked = world.command(&["config", "--check"])?;
        ensure!(checked.code == 0 && checked.stdout.is_empty(), "{checked:?}");
        for what in away.iter().chain(traces) {
            let told = format!("floodgate: {what}, not to be used from here now: ");
            ensure!(checked.stderr.contains(&told), "{what}: {checked:?}");
        }
        ensure!(
            checked.stderr.matches("events, not to be used").count() == 2,
            "of the fallback: {checked:?}"
        );
        let listed = world.command(&["doctor"])?;
        ensure!(listed.code == 1, "{listed:?}");
        for what in away.iter().chain(traces) {
            ensure!(listed.stdout.contains(&format!("FAIL  {what}")), "{what}: {listed:?}");
        }
        ensure!(
            listed.stdout.contains("ok    log") && listed.stdout.contains("ok    listeners"),
            "{listed:?}"
        );
        let failed = listed.stdout.matches("FAIL  ").count();
        ensure!(
            failed == 5 + traces.len() && listed.stdout.matches("next: ").count() >= failed,
            "{listed:?}"
        );
        ensure_untold(&format!("{checked:?}{listed:?}"))?;

        // and what is wrong, whatever is away
        world.set("http.listen", "0.0.0.0:0");
        world.set("http.allow_open", "false");
        world.set("auth.mode", "off");
        for key in ["jwks_url", "issuer", "audience"] {
            world.set(&format!("auth.jwt.{key}"), "");
        }
        world.set("http.tls.cert_file", "absent.pem");
        world.set("http.tls.key_file", "absent.key");
        world.set("log.level", "inof");
        let words = ["3 problems", "http.listen", "absent.pem", "`inof`", "database, not to be used"];
        ensure_untold(&refused(&world, &["config", "--check"], &words)?.stderr)
    });
}

/// A listener of somebody else's, and an address that is none of this machine's.
#[test]
fn where_nobody_can_listen_is_told() {
    let world = World::empty().unwrap();
    run(|| {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let holder = TcpListener::bind(taken)?;
        world.set("http.listen", taken.to_string());
        let listed = world.command(&["doctor"])?;
        ensure!(listed.code == 0 && listed.stdout.contains(&format!("{taken} is in use")), "{listed:?}");
        drop(holder);
        world.set("admin.listen", "192.0.2.1:9600");
        world.set("admin.allow_open", "true");
        let listed = world.command(&["doctor"])?;
        ensure!(listed.code == 1 && listed.stdout.contains("admin.listen = 192.0.2.1:9600"), "{listed:?}");
        Ok(())
    });
}

/// Some libraries say what they met in lines, such as that what answers is no Redis.
#[test]
fn what_libraries_say_is_told_in_one_line() {
    let world = World::empty().unwrap();
    run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        world.set("buffer.strategy", "redis");
        world.set("buffer.redis.url", format!("redis://{}", listener.local_addr()?));
        thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let _ = connection.write_all(b"That is no Redis\r\n");
            }
        });
        let listed = world.command(&["doctor"])?;
        let met = listed.stdout.lines().find(|line| line.contains("Parse error")).context("none")?;
        ensure!(met.contains("Unexpected"), "{listed:?}");
        Ok(())
    });
}

/// With real servers: what is missing is told with what makes it, and once all is made all is well.
#[test]
fn a_doctor_tells_what_to_do_next_until_all_is_well() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap();
    run(|| {
        world.set("http.listen", "127.0.0.1:0");
        world.set("admin.listen", "127.0.0.1:0");
        let listed = world.command(&["doctor"])?;
        let told = &listed.stdout;
        ensure!(told.contains("warn  database") && told.contains("next: floodgate migrate"), "{listed:?}");
        if world.setting("buffer.strategy") == "kafka" {
            ensure!(listed.code == 1 && told.contains("FAIL  events"), "{listed:?}");
            ensure!(told.contains("missing\n        next: floodgate topics create"), "{listed:?}");
        }
        world.succeed(&["topics", "create"])?;
        world.succeed(&["migrate"])?;
        let listed = world.command(&["doctor"])?;
        ensure!(listed.code == 0 && !listed.stdout.contains("next: "), "{listed:?}");
        let lines = listed.stdout.lines().filter(|line| !line.starts_with(' '));
        ensure!(
            lines.clone().count() >= 5 && lines.clone().all(|line| line.starts_with("ok    ")),
            "{listed:?}"
        );
        let checked = world.command(&["config", "--check"])?;
        ensure!(checked.code == 0 && checked.stderr.is_empty() && checked.stdout.is_empty(), "{checked:?}");
        // changes nothing: nothing waits, and no group has a member
        ensure!(support::world::lag_records(&world.lag()?) == 0);

        let wrong = world.setting("store.url").replace("testkit:testkit", "testkit:open-sesame");
        let listed = world.command_with(&["doctor"], &[("store.url", &wrong)])?;
        ensure!(listed.code == 1 && listed.stdout.contains("check user and password"), "{listed:?}");
        ensure_untold(&format!("{listed:?}"))
    });
}
