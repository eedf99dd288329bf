//! What the binary says and how it ends, and what every route answers to what clients get right and wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{ports, wait};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::client::{Answer, Ask};
use support::world::{Ended, Node, READY, Servers, World, partitions, run};
use uuid::Uuid;

/// One command: arguments, settings, exit code, and what must be in its words.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a [&'a str]);

fn check(world: &World, (args, settings, code, needles): Case<'_>) -> Result<Ended> {
    let ended = world.command_with(args, settings)?;
    ensure!(
        ended.code == code,
        "floodgate {args:?} {settings:?} ended with {}, not {code}: {ended:?}",
        ended.code
    );
    for needle in needles {
        let said = if code == 0 { &ended.stdout } else { &ended.stderr };
        ensure!(said.contains(needle), "floodgate {args:?} {settings:?} does not say {needle:?}: {ended:?}");
    }
    ensure!(code == 0 || ended.stdout.is_empty(), "results without success: {ended:?}");
    Ok(ended)
}

#[test]
fn mistakes_of_usage_and_configuration_end_with_2_and_say_what_to_change() {
    let world = World::empty().unwrap();
    std::fs::write(world.folder().join("typo.toml"), "[buffer.kafka]\nbroker = 'x'\n").unwrap();
    std::fs::write(world.folder().join("broken.toml"), "[http\n").unwrap();
    let kafka = ("buffer.strategy", "kafka");
    let cases: &[Case<'_>] = &[
        (
            &["config"],
            &[("buffer.strategie", "kafka")],
            2,
            &["`buffer.strategie`", "did you mean `buffer.strategy`?"],
        ),
        (&[], &[("topic.partitions", "3")], 2, &["did you mean `topics`?"]),
        (
            &["--config", "typo.toml"],
            &[],
            2,
            &["typo.toml", "`buffer.kafka.broker`", "did you mean `buffer.kafka.brokers`?"],
        ),
        (&["--config", "broken.toml", "config", "--check"], &[], 2, &["broken.toml"]),
        (&["--config", "absent.toml"], &[], 2, &["absent.toml"]),
        (&["config"], &[("buffer.strategy", "kafak")], 2, &["buffer.strategy", "kafak", "in-memory"]),
        (&["config"], &[("topics.partitions", "ten")], 2, &["TOPICS__PARTITIONS", "whole number"]),
        (&["config"], &[("topics.partitions", "0")], 2, &["topics.partitions"]),
        (
            &["config"],
            &[kafka, ("buffer.kafka.message_timeout_ms", "5000")],
            2,
            &["http.request_deadline_ms"],
        ),
        (&["serve"], &[kafka, ("buffer.kafka.client.acks", "1")], 2, &["acks"]),
        (
            &["serve"],
            &[kafka, ("buffer.kafka.client.enable_auto_commit", "true")],
            2,
            &["enable.auto.commit"],
        ),
        (&["run"], &[("store.url", "oracle://db")], 2, &["url", "sqlite", "postgres"]),
        (&["serve"], &[], 2, &["floodgate run", "in-memory"]),
        (&["consume"], &[], 2, &["floodgate run", "in-memory"]),
        (&["lag", "--json"], &[], 2, &["/lag"]),
        (
            &["consume", "--group", "floodgate.likes"],
            &[kafka],
            2,
            &["floodgate.likes", "floodgate.coupon, floodgate.like"],
        ),
        (&["serv"], &[], 2, &["serv"]),
        (&["topics"], &[], 2, &["create", "describe"]),
    ];
    run(|| cases.iter().try_for_each(|case| check(&world, *case).map(drop)));
}

