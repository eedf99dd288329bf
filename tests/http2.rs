//! HTTP/2: spoken by those who know it, and bounded for those who misuse it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use floodgate_testkit::wait;
use http_body_util::Full;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::answers::valid_like;
use support::client::runtime;
use support::frames::{
    self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS,
    REFUSED_STREAM, RST_STREAM, SETTINGS, Wire, frame, request, reset, settings,
};
use support::node::Node;
use support::raw::connect;
use support::siege::{Attack, LIKE, WAITS, WINDOW_MAX, floods, held_floods, slow_head, with_window};
use support::usage::peak_bytes;
use support::world::{READY, World, run};

/// More than sockets and windows hold, by far.
const FLOOD_BYTES: usize = 256 << 20;

/// What a process may grow by while it is flooded: what it does not bound would take as much as is sent, or many times that.
const GROWTH_MAX_BYTES: u64 = 96 << 20;

fn open_connections(node: &Node) -> Option<f64> {
    Some(node.metrics().ok()?.sum("floodgate_http_connections", &[]))
}

/// Whose every request is of this kind.
fn curl(node: &Node, arguments: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_version} %{response_code}"]);
    let ended = curl.args(arguments).arg(format!("http://{}{LIKE}", node.http)).output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(String::from_utf8(ended.stdout)?)
}

#[test]
fn curl_speaks_it_by_prior_knowledge() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let json = ["-H", "content-type: application/json", "-d", "{}"];
        for (how, body, told) in [
            ("--http2-prior-knowledge", &[][..], "2 202"),
            ("--http2-prior-knowledge", &json, "2 202"),
            ("--http1.1", &json, "1.1 202"),
            ("--http1.0", &json, "1 202"),
            // asks for an upgrade, which is optional for servers
            ("--http2", &json, "1.1 202"),
        ] {
            let said = curl(&node, &[&["-X", "PUT", how], body].concat())?;
            ensure!(said == told, "{how}: {said}");
        }
        let accepted = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        ensure!(accepted == 5.0, "{accepted}");
        node.stop()
    });
}

/// Many requests at once on one connection, more than it may have at a time.
#[test]
fn requests_share_a_connection() {
    let world = World::empty().unwrap();
    world.set("http.streams_per_connection_max", "10");
    run(|| {
        let node = world.start(&[])?;
        let address = node.http;
        runtime().block_on(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let io = TokioIo::new(stream);
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            let driven = tokio::spawn(connection);
            // by its answer the client knows how many there may be at a time
            let first = Request::get("http://x/healthz").body(Full::default())?;
            ensure!(sender.clone().send_request(first).await?.status() == 200);
            let asks = (0..500).map(|number| {
                let mut sender = sender.clone();
                async move {
                    let uri = format!("http://x/api/v6/characters/t/likes/l{number}");
                    let body = Full::new(Bytes::from_static(b"{}"));
                    let request = Request::put(uri).header("content-type", "application/json").body(body)?;
                    sender.ready().await?;
                    anyhow::Ok(sender.send_request(request).await?.status().as_u16())
                }
            });
            let asked: Vec<_> = asks.map(tokio::spawn).collect();
            for ask in asked {
                let status = ask.await??;
                ensure!(status == 202, "{status}");
            }
            drop(sender);
            driven.await??;
            Ok(())
        })?;
        let accepted = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        ensure!(accepted == 500.0, "{accepted}");
        node.stop()
    });
}

