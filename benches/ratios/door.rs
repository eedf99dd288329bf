//! Requests for a coupon of which every piece is given out, refused at the door.

use std::time::Duration;

use anyhow::{Result, ensure};
use floodgate_testkit::{ScratchDir, wait};

use crate::references;
use crate::side::Side;
use crate::support::client::Ask;
use crate::support::world::Servers;
use crate::table::{Cpu, Run, Table, rounds};
use crate::tools::wrk::Wrk;
use crate::worlds::world;

const ROUNDS: usize = 3;
const SECONDS: u32 = 6;
const WARM_SECONDS: u32 = 3;
const CONNECTIONS: u32 = 1000;
const ISSUES: &str = "/api/v6/coupons/gone/issues";

pub fn measure(servers: &Servers, table: &mut Table) -> Result<()> {
    if !table.wants("D4") {
        return Ok(());
    }
    let world = world(servers)?;
    world.set("coupon.refuse_sold_out", "true");
    let node = world.start(&["serve"])?;
    node.ask(&Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"gone","stock":0}"#))?;
    let issue = Ask::new("POST", ISSUES).json(r#"{"userId":"nobody"}"#);
    wait::until("the door", Duration::from_secs(20), || {
        node.ask(&issue).ok().filter(|answer| answer.status == 409)
    })?;
    let scratch = ScratchDir::new("references")?;
    let bare = references::start(&scratch, "bare", &[])?;
    let ours = Side { name: "floodgate", address: node.http, pid: node.process().pid(), path: ISSUES };
    let theirs = Side { path: ISSUES, ..bare.1 };
    let sides = [&ours, &theirs];
    for side in sides {
        refusals(side, WARM_SECONDS)?;
    }
    let runs: Vec<[Run; 2]> = rounds(ROUNDS, |side| refusals(sides[side], SECONDS))?;
    table.add("D4", runs.iter().map(|run| (&run[0], &run[1])));
    node.stop()
}

/// Answers a second, all of which refuse.
fn refusals(side: &Side, seconds: u32) -> Result<Run> {
    let cpu = Cpu::watch(&[(side.name, side.pid)]);
    let wrk = Wrk { script: "issues.lua", args: &[side.path], threads: 1, connections: CONNECTIONS, seconds };
    let report = wrk.run(side.address)?;
    ensure!(report.rate <= 0.0 && report.requests > 0.0, "{}: somebody was not refused", side.name);
    let note = format!("p50 {:.1?}, p99 {:.1?}", report.p50, report.p99);
    Ok(Run { value: report.requests / f64::from(seconds), cpu: cpu.per_event(report.requests), note })
}
