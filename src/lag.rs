//! `floodgate lag`: how far each consumer group is behind.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use floodgate_admin::{LagReport, Reading, SpillReport};
use floodgate_buffer::Strategy;
use floodgate_observe::logs;
use floodgate_schemas::{Clock, EventType};

use crate::exit::Exit;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

#[derive(Args)]
pub(crate) struct LagArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print again every few seconds (lag.refresh_ms) until interrupted
    #[arg(long)]
    watch: bool,
}

/// Moves to the top left and clears what is below.
const REDRAW: &str = "\x1b[H\x1b[J";

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
    loop {
        // in this order: what is moved in between is seen where it arrives
        let spill = strategy.spill().transpose();
        let (readings, mut unknown) = read(&*strategy, &*clock);
        let spill = spill.unwrap_or_else(|error| {
            unknown.push(error.to_string());
            None
        });
        // an outage is when somebody watches: the last table stays, and looking goes on
        if !readings.is_empty() || spill.is_some() {
            print(&LagReport::new(&readings, spill.map(|spill| SpillReport::new(&spill, &*clock))), args)?;
        }
        unknown.dedup();
        let unknown = unknown.join("; ");
        match (unknown.is_empty(), args.watch) {
            (true, _) => {}
            (false, true) => logs::say(format_args!("floodgate: {unknown}")),
            (false, false) => return Err(Exit::failed(unknown)),
        }
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(settings.lag.refresh_ms));
    }
}

/// What is known of the groups, and why the others are not: each is asked by itself, and waits for no other.
fn read(strategy: &dyn Strategy, clock: &dyn Clock) -> (Vec<Reading>, Vec<String>) {
    let taken = std::thread::scope(|scope| {
        let asked = EventType::ALL.map(|of| scope.spawn(move || Reading::take(strategy, of, clock)));
        asked.map(|asked| asked.join())
    });
    let (mut readings, mut unknown) = (Vec::new(), Vec::new());
    for taken in taken {
        match taken {
            Ok(Ok(reading)) => readings.push(reading),
            Ok(Err(error)) => unknown.push(error.to_string()),
            Err(_) => unknown.push("a group was not read for a bug".to_owned()),
        }
    }
    (readings, unknown)
}

fn print(report: &LagReport, args: &LagArgs) -> Result<(), Exit> {
    let text = if args.json { json(report)? } else { table(report) };
    let mut out = std::io::stdout().lock();
    // a file or a pipe gets one table after the other
    let start = if args.watch && !args.json && out.is_terminal() { REDRAW } else { "" };
    match write!(out, "{start}{text}").and_then(|()| out.flush()) {
        // whoever reads may have seen enough, and watching goes on for nobody
        Err(error) if error.kind() == ErrorKind::BrokenPipe && !args.watch => Ok(()),
        written => written.map_err(Exit::failed),
    }
}

fn json(report: &LagReport) -> Result<String, Exit> {
    serde_json::to_string(report).map(|text| text + "\n").map_err(Exit::failed)
}

fn table(report: &LagReport) -> String {
    let mut text = format!(
        "{:<24} {:<26} {:>9} {:>12} {:>12} {:>10} {:>9} {:>8}\n",
        "GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "SECONDS", "MISSING"
    );
    for group in &report.groups {
        for topic in &group.topics {
            for partition in &topic.partitions {
                let committed =
                    partition.committed_offset.map_or("-".to_owned(), |offset| offset.to_string());
                text += &format!(
                    "{:<24} {:<26} {:>9} {:>12} {:>12} {:>10} {:>9} {:>8}\n",
                    group.group,
                    topic.topic,
                    partition.partition,
                    committed,
                    known(partition.end_offset),
                    known(partition.lag),
                    partition.lag_seconds.map_or("?".to_owned(), |seconds| format!("{seconds:.1}")),
                    known(partition.missing)
                );
                if let Some(why) = &partition.unknown {
                    text += &format!("{:>61}  not known: {why}\n", "");
                }
                if let Some(unreadable) = partition.unreadable.filter(|unreadable| *unreadable > 0) {
                    text += &format!(
                        "{:>61}  {unreadable} of them cannot be read yet: a transaction of another program is open\n",
                        ""
                    );
                }
            }
        }
    }
    for group in &report.groups {
        let partitions = || group.topics.iter().flat_map(|topic| &topic.partitions);
        let counted = group.queue.map_or(0, |queue| queue.lag);
        let lag: u64 = partitions().filter_map(|partition| partition.lag).sum::<u64>() + counted;
        let lag = match partitions().any(|partition| partition.lag.is_none()) {
            true => format!("at least {lag}"),
            false => lag.to_string(),
        };
        let members = group.members.map_or("?".to_owned(), |members| members.to_string());
        text += &format!("{}: {}, {lag} waiting, {members} members\n", group.group, group.status);
    }
    if let Some(SpillReport { strategy, waiting, oldest_seconds, state }) = &report.spill {
        let oldest = oldest_seconds.filter(|_| *waiting > 0);
        let oldest = oldest.map_or(String::new(), |seconds| format!(", the oldest for {seconds:.1} s"));
        text += &format!("fallback {strategy}: {state}, {waiting} waiting{oldest}\n");
    }
    text
}

/// What is not known is no 0.
fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or("?".to_owned(), |value| value.to_string())
}
