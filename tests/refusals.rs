//! What clients get wrong: every mistake is refused by its name, nothing of it is stored, and the process is well
//! afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::{Value, json};
use support::answers::{accepted, expectation, from_now, in_an_hour, problem, valid_expectation};
use support::client::Ask;
use support::world::{Node, READY, World, run};
use uuid::Uuid;

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
        let told = metrics.sum("floodgate_http_problems_total", &[]);
        ensure!(told == mistakes.len() as f64, "{told} problems counted, of {}", mistakes.len());
        is_well(&node)?;
        node.stop()
    });
}

/// It takes a right event, also from a clock that is almost as wrong as it may be.
fn is_well(node: &Node) -> Result<()> {
    accepted(&node.ask(&valid_expectation())?)?;
    accepted(&node.ask(&with("calculatedAt", json!(from_now(280))))?).map(drop)
}

/// Sends bytes and reads until the server closes, which it must do in time.
fn exchange(node: &Node, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(node.http)?;
    stream.set_read_timeout(Some(READY))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("the server did not close")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Checks the last answer in what a connection said.
fn told(answer: &str, status: u16, name: &str) -> Result<()> {
    ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "not {status} but {answer:?}");
    ensure!(answer.contains("content-type: application/problem+json"), "{answer:?}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let body: Value = serde_json::from_str(body).with_context(|| answer.to_owned())?;
    ensure!(body["type"] == format!("/problems/{name}") && body["status"] == status, "{body}");
    Ok(())
}

#[test]
fn what_is_no_request_is_told_so() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let field = |count: usize| format!("x: {}\r\n", "y".repeat(count));
        let head = "GET /healthz HTTP/1.1\r\nhost: x\r\n";
        let cases = [
            ("nonsense\r\n\r\n".to_owned(), 400, "invalid-request"),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(), 400, "invalid-request"),
            ("GET / HTTP/3.0\r\n\r\n".to_owned(), 400, "invalid-request"),
            (format!("{head}no colon\r\n\r\n"), 400, "invalid-request"),
            (format!("{head}content-length: -1\r\n\r\n"), 400, "invalid-request"),
            (format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\n"), 400, "invalid-request"),
            (format!("{head}{}\r\n", field(70_000)), 431, "head-too-large"),
            (format!("{head}{}\r\n", field(1).repeat(200)), 431, "head-too-large"),
        ];
        for (request, status, name) in &cases {
            let shown: String = request.chars().take(80).collect();
            told(&exchange(&node, request.as_bytes())?, *status, name).with_context(|| shown)?;
        }
        let counted = node.metrics()?.sum("floodgate_http_problems_total", &[]);
        ensure!(counted == cases.len() as f64, "{counted} problems counted, of {}", cases.len());
        is_well(&node)?;
        node.stop()
    });
}

#[test]
fn who_sends_too_slowly_or_breaks_off_is_let_go() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        let post = |rest: &str| {
            format!(
                "POST /api/v6/expectations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{rest}"
            )
        };
        // a head that does not end is no request: the connection is closed without a word
        ensure!(exchange(&node, post("").as_bytes())?.is_empty(), "a head without end has an answer");
        ensure!(exchange(&node, b"")?.is_empty(), "a connection without a request has an answer");
        // bodies that do not end: too short, or chunks without a last one
        for body in [
            "connection: close\r\ncontent-length: 100\r\n\r\n{",
            "connection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        ] {
            told(&exchange(&node, post(body).as_bytes())?, 408, "body-timeout").with_context(|| body)?;
        }
        let broken = "connection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n";
        told(&exchange(&node, post(broken).as_bytes())?, 400, "invalid-request")?;
        // half of a request, and then the client has nothing more to say
        let mut half = TcpStream::connect(node.http)?;
        half.write_all(post("content-length: 100\r\n\r\n{").as_bytes())?;
        half.shutdown(std::net::Shutdown::Write)?;
        half.set_read_timeout(Some(READY))?;
        let mut rest = String::new();
        half.read_to_string(&mut rest).context("the server did not close")?;
        ensure!(rest.is_empty() || rest.starts_with("HTTP/1.1 400"), "{rest}");

        let accepted = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        ensure!(accepted == 0.0, "something of it was stored");
        is_well(&node)?;
        node.stop()
    });
}

