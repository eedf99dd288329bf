//! `floodgate verify`: whether everything that was accepted is accounted for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use floodgate_ledger::{Report, TypeReport, Verification, VerifyError, Watch};
use indicatif::{ProgressBar, ProgressStyle};

use crate::roles::open_strategy;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{Exit, say};

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Remember in this folder how far the check is, and go on from there when it is started again after it was
    /// interrupted
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

pub(crate) async fn verify(settings: &Settings, args: &VerifyArgs) -> Result<(), Exit> {
    let bar = Bar(ProgressBar::no_length());
    let verification = Verification {
        strategy: open_strategy(settings)?,
        store: floodgate_store::open(&settings.store).map_err(Exit::usage)?,
        store_name: settings.store.masked_url(),
        state: args.state.as_deref(),
        watch: &bar,
    };
    let mut signals = Signals::listen()?;
    let ended = tokio::select! {
        ended = verification.run() => ended.map_err(|error| exit(&error, args)),
        _ = signals.next() => Err(Exit::failed(format!("interrupted{}", how_to_go_on(args)))),
    };
    bar.0.finish_and_clear();
    let report = ended?;
    let told = match args.json {
        true => serde_json::to_string(&report).map_err(Exit::failed)?,
        false => text(&report).trim_end().to_owned(),
    };
    // whoever reads may stand still, and signals are listened to here
    tokio::select! {
        said = tokio::task::spawn_blocking(move || say(told)) => said.map_err(Exit::failed).flatten()?,
        _ = signals.next() => return Err(Exit::failed("interrupted while the report was being read")),
    }
    if report.balanced {
        return Ok(());
    }
    Err(Exit::failed(format!("{} violations", report.violations)))
}

fn exit(error: &VerifyError, args: &VerifyArgs) -> Exit {
    match error {
        VerifyError::Unavailable(reason) => Exit::failed(format!("{reason}{}", how_to_go_on(args))),
        VerifyError::Config(_) | VerifyError::State(_) => Exit::usage(error),
    }
}

fn how_to_go_on(args: &VerifyArgs) -> &'static str {
    match args.state {
        Some(_) => "; the same command goes on where this was",
        None => "; with --state DIR a check can be taken up again",
    }
}

/// A progress bar on stderr, where that is a terminal.
struct Bar(ProgressBar);

impl Watch for Bar {
    fn begins(&self, what: &str, offsets: u64) {
        let shape = match offsets {
            0 => "{spinner} {msg}",
            _ => "{bar:30} {percent:>3} %  {human_pos} of {human_len}  {per_sec}  {eta} left  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(shape) {
            self.0.set_style(style);
        }
        self.0.reset();
        self.0.set_length(offsets);
        self.0.set_message(what.to_owned());
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    fn goes_on(&self, offsets: u64) {
        self.0.inc(offsets);
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    if !report.types.is_empty() {
        text += &format!(
            "{:<12} {:>11} {:>11} {:>11} {:>11} {:>11} {:>13} {:>10} {:>9}\n",
            "TYPE",
            "RECORDS",
            "EVENTS",
            "CURRENT",
            "SUPERSEDED",
            "DECIDED",
            "DEAD-LETTERED",
            "IN FLIGHT",
            "MISSING"
        );
    }
    for TypeReport { of, records, events, tally, .. } in &report.types {
        text += &format!(
            "{of:<12} {records:>11} {events:>11} {:>11} {:>11} {:>11} {:>13} {:>10} {:>9}\n",
            tally.current,
            tally.superseded,
            tally.decided,
            tally.dead_lettered,
            tally.in_flight,
            tally.missing
        );
    }
    report.types.iter().for_each(|of| text += &besides(of));
    for missing in &report.missing {
        let record = &missing.record;
        let what = record.event_id.map_or("a record that is no event".to_owned(), |id| format!("event {id}"));
        let key = record.key.as_ref().map_or("no key".to_owned(), |key| format!("key {key:?}"));
        let (of, partition, offset) = (missing.of, record.partition, record.offset);
        text += &format!("missing: {of} partition {partition} offset {offset}: {what}, {key}\n");
    }
    let all = report.types.iter().map(|of| of.tally.missing + of.unreadable.missing).sum::<u64>();
    text += &more(all, report.missing.len(), "missing");
    for discrepancy in &report.discrepancies {
        text += &format!("contradiction: {discrepancy}\n");
    }
    text += &more(report.discrepancy_count, report.discrepancies.len(), "contradictions");
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    let verdict =
        if report.balanced { "balanced".to_owned() } else { format!("{} violations", report.violations) };
    text + &format!("{verdict} as of {}\n", report.as_of)
}

/// What the table has no columns for.
fn besides(of: &TypeReport) -> String {
    let mut text = String::new();
    let no_events = &of.unreadable;
    if no_events.dead_lettered + no_events.in_flight + no_events.missing > 0 {
        text += &format!(
            "{}: records that are no events: {} dead-lettered, {} in flight, {} missing\n",
            of.of, no_events.dead_lettered, no_events.in_flight, no_events.missing
        );
    }
    for range in &of.unchecked {
        text += &format!(
            "{}: unchecked: partition {} offsets {} to {} have expired\n",
            of.of,
            range.partition,
            range.from_offset,
            range.until_offset - 1
        );
    }
    text
}

/// What is counted and not named.
fn more(all: u64, named: usize, what: &str) -> String {
    match all.saturating_sub(named as u64) {
        0 => String::new(),
        others => format!("and {others} more {what}\n"),
    }
}
