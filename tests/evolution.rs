//! An event that changes together with its table, as `docs/evolution.md` has it: likes get an optional field. The walk is a patch, which
//! is built, and that build runs beside this one: ingress first or consumers first, with a registry and without, there and back again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{RegistryOptions, SchemaRegistry, process, wait};
use support::client::Ask;
use support::load::LoadOptions;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, run};

const PAGE: &str = include_str!("../docs/evolution.md");
const WALK: &str = "tests/evolution/likes-source.patch";

/// What the walk changes that lives with every change, so that no patch of it would apply for long.
const NOT_IN_THE_PATCH: [&str; 2] = ["CHANGELOG.md", "docs/reference.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn finish(mut command: Command) -> Result<String> {
    let told = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let (output, errors) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    ensure!(told.status.success(), "{command:?}: {}\n{output}\n{errors}", told.status);
    Ok(output.into_owned())
}

fn in_root(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The files that the page names are those that really change.
#[test]
fn the_page_names_the_files_that_change() {
    let patch = std::fs::read_to_string(root().join(WALK)).unwrap();
    let changed: BTreeSet<&str> = patch
        .lines()
        .filter_map(|line| line.strip_prefix("diff --git ")?.split_once(' '))
        .map(|(file, _)| file)
        .chain(NOT_IN_THE_PATCH)
        .collect();
    let (_, walk) = PAGE.split_once("## The files that change").expect("no list");
    let walk = walk.split("\n## ").next().unwrap();
    // in backticks, and with a slash within, which names of code have not
    let is_file =
        |word: &&str| !word.starts_with(['/', '.']) && (word.contains('/') || word.ends_with(".md"));
    let known: BTreeSet<&str> = walk.split('`').skip(1).step_by(2).filter(is_file).collect();
    let missing: Vec<_> = changed.difference(&known).collect();
    let others: Vec<_> = known.difference(&changed).collect();
    assert!(
        missing.is_empty() && others.is_empty(),
        "not on the page: {missing:?}; on it, and they do not change: {others:?}"
    );
    let applies = in_root("git", &["apply", "--check", "-p0", WALK]);
    finish(applies).expect("the walk does not apply any more: apply it with --3way, and write it anew");
}

/// The build with the field, made once.
fn newer() -> &'static Path {
    static BUILD: OnceLock<PathBuf> = OnceLock::new();
    BUILD.get_or_init(|| build().unwrap())
}

