//! Of what is told of a configuration nothing is a secret.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Redis, RedisOptions};

use crate::shared::{SECRET, ensure_untold, refused};
use crate::support::client::Ask;
use crate::support::world::{READY, Servers, World, run};

#[test]
fn mistakes_beside_secrets_do_not_show_them() {
    let world = World::empty().unwrap();
    run(|| {
        for (file, words) in [
            (format!("[store]\nurl = \"postgres://ann:{SECRET}@db/x"), "line 2"),
            (format!("[store]\nurl = postgres://ann:{SECRET}@db/x"), "line 2, column 7"),
            (format!("[store]\nurl = ['postgres://ann:{SECRET}@db/x']"), "`store.url`"),
            (format!("[store]\nmax_connections = 'postgres://ann:{SECRET}@db/x'"), "`store.max_connections`"),
            (
                format!("[store]\nurl = 'postgres://ann:{SECRET}@db/x?sslmod=require'"),
                "did you mean `sslmode`?",
            ),
            (format!("[store]\nurl = 'postgres://ann:{SECRET}@one,two/x'"), "several hosts"),
            (format!("[store]\nurl = 'postgres://ann:5432/{SECRET}@db/x'"), "two ways"),
            (format!("[store]\nurl = 'mysql://ann:{SECRET}@db/x'"), "unknown scheme `mysql`"),
            ("[store]\nurl = 'sqlite://data.db?mode=ro'".to_owned(), "takes no parameters"),
            ("[store]\nurl = 'sqlite://data.db?key=open-sesame'".to_owned(), "takes no parameters"),
            (format!("[store]\nurl = 'sqlite://ann:{SECRET}@host/data'"), "parameters"),
            ("[store]\nurl = 'sqlite://ann:open-sesame@host/data'".to_owned(), "as a server's address does"),
            (format!("[buffer]\nstrategy = 'redis'\nredis.url = 'redis://ann:12/{SECRET}@db'"), "two ways"),
            (format!("[buffer]\nstrategy = 'redis'\nredis.url = 'redis://{SECRET}'"), "buffer.redis.url"),
            (
                "[buffer]\nstrategy = 'kafka'\nkafka.client = { 'sasl.passwort' = 'open-sesame' }".to_owned(),
                "no property `sasl.passwort`; did you mean `sasl.password`?",
            ),
            ("[schema_registry]\nurl = 'http://me:open-sesame@r'".to_owned(), "schema_registry.url"),
            // under the wrong key
            (format!("[buffer]\nstrategy = 'redis://:{SECRET}@db'"), "not `***`"),
            ("[buffer]\nfallback = 'ann:open-sesame@db'".to_owned(), "not `***`"),
            (format!("[store]\npooler = 'postgres://ann:{SECRET}@db'"), "`***`, expected"),
            (format!("[auth]\nmode = 'postgres://ann:{SECRET}@db'"), "`***`, expected"),
            (format!("[log]\nlevel = 'postgres://ann:{SECRET}@db'"), "selects nothing"),
            (format!("[rate_limit]\ntrusted_proxies = ['postgres://ann:{SECRET}@db']"), "*** is neither"),
            (format!("[http]\nallow_origins = ['https://ann:{SECRET}@db']"), "http.allow_origins"),
            ("[buffer]\nstrategy = 'kafka'\nkafka.brokers = 'ann:open-sesame@db:9092'".to_owned(), "holds an `@`"),
            (
                "[buffer]\nstrategy = 'kafka'\nkafka.client = { 'security.protocol' = 'x://ann:open-sesame@db' }".to_owned(),
                "`security.protocol` has a value",
            ),
            ("[admin]\ntoken = ['open-sesame-and-more']".to_owned(), "`admin.token`"),
        ] {
            fs::write(world.folder().join("floodgate.toml"), &file)?;
            for args in [&["config"][..], &["config", "--check"], &["run"]] {
                let args = [&["--config", "floodgate.toml"], args].concat();
                ensure_untold(&refused(&world, &args, &[words])?.stderr).context(file.clone())?;
            }
            let told = world.command(&["--config", "floodgate.toml", "doctor"])?;
            ensure!(told.code > 0 && told.stdout.contains(words), "{file}: {told:?}");
            ensure_untold(&format!("{}{}", told.stdout, told.stderr)).context(file)?;
        }
        ensure!(!world.folder().join("data.db").exists() && !world.folder().join("data.db?mode=ro").exists());
        // what no library knows is not printed where it is not in use, either
        fs::write(
            world.folder().join("floodgate.toml"),
            "[buffer.kafka]\nbrokers = 'ann:open-sesame@db:9092'\nclient = { 'sasl.passwort' = 'open-sesame', 'client.id' = \
             'shown' }\n[otel]\nservice_name = 'postgres://ann:open-sesame@db'",
        )?;
        for args in [&["config"][..], &["config", "--origins"]] {
            let told = world.succeed(&[&["--config", "floodgate.toml"], args].concat())?;
            ensure!(told.contains("shown"), "{told}");
            ensure_untold(&told)?;
        }
        Ok(())
    });
}