#[test]
fn what_cannot_be_done_ends_with_1_and_says_why() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::empty().unwrap();
    run(|| {
        let nobody = format!("127.0.0.1:{}", ports::free_port()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free_port()?))?;
        let taken = listener.local_addr()?.to_string();
        let free = format!("127.0.0.1:{}", ports::free_port()?);
        let right = postgres.create_database()?;
        let wrong = right.replace("testkit:testkit@", "testkit:open-sesame@");
        let away = format!("postgres://ann:open-sesame@{nobody}/floodgate");
        let strategy = ("buffer.strategy", "kafka");
        let brokers = kafka.bootstrap();
        let cases: &[Case<'_>] = &[
            (&["migrate"], &[("store.url", &wrong)], 1, &["password", "testkit:***@"]),
            (&["migrate"], &[("store.url", &away)], 1, &[&nobody]),
            (
                &["topics", "create"],
                &[strategy, ("buffer.kafka.brokers", &nobody)],
                1,
                &[&nobody, "buffer.kafka.brokers"],
            ),
            (&["topics", "describe"], &[strategy, ("buffer.kafka.brokers", &nobody)], 1, &[&nobody]),
            (&["lag", "--json"], &[strategy, ("buffer.kafka.brokers", &nobody)], 1, &["Kafka"]),
            (&[], &[("http.listen", &taken)], 1, &["http.listen", &taken]),
            (&[], &[("http.listen", &free), ("admin.listen", &taken)], 1, &["admin.listen", &taken]),
            (
                &["topics", "describe"],
                &[strategy, ("buffer.kafka.brokers", &brokers), ("topics.prefix", "none.")],
                1,
                &["none.floodgate.like.v1", "floodgate topics create"],
            ),
            (
                &["lag", "--json"],
                &[strategy, ("buffer.kafka.brokers", &brokers), ("topics.prefix", "none.")],
                1,
                &["none.floodgate.", "floodgate topics create"],
            ),
        ];
        for case in cases {
            // what describe has to show comes before its failure
            let ended = match case.0 {
                ["topics", "describe"] => world.command_with(case.0, case.1)?,
                _ => check(&world, *case)?,
            };
            ensure!(
                ended.code == 1 && case.3.iter().all(|needle| ended.stderr.contains(needle)),
                "{ended:?}"
            );
            ensure!(!format!("{ended:?}").contains("open-sesame"), "tells the password: {ended:?}");
        }
        Ok(())
    });
}

#[test]
fn config_prints_what_is_in_force_without_secrets() {
    let world = World::empty().unwrap();
    run(|| {
        let defaults: toml::Table = world.succeed(&["config"])?.parse()?;
        ensure!(defaults["store"]["url"].as_str() == Some("sqlite://floodgate.db"), "{defaults}");
        ensure!(defaults["topics"]["partitions"].as_integer() == Some(10), "{defaults}");
        ensure!(world.succeed(&["config", "--check"])?.is_empty(), "--check prints something");

        world.set("store.url", "postgres://ann:open-sesame@db/floodgate");
        world.set("buffer.kafka.client.sasl_password", "open-sesame");
        world.set("buffer.kafka.client.security_protocol", "SASL_SSL");
        let printed = world.succeed(&["config"])?;
        ensure!(!printed.contains("open-sesame"), "tells a secret:\n{printed}");
        let table: toml::Table = printed.parse()?;
        ensure!(table["store"]["url"].as_str() == Some("postgres://ann:***@db/floodgate"), "{printed}");
        let client = &table["buffer"]["kafka"]["client"];
        ensure!(client["sasl.password"].as_str() == Some("***"), "{printed}");
        ensure!(client["security.protocol"].as_str() == Some("SASL_SSL"), "{printed}");

        // a file wins over the default, the environment over the file
        std::fs::write(world.folder().join("some.toml"), "[topics]\npartitions = 3\nprefix = 'a.'\n")?;
        world.set("topics.prefix", "b.");
        let table: toml::Table = world.succeed(&["--config", "some.toml", "config"])?.parse()?;
        ensure!(table["topics"]["partitions"].as_integer() == Some(3), "{table}");
        ensure!(table["topics"]["prefix"].as_str() == Some("b."), "{table}");
        Ok(())
    });
}

