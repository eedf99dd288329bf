//! What attacks on the clients' listener cost somebody else, who sends a write every few milliseconds.
//!
//! The attacker is one thread of this program with raw sockets, which has its connections in turn and pauses for 10 ms in between: a
//! few hundredths of a processor, and a few tens of thousands of frames a second. What is measured is so what the server does for it.
//! One that sends as fast as it can takes one of two processors for itself, and what others wait for then is the machine; for the same
//! reason the attacker's thread gives way to others (it is as nice as can be).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};

use crate::guard::well_behaved;
use crate::support::node::Node;
use crate::support::siege::{Attack, CONNECTIONS_MAX, attacks, besiege};
use crate::support::usage::{cpu_seconds, cpu_seconds_alone};
use crate::support::world::Servers;
use crate::table::{Run, Table, median};
use crate::worlds::world;

const ROUNDS: usize = 3;

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants("F4") {
        return Ok(());
    }
    let world = world(servers)?;
    world.set("http.connections_per_client_max", CONNECTIONS_MAX.to_string());
    let node = world.start(&["serve"])?;
    well_behaved(&node)?;
    // the last one is nobody's
    let sides: Vec<Option<Attack>> = attacks().into_iter().map(Some).chain([None]).collect();
    let mut runs: Vec<Vec<Run>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        // forward, then backward, so that what drifts meets all alike
        for place in 0..sides.len() {
            let side = if round % 2 == 0 { place } else { sides.len() - 1 - place };
            runs[side].push(beside(&node, sides[side].as_ref())?);
        }
    }
    node.stop()?;
    let p99 = |runs: &[Run]| median(runs.iter().map(|run| run.value).collect());
    let alone = runs.pop().context("nobody was alone")?;
    let told: Vec<_> =
        runs.iter().map(|runs| format!("{:.2} ms {}", p99(runs) * 1e3, runs[0].note)).collect();
    println!("       p99 {}", told.join("; "));
    let worst = runs.into_iter().max_by(|one, other| p99(one).total_cmp(&p99(other)));
    table.add("F4", worst.iter().flatten().zip(&alone));
    Ok(())
}

/// The p99 in seconds of who behaves, and what processors did meanwhile.
fn beside(node: &Node, attack: Option<&Attack>) -> Result<Run> {
    let Some(attack) = attack else { return well_behaved(node) };
    let (is_over, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (server, own) = (node.process().pid(), std::process::id());
    let spent = || (cpu_seconds(server), cpu_seconds_alone(own));
    let before = spent();
    let run = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| {
            // SAFETY: no memory is handed over; a priority that is not taken changes nothing but figures
            unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid().cast_unsigned(), 19) };
            besiege(attack, node.http, &is_over, &turns)
        });
        let run = well_behaved(node);
        is_over.store(true, Ordering::Relaxed);
        attacking.join().expect("the attacker")?;
        run
    });
    let after = spent();
    let (server, own) = (after.0 - before.0, after.1 - before.1);
    let (name, turns) = (&attack.name, turns.into_inner());
    let note = format!("beside {name} ({turns} turns, {server:.1} s of floodgate's, {own:.1} s here)");
    Ok(Run { note, ..run? })
}
