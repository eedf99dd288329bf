//! What clients get wrong: every mistake is refused by its name, nothing of it is stored, and the process is well
//! afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::{Value, json};
use support::answers::{accepted, expectation, from_now, in_microseconds, problem, valid_expectation};
use support::client::Ask;
use support::mistakes::{mistakes, with};
use support::node::Node;
use support::raw::{connect, read_nothing};
use support::world::{READY, World, run};

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

/// What is refused is told why, in words that are true.
#[test]
fn refusals_say_what_is_wrong() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let post = |body: String| Ask::new("POST", "/api/v6/expectations").json(body);
        let instead = |value: &str| post(expectation().to_string().replace("4711", value));
        let coupon = |closes: &str| {
            let body = json!({"couponId": "c", "stock": 1, "closesAt": closes});
            Ask::new("POST", "/api/v6/coupons").json(body.to_string())
        };
        for (ask, words) in [
            (
                with("version", json!(i64::MAX)),
                "`version` lies too far ahead: no later write could count (at most ",
            ),
            (instead("1.5"), "`characterId` must be a whole number, without a fraction"),
            (instead("1e30"), "`characterId` must lie between -2^63 and 2^63-1"),
            (instead("\"1\""), "`characterId` must be a whole number"),
            (coupon("9999-12-31T23:59:59-09:00"), "`closesAt` lies outside the years 0001 to 9999 (in UTC)"),
            (coupon("2016-12-31T23:59:60Z"), "`closesAt` names a leap second, which cannot be kept"),
            (
                coupon("2026-02-30T00:00:00Z"),
                "`closesAt` names a day, a time of day or an offset that does not exist",
            ),
            (coupon("tomorrow"), "`closesAt` is not an RFC 3339 time such as 2026-"),
            (post("\u{feff}{}".to_owned()), "the body begins with a byte order mark (U+FEFF)"),
            (
                post("{\n\"characterId\":1,\n}".to_owned()),
                "the body is not valid JSON: trailing comma at line 3 column 1",
            ),
            (
                post("{\"characterId\":1,}".to_owned()),
                "the body is not valid JSON: trailing comma at column 18",
            ),
        ] {
            let told = node.ask(&ask)?.json();
            ensure!(
                told["detail"].as_str().is_some_and(|detail| detail.starts_with(words)),
                "{words:?}: {told}"
            );
        }
        node.stop()
    });
}

/// It takes a right event, also from a clock that is almost as wrong as it may be, and a version that is.
fn is_well(node: &Node) -> Result<()> {
    accepted(&node.ask(&valid_expectation())?)?;
    accepted(&node.ask(&with("version", json!(in_microseconds(280))))?)?;
    accepted(&node.ask(&with("calculatedAt", json!(from_now(280))))?).map(drop)
}

/// Sends bytes and reads until the server closes, which it must do in time.
fn exchange(node: &Node, bytes: &[u8]) -> Result<String> {
    let mut stream = connect(node.http)?;
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
        let mut half = connect(node.http)?;
        half.write_all(post("content-length: 100\r\n\r\n{").as_bytes())?;
        half.shutdown(std::net::Shutdown::Write)?;
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
        read_nothing(&node, &mut connect(node.http)?)?;
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
    let game = "https://game.example";
    world.set("http.allow_origins", game);
    run(|| {
        let node = world.start(&[])?;
        let mut padded = expectation().to_string();
        padded += &" ".repeat(1000 - padded.len());
        let post = |body: String| Ask::new("POST", "/api/v6/expectations").json(body);
        accepted(&node.ask(&post(padded.clone()))?)?;
        problem(&node.ask(&post(padded + " "))?, 413, "body-too-large", None)?;
        ensure!(node.get(&format!("/healthz?{}", "x".repeat(91)))?.status == 200);
        let long = Ask::get(format!("/healthz?{}", "x".repeat(92))).header("origin", game);
        let refused = node.ask(&long)?;
        problem(&refused, 414, "target-too-long", None)?;
        ensure!(refused.header("access-control-allow-origin") == Some(game), "a page cannot read why");
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
        let ask = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut open = (0..3).map(|_| connect(node.http)).collect::<Result<Vec<_>>>()?;
        for stream in &mut open {
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
        // whoever asks how the process is waits for nobody
        support::raw::ask(&mut connect(node.http)?)?;
        drop(open.pop());
        third.read_exact(&mut byte).context("the third was not served when another had gone")?;
        Ok(())
    });
}
