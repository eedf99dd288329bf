//! One client takes what it can get, and others are served: connections, memory, places to wait and the queue are shared out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::{Value, json};
use support::answers::{pending, valid_like};
use support::client::Ask;
use support::flood::{self, Flood, LIKE_HEAD};
use support::node::Node;
use support::raw::{answer, ask, connect, connect_from, rest};
use support::siege::ATTACKER;
use support::usage::peak_bytes;
use support::world::{READY, World, run};

/// Somebody who came after the attacker.
const OTHER: [u8; 4] = [127, 0, 0, 3];

fn metric(node: &Node, name: &str) -> Result<f64> {
    Ok(node.metrics()?.sum(name, &[]))
}

/// What an idle connection asked for once.
const ASKED: &[u8] = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";

/// As many connections of an address as it gets, on each of which one thing is said.
fn take(from: [u8; 4], count: usize, say: &[u8], node: &Node, open: &mut Vec<TcpStream>) -> Result<()> {
    rlimit::increase_nofile_limit(16_000)?;
    for _ in 0..count {
        let mut stream = connect_from(from, node.http)?;
        let _ = stream.write_all(say);
        open.push(stream);
    }
    Ok(())
}

/// Somebody else is let in, before its patience is at its end.
fn other_is_served(node: &Node) -> Result<()> {
    let began = Instant::now();
    let mut stream = connect_from(OTHER, node.http)?;
    stream.write_all(b"GET /api/v6/characters/t/likes HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let told = answer(&mut stream)?;
    ensure!(told.starts_with("HTTP/1.1 200 "), "{told}");
    println!("served after {:?}", began.elapsed());
    Ok(())
}

#[test]
fn idle_connections_of_one_client_keep_nobody_out() {
    let world = World::empty().unwrap();
    world.set("http.connections_max", "1000");
    world.set("http.waiters_max", "900");
    run(|| {
        let node = world.start(&[])?;
        let mut open = Vec::new();
        take(ATTACKER, 1200, ASKED, &node, &mut open)?;
        wait::until("those that have places", READY, || {
            let open = metric(&node, "floodgate_http_connections").ok()?;
            (700.0..=820.0).contains(&open).then_some(())
        })?;
        other_is_served(&node)?;
        // whoever has its part is told so, and can still ask how the process is
        wait::until("room to stand", READY, || ask(&mut connect_from(ATTACKER, node.http).ok()?).ok())?;
        let mut more = connect_from(ATTACKER, node.http)?;
        more.write_all(ASKED)?;
        let told = String::from_utf8(rest(&mut more)?)?;
        ensure!(told.starts_with("HTTP/1.1 503 ") && told.contains("/problems/busy"), "{told}");
        ensure!(told.contains("retry-after: 1") && told.contains("connection: close"), "{told}");
        drop(open);
        node.stop()
    });
}

/// A handful of addresses would have all places, if each might keep what it took.
#[test]
fn idle_connections_of_many_clients_keep_nobody_out() {
    let world = World::empty().unwrap();
    world.set("http.connections_max", "1000");
    world.set("http.waiters_max", "900");
    run(|| {
        let node = world.start(&[])?;
        let mut open = Vec::new();
        for number in 10..18 {
            take([127, 0, 0, number], 800, ASKED, &node, &mut open)?;
        }
        // what is kept for those who have little, too
        for number in 0..80 {
            take([127, 0, 1, number], 1, ASKED, &node, &mut open)?;
        }
        wait::until("all places to be taken", READY, || {
            (metric(&node, "floodgate_http_connections_taken_back_total").ok()? > 0.0).then_some(())
        })?;
        for _ in 0..20 {
            other_is_served(&node)?;
        }
        drop(open);
        node.stop()
    });
}

/// All places have a request in work, and somebody who says nothing stands wherever it may.
#[test]
fn probes_are_told_beside_whoever_stands() {
    for places in [1000, 500] {
        let world = World::empty().unwrap();
        world.set("http.connections_max", places.to_string());
        world.set("http.waiters_max", "400");
        world.set("http.send_timeout_ms", "60000");
        run(|| {
            let node = world.start(&[])?;
            let body = format!("{LIKE_HEAD}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{");
            let mut open = Vec::new();
            take([127, 0, 0, 10], places, body.as_bytes(), &node, &mut open)?;
            take([127, 0, 0, 11], 200, body.as_bytes(), &node, &mut open)?;
            // what has just come is idle until its request was read, and makes room
            let mut numbers = 0..=u8::MAX;
            wait::until("all places to have a request in work", READY, || {
                take([127, 0, 1, numbers.next()?], 1, body.as_bytes(), &node, &mut open).ok()?;
                (metric(&node, "floodgate_http_connections_full_total").ok()? > 0.0).then_some(())
            })?;
            take(ATTACKER, 400, b"", &node, &mut open)?;
            for from in [OTHER, ATTACKER] {
                let began = Instant::now();
                ask(&mut connect_from(from, node.http)?)?;
                let took = began.elapsed();
                println!("{from:?} probes in {took:?} beside 400 silent connections and {places} places");
            }
            // those that were in work are so still
            open[0].write_all(b"}")?;
            let told = answer(&mut open[0])?;
            ensure!(told.starts_with("HTTP/1.1 202 "), "{told}");
            drop(open);
            node.stop()
        });
    }
}

#[test]
fn memory_of_one_client_leaves_some_to_others() {
    let world = World::empty().unwrap();
    world.set("http.bodies_max_bytes", (32 << 20).to_string());
    run(|| {
        let node = world.start(&[])?;
        // bodies of a mebibyte that never end
        let head = format!("{LIKE_HEAD}content-type: application/json\r\ncontent-length: 1500000\r\n\r\n");
        let mut open = Vec::new();
        take(ATTACKER, 40, &[head.as_bytes(), &[b' '; 1 << 20]].concat(), &node, &mut open)?;
        wait::until("somebody to be refused", READY, || {
            let busy = node.metrics().ok()?.sum("floodgate_http_problems_total", &[("problem", "busy")]);
            (busy > 0.0).then_some(())
        })?;
        // from another address
        let body = format!("{{{}}}", " ".repeat(1 << 20));
        let write = valid_like("other").json(body);
        let told = node.ask(&write)?;
        ensure!(told.status == 202, "{}", told.text());
        drop(open);
        node.stop()
    });
}

#[test]
fn waiting_for_made_up_ids_leaves_places_to_others() {
    let world = World::empty().unwrap();
    world.set("http.waiters_max", "1000");
    run(|| {
        let node = world.start(&[])?;
        let mut open = Vec::new();
        for number in 0..1100 {
            let path = format!("/api/v6/coupon-requests/0195f1a0-0000-7000-8000-{number:012}?waitMs=30000");
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            take(ATTACKER, 1, request.as_bytes(), &node, &mut open)?;
        }
        wait::until("those that wait", READY, || {
            let refused = metric(&node, "floodgate_waiters_refused_total").ok()?;
            (refused > 0.0).then_some(())
        })?;
        // somebody else waits as long as it likes
        let path = "/api/v6/coupon-requests/0195f1a0-0000-7000-8000-ffffffffffff?waitMs=1500";
        let began = Instant::now();
        let told = node.get(path)?;
        ensure!(
            told.status == 200 && began.elapsed() >= Duration::from_millis(1500),
            "{:?}",
            began.elapsed()
        );
        drop(open);
        node.stop()
    });
}

/// Asks for ten thousand coupons that there are not, over and over until that is enough.
fn ask_for_made_up_coupons(connection: usize, node: &Node, is_enough: &AtomicBool) -> Result<()> {
    let mut stream = connect_from(ATTACKER, node.http)?;
    let head = "POST /api/v6/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for round in 0.. {
        let coupon = |at| format!("{connection}-{round}-{at}");
        let event = |at| json!({"type": "coupon", "couponId": coupon(at), "userId": "u"});
        let body = Value::from_iter((0..10_000).map(event)).to_string();
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes())?;
        answer(&mut stream)?;
        if is_enough.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Somebody asks for real ones, which this process has not met.
#[test]
fn made_up_coupons_of_one_client_leave_look_ups_to_others() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for number in 0..90 {
            let terms = json!({"couponId": format!("real-{number}"), "stock": 1}).to_string();
            ensure!(node.ask(&Ask::new("POST", "/api/v6/coupons").json(terms))?.status == 201);
        }
        node.stop()?;
        let node = world.start(&[])?;
        let is_enough = AtomicBool::new(false);
        let refused = std::thread::scope(|scope| {
            let flood = |connection| ask_for_made_up_coupons(connection, &node, &is_enough);
            let floods: Vec<_> = (0..12).map(|connection| scope.spawn(move || flood(connection))).collect();
            let is_flooded =
                || metric(&node, "floodgate_door_queries_total").ok().filter(|queries| *queries > 0.0);
            let flooded = wait::until("look-ups", READY, is_flooded);
            let mut refused = Vec::new();
            for number in 0..90 {
                let issue = Ask::new("POST", format!("/api/v6/coupons/real-{number}/issues"));
                let told = node.ask(&issue.json(r#"{"userId":"ann"}"#));
                refused.extend(told.ok().filter(|told| told.status != 202).map(|told| told.text()));
            }
            is_enough.store(true, Ordering::Relaxed);
            floods.into_iter().try_for_each(|flood| flood.join().expect("a flood"))?;
            flooded?;
            anyhow::Ok(refused)
        })?;
        ensure!(refused.is_empty(), "{} of 90 were refused: {refused:?}", refused.len());
        node.stop()
    });
}

