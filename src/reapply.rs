//! `floodgate reapply`: events from the log to their rows again.

use clap::Args;
use floodgate_ledger::{Reapplied, Verification, VerifyError};

use crate::exit::{Exit, say};
use crate::registry::codecs_of;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::verify::Bar;

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate reapply --missing --dry-run               only says what would be done
  floodgate reapply floodgate.like.v1/3/4711          one record")]
pub(crate) struct ReapplyArgs {
    /// Where the event's record stands, as `verify` and `dlq` name it
    #[arg(
        value_name = "TOPIC/PARTITION/OFFSET",
        required_unless_present = "missing",
        conflicts_with = "missing"
    )]
    origins: Vec<String>,
    /// Check the whole log, and bring back every event that is missing
    #[arg(long)]
    missing: bool,
    /// Also set the rows that carry such an event with other values
    #[arg(long)]
    values: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn reapply(settings: &Settings, args: &ReapplyArgs) -> Result<(), Exit> {
    let bar = Bar::new();
    let strategy = open_strategy(settings)?;
    if !strategy.reach().is_readable_from_outside {
        return Err(Exit::usage(format!(
            "the {} strategy keeps events inside the running process until they are applied: there is no log to bring \
             them back from",
            strategy.name()
        )));
    }
    let names = strategy.names().clone();
    let origin = |text: &String| names.read(text).map_err(|detail| Exit::usage(format!("{text}: {detail}")));
    let origins = args.origins.iter().map(origin).collect::<Result<Vec<_>, _>>()?;
    let verification = Verification {
        codecs: codecs_of(settings, &*strategy)?,
        strategy,
        store: floodgate_store::open(&settings.store).map_err(Exit::usage)?,
        store_name: settings.store.masked_url(),
        state: None,
        values: args.values,
        watch: &bar,
        clock: given().clock,
        kept: settings.coupon.decisions_kept(),
    };
    let work = async {
        match args.missing {
            true => verification.reapply_missing(args.dry_run).await,
            false => verification.reapply(&origins, args.dry_run).await,
        }
    };
    let mut signals = Signals::listen()?;
    let ended = tokio::select! {
        ended = work => ended.map_err(|error| match error {
            VerifyError::Unavailable(reason) => {
                Exit::failed(format!("{reason}; what was applied stays, and running it again goes on with the rest"))
            }
            VerifyError::Config(_) | VerifyError::State(_) => Exit::usage(error),
        }),
        _ = signals.next() => Err(Exit::failed("interrupted; what was applied stays")),
    };
    bar.ends();
    let reapplied = ended?;
    match args.json {
        true => say(serde_json::to_string(&reapplied).map_err(Exit::failed)?)?,
        false => say(text(&reapplied).trim_end())?,
    }
    match reapplied.left_count {
        0 => Ok(()),
        left => Err(Exit::failed(format!("{left} records were left as they are"))),
    }
}

fn text(reapplied: &Reapplied) -> String {
    let mut text = String::new();
    for left in &reapplied.left {
        text += &format!("left: {}: {}\n", left.origin, left.reason);
    }
    let others = reapplied.left_count.saturating_sub(reapplied.left.len() as u64);
    if others > 0 {
        text += &format!("and {others} more left\n");
    }
    reapplied.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    let outcomes = reapplied.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}"));
    let outcomes = outcomes.collect::<Vec<_>>().join(", ");
    let (events, verb) = (reapplied.events(), if reapplied.dry_run { "looked at" } else { "brought back" });
    match events {
        0 => text + &format!("nothing was {verb}\n"),
        _ => text + &format!("{events} events {verb}: {outcomes}\n"),
    }
}