#[test]
fn streams_are_counted_and_bodies_have_their_time() {
    let world = World::empty().unwrap();
    world.set("http.streams_per_connection_max", "20");
    world.set("http.send_timeout_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        let mut wire = Wire::open(node.http, &[])?;
        let told = wire.until(|frame| frame.kind == SETTINGS && frame.flags == 0)?;
        ensure!(told.setting(MAX_CONCURRENT_STREAMS) == Some(20), "{told:?}");
        // bodies that never come, and one stream more than there may be
        for number in 0..=20 {
            wire.send(&frame(HEADERS, END_HEADERS, 2 * number + 1, &request("PUT", LIKE)))?;
        }
        let refused = wire.until(|frame| frame.kind == RST_STREAM)?;
        ensure!((refused.stream, refused.number(0)) == (41, Some(REFUSED_STREAM)), "{refused:?}");
        wait::until("every body to be given up", READY, || {
            let late =
                node.metrics().ok()?.sum("floodgate_http_problems_total", &[("problem", "body-timeout")]);
            (late == 20.0).then_some(())
        })?;
        // the connection serves on
        wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 43, &request("PUT", LIKE)))?;
        wire.until(|frame| frame.kind == HEADERS && frame.stream == 43)?;
        let accepted = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        ensure!(accepted == 1.0, "{accepted}");
        node.stop()
    });
}

/// The status of an answer on a connection of its own.
async fn status(node: &Node, path: &str) -> Result<u16> {
    let io = TokioIo::new(tokio::net::TcpStream::connect(node.http).await?);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    let request = Request::get(format!("http://x{path}")).body(Full::<Bytes>::default())?;
    Ok(sender.send_request(request).await?.status().as_u16())
}

/// Where there is no memory for requests health is told still.
#[test]
fn probes_take_no_memory_of_others() {
    let world = World::empty().unwrap();
    world.set("http.body_max_bytes", "1000000");
    world.set("http.bodies_max_bytes", "1000000");
    world.set("http.send_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        // bodies that never end, until they take all of it
        let head = format!("PUT {LIKE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        let begun = format!("{head}content-length: 5000\r\n\r\n{}", " ".repeat(4000));
        let asked = |path: &str| runtime().block_on(status(&node, path));
        let mut takers = Vec::new();
        wait::until("all memory to be taken", READY, || {
            for _ in 0..50 {
                let mut taker = connect(node.http).ok()?;
                taker.write_all(begun.as_bytes()).ok()?;
                takers.push(taker);
            }
            (asked("/openapi.json").ok()? == 503).then_some(())
        })?;
        for path in ["/healthz", "/readyz"] {
            let status = asked(path)?;
            ensure!(status == 200, "{path} is {status}");
        }
        drop(takers);
        node.stop()
    });
}

/// What HTTP/1.1 has to be asked about is malformed here.
#[test]
fn nothing_is_smuggled_in_either() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let with = |name: &str, value: &str| [request("PUT", LIKE), frames::block(&[(name, value)])].concat();
        for (name, value) in [
            ("transfer-encoding", "chunked"),
            ("connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("host", "another"),
            ("content-length", "5"),
            ("X-Upper", "case"),
            ("x", "a\r\ncontent-length: 9"),
            ("x", "a\0b"),
            (":path", "/twice"),
            ("x y", "z"),
        ] {
            let mut wire = Wire::open(node.http, &[])?;
            wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &with(name, value)))?;
            let end = wire.until(|frame| matches!(frame.kind, RST_STREAM | GOAWAY | HEADERS))?;
            ensure!(end.kind != HEADERS || name == "host", "{name}: {value:?}: {end:?}");
        }
        let metrics = node.metrics()?;
        ensure!(metrics.sum("floodgate_events_accepted_total", &[]) == 0.0, "something was accepted");
        ensure!(metrics.sum("floodgate_http_problems_total", &[]) == 1.0, "more than the host was refused");
        node.stop()
    });
}

/// Somebody else who asks all the time, and is answered.
fn served_meanwhile(node: &Node, floods: impl FnOnce() -> Result<()>) -> Result<()> {
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let answer = node.ask(&valid_like("other"))?;
                ensure!(answer.status == 202, "{}", answer.text());
                served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let flooded = floods();
        is_over.store(true, Ordering::Relaxed);
        let other = other.join().map_err(|_| anyhow::anyhow!("the other panicked"))?;
        flooded.and(other)
    })?;
    let served = served.into_inner();
    ensure!(served > 0, "nobody else was served");
    Ok(())
}

