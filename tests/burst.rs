//! `floodgate burst` against the real thing: what is right passes, also when a consumer dies in the middle, and what went wrong is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::sync::RwLock;

use anyhow::{Context, Result, ensure};
use floodgate_producer::key_hash;
use floodgate_schemas::{Clock, SystemClock, Timestamp};
use floodgate_testkit::{Certificates, ScratchDir, wait};
use serde_json::Value;
use support::node::Node;
use support::world::{DRAINED, Ended, READY, Servers, World, run};

/// Everybody within a second and a half, of whom a tenth ask twice, and some have no patience.
const SHAPE: &str = r#"
title = "a test"
every_s = 1.0
slow_readers = 4
[[stages]]
seconds = 1.5
from = 200
users = 800
[mix]
coupon = 0.5
coupon_again = 0.1
expectation = 0.2
like = 0.1
hot = 0.1
[coupon]
stock = 100
[retry]
storm = 0.1
[expect]
accepted_share = 1.0
error_share = 0.0
lag = 100000
drain_seconds = 120
"#;

/// Held alone by who takes both cores, and by who expects answers in time, in which they do not come beside other tests.
static BESIDE: RwLock<()> = RwLock::new(());

/// A rehearsal against these ingresses, with its report.
fn burst(world: &World, nodes: &[&Node], args: &[&str]) -> Result<(Ended, Value)> {
    let shape = world.folder().join("shape.toml");
    fs::write(&shape, SHAPE)?;
    rehearse(world, nodes, &shape.display().to_string(), args)
}

/// One of any shape.
fn rehearse(world: &World, nodes: &[&Node], shape: &str, args: &[&str]) -> Result<(Ended, Value)> {
    let report = world.folder().join("report.json");
    let urls: Vec<String> = nodes.iter().map(|node| format!("http://{}", node.http)).collect();
    let operators = format!("http://{}", nodes[0].admin);
    let report_file = report.display().to_string();
    let mut all = vec!["burst", "--shape", shape, "--json", &report_file, "--operators", &operators];
    urls.iter().for_each(|url| all.extend(["--url", url]));
    all.extend(args);
    let ended = world.command(&all)?;
    let text = fs::read_to_string(&report).with_context(|| format!("{}{}", ended.stdout, ended.stderr))?;
    Ok((ended, serde_json::from_str(&text)?))
}

fn passes(ended: &Ended, report: &Value) -> Result<()> {
    ensure!(ended.code == 0 && report["verdict"] == "pass", "{}\n{}", ended.stdout, ended.stderr);
    ensure!(ended.stdout.starts_with("PASS"), "{}", ended.stdout);
    for (figure, value) in [("sent", 750), ("accepted", 750), ("issued", 100), ("undecided", 0)] {
        ensure!(report[figure] == value, "{figure}: {report:#}");
    }
    Ok(())
}

#[test]
fn what_runs_in_one_process_passes() {
    let _beside = BESIDE.read();
    run(|| {
        let world = World::empty()?;
        let node = world.start(&["run"])?;
        let page = world.folder().join("page.html").display().to_string();
        let (ended, report) = burst(&world, &[&node], &["--html", &page])?;
        passes(&ended, &report)?;
        // what was is compared with what is
        let before = world.folder().join("before.json");
        fs::rename(world.folder().join("report.json"), &before)?;
        let before = before.display().to_string();
        let (ended, report) = burst(&world, &[&node], &["--compare", &before, "--html", &page])?;
        passes(&ended, &report)?;
        ensure!(ended.stdout.contains("BEFORE"), "{}", ended.stdout);
        let html = fs::read_to_string(&page)?;
        ensure!(html.contains("<svg") && html.contains("a test"), "{html}");
        node.stop()
    });
}

/// Two ingresses, two consumers, one of which is killed while the load is sent.
#[test]
fn a_consumer_that_is_killed_costs_nothing() {
    let _beside = BESIDE.read();
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let ingresses = [world.start(&["serve"])?, world.start(&["serve"])?];
        let (killed, other) = (world.start(&["consume"])?, world.start(&["consume"])?);
        let (ended, report) = std::thread::scope(|scope| {
            let rehearsal = scope.spawn(|| burst(&world, &[&ingresses[0], &ingresses[1]], &[]));
            wait::until("something to be applied", READY, || {
                let applied =
                    killed.metrics().map(|metrics| metrics.sum("floodgate_events_applied_total", &[]));
                applied.is_ok_and(|applied| applied > 0.0).then_some(())
            })?;
            killed.kill()?;
            rehearsal.join().expect("the rehearsal")
        })?;
        passes(&ended, &report)?;
        ensure!(report["fairness"]["instances"].as_array().map(Vec::len) == Some(2), "{report:#}");
        other.stop()?;
        ingresses.iter().try_for_each(Node::stop)
    });
}

