//! As little as the product needs: it runs as a user without rights, on files that nobody can write but its own database, and what
//! `deploy/` gives to systemd and containers says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::ScratchDir;
use support::client::Ask;
use support::world::{READY, Servers, World, run};

const UNIT: &str = include_str!("../deploy/systemd/floodgate.service");
const TLS: &str = include_str!("../deploy/systemd/tls.conf");
const DEFAULT: &str = include_str!("../src/default.toml");
const DOCKERFILE: &str = include_str!("../Dockerfile");
const COMPOSE: &str = include_str!("../docker-compose.kafka.yml");

/// Runs the binary as a user without rights, with all files read-only but those of the folder it is started in. `unshare` is given the
/// options by which this user may make such a world; who is root in it must give that up as well. All of it becomes one process.
const CONFINED: &str = r#"#!/bin/sh
exec unshare @UNSHARE@ sh -c '
  set -e
  own=$1; shift
  mount --bind "$own" "$own"
  cut -d" " -f5 /proc/self/mountinfo | while read -r mounted; do
    [ "$mounted" = "$own" ] && continue
    # who is not root outside may take no option off
    for more in "" ,nosuid,nodev ,nosuid,nodev,noexec; do
      mount -o "remount,ro,bind$more" "$mounted" 2>/dev/null && break
    done
    true
  done
  for writable in /tmp /var/tmp /etc "$own/.."; do
    if touch "$writable/confined" 2>/dev/null; then echo "$writable can be written" >&2; exit 99; fi
  done
  cd "$own"
  exec setpriv @SETPRIV@ --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
' confined "$PWD" @BINARY@ "$@"
"#;

/// A user that nothing belongs to.
const NOBODY: u32 = 65534;

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// What runs the binary confined, in a folder of its own.
fn confined(world: &World) -> Result<ScratchDir> {
    let folder = ScratchDir::new("confined")?;
    let is_root = is_root()?;
    let (unshare, setpriv) = match is_root {
        true => ("--mount", format!("--reuid {NOBODY} --regid {NOBODY} --clear-groups")),
        false => ("--user --map-root-user --mount", String::new()),
    };
    let script = CONFINED
        .replace("@UNSHARE@", unshare)
        .replace("@SETPRIV@", &setpriv)
        .replace("@BINARY@", env!("CARGO_BIN_EXE_floodgate"));
    let path = folder.path().join("floodgate");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    if is_root {
        chown(world.folder(), Some(NOBODY), Some(NOBODY))?;
    }
    world.set_build(&path);
    Ok(folder)
}

fn written(folder: &Path) -> Result<BTreeSet<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Whether a process has any right that users do not have, or may get one.
fn rights(pid: u32) -> Result<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let is_of_rights = |line: &&str| {
        ["Uid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs"].iter().any(|name| line.starts_with(name))
    };
    Ok(status
        .lines()
        .filter(is_of_rights)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect())
}

#[test]
fn everything_in_one_process_writes_its_database_alone() {
    let world = World::empty().unwrap();
    run(|| {
        let _script = confined(&world)?;
        let node = world.start(&[])?;
        node.probe("confined", READY)?;
        let rights = rights(node.process().pid())?;
        let none = "0000000000000000";
        for right in ["CapPrm", "CapEff", "CapBnd"] {
            ensure!(rights.contains(&format!("{right}: {none}")), "{rights:?}");
        }
        ensure!(rights.contains(&"NoNewPrivs: 1".to_owned()), "{rights:?}");
        ensure!(!rights.iter().any(|line| line.starts_with("Uid: 0")) || !is_root()?, "{rights:?}");
        node.stop()?;
        let written = written(world.folder())?;
        ensure!(
            written.iter().all(|name| name.starts_with("floodgate.db")) && !written.is_empty(),
            "{written:?}"
        );
        // what it is not given it says, and does not go elsewhere
        let ended =
            world.command_with(&["migrate"], &[("store.url", "sqlite:///var/tmp/floodgate-confined.db")])?;
        ensure!(ended.code == 1 && ended.stderr.contains("/var/tmp/floodgate-confined.db"), "{ended:?}");
        Ok(())
    });
}

