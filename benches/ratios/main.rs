//! Floodgate against references, in one run, as ratios: machines differ and are noisy, ratios less so.
//!
//! ```sh
//! ./scripts/bench                 # all figures; installs what is missing
//! ./scripts/bench A1 B2           # some
//! ./scripts/bench linger          # instead: what gathering costs and brings, by connections
//! ./scripts/bench scale           # instead: two million events drained by 1 to 10 members
//! ./scripts/bench instances       # instead: one to five ingresses and consumers
//! ./scripts/bench profile         # instead: where the ingress's processor time goes
//! ```
//!
//! `FLOODGATE_BENCH_SET="buffer.kafka.linger_ms=1 consumers.batch_max_events=5000"` measures floodgate under other
//! settings than the default.
//!
//! Everything compared runs in turn, A/B/C then C/B/A, several rounds; the median of the rounds' ratios is what
//! counts, smallest and largest say how far to trust it. Only deliveries count: rows in the database,
//! acknowledgements of the broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod backlog;
mod copy;
mod curve;
mod door;
mod drain;
mod guard;
mod ingress;
mod instances;
mod lists;
mod locking;
mod open_loop;
mod peers;
mod profile;
mod raw;
mod references;
mod rehearsal;
mod scale;
mod side;
mod siege;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
#[path = "../support/mod.rs"]
mod tools;
mod worlds;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use floodgate_testkit::{KafkaOptions, PostgresOptions};
use support::world::Servers;

/// The binary's, for what runs of it in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
use table::{FIGURES, Table};
use tools::start::start;

/// Tables of their own.
const LINGER: &str = "linger";
const SCALE: &str = "scale";
const INSTANCES: &str = "instances";
const PROFILE: &str = "profile";
const OTHERS: [&str; 4] = [LINGER, SCALE, INSTANCES, PROFILE];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(kind) = args.first().and_then(|arg| arg.strip_prefix("reference-")) {
        references::serve(kind, &args[1..]);
        return ExitCode::SUCCESS;
    }
    start("ratios", "./scripts/bench", || {
        let wanted: Vec<String> = args.into_iter().filter(|arg| !arg.starts_with("--")).collect();
        let known: Vec<_> = FIGURES.iter().map(|figure| figure.name).chain(OTHERS).collect();
        let unknown = wanted.iter().find(|name| !known.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            bail!("there is no figure {unknown}; there are {}", known.join(", "));
        }
        compare(wanted)
    })
}

fn compare(mut wanted: Vec<String>) -> Result<()> {
    // members that start together begin together, as with the default of 3 s; without it the second one waits until the
    // first one's next heartbeat says that it is there, and of a drain of 4 s up to 3 are one member's
    let together = ("group.initial.rebalance.delay.ms".to_owned(), "1000".to_owned());
    let properties = vec![together];
    let kafka = KafkaOptions { quick_jit: false, heap_mb: 1024, properties, ..KafkaOptions::default() };
    // a checkpoint is made before each run, none in its midst
    let settings = [("max_wal_size", "16GB"), ("checkpoint_timeout", "1h")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let servers = Servers::start(kafka, PostgresOptions { settings, ..PostgresOptions::default() })?;
    for name in OTHERS {
        if let Some(place) = wanted.iter().position(|wanted| wanted == name) {
            wanted.remove(place);
            match name {
                LINGER => curve::print(&servers)?,
                SCALE => scale::print(&servers)?,
                INSTANCES => instances::print(&servers)?,
                _ => profile::print(&servers)?,
            }
            if wanted.is_empty() {
                return Ok(());
            }
        }
    }
    let mut table = Table::new(wanted);
    // a figure that cannot be measured here does not take the others with it
    let steps = [
        ingress::measure,
        guard::measure,
        guard::limits,
        siege::measure,
        door::measure,
        drain::measure,
        lists::measure,
        open_loop::measure,
        rehearsal::measure,
        rehearsal::beside_k6,
    ];
    let failures: Vec<String> = steps
        .iter()
        .filter_map(|measure| measure(&servers, &mut table).err())
        .map(|error| format!("{error:#}"))
        .collect();
    table.print_summary();
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}
