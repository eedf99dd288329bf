//! `floodgate dlq`: events that could not be applied.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, Subcommand};
use floodgate_admin::dead_letters::{
    DeadLetterDetail, DeadLetterReport, DeadLetterTopic, Filter, Found, Refusal, Replay, ReplayPlan,
    ScanError, ScanLimits, Survey, Troubles, Unread, find,
};
use floodgate_buffer::{Names, Topic};
use floodgate_observe::logs;
use floodgate_schemas::text::{escaped, shortened};
use tokio::runtime::Handle;

use crate::exit::{Exit, say};
use crate::progress::progress_bar;
use crate::registry::codecs_of;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

/// How long a replay waits for the strategy to be ready, and then for every batch.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a key and of a message fits in a table.
const KEY_CHARS: usize = 40;
const MESSAGE_CHARS: usize = 80;

#[derive(Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, the newest last, and count them by reason
    #[command(
        after_help = "Examples:\n  floodgate dlq list\n  floodgate dlq list --type like --since 2026-01-01T00:00:00Z --json"
    )]
    List(ListArgs),
    /// Show everything about one dead letter
    #[command(after_help = "Examples:\n  floodgate dlq show floodgate.like.v1/3/4711")]
    Show(ShowArgs),
    /// Publish the original records again, each letter once
    #[command(
        after_help = "Examples:\n  floodgate dlq replay --reason bad-row --dry-run\n  floodgate dlq replay --origin floodgate.like.v1/3/4711"
    )]
    Replay(ReplayArgs),
}

/// Letters that have all of what is given are meant.
#[derive(Args)]
pub(crate) struct FilterArgs {
    /// Events of this type: expectation, coupon or like
    #[arg(long = "type", value_name = "TYPE")]
    of: Option<String>,
    /// With this reason, such as bad-row
    #[arg(long)]
    reason: Option<String>,
    /// Failed at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Failed before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With exactly this key, as it is or as the list shows it
    #[arg(long)]
    key: Option<String>,
    /// The one that stood there
    #[arg(long, value_name = "TOPIC/PARTITION/OFFSET")]
    origin: Option<String>,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Print the letters as JSON, one a line, and the counts to stderr
    #[arg(long)]
    json: bool,
    /// Print only the newest of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// Where the letter's record stood: the first column of the list
    #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
    origin: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only say what would be replayed
    #[arg(long)]
    dry_run: bool,
    /// Publish at most so many records a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Leave alone what failed this often
    #[arg(long, value_name = "N", default_value_t = 5)]
    attempts_max: u32,
}

pub(crate) fn dlq(settings: &Settings, command: &DlqCommand, runtime: &Handle) -> Result<(), Exit> {
    let strategy = open_strategy(settings)?;
    if !strategy.reach().is_readable_from_outside {
        return Err(Exit::usage(format!(
            "the {} strategy's dead letters are inside the running process: ask http://{}/dlq",
            strategy.name(),
            settings.admin.listen
        )));
    }
    let codecs = codecs_of(settings, &*strategy)?;
    let topic = DeadLetterTopic { strategy, clock: given().clock, codecs };
    match command {
        DlqCommand::List(args) => list(&topic, args),
        DlqCommand::Show(args) => show(&topic, args),
        DlqCommand::Replay(args) => replay(&topic, args, runtime),
    }
}

impl FilterArgs {
    fn filter(&self, topics: &Names) -> Result<Filter, Exit> {
        let Self { of, reason, since, until, key, origin } = self;
        let given = [
            ("type", of),
            ("reason", reason),
            ("since", since),
            ("until", until),
            ("key", key),
            ("origin", origin),
        ];
        let mut filter = Filter::default();
        for (name, text) in given {
            if let Some(text) = text {
                let set = filter.set(name, text, topics);
                set.map_err(|Refusal { field, detail }| Exit::usage(format!("--{field} {text}: {detail}")))?;
            }
        }
        Ok(filter)
    }
}

fn not_read(error: ScanError) -> Exit {
    match error {
        ScanError::Absent(absent) => Exit::usage(absent),
        ScanError::Open(error) => Exit::usage(error),
        error => Exit::failed(error),
    }
}

/// Fails with what could not be read, if there is something, and what therefore is not known.
fn all_read(topic: &DeadLetterTopic, unread: &[Unread], unknown: &str) -> Result<(), Exit> {
    if unread.is_empty() {
        return Ok(());
    }
    let topic = topic.names().topic(Topic::DeadLetters);
    let named: Vec<_> = unread.iter().map(|unread| format!("{topic} {unread}")).collect();
    Err(Exit::CannotTell(format!("cannot tell {unknown}; not read: {}", named.join("; "))))
}

fn list(topic: &DeadLetterTopic, args: &ListArgs) -> Result<(), Exit> {
    let filter = args.filter.filter(topic.names())?;
    let survey = Survey::take(topic, &filter, args.limit, &ScanLimits::NONE).map_err(not_read)?;
    if args.json {
        for letter in &survey.letters {
            say(serde_json::to_string(letter).map_err(Exit::failed)?)?;
        }
        // a result is one letter a line and nothing else
        logs::say(counts(&survey));
    } else {
        if !survey.letters.is_empty() {
            say(table(&survey.letters).trim_end())?;
        }
        say(counts(&survey))?;
    }
    all_read(topic, &survey.unread, "which other dead letters there are, and which of these were replayed")
}

