//! Connections of HTTP/1.1: how many, how long, and what bytes on them are taken for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "connections/corpus.rs"]
mod corpus;
mod support;

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corpus::{Case, NEXT, corpus};
use floodgate_testkit::wait;
use support::node::Node;
use support::raw::{answer, ask, connect, connect_from, rest, statuses};
use support::world::{World, run};

/// Requests that were seen: those accepted, and those refused.
fn seen(node: &Node) -> Result<(f64, f64)> {
    let metrics = node.metrics()?;
    let accepted = metrics.sum("floodgate_events_accepted_total", &[]);
    Ok((accepted, metrics.sum("floodgate_http_problems_total", &[])))
}

#[test]
fn nothing_is_smuggled() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let mut wrong = Vec::new();
        for Case { name, bytes, answers } in corpus() {
            let before = seen(&node)?;
            let mut stream = connect(node.http)?;
            stream.write_all(&[&bytes, NEXT.as_bytes()].concat()).with_context(|| name)?;
            let said = rest(&mut stream).with_context(|| name)?;
            // frames of HTTP/2 answer no request
            let is_http_1 = said.starts_with(b"HTTP/");
            let said = if is_http_1 { statuses(&said).with_context(|| name)? } else { Vec::new() };
            let after = seen(&node)?;
            let requests = ((after.0 - before.0) as usize, (after.1 - before.1) as usize);
            let accepted = answers.iter().filter(|status| **status == 202).count();
            if said != answers || requests != (accepted, answers.len() - accepted) {
                wrong.push(format!(
                    "{name}: {said:?} instead of {answers:?}, {requests:?} accepted and refused"
                ));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        node.stop()
    });
}

/// Heads that are no requests, and what is told of them.
fn refused_heads() -> Vec<(String, u16, &'static str)> {
    let get = |fields: &str| format!("GET /healthz HTTP/1.1\r\n{fields}\r\n");
    let of_host =
        |host: &str| (get(&format!("Host: {host}\r\n")), 400, "Host is a host with or without a port");
    let of_coding = |coding: &str| {
        (
            get(&format!("Host: x\r\nTransfer-Encoding: {coding}\r\n")),
            400,
            "chunked is the only transfer coding",
        )
    };
    let of_length = |length: &str| {
        (get(&format!("Host: x\r\n{length}\r\n")), 400, "Content-Length is one number of bytes")
    };
    let (many, long) = ("a: b\r\n".repeat(200), "x".repeat(70_000));
    vec![
        ("GET /healthz HTTP/1.1\nHost: x\n\n".to_owned(), 400, "lines of a head end with CR and LF"),
        (get(""), 400, "a request has one Host"),
        (get("Host: x\r\nHost: x\r\n"), 400, "a request has one Host"),
        of_host("a b"),
        of_host("a/b@c"),
        of_host("a,b"),
        of_coding("gzip"),
        of_coding("foo"),
        of_coding("gzip, chunked"),
        of_length("Content-Length: two"),
        of_length("Content-Length: -2"),
        of_length("content-length: 2\r\ncontent-length: 3"),
        ("BAD\r\n\r\n".to_owned(), 400, "this is not an HTTP/1.1 request"),
        (get(&format!("Host: x\r\n{many}")), 431, "too many header fields"),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414, "/problems/target-too-long"),
    ]
}

/// What is no request is refused alike by clients' and operators' listener: with words, kept by nobody, and looked at no further.
#[test]
fn both_listeners_refuse_the_same_heads() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for listener in [node.http, node.admin] {
            for (head, status, words) in refused_heads() {
                let case = &head[..head.len().min(80)];
                let mut stream = connect(listener)?;
                stream.write_all(&[head.as_bytes(), NEXT.as_bytes()].concat()).context(case.to_owned())?;
                let told = String::from_utf8(rest(&mut stream)?)?;
                ensure!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{listener}, {case:?}: {told}");
                ensure!(
                    told.matches("HTTP/1.1").count() - told.matches("an HTTP/1.1").count() == 1,
                    "{case:?}: {told}"
                );
                for field in [
                    "application/problem+json",
                    "cache-control: no-store",
                    "nosniff",
                    "connection: close",
                    words,
                ] {
                    ensure!(told.contains(field), "{listener}, {case:?}: no {field} in {told}");
                }
            }
            // and chunks that are none behind a head that is one
            let mut stream = connect(listener)?;
            let head = "host: localhost\r\ncontent-type: application/json\r\nfloodgate-confirm: replay\r\ntransfer-encoding: chunked";
            let path = if listener == node.http { "/api/v6/events" } else { "/dlq/replay" };
            stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\nzz\r\n").as_bytes())?;
            let told = String::from_utf8(rest(&mut stream)?)?;
            ensure!(told.starts_with("HTTP/1.1 400 ") && told.contains("chunks cannot be read"), "{told}");
        }
        node.stop()
    });
}

