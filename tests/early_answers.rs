//! Requests that are refused before they were read: the answer comes at once, and arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use support::answers::{expectation, valid_expectation};
use support::raw::{answer, connect};
use support::world::{World, run};

const BODY_BYTES: usize = 1_000_000;

/// A client that still writes when the connection is closed learns of it.
const MORE_THAN_SOCKETS_HOLD: usize = 12_000_000;

/// A head, and with it the body that it announces.
struct Refused {
    head: String,
    status: u16,
    problem: &'static str,
}

fn refused(line: &str, fields: &str, status: u16, problem: &'static str) -> Refused {
    Refused { head: format!("{line} HTTP/1.1\r\nhost: x\r\n{fields}"), status, problem }
}

/// What is clear from the head of a request to the clients' listener.
fn clear_from_the_head() -> Vec<Refused> {
    let json = "content-type: application/json\r\n";
    let long = "x".repeat(129);
    vec![
        refused("POST /api/v6/expectation", json, 404, "not-found"),
        refused("PATCH /api/v6/expectations", json, 405, "method-not-allowed"),
        refused("POST /api/v6/expectations", "", 415, "unsupported-media-type"),
        refused(
            "POST /api/v6/expectations",
            &format!("{json}content-encoding: br\r\n"),
            415,
            "unsupported-media-type",
        ),
        refused("POST /api/v6/expectations?dry=1", json, 400, "invalid-request"),
        refused(
            "POST /api/v6/expectations",
            &format!("{json}idempotency-key: short\r\n"),
            400,
            "invalid-request",
        ),
        refused(&format!("POST /api/v6/coupons/{long}/issues"), json, 422, "invalid-value"),
        refused("PUT /api/v6/characters/t%00/likes/l", json, 422, "invalid-value"),
        refused(
            "PUT /api/v6/characters/t/likes/l",
            "content-type: text/plain\r\n",
            415,
            "unsupported-media-type",
        ),
        refused("POST /api/v6/events", "content-type: text/plain\r\n", 415, "unsupported-media-type"),
        refused("POST /api/v6/expectations", json, 413, "body-too-large"),
        refused("POST /api/v6/events", json, 413, "body-too-large"),
        refused(&format!("POST /{}", "x".repeat(9000)), json, 414, "target-too-long"),
    ]
}

fn is(answer: &str, status: u16, problem: &str) -> Result<()> {
    let told = answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.contains(&format!("/problems/{problem}"));
    ensure!(told, "not {status} {problem} but {answer:?}");
    Ok(())
}

/// Clients that write all they have before they read, as many libraries do.
#[test]
fn who_writes_first_and_reads_then_gets_the_answer() {
    let world = World::empty().unwrap();
    world.set("http.body_max_bytes", "100000");
    run(|| {
        let node = world.start(&[])?;
        let body = vec![b' '; BODY_BYTES];
        let chunked = |body: &[u8]| {
            let chunks = body
                .chunks(50_000)
                .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
        };
        for Refused { head, status, problem } in clear_from_the_head() {
            let sized = [format!("{head}content-length: {BODY_BYTES}\r\n\r\n").as_bytes(), &body].concat();
            let in_chunks =
                [format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes(), &chunked(&body)].concat();
            for (request, how) in [(sized, "sized"), (in_chunks, "in chunks")] {
                for _ in 0..10 {
                    let mut stream = connect(node.http)?;
                    stream.write_all(&request).with_context(|| format!("{how}: {head:.80}"))?;
                    let told = answer(&mut stream).with_context(|| format!("{how}: {head:.80}"))?;
                    is(&told, status, problem).with_context(|| format!("{how}: {head:.80}"))?;
                    // all of it was read, so the connection serves the next request, where it is certain where that begins
                    if how == "in chunks" {
                        ensure!(stream.read(&mut [0])? == 0, "it is not closed: {head:.80}");
                        continue;
                    }
                    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
                    let next = answer(&mut stream).with_context(|| format!("{how}: {head:.80}"))?;
                    ensure!(next.starts_with("HTTP/1.1 200 "), "{next}");
                }
            }
        }
        // what is no request any more is read on by the connection itself, which then closes
        let field = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MORE_THAN_SOCKETS_HOLD));
        let garbage = "nonsense\r\n\r\n".repeat(MORE_THAN_SOCKETS_HOLD / 12);
        let post = "POST /api/v6/expectations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let broken =
            format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n{}", "y".repeat(MORE_THAN_SOCKETS_HOLD));
        for (request, status, problem) in [
            (field, 431, "head-too-large"),
            (garbage, 400, "invalid-request"),
            (broken, 400, "invalid-request"),
        ] {
            for _ in 0..10 {
                let mut stream = connect(node.http)?;
                stream.write_all(request.as_bytes())?;
                is(&answer(&mut stream)?, status, problem)?;
                ensure!(stream.read(&mut [0])? == 0, "it is not closed");
            }
        }
        operators_get_it_too(node.admin, &body)?;
        let stored = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        ensure!(stored == 0.0, "{stored} accepted");
        node.stop()
    });
}

