//! What gathering costs and brings: every pause at every number of connections.

use anyhow::Result;

use crate::support::world::Servers;
use crate::tools::wrk::{Report, Wrk};
use crate::worlds;

/// Milliseconds, and above how many unacknowledged records they pause.
const PAUSES: [(u64, usize); 8] =
    [(0, 200), (1, 200), (2, 200), (4, 200), (6, 200), (10, 200), (1, 0), (4, 0)];
const CONNECTIONS: [u32; 8] = [1, 10, 50, 200, 300, 500, 1000, 2000];
const SECONDS: u32 = 3;

pub fn print(servers: &Servers) -> Result<()> {
    let world = worlds::world(servers)?;
    let load = |http, connections, seconds| {
        Wrk { script: "expectations.lua", args: &[], threads: 1, connections, seconds }.run(http)
    };
    let mut reports: Vec<Vec<Report>> = Vec::new();
    for (pause, above) in PAUSES {
        world.set("buffer.kafka.linger_ms", pause.to_string());
        world.set("buffer.kafka.linger_above_events", above.to_string());
        let serve = world.start(&["serve"])?;
        load(serve.http, 200, SECONDS)?;
        let row: Result<Vec<Report>> =
            CONNECTIONS.iter().map(|connections| load(serve.http, *connections, SECONDS)).collect();
        reports.push(row?);
        serve.stop()?;
    }
    let heads: String = CONNECTIONS.iter().map(|connections| format!("{connections:>18}")).collect();
    println!(
        "\nsingle writes a second, p50 and p99 in ms, by linger_ms, linger_above_events and connections\n{:>16}{heads}",
        ""
    );
    for ((pause, above), row) in PAUSES.iter().zip(&reports) {
        let cells = row.iter().map(|report| {
            let [p50, p99] = [report.p50, report.p99].map(|time| time.as_secs_f64() * 1e3);
            format!("{:>8.0} {p50:>4.1} {p99:>4.0}", report.rate)
        });
        println!("{pause:>6} ms, > {above:<4}{}", cells.collect::<String>());
    }
    Ok(())
}
