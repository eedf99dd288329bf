//! `deploy/` as operators use it: every rule and every panel of the dashboard, asked of a real Prometheus that scrapes real
//! processes. What it evaluates exists, by its name and its labels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Process, ScratchDir, ports, process, wait};
use serde_json::{Value, json};
use support::answers::{accepted, valid_expectation};
use support::client::{Ask, Client};
use support::node::Node;
use support::rule::refuse;
use support::world::{DRAINED, READY, Servers, World, run};

const DASHBOARD: &str = include_str!("../deploy/grafana/floodgate.json");
const RULES: &str = include_str!("../deploy/prometheus/floodgate.rules.yml");
const RULE_TESTS: &str = include_str!("../deploy/prometheus/floodgate.rules.test.yml");
const COMPOSE: &str = include_str!("../docker-compose.kafka.yml");
const PAGE: &str = include_str!("../docs/monitoring.md");
const REFERENCE: &str = include_str!("../docs/reference.md");

/// What `promtool` may take for one command.
const PROMTOOL: Duration = Duration::from_secs(60);

/// Metrics without a value on a system that is well, so that a query for them may have no answer here.
const SELDOM: [(&str, &str); 7] = [
    ("floodgate_spill_waiting", "there is no fallback"),
    ("floodgate_spill_waiting_max", "there is no fallback"),
    ("floodgate_partition_held", "no partition was ever held"),
    ("floodgate_position_incidents_total", "nobody moved a position"),
    ("floodgate_registry_schemas", "there is no registry"),
    ("floodgate_topic_findings", "the topics may be as they should"),
    ("floodgate_tls_certificate_expires_timestamp_seconds", "clients connect without TLS"),
];

/// What Prometheus itself says of its targets.
const OF_PROMETHEUS: [&str; 1] = ["up"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names of metrics in a query: words that are neither of the language nor called, nor labels.
fn names(query: &str) -> BTreeSet<String> {
    const WORDS: [&str; 9] = ["and", "or", "unless", "offset", "bool", "sum", "max", "min", "count"];
    const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    // without texts, matchers and windows
    let (mut bare, mut quoted, mut depth) = (String::new(), false, 0);
    for letter in query.chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth -= 1;
                bare.push(' ');
            }
            _ if depth == 0 => bare.push(letter),
            _ => {}
        }
    }
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let (mut tokens, mut rest) = (Vec::new(), bare.trim_start());
    while let Some(first) = rest.chars().next() {
        let end = match is_of_word(first) {
            true => rest.find(|letter: char| !is_of_word(letter)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after.trim_start();
    }
    let (mut names, mut tokens) = (BTreeSet::new(), tokens.into_iter().peekable());
    while let Some(token) = tokens.next() {
        if BEFORE_LABELS.contains(&token) {
            for label in tokens.by_ref() {
                if label == ")" {
                    break;
                }
            }
            continue;
        }
        let is_number = token.starts_with(|letter: char| letter.is_ascii_digit());
        let is_called = tokens.peek() == Some(&"(");
        if token.starts_with(is_of_word) && !is_number && !is_called && !WORDS.contains(&token) {
            names.insert(token.to_owned());
        }
    }
    names
}

#[test]
fn names_of_metrics_are_found_in_a_query() {
    let of = |query: &str| names(query).into_iter().collect::<Vec<_>>();
    let query = r#"sum by (le, type) (rate(a_bucket{type=~"b|c", x="d e"}[5m])) / 0.5 * on (group) group_left (f) a:b:max"#;
    assert_eq!(of(query), ["a:b:max", "a_bucket"]);
    assert_eq!(of("(max_over_time(a[1h]) unless a offset 1h) or time() - max(b > 0) > 60"), ["a", "b"]);
}

/// One query of the dashboard.
#[derive(Debug)]
struct Panel {
    title: String,
    query: String,
}

/// What the dashboard asks, with Grafana's variables as if everything were chosen.
fn panels() -> Result<Vec<Panel>> {
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    ensure!(dashboard["uid"] == "floodgate", "{}", dashboard["uid"]);
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).context("no title")?;
        if panel["type"] == "row" {
            continue;
        }
        let told = panel["description"].as_str().is_some_and(|description| !description.is_empty());
        ensure!(told, "{title} does not say what it shows");
        ensure!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        ensure!(panel["datasource"]["uid"] == "${datasource}", "{title} asks a Prometheus of its own choice");
        for target in panel["targets"].as_array().context("no targets")? {
            let query = target["expr"].as_str().with_context(|| format!("{title} asks nothing"))?;
            let query = query.replace("$__rate_interval", "15s").replace("$group", ".*");
            ensure!(!query.contains('$'), "{title} has a variable that nobody gives a value: {query}");
            queries.push(Panel { title: title.to_owned(), query });
        }
    }
    ensure!(queries.len() > 20, "{} queries", queries.len());
    Ok(queries)
}

