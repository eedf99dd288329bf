//! `floodgate doctor`, and `floodgate config`: what is in force, whether it works, and what to do next.

use std::path::Path;

use clap::Args;
use floodgate_observe::logs;
use tokio::runtime::Runtime;

use crate::checks::{self, Check, Weight};
use crate::exit::{Exit, say};
use crate::exposure::Opens;
use crate::origins;
use crate::roles::open_strategy;
use crate::settings::{Settings, told};

#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// Only check it, and open what it names: print nothing when all is well
    #[arg(long, conflicts_with = "origins")]
    check: bool,
    /// Print every value with who said it: the file, the variable of the environment, or the default
    #[arg(long)]
    origins: bool,
}

pub(crate) fn config(settings: &Settings, args: &ConfigArgs) -> Result<(), Exit> {
    if args.check {
        return judged(&looked(settings)?);
    }
    settings.warnings.iter().chain(&settings.idle).for_each(|warning| eprintln!("floodgate: {warning}"));
    runtime()?.block_on(async { sections(settings) })?;
    match args.origins {
        true => say(origins::listed(&settings.table, &settings.origins).trim_end()),
        false => say(settings.masked()?.trim_end()),
    }
}

/// What is looked at when the configuration is shown: what needs nobody else to be there.
fn sections(settings: &Settings) -> Result<(), Exit> {
    let strategy = open_strategy(settings).err().map(Exit::reason);
    let store = floodgate_store::open(&settings.store).err().map(|error| error.to_string());
    let logs = logs::check(&settings.log).err().map(|error| error.to_string());
    let tls = settings.http.tls.check().err().map(|error| error.to_string());
    let exposed = Opens::Both.problems(settings);
    unless_any(&[strategy, store, logs, tls].into_iter().flatten().chain(exposed).collect::<Vec<_>>())
}

/// What is wrong ends with 2. What cannot be reached from here is no fault of the configuration: it is only told.
fn judged(checks: &[Check]) -> Result<(), Exit> {
    let mut wrong = Vec::new();
    for Check { what, place, findings } in checks {
        let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
        for finding in findings {
            let why = &finding.why;
            match finding.weight {
                Weight::Well => {}
                Weight::Told => eprintln!("floodgate: {what}: {at}{why}"),
                Weight::Away => eprintln!("floodgate: {what}, not to be used from here now: {at}{why}"),
                // a key names its place
                Weight::Wrong if *what == "database" => wrong.push(format!("{at}{why}")),
                Weight::Wrong => wrong.push(why.clone()),
            }
        }
    }
    unless_any(&wrong)
}

pub(crate) fn unless_any(problems: &[String]) -> Result<(), Exit> {
    if problems.is_empty() { Ok(()) } else { Err(Exit::usage(told(problems))) }
}

/// Looks at everything, and lists it.
pub(crate) fn doctor(file: Option<&Path>) -> Result<(), Exit> {
    let settings = match Settings::read_layers(file) {
        Ok(settings) => settings,
        Err(problems) => {
            let mut check = Check::of("configuration", "");
            problems.iter().for_each(|problem| check.wrong(problem, ""));
            show(&check)?;
            return Err(Exit::usage("nothing else was looked at: mend the configuration first"));
        }
    };
    let checks = looked(&settings)?;
    checks.iter().try_for_each(show)?;
    match checks.iter().filter(|check| check.weight() >= Weight::Away).count() {
        0 => Ok(()),
        failed => Err(Exit::failed(format!("{failed} of {} are not as they should be", checks.len()))),
    }
}

fn looked(settings: &Settings) -> Result<Vec<Check>, Exit> {
    let runtime = runtime()?;
    let checks = runtime.block_on(checks::all(settings));
    // something may still wait for somebody who is away
    runtime.shutdown_background();
    Ok(checks)
}

fn runtime() -> Result<Runtime, Exit> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().map_err(Exit::failed)
}

/// One line for what was looked at, and below it what was found, each with what to do next.
fn show(check: &Check) -> Result<(), Exit> {
    let word = match check.weight() {
        Weight::Well => "ok  ",
        Weight::Told => "warn",
        Weight::Away | Weight::Wrong => "FAIL",
    };
    let at = if check.place.is_empty() { String::new() } else { format!("  {}", check.place) };
    say(format_args!("{word}  {}{at}", check.what))?;
    for finding in &check.findings {
        say(format_args!("        {}", finding.why))?;
        if !finding.next.is_empty() {
            say(format_args!("        next: {}", finding.next))?;
        }
    }
    Ok(())
}