#[test]
fn floods_end_and_take_no_memory() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "1000");
    world.set("http.idle_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        let before = peak_bytes(node.process().pid())?;
        served_meanwhile(&node, || {
            let open = held_floods();
            for Attack { name, begin, say, reads, .. } in floods().into_iter().chain(open) {
                let mut wire = Wire::open(node.http, &[]).with_context(|| name.clone())?;
                wire.send(&begin).with_context(|| name.clone())?;
                let reader = reads.then(|| wire.discard()).transpose()?;
                let sent = wire.flood(FLOOD_BYTES, say).with_context(|| name.clone())?;
                ensure!(sent < FLOOD_BYTES, "{name}: {sent} bytes were taken");
                if let Some(reader) = reader {
                    reader
                        .join()
                        .map_err(|_| anyhow::anyhow!("{name}: the reader panicked"))?
                        .with_context(|| name.clone())?;
                }
                println!("{name}: ended after {sent} bytes");
            }
            Ok(())
        })?;
        let grown = peak_bytes(node.process().pid())?.saturating_sub(before);
        println!("grown by {grown} bytes at most");
        ensure!(grown < GROWTH_MAX_BYTES, "grown by {grown} bytes");
        node.stop()
    });
}

/// Resets of requests that are in work already: nothing waits, and yet it is work without end.
#[test]
fn who_only_gives_up_is_let_go() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let mut wire = Wire::open(node.http, &[])?;
        let mut given_up = 0;
        while given_up < 2000 {
            let stream = 2 * given_up + 1;
            let asked = wire
                .send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", WAITS)))
                .and_then(|()| wire.settle(given_up.into()))
                .and_then(|()| wire.send(&reset(stream)));
            if asked.is_err() {
                break;
            }
            given_up += 1;
        }
        ensure!((200..400).contains(&given_up), "let go after {given_up} requests");
        node.stop()
    });
}

/// The same where it is the server that resets them, for what the client does to each.
#[test]
fn who_has_its_requests_reset_is_let_go() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let mut wire = Wire::open(node.http, &[])?;
        let mut were_reset = 0;
        while were_reset < 2000 {
            let stream = 2 * were_reset + 1;
            let told = wire
                .send(&with_window(stream, WINDOW_MAX))
                .and_then(|()| wire.until(|frame| frame.kind == RST_STREAM && frame.stream == stream));
            if told.is_err() {
                break;
            }
            were_reset += 1;
        }
        ensure!((50..=100).contains(&were_reset), "let go after {were_reset} requests");
        node.stop()
    });
}

/// Nothing at all, a head without an end, and one that comes byte by byte; beside a request that waits, too.
#[test]
fn heads_come_in_time() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "500");
    world.set("http.idle_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        let waits = frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("GET", WAITS));
        let endless = frame(HEADERS, END_STREAM, 3, &request("GET", LIKE));
        for (name, begin) in [
            ("nothing", Vec::new()),
            ("a head without an end", endless.clone()),
            ("a slow head", slow_head(3)),
            ("a head without an end beside a request", [waits.clone(), endless].concat()),
            ("a slow head beside a request", [waits, slow_head(3)].concat()),
        ] {
            let mut wire = Wire::open(node.http, &[])?;
            wire.send(&begin)?;
            let mut slow = name.starts_with("a slow").then(|| wire.0.try_clone()).transpose()?;
            let told = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while slow.as_mut().is_some_and(|slow| slow.write_all(b"y").is_ok()) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
                wire.rest()
            });
            let told = told.with_context(|| name)?;
            ensure!(told.iter().all(|frame| frame.kind != HEADERS), "{name} was let go behind an answer");
        }
        node.stop()
    });
}