/// `floodgate config > floodgate.toml` where there are secrets: what is printed holds none, and is not taken for any.
#[test]
fn a_mask_is_not_taken_for_a_secret() {
    let world = World::empty().unwrap();
    run(|| {
        let secrets = [
            ("store.url", "postgres://ann:open-sesame@db/x"),
            ("buffer.redis.url", "redis://:open-sesame@one"),
            ("buffer.kafka.client.sasl_password", "open-sesame"),
            ("admin.token", "open-sesame-and-more"),
            ("schema_registry.url", "https://registry"),
            ("schema_registry.username", "ann"),
            ("schema_registry.password", "open-sesame"),
        ];
        let printed = world.command_with(&["config"], &secrets)?.stdout;
        ensure_untold(&printed)?;
        fs::write(world.folder().join("floodgate.toml"), &printed)?;
        for args in [&["config", "--check"][..], &["run"], &["doctor"]] {
            let ended = world.command(&[&["--config", "floodgate.toml"], args].concat())?;
            let told = format!("{}{}", ended.stdout, ended.stderr);
            ensure!(ended.code == 2, "{args:?}: {ended:?}");
            for key in
                ["store.url", "buffer.redis.url", "sasl.password", "admin.token", "schema_registry.password"]
            {
                let is_told = told.lines().any(|line| line.contains(&format!("{key}` holds ***")));
                ensure!(is_told, "{args:?} does not tell {key}: {told}");
            }
        }
        // with the secrets beside it, it is what it was
        let again = world.command_with(&["--config", "floodgate.toml", "config"], &secrets)?;
        ensure!(again.code == 0 && again.stdout == printed, "{again:?}");
        Ok(())
    });
}

/// Passwords with raw special characters are good, and told nowhere, though everything that logs is asked to: libraries, too.
#[test]
fn secrets_of_addresses_are_told_nowhere() {
    let Servers { postgres, .. } = Servers::shared();
    let world = World::empty().unwrap();
    run(|| {
        let redis = Redis::start(RedisOptions::default())?;
        let place = redis.url().trim_start_matches("redis://").to_owned();
        redis.cli(&["CONFIG", "SET", "requirepass", SECRET])?;
        let url = postgres.create_database()?;
        postgres.psql(&url, &format!("CREATE ROLE opener LOGIN SUPERUSER PASSWORD '{SECRET}'"))?;
        world.set("store.url", url.replace("testkit:testkit", &format!("opener:{SECRET}")));
        world.set("buffer.strategy", "redis");
        world.set("buffer.redis.url", format!("redis://:{SECRET}@{place}"));
        world.set("log.level", "trace");
        if cfg!(feature = "otel") {
            world.set("otel.endpoint", format!("http://{}", nobody_is_let_in()?));
            world.set("otel.headers", "authorization=open-sesame");
            world.set("otel.sample_ratio", "1.0");
        }
        let node = world.start(&["run"])?;
        let like = node.ask(&Ask::new("PUT", "/api/v6/characters/star/likes/ann"))?;
        ensure!(like.status == 202, "{}", like.text());
        world.wait_applied(&node, READY)?;
        let metrics = node.ask_admin("/metrics")?.text();
        node.stop()?;
        let log = node.process().stderr();
        ensure!(log.contains("postgres://opener:***@"), "there is no log: {log}");
        ensure_untold(&format!("{log}{metrics}"))?;
        // wrong ones, which servers refuse
        for (key, value) in [
            ("store.url", url.replace("testkit:testkit", "testkit:open-sesame")),
            ("buffer.redis.url", format!("redis://:open-sesame@{place}")),
        ] {
            for command in [&["doctor"][..], &["config", "--check"], &["config", "--origins"], &["config"]] {
                ensure_untold(&format!("{:?}", world.command_with(command, &[(key, &value)])?))?;
            }
        }
        Ok(())
    });
}

/// A server that answers every request with 401, to its end.
fn nobody_is_let_in() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || -> std::io::Result<()> {
                let mut stream = stream?;
                while stream.read(&mut [0; 4096])? > 0 {
                    stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")?;
                }
                Ok(())
            });
        }
    });
    Ok(address)
}

/// Of servers that let nobody in, and so of all that can be said about who asks.
#[test]
fn secrets_that_are_refused_are_told_nowhere() {
    let world = World::empty().unwrap();
    run(|| {
        let refusing = nobody_is_let_in()?;
        world.set("buffer.strategy", "kafka");
        world.set("buffer.kafka.brokers", refusing.to_string());
        for (property, value) in [
            ("security_protocol", "SASL_PLAINTEXT"),
            ("sasl_mechanism", "PLAIN"),
            ("sasl_username", "ann"),
            ("sasl_password", SECRET),
            ("debug", "all"),
        ] {
            world.set(&format!("buffer.kafka.client.{property}"), value);
        }
        world.set("schema_registry.url", format!("http://{refusing}"));
        world.set("schema_registry.username", "ann");
        world.set("schema_registry.password", SECRET);
        world.set("log.level", "trace");
        for args in [&["schema", "list"][..], &["topics", "describe"], &["lag", "--json", "--over", "0"]] {
            let ended = world.command(args)?;
            ensure!(ended.code == 1 && ended.stderr.contains("TRACE"), "{args:?}: {ended:?}");
            ensure_untold(&format!("{ended:?}")).with_context(|| format!("{args:?}"))?;
        }
        Ok(())
    });
}
