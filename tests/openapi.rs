//! The OpenAPI document against other people's programs: one says that it is valid, one asks a running server whatever the document
//! lets it ask, and compares every answer, and a browser shows it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "openapi/prefix.rs"]
mod prefix;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use floodgate_producer::key_hash;
use floodgate_testkit::{Process, ScratchDir, process};
use serde_json::json;
use support::browser::Browser;
use support::client::Ask;
use support::node::Node;
use support::world::{World, run};

/// For half a minute of requests, on a busy machine.
const ASKED: Duration = Duration::from_secs(600);

/// How schemathesis asks.
fn settings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi")
}

/// One of Python's programs, in a folder of its own.
fn python(module: &str, folder: &ScratchDir) -> Command {
    let mut command = Command::new(process::target_folder().join("testkit/python/bin/python"));
    command.args(["-B", "-m", module]).current_dir(folder.path());
    command
}

#[test]
fn the_document_is_valid() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let answer = node.get("/openapi.json")?;
        ensure!(answer.json()["openapi"] == "3.1.0", "{}", answer.text());
        let folder = ScratchDir::new("openapi")?;
        std::fs::write(folder.path().join("openapi.json"), &answer.body)?;
        let mut validator = python("openapi_spec_validator", &folder);
        validator.args(["--schema", "3.1", "openapi.json"]);
        process::run("openapi-spec-validator", validator, folder.path(), ASKED)?;
        node.stop()
    });
}

/// Schemathesis, which asks what this document lets it ask so many times for each operation and phase. What it says.
fn schemathesis(
    (document, url): (&str, &str),
    examples: u32,
    variables: &[(&str, String)],
) -> Result<String> {
    let folder = ScratchDir::new("schemathesis")?;
    let mut schemathesis = python("schemathesis.cli", &folder);
    schemathesis.arg("--config-file").arg(settings().join("schemathesis.toml"));
    schemathesis.args(["run", document, "--url", url, "--no-color"]);
    schemathesis.args(["--max-examples", &examples.to_string()]);
    schemathesis.env("PYTHONPATH", settings()).env("SCHEMATHESIS_HOOKS", "hooks");
    schemathesis.envs(variables.iter().map(|(name, value)| (name, value)));
    let process = Process::spawn("schemathesis", schemathesis, folder.path())?;
    process.wait_exit(ASKED)?;
    Ok(process.stdout() + &process.stderr())
}

/// Has it ask a node: no bug is met, every answer is in the document, what does not fit is refused.
fn asks(node: &Node, examples: u32, variables: &[(&str, String)]) -> Result<()> {
    let url = format!("http://{}", node.http);
    let told = schemathesis((&format!("{url}/openapi.json"), &url), examples, variables)?;
    ensure!(told.contains("No issues found") && !told.contains("errored"), "{told}");
    Ok(())
}

/// What fits the document and what does not, with every method, at every limit.
#[test]
fn every_answer_is_in_the_document() {
    let world = World::empty().unwrap();
    run(|| {
        // whoever would wait for a decision is answered at once
        world.set("http.waiters_max", "0");
        let node = world.start(&[])?;
        asks(&node, 40, &[])?;
        node.stop()
    });
}

/// Keys of these names, as the configuration has them.
fn keys(named: &[(&str, &[&str])]) -> String {
    let key = |(name, scopes): &(&str, &[&str])| {
        let hash = key_hash(name);
        format!("{{ id = '{name}', sha256 = '{hash}', scopes = {scopes:?} }}")
    };
    format!("[{}]", named.iter().map(key).collect::<Vec<_>>().join(", "))
}

const SCOPES: [&str; 5] = ["expectation:write", "coupon:issue", "coupon:create", "like:write", "read"];