/// A Prometheus that scrapes nodes every second and evaluates the rules as often.
struct Prometheus {
    process: Process,
    client: Client,
    _folder: ScratchDir,
}

impl Prometheus {
    fn start(nodes: &[&Node]) -> Result<Prometheus> {
        let targets: Vec<String> = nodes.iter().map(|node| node.admin.to_string()).collect();
        let jobs = json!([{"job_name": "floodgate", "static_configs": [{"targets": targets}]}]);
        let prometheus = Prometheus::with(&jobs)?;
        prometheus.wait("all targets to be scraped", || {
            let up = prometheus.query("sum(up)").ok()?;
            (value(&up) == Some(nodes.len() as f64)).then_some(())
        })?;
        Ok(prometheus)
    }

    fn with(jobs: &Value) -> Result<Prometheus> {
        let folder = ScratchDir::new("prometheus")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()?));
        let rules = root().join("deploy/prometheus/floodgate.rules.yml");
        // JSON is YAML
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": jobs,
        });
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string())?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::spawn("prometheus", command, folder.path())
            .context("prometheus and promtool are installed by scripts/setup")?;
        Ok(Prometheus { process, client: Client::new(address), _folder: folder })
    }

    /// Waits for a condition, and tells its log if that does not come.
    fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
        let outcome = wait::until(what, READY, || match self.process.exit_status() {
            Some(exit) => Some(Err(anyhow::anyhow!("prometheus ended with {exit}"))),
            None => probe().map(Ok),
        });
        outcome.map_err(anyhow::Error::from).flatten().with_context(|| self.process.log_tail())
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let answer = self.client.ask(&Ask::get(path));
        let answer = answer.map_err(|failure| anyhow::anyhow!("GET {path}: {failure:?}"))?;
        let body: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        ensure!(answer.status == 200 && body["status"] == "success", "GET {path}: {} {body}", answer.status);
        Ok(body["data"].clone())
    }

    /// The samples that a query has now.
    fn query(&self, query: &str) -> Result<Vec<Value>> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(query)))?;
        data["result"].as_array().cloned().with_context(|| data.to_string())
    }

    /// What became of the last scrape of every job: `up`, or why it failed. `None` before the first.
    fn scrapes(&self) -> Option<BTreeMap<String, String>> {
        let data = self.ask("/api/v1/targets").ok()?;
        let targets = data["activeTargets"].as_array()?.iter();
        let outcome = |target: &Value| {
            let word = match target["health"].as_str()? {
                "unknown" => return None,
                "up" => "up",
                _ => target["lastError"].as_str()?,
            };
            Some((target["scrapePool"].as_str()?.to_owned(), word.to_owned()))
        };
        targets.map(outcome).collect()
    }

    /// All rules, by their names.
    fn rules(&self) -> Result<BTreeMap<String, Value>> {
        let data = self.ask("/api/v1/rules")?;
        let groups = data["groups"].as_array().context("no groups")?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.map(|rule| Ok((rule["name"].as_str().context("no name")?.to_owned(), rule.clone()))).collect()
    }

    /// Waits until an alert is pending or fires: how long it has to wait is what `promtool` tests.
    fn wait_alert(&self, name: &str) -> Result<()> {
        self.wait(&format!("{name} to be pending"), || {
            let state = self.rules().ok()?.get(name)?["state"].as_str()?.to_owned();
            (state == "pending" || state == "firing").then_some(())
        })
    }
}

