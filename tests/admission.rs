//! Who is let in, from outside: keys that the command makes, tokens that an issuer of others signs, limits on the wire, and what
//! errors tell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{ports, process, wait};
use serde_json::{Value, json};
use support::client::Ask;
use support::node::Node;
use support::world::{READY, World, run};

const LIKE: &str = "/api/v6/characters/star/likes/ann";

/// Status and name of the problem that a request is answered with.
fn told(node: &Node, ask: Ask, bearer: &str) -> Result<(u16, String)> {
    let ask = if bearer.is_empty() { ask } else { ask.header("authorization", format!("Bearer {bearer}")) };
    let answer = node.ask(&ask)?;
    let problem = if answer.status < 400 { Value::Null } else { answer.json() };
    let name = problem["type"].as_str().unwrap_or_default().trim_start_matches("/problems/").to_owned();
    Ok((answer.status, name))
}

fn like() -> Ask {
    Ask::new("PUT", LIKE)
}

/// What the command prints makes its key good, and the configuration has no key in it.
#[test]
fn a_key_is_good_from_the_moment_it_stands_in_the_configuration() {
    let world = World::empty().unwrap();
    run(|| {
        let made =
            world.succeed(&["key", "new", "--id", "game", "--scope", "like:write", "--scope", "read"])?;
        let (key, lines) = made.split_once('\n').context("one line and more")?;
        let short = world.succeed(&[
            "key",
            "new",
            "--id",
            "old",
            "--scope",
            "read",
            "--expires",
            "2020-01-01T00:00:00Z",
        ])?;
        let (expired, more) = short.split_once('\n').context("one line and more")?;
        ensure!(key.len() == 53 && !lines.contains(key), "{made}");
        let file = world.folder().join("floodgate.toml");
        std::fs::write(&file, format!("[auth]\nmode = \"keys\"\n{lines}\n{more}"))?;
        let file = file.display().to_string();
        let node = world.start(&["--config", &file])?;
        ensure!(told(&node, like(), key)? == (202, String::new()));
        ensure!(told(&node, Ask::get(LIKE), key)?.0 == 200);
        let coupon = || Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"c","stock":1}"#);
        ensure!(told(&node, coupon(), key)? == (403, "forbidden".to_owned()));
        for wrong in ["", expired, &key[1..], "floodgate_", &key.to_uppercase()] {
            ensure!(told(&node, Ask::get(LIKE), wrong)? == (401, "unauthorized".to_owned()), "{wrong}");
        }
        // neither the log nor the configuration tells of it
        let shown = world.succeed(&["--config", &file, "config"])?;
        let log = node.process().stderr();
        for secret in [key, expired, &key[1..]] {
            ensure!(!shown.contains(secret) && !log.contains(secret), "{secret} is told");
        }
        ensure!(shown.contains("id = \"game\""), "{shown}");

        for (args, word) in [
            (vec!["key", "new", "--id", "game"], "--scope"),
            (vec!["key", "new", "--id", "game", "--scope", "write"], "expectation:write"),
            (vec!["key", "new", "--id", "", "--scope", "read"], "id must have"),
            (vec!["key", "new", "--id", "a", "--scope", "read", "--expires", "soon"], "RFC 3339"),
        ] {
            let ended = world.command(&args)?;
            ensure!(ended.code == 2 && ended.stderr.contains(word), "{args:?}: {ended:?}");
        }
        Ok(())
    });
}

/// Somebody else's issuer, which PyJWT and cryptography make.
struct Issuer {
    child: Child,
    told: ChildStdin,
    tells: BufReader<ChildStdout>,
    port: u16,
}