fn operators_get_it_too(admin: SocketAddr, body: &[u8]) -> Result<()> {
    for (line, host, status, problem) in [
        ("POST /metrics", "localhost", 405, "method-not-allowed"),
        ("PUT /nothing", "localhost", 404, "not-found"),
        ("POST /dlq/replay", "evil.example", 421, "misdirected-request"),
    ] {
        for _ in 0..10 {
            let mut stream = connect(admin)?;
            let head = format!("{line} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat())?;
            is(&answer(&mut stream)?, status, problem).with_context(|| line)?;
        }
    }
    Ok(())
}

/// Nobody waits for a body that is refused anyhow: neither who sends it later, nor who asks before.
#[test]
fn what_the_head_tells_is_answered_before_the_body_comes() {
    let world = World::empty().unwrap();
    world.set("http.body_max_bytes", "100000");
    // longer than this test waits for an answer
    world.set("http.send_timeout_ms", "120000");
    world.set("http.linger_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        for Refused { head, status, problem } in clear_from_the_head() {
            for expect in ["", "expect: 100-continue\r\n"] {
                let mut stream = connect(node.http)?;
                // only what is refused for its length is too long
                let length = if status == 413 { BODY_BYTES } else { 50_000 };
                stream.write_all(format!("{head}{expect}content-length: {length}\r\n\r\n").as_bytes())?;
                is(&answer(&mut stream)?, status, problem).with_context(|| format!("{head:.80}"))?;
                // who then sends nothing is not waited for
                ensure!(stream.read(&mut [0])? == 0, "it is not closed");
            }
        }
        // chunks are too many once they are
        let mut stream = connect(node.http)?;
        let post = "POST /api/v6/expectations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let chunk = format!("{post}transfer-encoding: chunked\r\n\r\n186a1\r\n{}\r\n", " ".repeat(100_001));
        stream.write_all(chunk.as_bytes())?;
        is(&answer(&mut stream)?, 413, "body-too-large")?;

        // and what is right is asked for
        let mut stream = connect(node.http)?;
        let body = expectation().to_string();
        stream.write_all(
            format!("{post}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
        )?;
        let go_on = answer(&mut stream)?;
        ensure!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
        stream.write_all(body.as_bytes())?;
        let told = answer(&mut stream)?;
        ensure!(told.starts_with("HTTP/1.1 202 "), "{told}");
        node.stop()
    });
}

/// Whoever goes on and on is not read for ever.
#[test]
fn reading_on_has_a_bound() {
    let world = World::empty().unwrap();
    world.set("http.linger_max_bytes", "1000000");
    // stopping takes a quarter of the deadline at most
    world.set("http.linger_ms", "3600000");
    world.set("shutdown.deadline_ms", "14400000");
    run(|| {
        let node = world.start(&[])?;
        let head = "POST /nowhere HTTP/1.1\r\nhost: x\r\n";
        let garbage = "nonsense\r\n\r\n".to_owned();
        for start in [format!("{head}transfer-encoding: chunked\r\n\r\n"), garbage] {
            let mut stream = connect(node.http)?;
            stream.write_all(start.as_bytes())?;
            let chunk = [b"2710\r\n".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
            let mut sent = 0;
            // more than both sockets hold besides
            while sent < 10_000 && stream.write_all(&chunk).is_ok() {
                sent += 1;
            }
            ensure!(sent < 10_000, "{sent} chunks were read");
        }
        ensure!(node.ask(&valid_expectation())?.status == 202);
        node.stop()
    });
}