/// The value of the one sample there is.
fn value(samples: &[Value]) -> Option<f64> {
    let [sample] = samples else { return None };
    sample["value"][1].as_str()?.parse().ok()
}

/// Percent-encoded, for a query parameter.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[test]
fn promtool_finds_nothing_wrong() {
    run(|| {
        let logs = ScratchDir::new("promtool")?;
        let promtool = |args: &[&str]| {
            let mut command = Command::new("promtool");
            command.args(args).current_dir(root().join("deploy/prometheus"));
            process::run("promtool", command, logs.path(), PROMTOOL)
        };
        promtool(&["check", "rules", "floodgate.rules.yml"])?;
        promtool(&["check", "config", "prometheus.yml"])?;
        promtool(&["test", "rules", "floodgate.rules.test.yml"])?;
        Ok(())
    });
}

/// Whoever is told something finds what it means, and nothing is told that was never seen firing.
#[test]
fn every_alert_is_tested_and_explained() {
    let alerts: Vec<&str> =
        RULES.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(RULE_TESTS.contains(&format!("\"{alert}\"")), "no test has {alert} firing");
        assert!(PAGE.contains(&format!("`{alert}`")), "docs/monitoring.md does not name {alert}");
    }
}

/// A path that does not exist becomes an empty folder in a container.
#[test]
fn the_compose_file_mounts_what_there_is() {
    let mounted = COMPOSE.lines().filter_map(|line| line.trim_start().strip_prefix("- ./"));
    let paths: Vec<&str> = mounted.filter_map(|mount| mount.split(':').next()).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "{path} is mounted and does not exist");
    }
}

#[test]
fn every_panel_and_every_rule_has_an_answer() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let panels = panels()?;
        let url = world.setting("store.url");
        postgres.psql(&url, &refuse("house_rule", "likes", "new.liker_account_id = 'forbidden'"))?;
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        send_some_of_everything(&serve)?;
        world.wait_drained(DRAINED)?;
        wait::until("the dead letter to be counted", READY, || {
            (consume.metrics().ok()?.sum("floodgate_dead_letters_total", &[]) == 1.0).then_some(())
        })?;

        let prometheus = Prometheus::start(&[&serve, &consume])?;
        for panel in &panels {
            answered(&prometheus, panel)?;
        }
        let rules = evaluated(&prometheus)?;

        // by their names they exist in one of the processes
        let of_rules = rules.values().filter_map(|rule| rule["query"].as_str());
        let queries = of_rules.chain(panels.iter().map(|panel| panel.query.as_str()));
        let asked: BTreeSet<String> = queries.flat_map(names).collect();
        let exported = [serve.metrics()?, consume.metrics()?];
        for name in asked {
            let is_exported = exported.iter().any(|metrics| metrics.count(&name, &[]) > 0);
            let is_recorded = rules.get(&name).is_some_and(|rule| rule["type"] == "recording");
            let is_seldom =
                SELDOM.iter().any(|(seldom, _)| *seldom == name) && REFERENCE.contains(&format!("`{name}"));
            let is_known = is_exported || is_recorded || is_seldom || OF_PROMETHEUS.contains(&name.as_str());
            ensure!(is_known, "nobody exports {name}");
        }

        // all is well, and then it is not
        prometheus.wait("no alert on a system that is well", || {
            let rules = prometheus.rules().ok()?;
            let is_silent = |rule: &Value| rule["type"] == "recording" || rule["state"] == "inactive";
            rules.values().all(is_silent).then_some(())
        })?;
        consume.stop()?;
        like(&serve, "star", "late")?;
        prometheus.wait_alert("FloodgateInstanceDown")?;
        prometheus.wait_alert("FloodgateGroupEmpty")?;
        serve.stop()
    });
}