impl Issuer {
    fn start() -> Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/issuer.py");
        let mut child = Command::new(process::target_folder().join("testkit/python/bin/python"))
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run ./scripts/setup")?;
        let told = child.stdin.take().context("its input")?;
        let mut tells = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        tells.read_line(&mut line)?;
        Ok(Self { child, told, tells, port: line.trim().parse()? })
    }

    fn tell(&mut self, what: &Value) -> Result<String> {
        writeln!(self.told, "{what}")?;
        let mut line = String::new();
        self.tells.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn sign(&mut self, algorithm: &str, kid: &str, claims: &Value) -> Result<String> {
        self.tell(&json!({ "sign": algorithm, "kid": kid, "claims": claims }))
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Claims that are good for a minute and longer than this test takes.
fn claims(subject: &str, scope: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({ "iss": "https://issuer.example", "aud": "floodgate", "sub": subject, "scope": scope, "exp": now + 3600 })
}

/// Tokens of others' making are believed by keys that are served, while these are and after.
#[test]
fn tokens_of_an_issuer_are_believed_also_while_it_is_away() {
    let world = World::empty().unwrap();
    let mut issuer = Issuer::start().unwrap();
    run(|| {
        world.set("auth.mode", "jwt");
        world.set("auth.bind_user", "true");
        world.set("auth.jwt.issuer", "https://issuer.example");
        world.set("auth.jwt.audience", "floodgate");
        world.set("auth.jwt.algorithms", "RS256,PS256,ES256,EdDSA");
        world.set("auth.jwt.jwks_url", format!("http://127.0.0.1:{}/jwks.json", issuer.port));
        let node = world.start(&[])?;
        let of_ann = claims("ann", "like:write read");
        for (algorithm, kid) in [("RS256", "rsa-1"), ("PS256", "rsa-1"), ("ES256", "ec-1"), ("EdDSA", "ed-1")]
        {
            let token = issuer.sign(algorithm, kid, &of_ann)?;
            ensure!(told(&node, like(), &token)? == (202, String::new()), "{algorithm}");
        }
        let unauthorized = (401, "unauthorized".to_owned());
        for (what, token) in [
            ("an algorithm that is not taken", issuer.sign("RS384", "rsa-1", &of_ann)?),
            ("a public key as a secret", issuer.tell(&json!({ "confuse": of_ann }))?),
            ("another audience", issuer.sign("ES256", "ec-1", &json!({ "aud": "shop", "sub": "ann" }))?),
        ] {
            ensure!(told(&node, like(), &token)? == unauthorized, "{what}");
        }
        let of_bob = issuer.sign("ES256", "ec-1", &claims("bob", "like:write"))?;
        ensure!(told(&node, like(), &of_bob)? == (403, "forbidden".to_owned()), "for another");

        let old = issuer.sign("RS256", "rsa-1", &of_ann)?;
        ensure!(told(&node, like(), &old)?.0 == 202);
        ensure!(issuer.tell(&json!({ "rotate": true }))? == "rotated");
        let new = issuer.sign("ES256", "ec-2", &of_ann)?;
        // it is looked for when it is named, though not more often than every five seconds
        let is_known = || (told(&node, like(), &new).ok()?.0 == 202).then_some(());
        wait::until("the new key is known", READY, is_known)?;
        ensure!(told(&node, like(), &old)? == unauthorized, "a key that is gone");
        let later = issuer.sign("EdDSA", "ed-2", &of_ann)?;
        issuer.kill()?;
        ensure!(told(&node, like(), &new)?.0 == 202, "one that was believed before");
        ensure!(told(&node, like(), &later)?.0 == 202, "one by a key that is known");

        // without any key there is nobody whom one could let in
        let world = &world;
        world.set("auth.jwt.jwks_url", format!("http://127.0.0.1:{}/jwks.json", ports::free_port()?));
        let unready = world.start_and(&[], |node| node.wait_unready("token issuer"))?;
        ensure!(told(&unready, like(), &new)? == (503, "not-ready".to_owned()));
        Ok(())
    });
}

/// Behind a proxy that is trusted each client has its own share; whoever comes directly may say what it likes.
#[test]
fn clients_are_limited_by_the_address_that_a_trusted_proxy_saw() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("rate_limit.client_events_per_s", "1");
        world.set("rate_limit.client_burst_events", "3");
        let asks = |node: &Node, forwarded: &str, times: usize| -> Result<Vec<u16>> {
            let asked = (0..times).map(|_| {
                let answer = node.ask(&like().header("x-forwarded-for", forwarded))?;
                let policy = "\"client\";q=3;w=3;floodgate-events-per-s=1";
                ensure!(answer.header("ratelimit-policy") == Some(policy), "{answer:?}");
                let limited = answer.status == 429;
                ensure!(limited == answer.header("retry-after").is_some(), "{answer:?}");
                Ok(answer.status)
            });
            asked.collect()
        };
        let open = world.start(&[])?;
        let mut statuses = asks(&open, "198.51.100.1", 3)?;
        statuses.extend(asks(&open, "198.51.100.2", 3)?);
        ensure!(statuses.contains(&429), "who says it is another is not: {statuses:?}");
        world.set("rate_limit.trusted_proxies", "127.0.0.1");
        let behind = world.start(&[])?;
        for address in ["198.51.100.1", "198.51.100.2", "203.0.113.9, 198.51.100.3", "2001:db8:1:2::3"] {
            ensure!(asks(&behind, address, 3)? == [202; 3], "{address}");
        }
        // what stands in front of what the proxy saw, and another host of the same network, change nothing
        ensure!(asks(&behind, "192.0.2.1, 198.51.100.1", 3)?.contains(&429));
        ensure!(asks(&behind, "2001:db8:1:2::4", 3)?.contains(&429));
        Ok(())
    });
}

/// Brokers that are away have no names in answers; the log has, in the line that the answer's instance leads to.
#[test]
fn an_error_leads_to_the_line_of_the_log_that_tells() {
    let world = World::empty().unwrap();
    run(|| {
        let broker = format!("127.0.0.1:{}", ports::free_port()?);
        world.set("buffer.strategy", "kafka");
        world.set("buffer.kafka.brokers", &*broker);
        world.set("buffer.kafka.message_timeout_ms", "1000");
        let node = world.start_and(&["serve"], |node| node.wait_unready(&broker))?;
        let answer = node.ask(&like())?;
        let problem = answer.json();
        ensure!(answer.status == 503 && problem["type"] == "/problems/not-stored", "{problem}");
        ensure!(
            !answer.text().contains("127.0.0.1") && !answer.text().to_lowercase().contains("kafka"),
            "{problem}"
        );
        let instance = problem["instance"].as_str().and_then(|name| name.strip_prefix("urn:uuid:"));
        let instance = instance.with_context(|| format!("no instance: {problem}"))?;
        node.process().wait_for_log(instance, Duration::from_secs(30))?;
        let log = node.process().stderr();
        let line = log.lines().find(|line| line.contains(instance)).context("its line")?;
        ensure!(line.contains(&broker) && line.contains("not-stored"), "{line}");
        Ok(())
    });
}