#[test]
fn topics_and_tables_come_from_their_commands_and_nodes_name_them() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::bare(kafka, postgres).unwrap().hurried();
    let like = world.named("floodgate.like.v1");
    run(|| {
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("floodgate topics create")?;
        let answer = serve.get("/readyz")?;
        ensure!(answer.status == 503, "the clients' /readyz: {} {}", answer.status, answer.text());
        problem(&serve.ask(&valid_expectation())?, 503, "not-stored", None)?;

        let created = check(&world, (&["topics", "create"], &[], 0, &[&like, "created"]))?;
        ensure!(created.stdout.matches(": created").count() == 4, "{created:?}");
        let again = check(&world, (&["topics", "create"], &[], 0, &[&like, "exists"]))?;
        ensure!(again.stdout.matches(": exists").count() == 4, "{again:?}");
        let more = [("topics.partitions", "12")];
        let reason = [&*like, "10 partitions", "12", "keys"];
        let differs = world.command_with(&["topics", "create"], &more)?;
        ensure!(differs.code == 1 && reason.iter().all(|word| differs.stderr.contains(word)), "{differs:?}");
        check(&world, (&["topics", "describe"], &[], 0, &[&like, "10 partitions", "leader"]))?;
        serve.wait_ready()?;

        // nobody has consumed; the broker may still be making itself the leader of the new partitions
        let lag = wait::until("the lag of new topics", READY, || world.lag().ok())?;
        lag_has_its_shape(&world, &lag)?;
        let none = partitions(&lag).all(|(_, partition)| partition["committedOffset"].is_null());
        ensure!(none, "committed before anyone consumed: {lag}");
        ensure!(groups(&lag).all(|group| group["status"] == "EMPTY" && group["members"] == 0), "{lag}");

        let consume = world.launch(&["consume"])?;
        consume.wait_unready("floodgate migrate")?;
        check(&world, (&["migrate"], &[], 0, &["created"]))?;
        check(&world, (&["migrate"], &[], 0, &["up to date"]))?;
        consume.wait_ready()?;

        accepted(&serve.ask(&valid_expectation())?)?;
        wait::until("the write to be read", READY, || {
            (serve.get("/api/v6/characters/4711/expectations").ok()?.status == 200).then_some(())
        })?;
        world.wait_drained(READY)?;
        let lag = world.lag()?;
        lag_has_its_shape(&world, &lag)?;
        let committed: Vec<_> =
            partitions(&lag).filter(|(_, partition)| partition["committedOffset"] == 1).collect();
        ensure!(committed.len() == 1 && committed[0].0 == world.named("floodgate.expectation"), "{lag}");
        ensure!(groups(&lag).all(|group| group["status"] == "OK"), "{lag}");

        // the operators' listener tells the same, and the ingress alone exports it
        let served = serve.ask_admin("/lag")?.json();
        lag_has_its_shape(&world, &served)?;
        for (name, group) in
            [("floodgate_lag_records", "group"), ("kafka_consumergroup_lag", "consumergroup")]
        {
            let metrics = serve.metrics()?;
            let labels = [(group, &*world.named("floodgate.like"))];
            ensure!(metrics.count(name, &labels) == 10, "{name}: {} series", metrics.count(name, &labels));
            ensure!(consume.metrics()?.count(name, &[]) == 0, "consumers export {name} too");
        }
        // one group alone
        consume.stop()?;
        let one = world.start(&["consume", "--group", "floodgate.like"])?;
        wait::until("one group to have members", READY, || {
            let lag = world.lag().ok()?;
            let members: Vec<i64> = groups(&lag).filter_map(|group| group["members"].as_i64()).collect();
            (members.iter().filter(|members| **members > 0).count() == 1).then_some(())
        })?;
        one.stop()?;
        serve.stop()
    });
}