fn build() -> Result<PathBuf> {
    let target = process::target_folder();
    let copy = target.join("evolution/copy");
    // what was built of these very files before is used again
    std::fs::create_dir_all(&copy)?;
    let files = finish(in_root("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let patched = finish(in_root("git", &["apply", "--numstat", "-p0", WALK]))?;
    let patched: BTreeSet<&str> = patched.lines().filter_map(|line| line.split('\t').next_back()).collect();
    let fresh = target.join("evolution/fresh");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    for file in files.lines().filter(|file| root().join(file).is_file()) {
        if ["Cargo.toml", "Cargo.lock"].contains(&file) {
            continue;
        }
        let place = if patched.contains(file) { &fresh } else { &copy };
        write(&place.join(file), &std::fs::read(root().join(file))?)?;
    }
    std::fs::create_dir_all(&fresh)?;
    let mut apply = Command::new("git");
    // not the repository that it lies in
    apply
        .args(["apply", "-p0"])
        .arg(root().join(WALK))
        .current_dir(&fresh)
        .env("GIT_CEILING_DIRECTORIES", &target);
    finish(apply)?;
    for file in &patched {
        write(&copy.join(file), &std::fs::read(fresh.join(file))?)?;
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        write(&copy.join(file), another_version(&std::fs::read_to_string(root().join(file))?).as_bytes())?;
    }
    let mut command = Command::new(env!("CARGO"));
    // with the features that this build has, so that no other crate is compiled once more
    command
        .args(["test", "--locked", "--workspace", "--all-features", "--no-run", "--test", "tidy"])
        .current_dir(&copy);
    command.env("CARGO_TARGET_DIR", target.join("evolution/target")).env("CARGO_BUILD_BUILD_DIR", &target);
    finish(command)?;
    Ok(target.join("evolution/target/debug/floodgate"))
}

/// Of our crates, that is: compiled ones are told apart by name and version, wherever they lie, and those of two builds lie in one folder.
fn another_version(manifest: &str) -> String {
    let mut is_ours = false;
    let line = |line: &str| {
        let is_version = line == "version = \"0.1.0\"";
        let changed = if is_version && is_ours { "version = \"0.1.0-newer\"" } else { line };
        is_ours = line == "[workspace.package]" || line.starts_with("name = \"floodgate");
        format!("{changed}\n")
    };
    manifest.lines().map(line).collect()
}

/// Writes a file unless it is there as it is: what is touched is compiled anew.
fn write(file: &Path, text: &[u8]) -> Result<()> {
    if std::fs::read(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(file, text)?)
}

/// Who is changed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Consumers,
    Ingress,
}

struct Roll {
    world: World,
    _registry: Option<SchemaRegistry>,
}

impl Roll {
    fn new(with_registry: bool) -> Roll {
        let Servers { kafka, postgres } = Servers::shared();
        let world = World::ready(kafka, postgres).unwrap().hurried();
        let registry = with_registry.then(|| SchemaRegistry::start(RegistryOptions::default()).unwrap());
        if let Some(registry) = &registry {
            world.set("schema_registry.url", registry.url());
        }
        Roll { world, _registry: registry }
    }

    fn psql(&self, statement: &str) -> Result<String> {
        let told = Servers::shared().postgres.psql(&self.world.setting("store.url"), statement)?;
        Ok(told.trim().to_owned())
    }

    fn older(&self) -> &World {
        self.world.set_build(env!("CARGO_BIN_EXE_floodgate"));
        &self.world
    }

    fn newer(&self) -> &World {
        self.world.set_build(newer());
        &self.world
    }

    /// A like that says where it comes from, sent to a build that knows the field.
    fn like_from(&self, node: &Node, target: &str) -> Result<()> {
        let ask =
            Ask::new("PUT", format!("/api/v6/characters/{target}/likes/ann")).json(r#"{"source":"app"}"#);
        let answer = node.ask(&ask)?;
        ensure!(answer.status == 202, "{}", answer.text());
        Ok(())
    }

    fn source_of(&self, target: &str) -> Result<String> {
        self.psql(&format!("SELECT coalesce(source, 'none') FROM likes WHERE target_ocid = '{target}'"))
    }

    /// Nothing is lost, doubled or a dead letter, by the recording and by what both builds say of the log.
    fn check(&self, recording: &support::recording::Recording) -> Result<()> {
        self.psql("DELETE FROM likes WHERE target_ocid LIKE 'sourced-%'")?;
        self.psql("DELETE FROM like_counts WHERE target_ocid LIKE 'sourced-%'")?;
        self.world.check(&Servers::shared().postgres, recording)?;
        let letters = Topics::of(&self.world).read_all(&self.world.named("floodgate.dlq.v1"))?;
        ensure!(letters.is_empty(), "{letters:?}");
        Ok(())
    }
}

/// From this build to the newer one and back, under load, one process after the other.
fn there_and_back(first: First, with_registry: bool) {
    let roll = Roll::new(with_registry);
    run(|| {
        let old_serve = roll.older().start(&["serve"])?;
        let old_consume = roll.older().start(&["consume"])?;
        roll.newer().succeed(&["migrate"])?;
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(6000)));
        roll.world.create_coupons(&old_serve, &plan)?;
        let new_serve = roll.newer().start(&["serve"])?;
        let options = LoadOptions { rate: 400, ..LoadOptions::default() };
        let mut new_consume = None;
        if first == First::Consumers {
            new_consume = Some(roll.newer().start(&["consume"])?);
            old_consume.stop()?;
        }
        // both at once, as a rolling deployment has it
        let load = roll.world.load(&plan, &[&old_serve, &new_serve], options);
        roll.like_from(&new_serve, "sourced-1")?;
        load.wait_for(0.3)?;
        if first == First::Ingress {
            if with_registry {
                // consumers of this build read what the newer one writes, but for the field
                let applied = || (roll.source_of("sourced-1").ok()? == "none").then_some(());
                wait::until("the like to be applied", DRAINED, applied)?;
            } else {
                old_consume.wait_unready("unknown schema")?;
            }
            new_consume = Some(roll.newer().start(&["consume"])?);
            old_consume.stop()?;
        }
        let new_consume = new_consume.context("no consumers")?;
        load.wait_for(0.5)?;
        roll.like_from(&new_serve, "sourced-2")?;
        let applied = || (roll.source_of("sourced-2").ok()? == "app").then_some(());
        wait::until("the like with its source", DRAINED, applied)?;
        // back again, in the other order: who writes goes first
        new_serve.stop()?;
        let second = roll.older().launch(&["consume"])?;
        new_consume.stop()?;
        let recording = load.finish()?;
        if !with_registry {
            // what the newer build wrote last waits for it
            second.stop()?;
            let newer = roll.newer().start(&["consume"])?;
            roll.world.wait_drained(DRAINED)?;
            newer.stop()?;
        } else {
            roll.world.wait_drained(DRAINED)?;
            second.stop()?;
        }
        roll.newer().succeed(&["verify"])?;
        if first == First::Ingress && with_registry {
            // what consumers of the older build could not take to its column is brought there from the log
            let told = roll.newer().command(&["verify", "--values"])?;
            ensure!(told.code == 1 && told.stdout.contains("source"), "{told:?}");
            roll.newer().succeed(&["reapply", "--missing", "--values"])?;
            ensure!(roll.source_of("sourced-1")? == "app", "it is not mended");
            roll.newer().succeed(&["verify", "--values"])?;
        }
        old_serve.stop()?;
        roll.check(&recording)
    });
}

#[test]
fn consumers_first_with_a_registry() {
    there_and_back(First::Consumers, true);
}

#[test]
fn consumers_first_without_a_registry() {
    there_and_back(First::Consumers, false);
}

#[test]
fn ingress_first_with_a_registry() {
    there_and_back(First::Ingress, true);
}

#[test]
fn ingress_first_without_a_registry() {
    there_and_back(First::Ingress, false);
}
