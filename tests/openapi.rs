//! The OpenAPI document against other people's programs: one says that it is valid, one asks a running server whatever the document
//! lets it ask, and compares every answer, and a browser shows it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use floodgate_testkit::{ScratchDir, process};
use serde_json::json;
use support::browser::Browser;
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

/// What fits the document and what does not, with every method, at every limit: no bug is met, every answer is in the document, what
/// does not fit is refused.
#[test]
fn every_answer_is_in_the_document() {
    let world = World::empty().unwrap();
    run(|| {
        // whoever would wait for a decision is answered at once
        world.set("http.waiters_max", "0");
        let node = world.start(&[])?;
        let folder = ScratchDir::new("schemathesis")?;
        let url = format!("http://{}", node.http);
        let mut schemathesis = python("schemathesis.cli", &folder);
        schemathesis.arg("--config-file").arg(settings().join("schemathesis.toml"));
        schemathesis.args(["run", &format!("{url}/openapi.json"), "--url", &url, "--no-color"]);
        schemathesis.env("PYTHONPATH", settings()).env("SCHEMATHESIS_HOOKS", "hooks");
        let told = process::run("schemathesis", schemathesis, folder.path(), ASKED)?;
        ensure!(told.contains("No issues found"), "{told}");
        ensure!(!told.contains("errored"), "{told}");
        node.stop()
    });
}

/// The page is all there without anybody else, and a policy that lets nothing else run.
#[test]
fn a_browser_shows_the_document() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let shown = Browser::new()?.asks_at(&format!("http://{}/docs", node.http), &["docs"])?;
        let operations = shown["operations"].as_u64().unwrap_or_default();
        ensure!(
            operations > 10 && shown["title"].as_str().is_some_and(|t| t.contains("floodgate")),
            "{shown}"
        );
        ensure!(shown["tried"] == json!(200), "{shown}");
        node.stop()
    });
}
