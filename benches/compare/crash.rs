//! What a kill takes with it: the same load on a fresh database, and in its midst a process is killed (SIGKILL) and started again.
//! Where a strategy is for the time without its first server, that one is away meanwhile, and the one that holds events then is
//! the one that is killed.

use anyhow::Result;

use crate::account::judge;
use crate::cases::Case;
use crate::fleet::Fleet;
use crate::page::{Toll, VICTIMS};
use crate::site::{Site, plan};

/// Of the writes, when the first server goes where it does, and when the kill comes.
const AWAY_AT: f64 = 0.2;
const KILLED_AT: f64 = 0.4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Ingress,
    Consumer,
    Server,
}

/// By victim. Where one process is everything, there is no other to kill.
pub fn tolls(fleet: &Fleet, case: &Case, writes: usize) -> Result<[Option<Toll>; VICTIMS]> {
    let ingress = killed(fleet, case, Victim::Ingress, writes)?;
    if case.is_one_process() {
        return Ok([Some(ingress), None, None]);
    }
    let consumer = killed(fleet, case, Victim::Consumer, writes)?;
    let server = killed(fleet, case, Victim::Server, writes)?;
    Ok([Some(ingress), Some(consumer), Some(server)])
}

fn killed(fleet: &Fleet, case: &Case, victim: Victim, writes: usize) -> Result<Toll> {
    let mut site = Site::open(fleet, case)?;
    let load = site.load(&plan(0, writes), None);
    let away = if case.outage { Some(site.server()?) } else { None };
    if let Some(server) = away {
        load.wait_for(AWAY_AT)?;
        fleet.kill(server)?;
    }
    load.wait_for(KILLED_AT)?;
    load.is_running()?;
    match victim {
        Victim::Ingress => site.restart_ingress()?,
        Victim::Consumer => site.kill_consumer()?,
        Victim::Server => {
            let server = site.holder()?;
            fleet.kill(server)?;
            fleet.start_again(server)?;
        }
    }
    if let Some(server) = away {
        fleet.start_again(server)?;
    }
    if victim == Victim::Consumer {
        site.start_consumer()?;
    }
    let toll = judge(&site, load.finish()?)?;
    println!("{}: {victim:?} killed: {toll:?}", case.name);
    site.close()?;
    Ok(toll)
}