/// The shape of a coupon drop, a tenth as long: the consumer that decides is killed while everybody asks.
#[test]
fn a_coupon_drop_passes_though_its_consumer_is_killed_in_the_spike() {
    // due before the spike, and in it
    const BEFORE: f64 = 600.0;
    const SPIKE: f64 = 500.0;
    let _alone = BESIDE.write();
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let ingresses = [world.start(&["serve"])?, world.start(&["serve"])?];
        let consumers = [world.start(&["consume"])?, world.start(&["consume"])?];
        let sum = |nodes: &[Node], metric: &str| -> Result<f64> {
            nodes.iter().map(|node| Ok(node.metrics()?.sum(metric, &[]))).sum()
        };
        let (killed, (ended, report)) = std::thread::scope(|scope| {
            let urls = [&ingresses[0], &ingresses[1]];
            let rehearsal = scope.spawn(move || rehearse(&world, &urls, "pt-001", &["--speed", "10"]));
            let accepted = wait::until("the spike", DRAINED, || {
                let accepted = sum(&ingresses, "floodgate_events_accepted_total").ok()?;
                (accepted > BEFORE + SPIKE / 10.0).then_some(accepted)
            })?;
            let applied = "floodgate_events_applied_total";
            let [first, _] = [0, 1].map(|which| sum(&consumers[which..=which], applied).unwrap_or_default());
            let killed = usize::from(first == 0.0);
            consumers[killed].kill()?;
            ensure!(accepted < BEFORE + SPIKE, "the spike was over: {accepted}");
            Ok((killed, rehearsal.join().expect("the rehearsal")?))
        })?;
        ensure!(ended.code == 0, "{}\n{}", ended.stdout, ended.stderr);
        ensure!(report["sent"] == 3900 && report["undecided"] == 0, "{report:#}");
        consumers[1 - killed].stop()?;
        ingresses.iter().try_for_each(Node::stop)
    });
}

/// Everybody has their own task, and no connection: memory is that of what is open, and not of a client each.
#[test]
fn fifty_thousand_users_fit_into_bounded_memory() {
    const PEAK_MAX: u64 = 300 << 20;
    let _alone = BESIDE.write();
    run(|| {
        let world = World::empty()?;
        let node = world.start(&["run"])?;
        let (url, operators) = (format!("http://{}", node.http), format!("http://{}", node.admin));
        let args = ["burst", "--users", "50000", "--url", &url, "--operators", &operators];
        let burst = world.launch(&args)?;
        let mut peak = 0;
        wait::until("the rehearsal", DRAINED, || {
            peak = burst.process().peak_rss_bytes().unwrap_or_default().max(peak);
            burst.process().exit_status().map(drop)
        })?;
        let (told, errors) = (burst.process().stdout(), burst.process().stderr());
        ensure!(told.contains("50,000 requests in"), "{told}{errors}");
        // on a busy machine answers or decisions may come later than the shape expects
        ensure!(told.contains("50,000 (100 %)"), "{told}{errors}");
        ensure!((1 << 20..PEAK_MAX).contains(&peak), "{} MiB", peak >> 20);
        println!("{} MiB", peak >> 20);
        node.stop()
    });
}

/// Two processes share a load, and each says what it can say.
#[test]
fn processes_share_a_load() {
    let _beside = BESIDE.read();
    run(|| {
        let world = World::empty()?;
        let node = world.start(&["run"])?;
        let (shape, operators) = (world.folder().join("shape.toml"), format!("http://{}", node.admin));
        fs::write(&shape, SHAPE)?;
        let (shape, url) = (shape.display().to_string(), format!("http://{}", node.http));
        // when both are ready
        let start = Timestamp::from_micros(SystemClock.now().as_micros() + 5_000_000)?.to_string();
        let part = |part: &str| {
            let args = ["burst", "--shape", &shape, "--url", &url, "--operators", &operators];
            world.command(&[&args[..], &["--seed", "77", "--start-at", &start, "--part", part]].concat())
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| part("2/2"));
            (part("1/2"), other.join().expect("the other"))
        });
        for ended in [one?, other?] {
            ensure!(ended.code == 0, "{}\n{}", ended.stdout, ended.stderr);
        }
        node.stop()
    });
}

