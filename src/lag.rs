//! `floodgate lag`: how each consumer group stands, and why.

mod table;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use floodgate_admin::{Courses, HotKeys, LagReport, Reading, SpillReport};
use floodgate_buffer::Strategy;
use floodgate_observe::logs;
use floodgate_schemas::{Clock, EventType};

use crate::exit::{Exit, say_as_it_is};
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate lag                    how each group stands, in a sentence
  floodgate lag --watch            the same, again and again
  floodgate lag --all              every partition with its offsets
  floodgate lag --fail-above 1000  exit code 1 when more than 1000 events wait in a group
  floodgate lag --json --over 0    one reading, at once, for scripts")]
pub(crate) struct LagArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print again every few seconds (lag.refresh_ms) until interrupted
    #[arg(long)]
    watch: bool,
    /// Every partition, and not only those that stand otherwise than their group
    #[arg(long)]
    all: bool,
    /// For how long at most to look at groups that are behind, to tell how fast they move; 0 for one reading
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    over: u32,
    /// Fail when more events than this wait in any group, or when that is not known
    #[arg(long, value_name = "EVENTS")]
    fail_above: Option<u64>,
}

/// Moves to the top left and clears what is below.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Between two readings of groups that are behind: a few commits.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) fn lag(settings: &Settings, args: &LagArgs) -> Result<(), Exit> {
    let strategy = open_strategy(settings)?;
    if !strategy.reach().is_readable_from_outside {
        return Err(Exit::usage(format!(
            "the {} strategy's lag is inside the running process: ask http://{}/lag",
            strategy.name(),
            settings.admin.listen
        )));
    }
    let clock = given().clock;
    let (mut courses, hot_keys) = (Courses::default(), HotKeys::default());
    loop {
        let (report, unknown) = look(&*strategy, &*clock, &mut courses, &hot_keys, args);
        // an outage is when somebody watches: the last table stays, and looking goes on
        if (!report.groups.is_empty() || report.spill.is_some()) && !print(&report, args)? && args.watch {
            return Ok(());
        }
        let unknown = unknown.join("; ");
        match (unknown.is_empty(), args.watch) {
            (true, _) => {}
            (false, true) => logs::say(format_args!("floodgate: {unknown}")),
            (false, false) => return Err(Exit::failed(unknown)),
        }
        if !args.watch {
            return check(&report, args);
        }
        std::thread::sleep(Duration::from_millis(settings.lag.refresh_ms));
    }
}

/// Reads all groups, and again for a while if any is behind and is not seen to move. Tells why what is not known is not.
fn look(
    strategy: &dyn Strategy,
    clock: &dyn Clock,
    courses: &mut Courses,
    hot_keys: &HotKeys,
    args: &LagArgs,
) -> (LagReport, Vec<String>) {
    let until = Instant::now() + Duration::from_secs(args.over.into());
    loop {
        // in this order: what is moved in between is seen where it arrives
        let spill = strategy.spill().transpose();
        let mut unknown = read(strategy, clock, courses);
        let spill = spill.unwrap_or_else(|error| {
            unknown.push(error.to_string());
            None
        });
        unknown.dedup();
        let is_last = args.watch || Instant::now() + LOOK_INTERVAL > until;
        if is_last || !unknown.is_empty() || courses.is_settled() {
            see_hot_keys(strategy, courses, hot_keys);
            let spill = spill.map(|spill| SpillReport::new(&spill, clock));
            return (LagReport::known(courses, spill), unknown);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Looks for keys that are most of what waits, and tells them with what was read last.
fn see_hot_keys(strategy: &dyn Strategy, courses: &mut Courses, hot_keys: &HotKeys) {
    for of in EventType::ALL {
        if let Some(reading) = courses.reading(of).cloned() {
            reading.look_for_hot_keys(strategy, hot_keys);
            courses.see(of, hot_keys);
        }
    }
}

/// Reads all groups and says why others could not be: each is asked by itself, and waits for no other.
fn read(strategy: &dyn Strategy, clock: &dyn Clock, courses: &mut Courses) -> Vec<String> {
    let take = |of| Reading::take(strategy, of, clock).map_err(|error| (of, error));
    let taken = std::thread::scope(|scope| {
        let asked = EventType::ALL.map(|of| scope.spawn(move || take(of)));
        asked.map(|asked| asked.join())
    });
    let mut unknown = Vec::new();
    for taken in taken {
        match taken {
            Ok(Ok(reading)) => drop(courses.add(reading)),
            Ok(Err((of, error))) => {
                courses.fail(of, &error.to_string(), clock.now());
                unknown.push(error.to_string());
            }
            Err(_) => unknown.push("a group was not read for a bug".to_owned()),
        }
    }
    unknown
}

/// Whether no more waits than may.
fn check(report: &LagReport, args: &LagArgs) -> Result<(), Exit> {
    let Some(most) = args.fail_above else { return Ok(()) };
    for group in &report.groups {
        if group.is_partly_unknown() {
            return Err(Exit::failed(format!("{}: {}", group.group, group.reason)));
        }
        let waiting = group.waiting();
        if waiting > most {
            let told = format!("{}: {waiting} events wait, more than {most}: {}", group.group, group.reason);
            return Err(Exit::failed(told));
        }
    }
    Ok(())
}

/// Returns whether somebody still reads.
fn print(report: &LagReport, args: &LagArgs) -> Result<bool, Exit> {
    let text = if args.json { json(report)? } else { table::table(report, args.all) };
    // a file or a pipe gets one table after the other
    let start = if args.watch && !args.json && std::io::stdout().is_terminal() { REDRAW } else { "" };
    say_as_it_is(&format!("{start}{text}"))
}

fn json(report: &LagReport) -> Result<String, Exit> {
    serde_json::to_string(report).map(|text| text + "\n").map_err(Exit::failed)
}