#[test]
fn heads_that_never_end_take_no_more_memory_than_there_is() {
    let world = World::empty().unwrap();
    world.set("http.bodies_max_bytes", (32 << 20).to_string());
    run(|| {
        let node = world.start(&[])?;
        let before = peak_bytes(node.process().pid())?;
        let mut flood = Flood::start(flood::half_heads(1500), node.http)?;
        wait::until("somebody to be refused", READY, || {
            let busy = node.metrics().ok()?.sum("floodgate_http_problems_total", &[("problem", "busy")]);
            (busy > 0.0).then_some(())
        })?;
        flood.until_quiet();
        ensure!(node.ask(&valid_like("other"))?.status == 202);
        let grown = peak_bytes(node.process().pid())?.saturating_sub(before) >> 20;
        println!("grown by {grown} MiB under 1500 half heads");
        // what connections take in any case, and as much again as is allowed, which the allocator keeps
        ensure!(grown < 1500 * 32 / 1024 + 2 * 32, "grown by {grown} MiB");
        node.stop()
    });
}

/// Answers say that nobody keeps them, and what they are.
#[test]
fn answers_are_kept_by_nobody() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for (ask, status) in [
            (valid_like("t"), 202),
            (Ask::get("/api/v6/characters/t/likes"), 200),
            (Ask::get("/readyz"), 200),
            (Ask::get("/nothing"), 404),
            (Ask::new("POST", "/healthz"), 405),
            (Ask::new("POST", "/api/v6/events").json("[1]"), 200),
            (Ask::new("POST", "/api/v6/events").json("{"), 400),
        ] {
            let told = node.ask(&ask)?;
            ensure!(told.status == status, "{} is {}", ask.path, told.status);
            ensure!(told.header("cache-control") == Some("no-store"), "{}: {:?}", ask.path, told.headers);
            ensure!(
                told.header("x-content-type-options") == Some("nosniff"),
                "{}: {:?}",
                ask.path,
                told.headers
            );
        }
        for (ask, status) in [
            (Ask::get("/metrics"), 200),
            (Ask::get("/healthz"), 200),
            (Ask::get("/readyz"), 200),
            (Ask::get("/lag"), 200),
            (Ask::get("/dlq"), 200),
            (Ask::get("/where/0195f1a0-0000-7000-8000-000000000000"), 200),
            (Ask::get("/where"), 400),
            (Ask::get("/session"), 404),
            (Ask::get("/nothing"), 404),
            (Ask::new("POST", "/lag"), 405),
            (Ask::new("POST", "/dlq/replay"), 403),
        ] {
            let told = node.ask_operators(&ask)?;
            let (path, headers) = (&ask.path, &told.headers);
            ensure!(told.status == status, "operators' {path} is {}", told.status);
            ensure!(told.header("cache-control") == Some("no-store"), "operators' {path}: {headers:?}");
            ensure!(
                told.header("x-content-type-options") == Some("nosniff"),
                "operators' {path}: {headers:?}"
            );
        }
        for path in ["/", "/page/page.js"] {
            let told = node.ask_admin(path)?;
            ensure!(told.header("cache-control") == Some("no-cache"), "{path}");
            ensure!(told.header("x-content-type-options") == Some("nosniff"), "{path}");
        }
        for path in ["/openapi.json", "/docs"] {
            ensure!(node.get(path)?.header("cache-control") == Some("no-cache"), "{path}");
        }
        let mut stream = connect(node.http)?;
        stream.write_all(b"no request\r\n\r\n")?;
        let told = String::from_utf8(rest(&mut stream)?)?;
        ensure!(told.contains("cache-control: no-store\r\nx-content-type-options: nosniff\r\n"), "{told}");
        node.stop()
    });
}

