//! `floodgate verify`: whether everything that was accepted is accounted for.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use floodgate_ledger::{
    DEAD_LETTER_EXPIRED, DEAD_LETTER_UNREAD, Report, TypeReport, Verdict, Verification, VerifyError, Watch,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::{Exit, say};
use crate::registry::codecs_of;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;
use crate::signals::Signals;

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate verify                        on the live system
  floodgate verify --values --json
  floodgate verify --state /var/tmp/verify    goes on there when it was interrupted")]
pub(crate) struct VerifyArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Remember in this folder how far the check is, and go on from there when it is started again after it was
    /// interrupted
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Compare the values of rows with those of the events that stand on them, too, and not only which event it is
    #[arg(long)]
    values: bool,
}

pub(crate) async fn verify(settings: &Settings, args: &VerifyArgs) -> Result<(), Exit> {
    let bar = Bar::new();
    let strategy = open_strategy(settings)?;
    let verification = Verification {
        codecs: codecs_of(settings, &*strategy)?,
        strategy,
        store: floodgate_store::open(&settings.store).map_err(Exit::usage)?,
        store_name: settings.store.masked_url(),
        state: args.state.as_deref(),
        values: args.values,
        watch: &bar,
        clock: given().clock,
        kept: settings.coupon.decisions_kept(),
    };
    let mut signals = Signals::listen()?;
    let ended = tokio::select! {
        ended = verification.run() => ended.map_err(|error| exit(&error, args)),
        _ = signals.next() => Err(Exit::failed(format!("interrupted{}", how_to_go_on(args)))),
    };
    bar.ends();
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
    match report.verdict {
        Verdict::Balanced => Ok(()),
        Verdict::Violations => Err(Exit::failed(format!("{} violations", report.violations))),
        Verdict::CannotTell => Err(Exit::CannotTell(cannot_tell(&report))),
    }
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
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::no_length())
    }

    pub(crate) fn ends(&self) {
        self.0.finish_and_clear();
    }
}

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
    let named = [
        lines("violation", &report.missing),
        lines("violation", &report.differences),
        lines("violation", &report.lost),
        lines("violation", &report.discrepancies),
    ];
    text += &named.concat();
    let sum = |of: fn(&TypeReport) -> u64| report.types.iter().map(of).sum::<u64>();
    let missing = sum(|of| of.tally.missing + of.unreadable.missing);
    text += &more(missing, report.missing.len(), "violations: missing");
    text += &more(sum(|of| of.tally.differing), report.differences.len(), "violations: differing");
    text += &more(report.discrepancy_count, report.discrepancies.len(), "violations: rows");
    if missing + sum(|of| of.tally.differing) > 1 {
        text += "`floodgate reapply --missing` brings back all that is missing, with --values also sets all that differs\n";
    }
    text += &lines("cannot tell", &report.cannot_tell);
    let of_letter = [DEAD_LETTER_EXPIRED, DEAD_LETTER_UNREAD];
    let letters = report.cannot_tell.iter().filter(|doubt| of_letter.contains(&doubt.kind)).count();
    let of_letters = sum(|of| of.tally.cannot_tell + of.unreadable.cannot_tell);
    text += &more(of_letters, letters, "cannot tell: their dead letters may have expired, or cannot be read");
    text += &lines("note", &report.notes);
    text + &format!("{}\n", verdict(report))
}

/// One a line, each after the word for it.
fn lines(word: &str, items: &[impl Display]) -> String {
    items.iter().map(|item| format!("{word}: {item}\n")).collect()
}

fn verdict(report: &Report) -> String {
    let as_of = &report.as_of;
    match report.verdict {
        Verdict::Violations => format!("{} violations as of {as_of}", report.violations),
        Verdict::CannotTell => format!("{} as of {as_of}", cannot_tell(report)),
        Verdict::Balanced if !report.events_checked => {
            format!("the database agrees with itself as of {as_of}; no event was checked")
        }
        Verdict::Balanced if report.values_compared => format!("balanced as of {as_of}, values compared"),
        Verdict::Balanced => format!("balanced as of {as_of} (--values compares values, too)"),
    }
}

fn cannot_tell(report: &Report) -> String {
    let reasons = report.cannot_tell.iter().take(1).map(ToString::to_string);
    let others = report.cannot_tell.len().saturating_sub(1);
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    format!("cannot tell: {}{more}", reasons.collect::<String>())
}

/// What the table has no columns for.
fn besides(of: &TypeReport) -> String {
    let mut text = String::new();
    let no_events = &of.unreadable;
    if no_events.dead_lettered + no_events.in_flight + no_events.missing + no_events.cannot_tell > 0 {
        text += &format!(
            "{}: records that are no events: {} dead-lettered, {} in flight, {} missing, {} nobody can tell\n",
            of.of, no_events.dead_lettered, no_events.in_flight, no_events.missing, no_events.cannot_tell
        );
    }
    if of.tally.differing + of.tally.cannot_tell > 0 {
        let (differing, cannot_tell) = (of.tally.differing, of.tally.cannot_tell);
        text += &format!("{}: also {differing} with other values, {cannot_tell} nobody can tell\n", of.of);
    }
    if of.tally.forgotten > 0 {
        let forgotten = of.tally.forgotten;
        text +=
            &format!("{}: also {forgotten} decided so long ago that their decisions may be deleted\n", of.of);
    }
    for range in &of.unchecked {
        text += &format!("{}: unchecked: {range} expired\n", of.of);
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
