//! What a kill takes with it: the same load on a fresh database, and in its midst a process is killed (SIGKILL) and started again.

use anyhow::Result;

use crate::account::judge;
use crate::cases::Case;
use crate::fleet::Fleet;
use crate::page::{Toll, VICTIMS};
use crate::site::{Site, plan};

/// Of the writes, when the kill comes.
const KILLED_AT: f64 = 0.4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Ingress,
    Consumer,
    Server,
}

/// By victim. Where one process is everything, it is killed once.
pub fn tolls(fleet: &Fleet, case: &Case, writes: usize) -> Result<[Toll; VICTIMS]> {
    if case.is_one_process() {
        return Ok([killed(fleet, case, Victim::Ingress, writes)?; VICTIMS]);
    }
    let [ingress, consumer, server] =
        [Victim::Ingress, Victim::Consumer, Victim::Server].map(|victim| killed(fleet, case, victim, writes));
    Ok([ingress?, consumer?, server?])
}

fn killed(fleet: &Fleet, case: &Case, victim: Victim, writes: usize) -> Result<Toll> {
    let mut site = Site::open(fleet, case)?;
    let load = site.load(&plan(0, writes), None);
    load.wait_for(KILLED_AT)?;
    load.is_running()?;
    match victim {
        Victim::Ingress => site.restart_ingress()?,
        Victim::Consumer => site.restart_consumer()?,
        Victim::Server => {
            let server = site.server()?;
            fleet.kill(server)?;
            fleet.start_again(server)?;
        }
    }
    let toll = judge(&site, load.finish()?)?;
    println!("{}: {victim:?} killed: {toll:?}", case.name);
    site.close()?;
    Ok(toll)
}