/// Columns as wide as what is in them.
fn table(letters: &[DeadLetterReport]) -> String {
    let head = ["ORIGIN", "REASON", "ATTEMPTS", "FAILED AT", "REPLAYED", "KEY", "MESSAGE"];
    let row = |letter: &DeadLetterReport| {
        let cell = |text: &str, chars| shortened(escaped(text.as_bytes()), chars);
        [
            letter.origin.to_string(),
            cell(&letter.reason, KEY_CHARS),
            letter.attempts.to_string(),
            letter.failed_at.clone(),
            if letter.replayed_at.is_some() { "yes" } else { "no" }.to_owned(),
            shortened(letter.key_escaped.clone().unwrap_or_else(|| "-".to_owned()), KEY_CHARS),
            cell(&letter.message, MESSAGE_CHARS),
        ]
    };
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(letters.iter().map(row)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| -> String {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn counts(survey: &Survey) -> String {
    let Survey { total, replayed, unreadable, by_reason, letters, .. } = survey;
    let mut text = format!("{total} dead letters{}; {replayed} replayed", reasons(by_reason));
    if survey.truncated {
        text += &format!("; the newest {} are listed, --limit N lists more", letters.len());
    }
    text + &unreadable_records(unreadable)
}

fn reasons(by_reason: &BTreeMap<String, u64>) -> String {
    let counts = by_reason.iter().map(|(reason, count)| format!("{count} {}", escaped(reason.as_bytes())));
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}

fn unreadable_records(unreadable: &Troubles) -> String {
    match &unreadable.first {
        None => String::new(),
        Some(first) => {
            format!("; {} records on the topic are no dead letters, the first: {first}", unreadable.count)
        }
    }
}

fn show(topic: &DeadLetterTopic, args: &ShowArgs) -> Result<(), Exit> {
    let topics = topic.names();
    let origin =
        topics.read(&args.origin).map_err(|detail| Exit::usage(format!("{}: {detail}", args.origin)))?;
    let Found { detail, unread } = find(topic, origin).map_err(not_read)?;
    let Some(detail) = detail else {
        all_read(topic, &unread, &format!("whether there is a dead letter from {}", topics.show(origin)))?;
        return Err(Exit::failed(format!("there is no dead letter from {}", topics.show(origin))));
    };
    match args.json {
        true => say(serde_json::to_string(&detail).map_err(Exit::failed)?)?,
        false => say(told(&detail)?.trim_end())?,
    }
    match detail.letter.replayed_at {
        Some(_) => Ok(()),
        None => all_read(topic, &unread, "whether it was replayed"),
    }
}

fn told(detail: &DeadLetterDetail) -> Result<String, Exit> {
    let DeadLetterDetail { letter, value_bytes, undecodable, value_start, headers } = detail;
    let safe = |text: &str| escaped(text.as_bytes());
    let mut lines = vec![
        ("origin", letter.origin.to_string()),
        ("group", safe(&letter.group)),
        ("reason", safe(&letter.reason)),
        ("message", safe(&letter.message)),
        ("attempts", letter.attempts.to_string()),
        ("failed at", letter.failed_at.clone()),
        ("replayed at", letter.replayed_at.clone().unwrap_or_else(|| "never".to_owned())),
        ("key", letter.key_escaped.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    lines.extend(headers.iter().map(|header| ("header", header.escaped.clone())));
    lines.push(("value", format!("{value_bytes} bytes")));
    if let Some(why) = undecodable {
        lines.push(("no event", safe(why)));
    }
    lines.extend(value_start.clone().map(|start| ("begins with", start)));
    if let Some(event) = &letter.event {
        lines.push(("event", serde_json::to_string_pretty(event).map_err(Exit::failed)?));
    }
    Ok(lines.iter().map(|(name, text)| format!("{name:<12} {text}\n")).collect())
}

fn replay(topic: &DeadLetterTopic, args: &ReplayArgs, runtime: &Handle) -> Result<(), Exit> {
    let filter = args.filter.filter(topic.names())?;
    let ReplayArgs { rate, attempts_max, .. } = *args;
    let plan = ReplayPlan { filter, attempts_max, rate, patience: PATIENCE, limits: ScanLimits::NONE };
    let replay = Replay::plan(topic, plan).map_err(not_read)?;
    let counts = replay.counts();
    let unknown = match counts.unknown {
        0 => String::new(),
        unknown => format!(
            "; {unknown} are of schemas that this build does not know and are left alone: replay them with a newer one"
        ),
    };
    let unsure = match counts.unsure {
        0 => String::new(),
        unsure => format!("; {unsure} may have been replayed before and are left alone"),
    };
    let unread = replay.unread().to_vec();
    let judged = || all_read(topic, &unread, "which other dead letters there are");
    let passed_over = format!(
        "{} were replayed before; {} failed {attempts_max} times or more and are left alone (--attempts-max){unknown}{unsure}{}",
        counts.replayed,
        counts.capped,
        unreadable_records(replay.unreadable()),
    );
    if args.dry_run {
        say(format_args!("{} dead letters would be replayed; {passed_over}", counts.due))?;
        return judged();
    }
    let _reports_go_on_here = runtime.enter();
    let publisher = topic.strategy.publisher().map_err(Exit::usage)?;
    let bar = progress_bar(counts.due);
    let replayed = replay.run(&*publisher, |done| bar.set_position(done));
    bar.finish_and_clear();
    runtime.block_on(publisher.close(PATIENCE));
    let replayed = replayed.map_err(Exit::failed)?;
    say(format_args!("{} dead letters replayed; {passed_over}", replayed.done))?;
    match replayed.failed.first {
        None => judged(),
        Some(first) => Err(Exit::failed(format!(
            "{} dead letters could not be replayed, the first: {first}",
            replayed.failed.count
        ))),
    }
}