/// Nor is anything else answered to whoever is not let in, sends too much, or comes too late; and nobody is let in without a key.
#[test]
fn so_is_every_answer_of_a_guarded_door() {
    /// More than anybody but one sends; a second's is next to nothing.
    const BURST: usize = 2000;
    let world = World::empty().unwrap();
    world.set("http.waiters_max", "0");
    world.set("coupon.refuse_sold_out", "true");
    world.set("rate_limit.client_events_per_s", "1");
    world.set("rate_limit.client_burst_events", BURST.to_string());
    world.set("rate_limit.refusal_delay_ms", "0");
    world.set("auth.mode", "keys");
    let all = &SCOPES[..];
    world.set("auth.keys", keys(&[("game", all), ("page", all), ("reader", &["read"]), ("flood", all)]));
    run(|| {
        let node = world.start(&[])?;
        let ask = |key: &str, path: &str, body: String| {
            let ask = Ask::new("POST", path).header("authorization", format!("Bearer {key}"));
            node.ask(&ask.json(body))
        };
        let created = ask("game", "/api/v6/coupons", json!({ "couponId": "gone", "stock": 0 }).to_string())?;
        ensure!(created.status == 201, "{}", created.text());
        let all_of_it = vec![json!({}); BURST];
        ensure!(ask("flood", "/api/v6/events", json!(all_of_it).to_string())?.status == 200);
        let callers = ["game", "page", "game", "flood", "page", "reader", "game", "page", "", "made-up"];
        let variables =
            [("FLOODGATE_CALLERS", json!(callers).to_string()), ("FLOODGATE_SOLD_OUT", "gone".to_owned())];
        asks(&node, 15, &variables)?;
        let metrics = node.metrics()?;
        for problem in ["unauthorized", "forbidden", "rate-limited", "sold-out"] {
            let answered = metrics.sum("floodgate_http_problems_total", &[("problem", problem)]);
            ensure!(answered >= 5.0, "{answered} were answered {problem}");
        }
        node.stop()
    });
}

/// What tells that nobody is let in without a key would tell it of every operation that gives something, were it so.
#[test]
fn a_door_that_is_only_in_the_document_is_found() {
    let (guarded, open) = (World::empty().unwrap(), World::empty().unwrap());
    guarded.set("auth.mode", "keys");
    guarded.set("auth.keys", keys(&[("game", &SCOPES)]));
    open.set("http.waiters_max", "0");
    open.set("coupon.refuse_unknown", "false");
    run(|| {
        let node = guarded.start(&[])?;
        let folder = ScratchDir::new("openapi")?;
        let document = folder.path().join("openapi.json");
        std::fs::write(&document, &node.get("/openapi.json")?.body)?;
        node.stop()?;
        let node = open.start(&[])?;
        let asked = (&*document.display().to_string(), &*format!("http://{}", node.http));
        let told = schemathesis(asked, 10, &[("FLOODGATE_CALLERS", json!(["game"]).to_string())])?;
        for operation in [
            "POST /api/v6/expectations",
            "POST /api/v6/coupons",
            "POST /api/v6/coupons/{couponId}/issues",
            "GET /api/v6/coupon-requests/{requestId}",
            "GET /api/v6/characters/{targetOcid}/likes",
            "GET /api/v6/characters/{targetOcid}/likes/{likerAccountId}",
            "PUT /api/v6/characters/{targetOcid}/likes/{likerAccountId}",
            "DELETE /api/v6/characters/{targetOcid}/likes/{likerAccountId}",
            "POST /api/v6/events",
            "POST /api/v6/cloudevents",
        ] {
            let found = told.contains(&format!("for `{operation}`"));
            ensure!(
                found && told.contains("API accepts requests without authentication"),
                "{operation}: {told}"
            );
        }
        node.stop()
    });
}

/// The page is all there without anybody else, and a policy that lets nothing else run; so it is behind a proxy that puts something
/// before its path, and what is tried out goes there.
#[test]
fn a_browser_shows_the_document() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let proxy = prefix::behind("/game", node.http)?;
        for page in [format!("http://{}/docs", node.http), format!("http://{proxy}/game/docs")] {
            let shown = Browser::new()?.asks_at(&page, &["docs"])?;
            let operations = shown["operations"].as_u64().unwrap_or_default();
            let is_ours = shown["title"].as_str().is_some_and(|title| title.contains("floodgate"));
            ensure!(operations > 10 && is_ours && shown["tried"] == json!(200), "{page}: {shown}");
        }
        node.stop()
    });
}
