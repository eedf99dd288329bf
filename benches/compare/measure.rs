//! One round of one strategy: as much as many clients bring, and then a rate that leaves room, for how long things take.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::account::toll;
use crate::cases::Case;
use crate::fleet::Fleet;
use crate::meter::{Meter, Part};
use crate::page::Figures;
use crate::site::{Site, ensure_enough, plan};
use crate::support::load::{Load, Recording, Verdict};

/// More than one client of ours can send.
const RATE_MAX: usize = 50_000;
/// Writes a second while latencies are measured, the same for all.
pub const STEADY_RATE: u32 = 2000;
/// What a server takes to start, which makes loads longer.
const COMES_BACK: Duration = Duration::from_secs(60);
const WARM_WRITES: usize = 20_000;

/// For how long.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Each load, outages not counted.
    pub load: Duration,
    pub outage: Duration,
}

impl Times {
    fn of(&self, case: &Case) -> Duration {
        self.load + if case.outage { self.outage } else { Duration::ZERO }
    }
}

pub fn round(fleet: &Fleet, case: &Case, times: Times) -> Result<Figures> {
    let site = Site::open(fleet, case)?;
    site.load(&plan(0, WARM_WRITES), None).finish()?;
    site.wait_drained()?;

    let mut figures = Figures::default();
    most(&site, times, &mut figures)?;
    steady(&site, times, &mut figures)?;
    site.close()?;
    Ok(figures)
}

/// Clients that send their next write when the last is answered.
fn most(site: &Site<'_>, times: Times, figures: &mut Figures) -> Result<()> {
    let plan = plan(1, times.of(site.case).as_secs() as usize * RATE_MAX);
    let mut meter = Meter::start();
    meter.watch(Part::Floodgate, "ingress", site.ingress.process().pid());
    if !site.case.is_one_process() {
        meter.watch(Part::Floodgate, "consumer", site.consumer().process().pid());
    }
    for server in site.case.servers {
        meter.watch(Part::Server, format!("{server:?}"), site.fleet.pid(*server)?);
    }
    meter.watch(Part::Postgres, "Postgres", site.fleet.postgres.pid()?);

    let (before, start) = (site.consumed()?, Instant::now());
    let load = site.load(&plan, None);
    let recording = through(site, times, load, Some(&mut meter))?;
    let accepted = recording.count(Verdict::Accepted);
    ensure_enough(&plan, accepted)?;
    site.wait_applied(&before, accepted)?;
    let drained = start.elapsed().as_secs_f64();

    figures.cpu = meter.cpu().map(|seconds| seconds * 1e6 / accepted as f64);
    figures.peak = meter.peak_mib();
    figures.accepted = accepted as f64 / recording.seconds;
    figures.rows = accepted as f64 / drained;
    nothing_is_missing(site, &recording)
}

/// A constant rate, whatever becomes of the writes before; timed from when each was due, and from when it was accepted.
fn steady(site: &Site<'_>, times: Times, figures: &mut Figures) -> Result<()> {
    let longest = times.of(site.case) + COMES_BACK;
    let plan = plan(2, longest.as_secs() as usize * STEADY_RATE as usize);
    let before = site.consumed()?;
    let load = site.load(&plan, Some(STEADY_RATE));
    let recording = through(site, times, load, None)?;
    let accepted = recording.fates.iter().filter(|fate| fate.verdict == Verdict::Accepted);
    let mut took: Vec<u32> = accepted.map(|fate| fate.accepted - fate.due).collect();
    took.sort_unstable();
    ensure!(!took.is_empty(), "nothing was accepted: {}", recording.answers);
    site.wait_applied(&before, took.len())?;
    let applied = site.consumed()?.since(&before);
    let shares = [0.5, 0.99];
    figures.answer = shares.map(|share| f64::from(took[(took.len() as f64 * share) as usize]) / 1e6);
    figures.row = shares.map(|share| applied.quantile("floodgate_accept_to_apply_seconds", share));
    nothing_is_missing(site, &recording)
}

/// Lets a load go on for its time, through the outage where there is one.
fn through(site: &Site<'_>, times: Times, load: Load, mut meter: Option<&mut Meter>) -> Result<Recording> {
    sleep(times.load / 2);
    if site.case.outage {
        let server = site.server()?;
        let pid = site.fleet.pid(server)?;
        if let Some(meter) = meter.as_deref_mut() {
            meter.ends(pid);
        }
        site.fleet.kill(server)?;
        sleep(times.outage);
        site.fleet.start_again(server)?;
        if let Some(meter) = meter {
            meter.watch(Part::Server, format!("{server:?}"), site.fleet.pid(server)?);
        }
    }
    sleep(times.load / 2);
    load.is_running()?;
    load.stop();
    load.finish()
}

/// Rates of what was lost are worth nothing.
fn nothing_is_missing(site: &Site<'_>, recording: &Recording) -> Result<()> {
    let (toll, ..) = toll(site, recording)?;
    ensure!(toll.lost + toll.doubled == 0, "though nothing else was killed: {toll:?}");
    Ok(())
}