/// A client that sends and does not read is let go, and with it the answers it does not take.
#[test]
fn who_reads_nothing_is_let_go() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        // ten thousand refusals are an answer of a megabyte and more; several are more than sockets hold
        let body = format!("[{}1]", "1,".repeat(9999));
        let head = "POST /api/v6/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(node.http)?;
        stream.set_write_timeout(Some(READY))?;
        let mut sent = 0;
        // until the server has closed, or holds so many that it should have
        while sent < 1000 && stream.write_all(request.as_bytes()).is_ok() {
            sent += 1;
        }
        ensure!(sent < 1000, "the server took {sent} requests of a client that read no answer");
        wait::until("the connection to be gone", READY, || {
            (node.metrics().ok()?.sum("floodgate_http_connections", &[]) == 0.0).then_some(())
        })?;
        is_well(&node)?;
        node.stop()
    });
}

#[test]
fn limits_are_exact_and_idle_connections_are_only_connections() {
    let world = World::empty().unwrap();
    let settings = [("body_max_bytes", "1000"), ("target_max_bytes", "100"), ("events_max", "3")];
    for (key, value) in settings {
        world.set(&format!("http.{key}"), value);
    }
    run(|| {
        let node = world.start(&[])?;
        let mut padded = expectation().to_string();
        padded += &" ".repeat(1000 - padded.len());
        let post = |body: String| Ask::new("POST", "/api/v6/expectations").json(body);
        accepted(&node.ask(&post(padded.clone()))?)?;
        problem(&node.ask(&post(padded + " "))?, 413, "body-too-large", None)?;
        ensure!(node.get(&format!("/healthz?{}", "x".repeat(91)))?.status == 200);
        problem(&node.get(&format!("/healthz?{}", "x".repeat(92)))?, 414, "target-too-long", None)?;
        let batch = |events: &str| Ask::new("POST", "/api/v6/events").json(events);
        ensure!(node.ask(&batch("[1,2,3]"))?.status == 200);
        problem(&node.ask(&batch("[1,2,3,4]"))?, 413, "too-many-events", None)?;

        rlimit::increase_nofile_limit(16_000)?;
        let idle: Vec<TcpStream> =
            (0..3000).map(|_| TcpStream::connect(node.http)).collect::<Result<_, _>>()?;
        wait::until("thousands of connections", READY, || {
            let open = node.metrics().ok()?.sum("floodgate_http_connections", &[]);
            (open >= 3000.0).then_some(())
        })?;
        is_well(&node)?;
        drop(idle);
        node.stop()
    });
}

#[test]
fn more_connections_than_configured_wait_their_turn() {
    let world = World::empty().unwrap();
    world.set("http.connections_max", "2");
    world.set("http.waiters_max", "1");
    run(|| {
        let node = world.start(&[])?;
        let ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut open: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(node.http)).collect::<Result<_, _>>()?;
        for stream in &mut open {
            stream.set_read_timeout(Some(READY))?;
            stream.write_all(ask)?;
        }
        let mut byte = [0];
        for stream in &mut open[..2] {
            stream.read_exact(&mut byte)?;
        }
        wait::until("the third to wait", READY, || {
            let full = node.metrics().ok()?.sum("floodgate_http_connections_full_total", &[]);
            (full > 0.0).then_some(())
        })?;
        let mut third = open.pop().context("three connections")?;
        third.set_nonblocking(true)?;
        ensure!(third.read(&mut byte).is_err(), "the third was served");
        third.set_nonblocking(false)?;
        drop(open.pop());
        third.read_exact(&mut byte).context("the third was not served when another had gone")?;
        Ok(())
    });
}

type Mistake = (Ask, u16, &'static str, Option<&'static str>);