/// As `docs/monitoring.md` has it: with the token by any name, without one by an address or a name that is listed.
#[test]
fn a_scrape_shows_the_token_or_asks_by_a_known_name() {
    let (guarded, listed) = (World::empty().unwrap(), World::empty().unwrap());
    run(|| {
        guarded.set("admin.token", "open-sesame-0123456789");
        listed.set("admin.hosts", "consumer-1");
        let (guarded, listed) = (guarded.start(&[])?, listed.start(&[])?);
        // a name leads to a process that is asked as its proxy
        let job = |name: &str, node: &Node, target: &str, token: &str| {
            let mut job = json!({"job_name": name, "static_configs": [{"targets": [target]}]});
            if !target.starts_with("127.") {
                job["proxy_url"] = json!(format!("http://{}", node.admin));
            }
            if !token.is_empty() {
                job["authorization"] = json!({ "credentials": token });
            }
            job
        };
        let jobs = json!([
            job("token", &guarded, "ingress-1:9600", "open-sesame-0123456789"),
            job("wrong-token", &guarded, &guarded.admin.to_string(), "open-sesame-0123456788"),
            job("no-token", &guarded, &guarded.admin.to_string(), ""),
            job("address", &listed, &listed.admin.to_string(), ""),
            job("listed", &listed, "consumer-1:9600", ""),
            job("unlisted", &listed, "consumer-2:9600", ""),
        ]);
        let prometheus = Prometheus::with(&jobs)?;
        let scrapes = prometheus.wait("every target to be scraped", || {
            prometheus.scrapes().filter(|scrapes| scrapes.len() == 6)
        })?;
        for (job, word) in [
            ("token", "up"),
            ("wrong-token", "401 Unauthorized"),
            ("no-token", "401 Unauthorized"),
            ("address", "up"),
            ("listed", "up"),
            ("unlisted", "421 Misdirected Request"),
        ] {
            ensure!(scrapes[job].ends_with(word), "{job}: {scrapes:?}");
        }
        guarded.stop()?;
        listed.stop()
    });
}

fn like(serve: &Node, target: &str, liker: &str) -> Result<u16> {
    Ok(serve.ask(&Ask::new("PUT", format!("/api/v6/characters/{target}/likes/{liker}")))?.status)
}

/// An event of each type, one that becomes a dead letter and one that is refused.
fn send_some_of_everything(serve: &Node) -> Result<()> {
    let coupon = json!({"couponId": "summer", "stock": 2}).to_string();
    let created = serve.ask(&Ask::new("POST", "/api/v6/coupons").json(coupon))?;
    ensure!(created.status == 201, "{} {}", created.status, created.text());
    let events = json!([
        {"type": "expectation", "characterId": 7, "presetNo": 1, "totalExpectedCost": "4", "blackCubeCost": "1",
         "redCubeCost": "1", "additionalCubeCost": "1", "starforceCost": "1", "calculatedAt": "2026-01-02T03:04:05Z"},
        {"type": "coupon", "couponId": "summer", "userId": "ann"},
        {"type": "like", "targetOcid": "star", "likerAccountId": "ann", "action": "LIKE"},
        {"type": "like", "targetOcid": "star", "likerAccountId": "forbidden", "action": "LIKE"},
    ]);
    let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(events.to_string()))?;
    let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
    let accepted = results.iter().filter(|result| result["status"] == "accepted").count();
    ensure!(accepted == 4, "{}", answer.text());
    let refused = like(serve, "narcissus", "narcissus")?;
    ensure!(refused == 422, "{refused}");
    Ok(())
}

/// Waits until a panel shows something, if it asks for anything that there always is.
fn answered(prometheus: &Prometheus, panel: &Panel) -> Result<()> {
    let Panel { title, query } = panel;
    let seldom = SELDOM.iter().find(|(name, _)| names(query).contains(*name));
    let answer = prometheus.wait(&format!("the panel {title:?} to show something"), || {
        match prometheus.query(query) {
            // a query that Prometheus does not take will not be taken later
            Err(error) => Some(Err(error)),
            Ok(samples) => (!samples.is_empty() || seldom.is_some()).then_some(Ok(())),
        }
    });
    answer.with_context(|| query.clone()).flatten().with_context(|| title.clone())
}

/// All rules, once Prometheus has evaluated each without an error.
fn evaluated(prometheus: &Prometheus) -> Result<BTreeMap<String, Value>> {
    let mut last = String::new();
    let rules = prometheus.wait("every rule to be evaluated", || {
        let rules = prometheus.rules().ok()?;
        let unwell = rules.iter().find(|(_, rule)| rule["health"] != "ok");
        last = unwell.map(|(name, rule)| format!("{name}: {rule}")).unwrap_or_default();
        (unwell.is_none() && !rules.is_empty()).then_some(rules)
    });
    rules.with_context(|| last)
}

