//! While somebody attacks the clients' listener others are served, and the process takes no more memory than it may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use support::answers::valid_like;
use support::node::Node;
use support::raw::{ask, connect};
use support::siege::{Attack, CONNECTIONS_MAX, attacks, besiege};
use support::usage::peak_bytes;
use support::world::{World, run};

/// Requests of somebody else beside an attack, one after the other, and the least of turns that it has meanwhile.
const SERVED: usize = 200;
const TURNS: usize = 50;

/// How much longer others wait beside an attack, at most: far more than they do, so that a busy machine of one core is no attack.
const TIMES_ALONE: u32 = 10;
const BESIDES: Duration = Duration::from_millis(100);

/// What a process may grow by under all attacks, one after the other.
const GROWTH_MAX_BYTES: u64 = 96 << 20;

/// Asks once, which is answered, and says how long that took.
fn served(node: &Node) -> Result<Duration> {
    let began = Instant::now();
    let answer = node.ask(&valid_like("other"))?;
    ensure!(answer.status == 202, "{}", answer.text());
    Ok(began.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Whoever asks meanwhile is answered, every time. How long half of them waited at most.
fn served_beside(node: &Node, attack: &Attack) -> Result<Duration> {
    let (is_over, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let attacking = scope.spawn(|| besiege(attack, node.http, &is_over, &turns));
        let mut times = Vec::new();
        let mut serve = || -> Result<()> {
            while (times.len() < SERVED || turns.load(Ordering::Relaxed) < TURNS) && !attacking.is_finished()
            {
                // and once in a while somebody new
                if times.len() % 10 == 0 {
                    ask(&mut connect(node.http)?)?;
                }
                times.push(served(node)?);
            }
            Ok(())
        };
        let outcome = serve();
        is_over.store(true, Ordering::Relaxed);
        let attacked = attacking.join().map_err(|_| anyhow::anyhow!("the attacker panicked"))?;
        outcome.and(attacked)?;
        Ok(median(times))
    })
}

#[test]
fn others_are_served_and_memory_is_bounded() {
    let world = World::empty().unwrap();
    world.set("http.connections_per_client_max", CONNECTIONS_MAX.to_string());
    // those who are slow are to be let go within their attack
    world.set("http.send_timeout_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        let before = peak_bytes(node.process().pid())?;
        let alone = median((0..SERVED).map(|_| served(&node)).collect::<Result<_>>()?);
        for attack in attacks() {
            let beside = served_beside(&node, &attack).with_context(|| attack.name.clone())?;
            let grown = peak_bytes(node.process().pid())?.saturating_sub(before);
            println!(
                "{}: served in {beside:?}, alone in {alone:?}; grown by {grown} bytes so far",
                attack.name
            );
            ensure!(beside <= TIMES_ALONE * alone + BESIDES, "{}: served in {beside:?}", attack.name);
            ensure!(grown < GROWTH_MAX_BYTES, "{}: grown by {grown} bytes", attack.name);
        }
        let refused =
            node.metrics()?.sum("floodgate_http_connections_refused_total", &[("reason", "client")]);
        ensure!(refused > 0.0, "nobody had too many connections");
        let log = node.process().stderr();
        ensure!(log.lines().count() < 20, "what attackers have logged:\n{log}");
        node.stop()
    });
}