fn mistakes() -> Vec<Mistake> {
    let mut all = mistakes_in_expectations();
    all.extend(mistakes_in_likes());
    all.extend(mistakes_with_coupons());
    all.extend(mistakes_in_batches());
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
        (post().json("{\"characterId\":".to_owned() + &"[".repeat(100_000)), 400, "malformed-json", None),
        (
            post().json("{\"characterId\":".to_owned() + &"{\"a\":".repeat(100_000)),
            400,
            "malformed-json",
            None,
        ),
        (post().json(wide()), 400, "invalid-field", Some("k0")),
        (post().json("\u{feff}{}"), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "NaN")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "Infinity")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "04711")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "0x10")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "+1")), 400, "malformed-json", None),
        (bytes(b"{\"characterId\":\"\xff\"}"), 400, "malformed-json", None),
        (bytes(b"{\"\xc3\x28\":1}"), 400, "malformed-json", None),
        (bytes(b"\x00"), 400, "malformed-json", None),
        (post().json(r#"{"presetNo":1,"presetNo":2}"#), 400, "invalid-field", Some("presetNo")),
        (with("characterID", json!(1)), 400, "invalid-field", Some("characterID")),
        (with("characterId", json!("1")), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!(0)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(1.5)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(-1)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(1e30)), 422, "invalid-value", Some("characterId")),
        (
            with("characterId", json!(9_223_372_036_854_775_808_u64)),
            422,
            "invalid-value",
            Some("characterId"),
        ),
        (with("characterId", json!([1])), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!({})), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!(u64::MAX)), 422, "invalid-value", Some("characterId")),
        (with("presetNo", json!(0)), 422, "invalid-value", Some("presetNo")),
        (with("presetNo", json!(4)), 422, "invalid-value", Some("presetNo")),
        (with("presetNo", json!(null)), 400, "invalid-field", Some("presetNo")),
        (with("version", json!("1")), 400, "invalid-field", Some("version")),
        (with("version", json!(u64::MAX)), 422, "invalid-value", Some("version")),
        (with("calculatedAt", json!(1_767_323_045)), 400, "invalid-field", Some("calculatedAt")),
        (with("calculatedAt", json!("yesterday")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-01-02")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-13-02T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-02-30T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-01-02T24:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("99999-01-02T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("-0001-01-02T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("")), 422, "invalid-value", Some("calculatedAt")),
        (
            with("calculatedAt", json!("2026-01-02T03:04:05Z\u{0}")),
            422,
            "invalid-value",
            Some("calculatedAt"),
        ),
        (with("calculatedAt", json!("2026-01-02T03:04:05")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!(in_an_hour())), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!(from_now(320))), 422, "invalid-value", Some("calculatedAt")),
        (with("starforceCost", json!(true)), 400, "invalid-field", Some("starforceCost")),
    ];
    for cost in [
        json!("-1"),
        json!(-1),
        json!("1.005"),
        json!("1e3"),
        json!("1000000000000000000"),
        json!("9".repeat(400)),
        json!("0.".to_owned() + &"0".repeat(400)),
        json!("1.234"),
        json!("NaN"),
        json!("inf"),
        json!(" 1"),
        json!("1,5"),
        json!("٣"),
        json!("1\u{0}"),
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

/// An expectation whose bytes are not the test language's.
fn bytes(body: &'static [u8]) -> Ask {
    Ask::new("POST", "/api/v6/expectations").header("content-type", "application/json").body(body)
}

/// An object with very many names.
fn wide() -> String {
    let fields: Vec<_> = (0..100_000).map(|number| format!("\"k{number}\":1")).collect();
    format!("{{{}}}", fields.join(","))
}

/// The whole body is refused only when it is no list of events.
fn mistakes_in_batches() -> Vec<Mistake> {
    let post = || Ask::new("POST", "/api/v6/events");
    let lines = |body: String| post().header("content-type", "application/x-ndjson").body(body);
    vec![
        (post().json(""), 400, "malformed-json", None),
        (post().json("{}"), 400, "malformed-json", None),
        (post().json("[{}"), 400, "malformed-json", None),
        (post().json("[{},]"), 400, "malformed-json", None),
        (post().json("[{}] []"), 400, "malformed-json", None),
        (post().json("[".repeat(100_000)), 400, "malformed-json", None),
        (post().json(format!("[{}1]", "1,".repeat(10_000))), 413, "too-many-events", None),
        (lines("1\n".repeat(10_001)), 413, "too-many-events", None),
        (post().json("[]").key("key-12345678"), 400, "invalid-request", Some("Idempotency-Key")),
        (post().header("content-type", "application/ndjson").body("{}"), 415, "unsupported-media-type", None),
        (post().body("[]"), 415, "unsupported-media-type", None),
        (Ask::new("POST", "/api/v6/events?wait=1").json("[]"), 400, "invalid-request", Some("wait")),
        (Ask::get("/api/v6/events"), 405, "method-not-allowed", None),
    ]
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
        (wait_ms(id, "30001"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "-1"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "+1"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "1.5"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, ""), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "1&waitMs=2"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "99999999999999999999"), 400, "invalid-request", Some("waitMs")),
    ]
}

fn wait_ms(request: Uuid, value: &str) -> Ask {
    Ask::get(format!("/api/v6/coupon-requests/{request}?waitMs={value}"))
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
        let typed = |media_type: &str| Ask::new("POST", path).header("content-type", media_type).body("{}");
        all.push((typed("application/json; charset=latin1"), 415, "unsupported-media-type", None));
        all.push((typed("application/jsonx"), 415, "unsupported-media-type", None));
        all.push((typed(""), 415, "unsupported-media-type", None));
        let zipped = Ask::new("POST", path).header("content-encoding", "gzip").json("{}");
        all.push((zipped, 415, "unsupported-media-type", None));
    }
    all.push((Ask::get(format!("/{}", "x".repeat(8192))), 414, "target-too-long", None));
    all.push((Ask::get(format!("/?{}", "x".repeat(60_000))), 414, "target-too-long", None));
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