/// What can be asked of one process alone: what it is, how full it is, and what it answered; from the start on.
#[test]
fn a_process_tells_what_it_is_and_how_full() {
    run(|| {
        let world = World::empty()?;
        world.set("shutdown.grace_ms", "3600000");
        world.set("shutdown.deadline_ms", "7200000");
        let node = world.start(&[])?;
        let is = |name: &str, labels: &[(&str, &str)], value: f64| -> Result<()> {
            let metrics = node.metrics()?;
            let found = metrics.series(name, labels).map(|(_, value)| value).collect::<Vec<_>>();
            ensure!(found == [value], "{name}{labels:?}: {found:?}, not {value}");
            Ok(())
        };
        is("floodgate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0)?;
        let process = [("role", "run"), ("strategy", "in-memory"), ("exports_lag", "yes")];
        is("floodgate_process_info", &process, 1.0)?;
        is("floodgate_ready", &[], 1.0)?;
        is("floodgate_buffer_events_max", &[("buffer", "in-memory")], 1e6)?;
        is("floodgate_http_connections_max", &[], world.number("http.connections_max")?)?;
        is("floodgate_waiters_max", &[], world.number("http.waiters_max")?)?;
        is("floodgate_http_bodies_bytes", &[], 0.0)?;
        is("floodgate_http_bodies_bytes_max", &[], world.number("http.bodies_max_bytes")?)?;
        is("floodgate_http_clients_max", &[], world.number("rate_limit.clients_max")?)?;
        is("floodgate_operators_connections_max", &[], 256.0)?;
        // the one that asks is among them
        ensure!(node.metrics()?.sum("floodgate_operators_connections", &[]) >= 1.0);
        is(
            "floodgate_database_connections_max",
            &[("pool", "requests")],
            world.number("store.max_connections")? - 1.0,
        )?;
        is("floodgate_database_waiting", &[("pool", "batches")], 0.0)?;
        let write = |status| [("method", "POST"), ("route", "/api/v6/expectations"), ("status", status)];
        for status in ["202", "400", "422", "503", "504"] {
            is("floodgate_http_requests_total", &write(status), 0.0)?;
        }
        for (name, labels) in [
            ("floodgate_events_refused_total", [("type", "like"), ("reason", "queue-full")]),
            ("floodgate_dead_letters_total", [("group", "floodgate.like"), ("reason", "bad-row")]),
            ("floodgate_events_applied_total", [("type", "coupon"), ("outcome", "SOLD_OUT")]),
            ("floodgate_position_incidents_total", [("group", "floodgate.like"), ("kind", "another-log")]),
        ] {
            is(name, &labels, 0.0)?;
        }
        for (name, labels) in [
            ("floodgate_http_problems_total", ("problem", "internal")),
            ("floodgate_cache_reads_total", ("result", "hit")),
            ("floodgate_part_panics_total", ("part", "lag-watch")),
            ("floodgate_group_rebalances_total", ("group", "floodgate.coupon")),
        ] {
            is(name, &[labels], 0.0)?;
        }

        accepted(&node.ask(&valid_expectation())?)?;
        node.ask(&Ask::new("POST", "/api/v6/expectations").json("{}"))?;
        node.get("/nowhere")?;
        is("floodgate_http_requests_total", &write("202"), 1.0)?;
        is("floodgate_http_request_seconds_count", &write("202"), 1.0)?;
        is("floodgate_http_requests_total", &write("400"), 1.0)?;
        is("floodgate_http_requests_total", &[("route", "other"), ("status", "404")], 1.0)?;
        wait::until("the lag to be read", READY, || {
            let metrics = node.metrics().ok()?;
            let read = metrics.series("floodgate_lag_as_of_seconds", &[]).next();
            read.is_some_and(|(_, at)| at > 1e9).then_some(())
        })?;

        node.process().terminate()?;
        node.wait_unready("shutting down")?;
        is("floodgate_ready", &[], 0.0)?;
        is("floodgate_unready", &[("reason", "shutting down")], 1.0)?;
        node.kill()
    });
}