#[test]
fn ingress_and_consumers_write_nothing() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let _script = confined(&world)?;
        let (serve, consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        serve.probe("confined", READY)?;
        let batch = r#"[{"type":"like","targetOcid":"star","likerAccountId":"ann","action":"LIKE"}]"#;
        let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(batch))?;
        ensure!(
            answer.status == 200 && answer.json()["results"][0]["status"] == "accepted",
            "{}",
            answer.text()
        );
        for command in [&["topics", "create"][..], &["migrate"], &["lag"], &["dlq", "list"]] {
            world.succeed(command)?;
        }
        serve.stop()?;
        consume.stop()?;
        let written = written(world.folder())?;
        ensure!(written.is_empty(), "{written:?}");
        Ok(())
    });
}

/// Lines of a unit, without comments: by section, name and value.
fn directives(unit: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once('=') {
            Some((name, value)) => found.push((section.clone(), name.to_owned(), value.to_owned())),
            None => section = line.to_owned(),
        }
    }
    found
}

fn default(section: &str, key: &str) -> i64 {
    DEFAULT.parse::<toml::Table>().unwrap()[section][key].as_integer().unwrap()
}

#[test]
fn the_unit_gives_no_more_than_is_needed() {
    let unit = directives(UNIT);
    let of = |name: &str| -> Vec<&str> {
        unit.iter().filter(|(_, given, _)| given == name).map(|(_, _, value)| value.as_str()).collect()
    };
    let number = |name: &str| of(name)[0].parse::<i64>().unwrap();
    for (name, value) in [
        ("DynamicUser", "yes"),
        ("StateDirectory", "floodgate"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("PrivateTmp", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("LimitCORE", "0"),
        ("KillSignal", "SIGTERM"),
        // an exit with 2 is a wrong configuration, which no start mends
        ("RestartPreventExitStatus", "2"),
    ] {
        assert_eq!(of(name), [value], "{name}");
    }
    assert!(of("SystemCallFilter").contains(&"@system-service"));
    assert!(number("TimeoutStopSec") * 1000 > default("shutdown", "deadline_ms"));
    assert!(number("LimitNOFILE") > 2 * default("http", "connections_max"));
    // without TLS SIGHUP is a stop
    assert!(of("ExecReload").is_empty());
    let tls = directives(TLS);
    assert!(tls.iter().any(|(_, name, value)| name == "ExecReload" && value.ends_with("kill -HUP $MAINPID")));
    for key in ["CERT_FILE", "KEY_FILE"] {
        let sets = |value: &str| value.starts_with(&format!("FLOODGATE__HTTP__TLS__{key}=/"));
        assert!(tls.iter().any(|(_, name, value)| name == "Environment" && sets(value)), "{key}");
    }
}

/// With systemd's own eyes.
#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    run(|| {
        let folder = ScratchDir::new("unit")?;
        let unit: PathBuf = folder.path().join("floodgate.service");
        fs::write(&unit, UNIT.replace("/usr/local/bin/floodgate", env!("CARGO_BIN_EXE_floodgate")))?;
        let more = folder.path().join("floodgate.service.d");
        fs::create_dir(&more)?;
        let verify = || -> Result<String> {
            let told = Command::new("systemd-analyze").arg("verify").arg(&unit).output();
            let told = told.context("systemd-analyze, of systemd")?;
            Ok(String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned())
        };
        let told = verify()?;
        ensure!(told.is_empty(), "{told}");
        fs::write(more.join("tls.conf"), TLS)?;
        let told = verify()?;
        ensure!(told.is_empty(), "{told}");
        // of 100: how exposed the machine is to the service
        let security = ["security", "--no-pager", "--offline=true", "--threshold=20"];
        let told = Command::new("systemd-analyze").args(security).arg(&unit).output()?;
        ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
        Ok(())
    });
}

#[test]
fn images_run_as_nobody_in_particular() {
    let users: Vec<_> = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("USER ")).collect();
    let [user] = users[..] else { panic!("{users:?}") };
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id >= 10_000), "{user}");
    assert!(DOCKERFILE.contains(&format!("useradd --system --uid {} ", ids[0])));
    let (_, ours) = COMPOSE.split_once("\nx-floodgate: &floodgate\n").unwrap();
    let (ours, services) = ours.split_once("\nservices:\n").unwrap();
    for line in ["read_only: true", "cap_drop: [ALL]", "security_opt: [\"no-new-privileges:true\"]"] {
        assert!(ours.lines().any(|found| found.trim() == line), "{line}");
        assert!(!services.contains("read_only: false") && !services.contains("privileged: true"));
    }
    assert_eq!(services.matches("<<: *floodgate").count(), 4, "topics, migrate, serve and consume");
}