/// Ten thousand events that are wrong in one way are told so once.
#[test]
fn an_answer_tells_what_is_wrong_once() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let body = format!("[{}1]", "1,".repeat(9999));
        let told = node.ask(&Ask::new("POST", "/api/v6/events").json(body))?;
        let text = told.text();
        ensure!(text.len() < 10_000 * 128, "an answer of {} bytes", text.len());
        let results = told.json();
        let [first, .., last] = results["results"].as_array().context("results")?.as_slice() else {
            anyhow::bail!("{text}")
        };
        ensure!(first["problem"]["detail"].is_string() && first["problem"]["index"] == 0, "{first}");
        let again = json!({"type": first["problem"]["type"], "status": 400, "retryable": false, "index": 9999, "sameAs": 0});
        ensure!(last["status"] == "rejected" && last["problem"] == again, "{last}");
        node.stop()
    });
}

/// Whoever's request was sent before the opening, by itself or by somebody else who knew its key, is decided when it sends it again.
#[test]
fn not_open_is_not_for_ever() {
    let world = World::empty().unwrap().hurried();
    run(|| {
        let node = world.start(&[])?;
        let opens_at = jiff::Timestamp::now() + Duration::from_secs(3);
        let terms = json!({"couponId": "c", "stock": 1, "opensAt": opens_at.to_string()}).to_string();
        ensure!(node.ask(&Ask::new("POST", "/api/v6/coupons").json(terms))?.status == 201);
        let issue =
            || Ask::new("POST", "/api/v6/coupons/c/issues").json(r#"{"userId":"ann"}"#).key("key-of-ann");
        let early = pending(&node.ask(&issue())?)?;
        let path = format!("/api/v6/coupon-requests/{early}?waitMs=1000");
        let status = |wanted: &str| {
            wait::until(wanted, READY, || {
                let told = node.get(&path).ok()?.json();
                (told["status"] == wanted).then_some(())
            })
        };
        status("NOT_OPEN")?;
        while jiff::Timestamp::now() <= opens_at {
            std::thread::sleep(Duration::from_millis(50));
        }
        let later = pending(&node.ask(&issue())?)?;
        ensure!(later == early, "one key, two requests");
        status("ISSUED")?;
        let coupon = node.get("/api/v6/coupons/c")?.json();
        ensure!(coupon["issued"] == 1, "{coupon}");
        node.stop()
    });
}