/// Windows that stay shut, or as good as shut: the answers are kept for as long as a client may take nothing.
#[test]
fn answers_that_nobody_takes_are_not_kept() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "500");
    world.set("http.idle_timeout_ms", "1000");
    run(|| {
        let node = world.start(&[])?;
        let before = peak_bytes(node.process().pid())?;
        // five hundred refusals, which are several pieces of an answer
        let events = format!("[{}1]", "1,".repeat(499));
        served_meanwhile(&node, || {
            for window in [0, 1] {
                let mut wire = Wire::open(node.http, &[(INITIAL_WINDOW_SIZE, window)])?;
                for number in 0..20 {
                    let stream = 2 * number + 1;
                    let head = frame(HEADERS, END_HEADERS, stream, &request("POST", "/api/v6/events"));
                    wire.send(&[head, frame(DATA, END_STREAM, stream, events.as_bytes())].concat())?;
                }
                // it is read whatever comes, and more is asked for meanwhile: only no answer is let in
                let taken: usize = wire.rest()?.iter().filter(|frame| frame.kind == DATA).count();
                ensure!(taken <= 20 * window as usize, "{taken} pieces with a window of {window}");
            }
            Ok(())
        })?;
        let grown = peak_bytes(node.process().pid())?.saturating_sub(before);
        ensure!(grown < GROWTH_MAX_BYTES, "grown by {grown} bytes");
        node.stop()
    });
}

#[test]
fn idle_connections_are_told_to_go() {
    let world = World::empty().unwrap();
    world.set("http.send_timeout_ms", "3600000");
    world.set("http.idle_timeout_ms", "1000");
    run(|| {
        let node = world.start(&[])?;
        let mut wire = Wire::open(node.http, &[])?;
        wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("PUT", LIKE)))?;
        wire.until(|frame| frame.kind == HEADERS && frame.stream == 1)?;
        // pings are no requests
        for number in 0..20 {
            if wire.settle(number).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let told = wire.rest()?;
        let goodbye = told.iter().find(|frame| frame.kind == GOAWAY).context("it was not told to go")?;
        ensure!(goodbye.number(4) == Some(0), "{goodbye:?}");
        // and one that does not answer any more is not waited for
        let mut silent = Wire::open(node.http, &[])?;
        silent.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("PUT", LIKE)))?;
        wait::until("the silent one to be let go", READY, || {
            (open_connections(&node)? == 0.0).then_some(())
        })?;
        drop(silent);
        node.stop()
    });
}

/// A stop that did not tell them, or that waited for those who do not listen, would end with 1.
#[test]
fn a_stop_finishes_requests_and_tells_the_others() {
    let world = World::empty().unwrap();
    world.set("http.idle_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        let (mut idle, silent) = (Wire::open(node.http, &[])?, Wire::open(node.http, &[])?);
        let mut working = Wire::open(node.http, &[])?;
        working.send(&frame(HEADERS, END_HEADERS, 1, &request("PUT", LIKE)))?;
        working.settle(1)?;
        idle.settle(1)?;
        node.process().terminate()?;
        let goodbye = idle.rest()?;
        ensure!(
            goodbye.iter().any(|frame| frame.kind == GOAWAY && frame.number(4) == Some(0)),
            "{goodbye:?}"
        );
        working.until(|frame| frame.kind == GOAWAY)?;
        working.send(&frame(DATA, END_STREAM, 1, b"{}"))?;
        let answered = working.rest()?;
        ensure!(answered.iter().any(|frame| frame.kind == HEADERS && frame.stream == 1), "{answered:?}");
        node.stopped()?;
        drop(silent);
        Ok(())
    });
}

#[test]
fn frames_may_come_in_any_pieces() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let head = frame(HEADERS, END_HEADERS, 1, &request("PUT", LIKE));
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            settings(&[]),
            head,
            frame(DATA, END_STREAM, 1, b"{}"),
        ]
        .concat();
        let mut wire = Wire(connect(node.http)?);
        for byte in &bytes {
            wire.send(&[*byte])?;
            std::thread::sleep(Duration::from_millis(1));
        }
        wire.until(|frame| frame.kind == HEADERS && frame.stream == 1)?;
        wire.settle(7)?;
        let accepted = node.metrics()?.sum("floodgate_events_accepted_total", &[]);
        ensure!(accepted == 1.0, "{accepted}");
        node.stop()
    });
}