/// A request that is split anywhere is the same request.
#[test]
fn requests_in_pieces_are_whole() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let mut stream = connect(node.http)?;
        let request = b"PUT /api/v6/characters/t/likes/l HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        for split in 1..request.len() {
            stream.write_all(&request[..split])?;
            stream.flush()?;
            // until it has come, which nobody else can tell
            std::thread::sleep(Duration::from_millis(1));
            stream.write_all(&request[split..])?;
            let told = answer(&mut stream)?;
            ensure!(told.starts_with("HTTP/1.1 202 "), "split at {split}: {told}");
        }
        // and on new connections, on which the first bytes say what is spoken
        for split in 1..5 {
            let mut stream = connect(node.http)?;
            stream.write_all(&request[..split])?;
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&request[split..])?;
            let told = answer(&mut stream)?;
            ensure!(told.starts_with("HTTP/1.1 202 "), "split at {split}: {told}");
        }
        node.stop()
    });
}

#[test]
fn idle_connections_have_a_time_of_their_own() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "300");
    world.set("http.idle_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        let mut idle = connect(node.http)?;
        ask(&mut idle)?;
        // later, a head that does not come to its end, byte by byte, is given up
        let mut slow = connect(node.http)?;
        ask(&mut slow)?;
        slow.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut sent = 0;
        wait::until("the slow head to be given up", support::world::READY, || {
            sent += 1;
            if slow.write_all(b"G").is_err() {
                return Some(());
            }
            matches!(slow.read(&mut [0]), Ok(0)).then_some(())
        })?;
        ensure!(sent > 3, "given up after {sent} bytes");
        // also one that begins in the packet of the request before
        let mut behind = connect(node.http)?;
        behind.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea")?;
        answer(&mut behind)?;
        ensure!(rest(&mut behind)?.is_empty());
        // and who says nothing at all on a new connection
        ensure!(rest(&mut connect(node.http)?)?.is_empty());
        // while who was served and says nothing is still welcome
        ask(&mut idle)?;
        node.stop()
    });
}

#[test]
fn who_is_idle_for_too_long_is_let_go() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "3600000");
    world.set("http.idle_timeout_ms", "1000");
    run(|| {
        let node = world.start(&[])?;
        let mut idle = connect(node.http)?;
        ask(&mut idle)?;
        ensure!(rest(&mut idle)?.is_empty(), "something was said");
        // a request that takes longer is no idleness: the decision of a coupon that nobody issues
        let mut waiting = connect(node.http)?;
        let path = "/api/v6/coupon-requests/0195f1a0-0000-7000-8000-000000000000?waitMs=2500";
        waiting.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())?;
        let told = answer(&mut waiting)?;
        ensure!(told.starts_with("HTTP/1.1 200 ") && told.contains("PENDING"), "{told}");
        // nor is a body that comes slowly
        let mut sending = connect(node.http)?;
        sending.write_all(b"PUT /api/v6/characters/t/likes/l HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{")?;
        std::thread::sleep(Duration::from_millis(1500));
        sending.write_all(b"}")?;
        let told = answer(&mut sending)?;
        ensure!(told.starts_with("HTTP/1.1 202 "), "{told}");
        node.stop()
    });
}

/// A stop that waited for them would end with 1.
#[test]
fn idle_connections_end_with_the_process() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "3600000");
    world.set("http.idle_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        let mut open = Vec::new();
        for _ in 0..20 {
            let mut served = connect(node.http)?;
            ask(&mut served)?;
            open.extend([served, connect(node.http)?]);
        }
        wait::until("all connections", support::world::READY, || {
            let open = node.metrics().ok()?.sum("floodgate_http_connections", &[]);
            (open >= 40.0).then_some(())
        })?;
        node.stop()?;
        for mut stream in open {
            ensure!(rest(&mut stream)?.is_empty());
        }
        Ok(())
    });
}

#[test]
fn one_client_has_as_many_connections_as_it_may() {
    let world = World::empty().unwrap();
    world.set("http.connections_per_client_max", "3");
    run(|| {
        let node = world.start(&[])?;
        let mut own = Vec::new();
        for _ in 0..3 {
            let mut stream = connect_from([127, 0, 0, 2], node.http)?;
            ask(&mut stream)?;
            own.push(stream);
        }
        for refused in 1..=20 {
            let mut stream = connect_from([127, 0, 0, 2], node.http)?;
            ensure!(rest(&mut stream)?.is_empty());
            let metrics = node.metrics()?;
            let counted = metrics.sum("floodgate_http_connections_refused_total", &[("reason", "client")]);
            ensure!(counted == f64::from(refused), "{counted} of {refused}");
        }
        // others are none of its business, and those it has are served on
        ask(&mut connect_from([127, 0, 0, 3], node.http)?)?;
        own.iter_mut().try_for_each(ask)?;
        // one that goes makes room
        own.pop();
        wait::until("room for one more", support::world::READY, || {
            ask(&mut connect_from([127, 0, 0, 2], node.http).ok()?).ok()
        })?;
        node.stop()
    });
}