fn groups(lag: &Value) -> impl Iterator<Item = &Value> {
    lag["groups"].as_array().into_iter().flatten()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

fn lag_has_its_shape(world: &World, lag: &Value) -> Result<()> {
    let is = |object: &Value, names: &[&str]| keys(object) == names.iter().copied().collect();
    ensure!(is(lag, &["asOf", "groups"]), "{lag}");
    lag["asOf"].as_str().context("no asOf")?.parse::<Timestamp>()?;
    for event in ["expectation", "coupon", "like"] {
        let name = world.named(&format!("floodgate.{event}"));
        let group =
            groups(lag).find(|group| group["group"] == name).with_context(|| format!("no {name}: {lag}"))?;
        ensure!(is(group, &["group", "status", "members", "topics"]), "{group}");
        let topic = &group["topics"][0];
        ensure!(is(topic, &["topic", "partitions"]) && topic["topic"] == format!("{name}.v1"), "{topic}");
        let partitions = topic["partitions"].as_array().context("no partitions")?;
        ensure!(partitions.len() == 10, "{topic}");
        for (number, partition) in partitions.iter().enumerate() {
            let names = [
                "partition",
                "startOffset",
                "endOffset",
                "committedOffset",
                "lag",
                "lagSeconds",
                "missing",
                "member",
            ];
            ensure!(is(partition, &names) && partition["partition"] == number, "{partition}");
        }
    }
    ensure!(groups(lag).count() == 3, "{lag}");
    Ok(())
}

// --- What the routes answer -----------------------------------------------------------------------------------------

fn expectation() -> Value {
    json!({
        "characterId": 4711, "presetNo": 2, "totalExpectedCost": "10.5", "blackCubeCost": 1, "redCubeCost": "2.25",
        "additionalCubeCost": "0", "starforceCost": "7.25", "calculatedAt": "2026-01-02T03:04:05.000006Z",
    })
}

fn valid_expectation() -> Ask {
    Ask::new("POST", "/api/v6/expectations").json(expectation().to_string())
}

fn in_an_hour() -> String {
    (Timestamp::now() + Duration::from_secs(3600)).to_string()
}

/// Checks a problem in all its parts and returns it.
fn problem(answer: &Answer, status: u16, name: &str, field: Option<&str>) -> Result<Value> {
    let told = format!("{} {}", answer.status, answer.text());
    ensure!(answer.status == status, "not {status} but {told}");
    ensure!(
        answer.header("content-type") == Some("application/problem+json"),
        "{:?}: {told}",
        answer.headers
    );
    let body = answer.json();
    ensure!(body["type"] == format!("/problems/{name}"), "not {name} but {told}");
    ensure!(body["status"] == status && body["retryable"] == (status >= 500 || status == 408), "{told}");
    ensure!(body["field"].as_str() == field, "not field {field:?} but {told}");
    for text in ["title", "detail"] {
        ensure!(body[text].as_str().is_some_and(|text| !text.is_empty()), "no {text}: {told}");
    }
    ensure!(answer.header("retry-after").is_some() == (status == 503), "{:?}: {told}", answer.headers);
    Ok(body)
}

/// Checks a 202 of a write and returns its id.
fn accepted(answer: &Answer) -> Result<Uuid> {
    let told = format!("{} {}", answer.status, answer.text());
    ensure!(answer.status == 202 && answer.header("content-type") == Some("application/json"), "{told}");
    let body = answer.json();
    ensure!(keys(&body) == BTreeSet::from(["eventId", "status"]) && body["status"] == "ACCEPTED", "{told}");
    Ok(body["eventId"].as_str().context("no eventId")?.parse()?)
}

/// Checks a 202 of a coupon request and returns its id.
fn pending(answer: &Answer) -> Result<Uuid> {
    let told = format!("{} {}", answer.status, answer.text());
    ensure!(answer.status == 202, "{told}");
    let body = answer.json();
    ensure!(keys(&body) == BTreeSet::from(["requestId", "status"]) && body["status"] == "PENDING", "{told}");
    let id = body["requestId"].as_str().context("no requestId")?;
    ensure!(
        answer.header("location") == Some(&format!("/api/v6/coupon-requests/{id}")),
        "{:?}",
        answer.headers
    );
    Ok(id.parse()?)
}

fn is_time(value: &Value) -> bool {
    // UTC, with microseconds
    value
        .as_str()
        .is_some_and(|text| text.len() == "2026-01-02T03:04:05.000006Z".len() && text.ends_with('Z'))
}

fn eventually(node: &Node, path: &str, what: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = String::new();
    wait::until(path, READY, || {
        let answer = node.get(path).ok()?;
        last = answer.text();
        (answer.status == 200 && what(&answer.json())).then(|| answer.json())
    })
    .with_context(|| last)
}

#[test]
fn routes_answer_what_the_contract_says() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
            ensure!(
                node.get(path)?.json()["status"] == status
                    && node.ask_admin(path)?.json()["status"] == status
            );
        }
        expectations(&node)?;
        likes(&node)?;
        coupons(&node)?;
        node.stop()
    });
}