/// Over TLS, with a key for clients and a token for operators.
#[test]
fn what_is_secured_is_rehearsed_as_well() {
    let _beside = BESIDE.read();
    run(|| {
        let (world, folder) = (World::empty()?, ScratchDir::new("certificates")?);
        let made = Certificates::make(folder.path())?;
        let (key, token) = ("key-of-a-rehearsal", "a token of sixteen and more".replace(' ', "-"));
        let scopes = r#"["coupon:create", "coupon:issue", "expectation:write", "like:write", "read"]"#;
        let keys = format!(r#"[{{ id = "r", sha256 = "{}", scopes = {scopes} }}]"#, key_hash(key));
        for (name, value) in [
            ("http.tls.cert_file", made.certificate.display().to_string()),
            ("http.tls.key_file", made.key.display().to_string()),
            ("auth.mode", "keys".to_owned()),
            ("auth.keys", keys),
            ("admin.token", token.clone()),
        ] {
            world.set(name, value);
        }
        let node = world.start(&["run"])?;
        let (url, operators) =
            (format!("https://localhost:{}", node.http.port()), format!("http://{}", node.admin));
        let args = ["burst", "--users", "40", "--url", &url, "--operators", &operators];
        // neither the certificate nor who asks is known
        let ended = world.command(&args)?;
        ensure!(ended.code != 0 && !ended.stderr.contains("bug"), "{}", ended.stderr);
        world.set_variable("SSL_CERT_FILE", folder.path().join("ca.pem").display().to_string());
        // what groups are behind is told to nobody
        let ended = world.command(&args)?;
        ensure!(ended.code == 1 && ended.stderr.contains("lag answered 401"), "{}", ended.stderr);
        world.set_variable("FLOODGATE_OPERATORS_TOKEN", token);
        let ended = world.command(&args)?;
        ensure!(ended.code == 2 && ended.stderr.contains("FLOODGATE_KEY"), "{}", ended.stderr);
        world.set_variable("FLOODGATE_KEY", key);
        let ended = world.command(&args)?;
        ensure!(ended.code == 0, "{}{}", ended.stdout, ended.stderr);
        ensure!(!ended.stdout.contains(key) && !ended.stderr.contains(key), "{}", ended.stdout);
        node.stop()
    });
}

/// Nobody is there; a coupon that exists; a shape that is none.
#[test]
fn what_cannot_begin_says_why() {
    let _beside = BESIDE.read();
    run(|| {
        let world = World::empty()?;
        let node = world.start(&["run"])?;
        let (url, operators) = (format!("http://{}", node.http), format!("http://{}", node.admin));
        let create = support::client::Ask::new("POST", "/api/v6/coupons")
            .json(r#"{"couponId":"taken","stock":7}"#.to_owned());
        ensure!(node.ask(&create)?.status == 201);
        let cases: [(&[&str], i32, &str); 11] = [
            (&["--url", "http://127.0.0.1:9"], 1, "is `floodgate run` or `serve` running there?"),
            (
                &["--url", &url, "--operators", &operators, "--coupon", "taken", "--stock", "8"],
                2,
                "exists with another stock",
            ),
            (
                &["--url", &url, "--operators", &operators, "--coupon", "taken", "--stock", "7"],
                2,
                "was used before",
            ),
            (&["--shape", "pt-002"], 2, "built in are burst, pt-001"),
            (&["--part", "3/2"], 2, "which of how many"),
            (&["--part", "1/2", "--start-at", "2026-11-24T12:00:00Z"], 2, "--part takes both"),
            (&["--part", "1/2", "--seed", "7"], 2, "--part takes both"),
            (&["--url", &url, "--json", "none/report.json"], 2, "none/report.json: "),
            (&["--url", &url, "--operators", "http://127.0.0.1:9"], 1, "--operators names who knows it"),
            (&["--speed", "0"], 2, "must be above 0"),
            (&["--url", "ftp://127.0.0.1"], 2, "neither http nor https"),
        ];
        for (args, code, words) in cases {
            let ended = world.command(&[&["burst"], args].concat())?;
            ensure!(ended.code == code && ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
        }
        node.stop()?;
        // what the environment says, which is told where others could read it
        world.set_variable("FLOODGATE_KEY", "open-sesame");
        for (url, code, words) in [
            ("http://127.0.0.1:9", 1, "127.0.0.1:9"),
            ("http://floodgate.invalid:9", 1, "FLOODGATE_KEY goes to another machine in the clear"),
            ("nowhere", 2, "FLOODGATE_URL: "),
        ] {
            world.set_variable("FLOODGATE_URL", url);
            let ended = world.command(&["burst"])?;
            ensure!(ended.code == code && ended.stderr.contains(words), "{url}: {}", ended.stderr);
            ensure!(
                ended.stderr.contains("in the clear") == url.contains("invalid"),
                "{url}: {}",
                ended.stderr
            );
            ensure!(!ended.stderr.contains("open-sesame"), "{}", ended.stderr);
        }
        Ok(())
    });
}

/// The group stands still, and nothing is applied in the time there is.
#[test]
fn what_is_not_applied_in_time_fails() {
    let _beside = BESIDE.read();
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let ingress = world.start(&["serve"])?;
        let (ended, report) = burst(&world, &[&ingress], &["--drain-limit", "1"])?;
        ensure!(ended.code == 1 && report["verdict"] == "fail", "{}", ended.stderr);
        ensure!(report["undecided"].as_u64() > Some(0) && report["drainSeconds"].is_null(), "{report:#}");
        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        consume.stop()?;
        ingress.stop()
    });
}
