//! `floodgate dlq`: events that could not be applied.

mod meant;
mod settle;
mod table;

use clap::{Args, Subcommand};
use floodgate_admin::dead_letters::{DeadLetterDetail, DeadLetterTopic, Found, ScanLimits, Survey, find};
use floodgate_observe::logs;
use floodgate_schemas::text::escaped;
use tokio::runtime::Handle;

use self::meant::{FilterArgs, all_read, not_read};
use self::settle::{DismissArgs, ReplayArgs};
use crate::exit::{Exit, say};
use crate::registry::codecs_of;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

#[derive(Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, open ones first, and count them by reason
    #[command(
        after_help = "Examples:\n  floodgate dlq list\n  floodgate dlq list --type like --since 2026-01-01T00:00:00Z --json\n\n\
                      Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not everything could be read."
    )]
    List(ListArgs),
    /// Show everything about one dead letter
    #[command(after_help = "Examples:\n  floodgate dlq show floodgate.like.v1/3/4711\n\n\
                      Exit codes: 0 done, 1 there is no such letter (or no result), 2 usage or configuration, 3 not everything \
                      could be read.")]
    Show(ShowArgs),
    /// Publish the original records again, each letter once
    Replay(ReplayArgs),
    /// Say of letters that nothing will be done about them, and why
    Dismiss(DismissArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Print the letters as JSON, one a line, and the counts to stderr
    #[arg(long)]
    json: bool,
    /// Print only so many: open ones, and of those the newest, before all others
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
        DlqCommand::Replay(args) => settle::replay(&topic, args, runtime),
        DlqCommand::Dismiss(args) => settle::dismiss(&topic, args, runtime),
    }
}

fn list(topic: &DeadLetterTopic, args: &ListArgs) -> Result<(), Exit> {
    let filter = args.filter.filter(topic.names())?;
    let survey = Survey::take(topic, &filter, args.limit, &ScanLimits::NONE).map_err(not_read)?;
    if args.json {
        for letter in &survey.letters {
            say(serde_json::to_string(letter).map_err(Exit::failed)?)?;
        }
        // a result is one letter a line and nothing else
        logs::say(table::counts(&survey));
    } else {
        if !survey.letters.is_empty() {
            say(table::table(&survey.letters, topic.names()).trim_end())?;
        }
        say(table::counts(&survey))?;
    }
    all_read(topic, &survey.unread, "which other dead letters there are, and which of these are settled")
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
    match detail.letter.state.is_open() {
        false => Ok(()),
        true => all_read(topic, &unread, "whether it was replayed or dismissed"),
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
        ("state", letter.state.name().to_owned()),
    ];
    lines.extend(letter.replayed_at.clone().map(|at| ("replayed at", at)));
    lines.extend(letter.dismissed_at.clone().map(|at| ("dismissed at", at)));
    lines.extend(letter.dismissed_because.as_deref().map(|because| ("because", safe(because))));
    lines.push(("key", letter.key_escaped.clone().unwrap_or_else(|| "none".to_owned())));
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