fn expectations(node: &Node) -> Result<()> {
    let path = "/api/v6/characters/4711/expectations";
    problem(&node.get(path)?, 404, "not-found", None)?;
    let first = accepted(&node.ask(&valid_expectation())?)?;
    ensure!(first.get_version_num() == 7, "a fresh id is no UUIDv7: {first}");
    let read = eventually(node, path, |_| true)?;
    ensure!(keys(&read) == BTreeSet::from(["characterId", "presets", "fromCache"]), "{read}");
    ensure!(read["characterId"] == 4711 && read["fromCache"].is_boolean(), "{read}");
    let preset = &read["presets"][0];
    ensure!(is_time(&preset["updatedAt"]), "{preset}");
    let mut wanted = json!({
        "presetNo": 2, "totalExpectedCost": "10.50", "blackCubeCost": "1.00", "redCubeCost": "2.25",
        "additionalCubeCost": "0.00", "starforceCost": "7.25", "calculatedAt": "2026-01-02T03:04:05.000006Z",
        "version": 1_767_323_045_000_006_i64, "eventId": first,
    });
    wanted["updatedAt"] = preset["updatedAt"].clone();
    ensure!(read["presets"] == json!([wanted]), "{read}");

    // exactly as the digits say; an offset counts; a lower version is superseded; a key gives the same id again
    let body = r#"{"characterId":9223372036854775807,"presetNo":1,"totalExpectedCost":999999999999999999.99,
        "blackCubeCost":12345678901234567.89,"redCubeCost":"0.1","additionalCubeCost":0.01,"starforceCost":0,
        "calculatedAt":"2026-01-02T12:04:05+09:00","version":5}"#;
    let ask = Ask::new("POST", "/api/v6/expectations").json(body).key("key-12345678");
    let id = accepted(&node.ask(&ask)?)?;
    ensure!(id == accepted(&node.ask(&ask)?)? && id.get_version_num() == 5, "{id}");
    accepted(&node.ask(&Ask::new("POST", "/api/v6/expectations").json(body.replace(":5}", ":4}")))?)?;
    let path = "/api/v6/characters/9223372036854775807/expectations";
    let read = eventually(node, path, |_| true)?;
    let preset = &read["presets"][0];
    let shown = ["totalExpectedCost", "blackCubeCost", "redCubeCost", "calculatedAt"]
        .map(|name| preset[name].clone());
    let wanted = ["999999999999999999.99", "12345678901234567.89", "0.10", "2026-01-02T03:04:05.000000Z"];
    ensure!(shown == wanted && preset["eventId"] == json!(id) && preset["version"] == 5, "{read}");
    Ok(())
}

fn likes(node: &Node) -> Result<()> {
    ensure!(
        node.get("/api/v6/characters/nobody/likes")?.json() == json!({"targetOcid": "nobody", "count": 0})
    );
    ensure!(node.get("/api/v6/characters/nobody/likes/ann")?.json() == json!({"liked": false}));
    // ids are text: percent-encoded in a path, whatever they hold
    let (target, liker) = ("%EC%9A%A9%2F%25%20%F0%9F%90%89", "ann+bob%40x");
    let path = format!("/api/v6/characters/{target}/likes/{liker}");
    accepted(&node.ask(&Ask::new("PUT", &path))?)?;
    eventually(node, &path, |body| *body == json!({"liked": true}))?;
    let count = format!("/api/v6/characters/{target}/likes");
    eventually(node, &count, |body| *body == json!({"targetOcid": "용/% 🐉", "count": 1}))?;
    // older than the like: superseded
    accepted(&node.ask(&Ask::new("DELETE", &path).json(r#"{"occurredAt":"2020-01-01T00:00:00Z"}"#))?)?;
    accepted(&node.ask(&Ask::new("DELETE", &path).json("{}"))?)?;
    eventually(node, &path, |body| *body == json!({"liked": false}))?;
    eventually(node, &count, |body| body["count"] == 0)?;
    Ok(())
}

fn coupons(node: &Node) -> Result<()> {
    let create = |body: Value| node.ask(&Ask::new("POST", "/api/v6/coupons").json(body.to_string()));
    let terms = json!({"couponId": "one", "stock": 1, "opensAt": "2026-01-01T00:00:00Z"});
    let created = create(terms.clone())?;
    ensure!(created.status == 201, "{}", created.text());
    ensure!(create(terms.clone())?.status == 200, "again with the same body");
    let mut others = vec![json!({"couponId": "one", "stock": 2, "opensAt": "2026-01-01T00:00:00Z"})];
    others.push(json!({"couponId": "one", "stock": 1}));
    others.push(
        json!({"couponId": "one", "stock": 1, "opensAt": "2026-01-01T00:00:00Z", "closesAt": in_an_hour()}),
    );
    for other in others {
        problem(&create(other)?, 409, "coupon-exists", None)?;
    }
    let read = node.get("/api/v6/coupons/one")?.json();
    let wanted = json!({"couponId": "one", "stock": 1, "issued": 0, "remaining": 1,
        "opensAt": "2026-01-01T00:00:00.000000Z", "closesAt": null});
    ensure!(read == wanted, "{read}");
    create(json!({"couponId": "later", "stock": 1, "opensAt": in_an_hour()}))?;
    create(json!({"couponId": "over", "stock": 1, "closesAt": "2026-01-01T00:00:00Z"}))?;
    create(json!({"couponId": "none", "stock": 0}))?;

    let unknown = Uuid::now_v7();
    let decision = node.get(&format!("/api/v6/coupon-requests/{unknown}"))?;
    ensure!(decision.json() == json!({"requestId": unknown, "status": "PENDING"}), "{}", decision.text());
    let decided = [
        ("one", "ann", "ISSUED"),
        ("one", "ann", "DUPLICATE"),
        ("one", "bob", "SOLD_OUT"),
        ("later", "ann", "NOT_OPEN"),
        ("over", "ann", "NOT_OPEN"),
        ("none", "ann", "SOLD_OUT"),
        ("nothing", "ann", "UNKNOWN_COUPON"),
    ];
    for (coupon, user, outcome) in decided {
        let ask = Ask::new("POST", format!("/api/v6/coupons/{coupon}/issues"));
        let id = pending(&node.ask(&ask.json(json!({"userId": user}).to_string()))?)?;
        let path = format!("/api/v6/coupon-requests/{id}");
        let body = eventually(node, &path, |body| body["status"] != "PENDING")?;
        ensure!(is_time(&body["decidedAt"]), "{body}");
        let mut wanted = json!({"requestId": id, "status": outcome, "couponId": coupon, "userId": user});
        wanted["decidedAt"] = body["decidedAt"].clone();
        if outcome == "ISSUED" {
            wanted["rank"] = json!(1);
        }
        ensure!(body == wanted, "{body}, not {wanted}");
    }
    let read = node.get("/api/v6/coupons/one")?.json();
    ensure!(read["issued"] == 1 && read["remaining"] == 0, "{read}");
    Ok(())
}

#[test]
fn routes_refuse_mistakes_by_name() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let mut wrong = Vec::new();
        let mistakes = mistakes();
        for (ask, status, name, field) in &mistakes {
            let answer = node.ask(ask)?;
            if let Err(error) = problem(&answer, *status, name, *field) {
                let shown: String = String::from_utf8_lossy(&ask.body).chars().take(200).collect();
                wrong.push(format!("{} {:.200} {shown}: {error:#}", ask.method, ask.path));
            }
        }
        ensure!(wrong.is_empty(), "{} of {} answers:\n{}", wrong.len(), mistakes.len(), wrong.join("\n"));
        let metrics = node.metrics()?;
        ensure!(metrics.sum("floodgate_events_accepted_total", &[]) == 0.0, "a mistake was accepted");
        let refused = metrics.sum("floodgate_events_refused_total", &[("reason", "invalid-value")]);
        ensure!(refused > 10.0, "{refused} refusals counted as invalid-value");
        node.stop()
    });
}

