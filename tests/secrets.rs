//! What somebody shows, believed or not, stays between them and the listener: it is in no log, no answer and no metric.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::client::Ask;
use support::node::Node;
use support::world::{READY, World, run};

const TOKEN: &str = "operators-secret-0123456789";
const LIKE: &str = "/api/v6/characters/star/likes/ann";
const CONFIG: &str = "floodgate.toml";

/// A public key of nobody's, of RFC 7517 (A.1).
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Tokens that are none: of a wrong signature, of an unknown key, of no algorithm, and of no shape. Each is `{"alg":…,"kid":…}` and
/// `{"sub":"ann"}`.
const TOKENS: [&str; 4] = [
    "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJhbm4ifQ.c2VjcmV0LXNpZ25hdHVyZS1vZi1ub2JvZHk",
    "eyJhbGciOiJFUzI1NiIsImtpZCI6IjIifQ.eyJzdWIiOiJhbm4ifQ.c2VjcmV0LXNpZ25hdHVyZS1vZi1ub2JvZHk",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.",
    "a-secret-that-is-no-token-at-all",
];

/// Asks as often as there are ways to show something, and wants none of it to be told anywhere.
fn show(node: &Node, shown: &[&str], believed: &[&str]) -> Result<()> {
    let secrets: Vec<&str> = [shown, believed, &[TOKEN]].concat();
    let mut told = String::new();
    for secret in shown.iter().chain(believed) {
        let status = if believed.contains(secret) { 202 } else { 401 };
        let bearer = format!("Bearer {secret}");
        let answer = node.ask(&Ask::new("PUT", LIKE).header("authorization", bearer.clone()))?;
        ensure!(answer.status == status, "{secret}: {} {}", answer.status, answer.text());
        told += &format!("{} {:?}", answer.text(), answer.headers);
        for ask in [
            Ask::new("PUT", LIKE).header("authorization", format!("Basic {secret}")),
            Ask::new("PUT", LIKE)
                .header("authorization", bearer.clone())
                .header("authorization", bearer.clone()),
            Ask::new("PUT", LIKE).header("authorization", *secret),
            Ask::new("PUT", LIKE).header("proxy-authorization", bearer.clone()).header("x-api-key", *secret),
            Ask::new("POST", "/api/v6/events").header("authorization", bearer.clone()).json("[{}"),
        ] {
            let answer = node.ask(&ask)?;
            ensure!((400..500).contains(&answer.status), "{ask:?}: {}", answer.status);
            told += &format!("{} {:?}", answer.text(), answer.headers);
        }
        let operators = node.ask_operators(&Ask::get("/lag").header("authorization", bearer.clone()))?;
        ensure!(operators.status == 401, "{}", operators.status);
        told += &operators.text();
        // another library reads these heads
        let http_2 = Command::new("curl")
            .args([
                "-sS",
                "-i",
                "-X",
                "PUT",
                "--http2-prior-knowledge",
                "-H",
                &format!("authorization: {bearer}"),
            ])
            .arg(format!("http://{}{LIKE}", node.http))
            .output()
            .context("curl")?;
        let http_2 = String::from_utf8_lossy(&http_2.stdout).into_owned();
        ensure!(http_2.starts_with(&format!("HTTP/2 {status}")), "{http_2}");
        told += &http_2;
    }
    let metrics = Ask::get("/metrics").header("authorization", format!("Bearer {TOKEN}"));
    told += &node.ask_operators(&metrics)?.text();
    node.process().wait_for_log("without the right token", READY)?;
    node.stop()?;
    told += &node.process().stderr();
    ensure!(told.contains("stopping"), "there is no log");
    for secret in secrets {
        ensure!(!told.contains(secret), "{secret} is told: {told}");
        // nor a part by which it could be guessed
        let part = secret.get(..12).unwrap_or(secret);
        ensure!(
            secret.starts_with("eyJ") || !told.contains(part),
            "the beginning of {secret} is told: {told}"
        );
    }
    Ok(())
}

/// The key that a line of `key new` tells, and the lines of the configuration.
fn key(world: &World) -> Result<(String, String)> {
    let printed = world.succeed(&["key", "new", "--id", "ann", "--scope", "like:write"])?;
    let (key, lines) = printed.split_once('\n').context("no key")?;
    Ok((key.to_owned(), lines.to_owned()))
}

#[test]
fn keys_and_tokens_are_told_nowhere() {
    let world = World::empty().unwrap();
    run(|| {
        let (good, lines) = key(&world)?;
        let (unknown, _) = key(&world)?;
        fs::write(world.folder().join(CONFIG), format!("[auth]\nmode = \"keys\"\n{lines}"))?;
        world.set("admin.token", TOKEN);
        // as much as there is to be told
        world.set("log.level", "trace");
        let node = world.start(&["run", "--config", CONFIG])?;
        show(&node, &[unknown.as_str(), TOKENS[0], TOKENS[3]], &[good.as_str()])?;
        let ended = world.command(&["config", "--config", CONFIG])?;
        ensure!(ended.code == 0 && !format!("{ended:?}").contains(TOKEN), "{ended:?}");
        ensure!(!format!("{ended:?}").contains(&good), "{ended:?}");
        Ok(())
    });
}

#[test]
fn tokens_of_an_issuer_are_told_nowhere() {
    let world = World::empty().unwrap();
    run(|| {
        fs::write(world.folder().join("keys.json"), KEYS)?;
        world.set("auth.mode", "jwt");
        world.set("auth.jwt.jwks_file", "keys.json");
        world.set("auth.jwt.issuer", "https://issuer.example");
        world.set("auth.jwt.audience", "floodgate");
        world.set("admin.token", TOKEN);
        world.set("log.level", "trace");
        let node = world.start(&[])?;
        show(&node, &TOKENS, &[])
    });
}