type Mistake = (Ask, u16, &'static str, Option<&'static str>);

fn mistakes() -> Vec<Mistake> {
    let mut all = mistakes_in_expectations();
    all.extend(mistakes_in_likes());
    all.extend(mistakes_with_coupons());
    all.extend(mistakes_on_any_route());
    all
}

/// A valid expectation but for one field.
fn with(field: &str, value: Value) -> Ask {
    let mut body = expectation();
    body[field] = value;
    Ask::new("POST", "/api/v6/expectations").json(body.to_string())
}

fn without(field: &str) -> Ask {
    let mut body = expectation();
    body.as_object_mut().unwrap().remove(field);
    Ask::new("POST", "/api/v6/expectations").json(body.to_string())
}

fn mistakes_in_expectations() -> Vec<Mistake> {
    let post = || Ask::new("POST", "/api/v6/expectations");
    let mut all: Vec<Mistake> = vec![
        (post().json(""), 400, "malformed-json", None),
        (post().json("{"), 400, "malformed-json", None),
        (post().json("[]"), 400, "malformed-json", None),
        (post().json("null"), 400, "malformed-json", None),
        (post().json(format!("{} x", expectation())), 400, "malformed-json", None),
        (post().json(r#"{"presetNo":1,"presetNo":2}"#), 400, "invalid-field", Some("presetNo")),
        (with("characterID", json!(1)), 400, "invalid-field", Some("characterID")),
        (with("characterId", json!("1")), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!(0)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(1.5)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(u64::MAX)), 422, "invalid-value", Some("characterId")),
        (with("presetNo", json!(0)), 422, "invalid-value", Some("presetNo")),
        (with("presetNo", json!(4)), 422, "invalid-value", Some("presetNo")),
        (with("presetNo", json!(null)), 400, "invalid-field", Some("presetNo")),
        (with("version", json!("1")), 400, "invalid-field", Some("version")),
        (with("version", json!(u64::MAX)), 422, "invalid-value", Some("version")),
        (with("calculatedAt", json!(1_767_323_045)), 400, "invalid-field", Some("calculatedAt")),
        (with("calculatedAt", json!("yesterday")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-01-02T03:04:05")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!(in_an_hour())), 422, "invalid-value", Some("calculatedAt")),
        (with("starforceCost", json!(true)), 400, "invalid-field", Some("starforceCost")),
    ];
    for cost in [
        json!("-1"),
        json!(-1),
        json!("1.005"),
        json!("1e3"),
        json!("1000000000000000000"),
        json!("ten"),
        json!(""),
    ] {
        all.push((with("redCubeCost", cost), 422, "invalid-value", Some("redCubeCost")));
    }
    let exponent = expectation().to_string().replace("\"10.5\"", "1e3");
    all.push((post().json(exponent), 422, "invalid-value", Some("totalExpectedCost")));
    for name in [
        "characterId",
        "presetNo",
        "totalExpectedCost",
        "blackCubeCost",
        "redCubeCost",
        "additionalCubeCost",
        "starforceCost",
        "calculatedAt",
    ] {
        all.push((without(name), 400, "invalid-field", Some(name)));
    }
    for key in ["short", "has space in it", &"x".repeat(129)] {
        all.push((valid_expectation().key(key), 400, "invalid-request", Some("Idempotency-Key")));
    }
    let twice = valid_expectation().key("key-12345678").key("key-12345678");
    all.push((twice, 400, "invalid-request", Some("Idempotency-Key")));
    let read = |id: &str| Ask::get(format!("/api/v6/characters/{id}/expectations"));
    all.push((read("1"), 404, "not-found", None));
    all.push((read("0"), 422, "invalid-value", Some("characterId")));
    all.push((read("x"), 422, "invalid-value", Some("characterId")));
    all
}

fn mistakes_in_likes() -> Vec<Mistake> {
    let like =
        |target: &str, liker: &str| Ask::new("PUT", format!("/api/v6/characters/{target}/likes/{liker}"));
    let unlike = |body: &str| Ask::new("DELETE", "/api/v6/characters/t/likes/l").json(body);
    let (long, future) = ("x".repeat(129), in_an_hour());
    vec![
        (like("same", "same"), 422, "invalid-value", Some("likerAccountId")),
        (like("t", "l").key("key-12345678"), 422, "invalid-value", Some("occurredAt")),
        (unlike("{}").key("key-12345678"), 422, "invalid-value", Some("occurredAt")),
        (unlike(&format!(r#"{{"occurredAt":"{future}"}}"#)), 422, "invalid-value", Some("occurredAt")),
        (unlike(r#"{"occurredAt":17}"#), 400, "invalid-field", Some("occurredAt")),
        (unlike(r#"{"occuredAt":"2026-01-02T03:04:05Z"}"#), 400, "invalid-field", Some("occuredAt")),
        (unlike("nonsense"), 400, "malformed-json", None),
        (like("t", "l").body("{}"), 415, "unsupported-media-type", None),
        (like(&long, "l"), 422, "invalid-value", Some("targetOcid")),
        (like("t", &long), 422, "invalid-value", Some("likerAccountId")),
        (like("t%00", "l"), 422, "invalid-value", Some("targetOcid")),
        (like("t", "l%1F"), 422, "invalid-value", Some("likerAccountId")),
        (like("t%FF", "l"), 400, "invalid-request", Some("path")),
        (Ask::get(format!("/api/v6/characters/{long}/likes")), 422, "invalid-value", Some("targetOcid")),
        (
            Ask::get(format!("/api/v6/characters/t/likes/{long}")),
            422,
            "invalid-value",
            Some("likerAccountId"),
        ),
    ]
}

fn mistakes_with_coupons() -> Vec<Mistake> {
    let create = |body: Value| Ask::new("POST", "/api/v6/coupons").json(body.to_string());
    let issue = |coupon: &str, body: Value| {
        Ask::new("POST", format!("/api/v6/coupons/{coupon}/issues")).json(body.to_string())
    };
    let (long, id) = ("x".repeat(129), Uuid::now_v7());
    let closes = json!({"couponId": "c", "stock": 1, "opensAt": "2026-01-01T00:00:00Z", "closesAt": "2026-01-01T00:00:00Z"});
    vec![
        (create(json!({"couponId": "c"})), 400, "invalid-field", Some("stock")),
        (create(json!({"stock": 1})), 400, "invalid-field", Some("couponId")),
        (create(json!({"couponId": 1, "stock": 1})), 400, "invalid-field", Some("couponId")),
        (create(json!({"couponId": "c", "stock": "1"})), 400, "invalid-field", Some("stock")),
        (create(json!({"couponId": "c", "stock": 1, "count": 1})), 400, "invalid-field", Some("count")),
        (create(json!({"couponId": "", "stock": 1})), 422, "invalid-value", Some("couponId")),
        (create(json!({"couponId": "a\u{0}b", "stock": 1})), 422, "invalid-value", Some("couponId")),
        (create(json!({"couponId": long, "stock": 1})), 422, "invalid-value", Some("couponId")),
        (create(json!({"couponId": "c", "stock": -1})), 422, "invalid-value", Some("stock")),
        (create(json!({"couponId": "c", "stock": 2_147_483_648_i64})), 422, "invalid-value", Some("stock")),
        (
            create(json!({"couponId": "c", "stock": 1, "opensAt": "now"})),
            422,
            "invalid-value",
            Some("opensAt"),
        ),
        (create(closes), 422, "invalid-value", Some("closesAt")),
        (Ask::get("/api/v6/coupons/c"), 404, "not-found", None),
        (issue("c", json!({})), 400, "invalid-field", Some("userId")),
        (issue("c", json!({"userId": 1})), 400, "invalid-field", Some("userId")),
        (issue("c", json!({"userId": "u", "couponId": "c"})), 400, "invalid-field", Some("couponId")),
        (issue("c", json!({"userId": ""})), 422, "invalid-value", Some("userId")),
        (issue("c", json!({"userId": "a\nb"})), 422, "invalid-value", Some("userId")),
        (issue(&long, json!({"userId": "u"})), 422, "invalid-value", Some("couponId")),
        (issue("c", json!({"userId": "u"})).key("short"), 400, "invalid-request", Some("Idempotency-Key")),
        (Ask::get("/api/v6/coupon-requests/4711"), 400, "invalid-request", Some("requestId")),
        (Ask::get(format!("/api/v6/coupon-requests/{id}?waitms=1")), 400, "invalid-request", Some("waitms")),
    ]
}

/// What all routes have in common.
fn mistakes_on_any_route() -> Vec<Mistake> {
    let mut all: Vec<Mistake> = vec![
        (Ask::get("/"), 404, "not-found", None),
        (Ask::get("/api/v6/expectation"), 404, "not-found", None),
        (Ask::new("POST", "/api/v5/expectations").json("{}"), 404, "not-found", None),
        (Ask::get("/metrics"), 404, "not-found", None),
    ];
    let posts = ["/api/v6/expectations", "/api/v6/coupons", "/api/v6/coupons/c/issues"];
    for path in posts {
        let body = format!("{{\"filler\":\"{}\"}}", "x".repeat(8 * 1024 * 1024));
        all.push((Ask::new("POST", path).json(body), 413, "body-too-large", None));
        all.push((Ask::new("POST", path).body("{}"), 415, "unsupported-media-type", None));
        let text = Ask::new("POST", path).header("content-type", "text/plain").body("{}");
        all.push((text, 415, "unsupported-media-type", None));
    }
    let reads = [
        "/api/v6/characters/1/expectations",
        "/api/v6/coupons/c",
        "/api/v6/coupon-requests/00000000-0000-4000-8000-000000000000",
        "/api/v6/characters/t/likes",
    ];
    for path in reads {
        all.push((Ask::new("POST", path).json("{}"), 405, "method-not-allowed", None));
    }
    for path in posts {
        all.push((Ask::new("PATCH", path).json("{}"), 405, "method-not-allowed", None));
    }
    all.push((Ask::new("POST", "/api/v6/characters/t/likes/l").json("{}"), 405, "method-not-allowed", None));
    all.push((Ask::new("DELETE", "/healthz"), 405, "method-not-allowed", None));
    for path in [
        "/api/v6/characters/1/expectations",
        "/api/v6/coupons/c",
        "/api/v6/characters/t/likes",
        "/api/v6/characters/t/likes/l",
    ] {
        all.push((Ask::get(format!("{path}?page=2")), 400, "invalid-request", Some("page")));
    }
    for path in posts {
        all.push((Ask::new("POST", format!("{path}?dry=1")).json("{}"), 400, "invalid-request", Some("dry")));
    }
    all.push((Ask::new("PUT", "/api/v6/characters/t/likes/l?at=1"), 400, "invalid-request", Some("at")));
    all
}
