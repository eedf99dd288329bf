//! `floodgate dlq replay` and `dismiss`: letters that are open, and then are not.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use clap::Args;
use floodgate_admin::dead_letters::{
    DeadLetterCounts, DeadLetterTopic, Deed, Filter, Refusal, ReplayOutcome, ScanLimits, Settle, SettlePlan,
};
use tokio::runtime::Handle;

use super::meant::{FilterArgs, all_read, not_read};
use super::table::unreadable_records;
use crate::exit::{Exit, say};
use crate::progress::progress_bar;

/// How long it waits for the strategy to be ready, and then for every batch.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which letters: those that have all of what is given, or all there are.
#[derive(Args)]
pub(crate) struct MeantArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// All that are open, in place of filters
    #[arg(long)]
    all: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate dlq replay --all --dry-run            how many would be published again
  floodgate dlq replay --reason bad-row --wait    publish them, and say what became of them
  floodgate dlq replay --origin floodgate.like.v1/3/1234

Exit codes: 0 done (with --wait: all are applied), 1 failed (with --wait: some failed again), 2 usage or configuration, \
3 not everything could be read, or is known yet.")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    meant: MeantArgs,
    /// Publish at most so many records a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Leave alone what failed this often
    #[arg(long, value_name = "N", default_value_t = 5)]
    attempts_max: u32,
    /// Publish also what cannot be decoded, which fails again unless the consumers are of another build
    #[arg(long)]
    undecodable: bool,
    /// Wait until the records are applied or have failed again, at most so long (60 if nothing is said), and fail if some did
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    wait: Option<NonZeroU64>,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate dlq dismiss --reason not-avro --because \"a test of the load generator\"
  floodgate dlq dismiss --origin floodgate.like.v1/3/1234 --because \"the account is closed\"

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not everything could be read.")]
pub(crate) struct DismissArgs {
    #[command(flatten)]
    meant: MeantArgs,
    /// Why nothing will be done about them, for whoever lists them later
    #[arg(long, value_name = "TEXT")]
    because: String,
}

impl MeantArgs {
    fn filter(&self, topic: &DeadLetterTopic) -> Result<Filter, Exit> {
        let filter = self.filter.filter(topic.names())?;
        match (filter.means_all(), self.all) {
            (true, false) => Err(Exit::usage(
                "which letters? Give filters (--type, --reason, --since, --until, --key, --origin), or --all",
            )),
            (false, true) => {
                Err(Exit::usage("--all means all letters, and a filter some of them: give one of both"))
            }
            _ => Ok(filter),
        }
    }
}

pub(super) fn replay(topic: &DeadLetterTopic, args: &ReplayArgs, runtime: &Handle) -> Result<(), Exit> {
    let ReplayArgs { meant, rate, attempts_max, undecodable, wait } = args;
    let deed = Deed::Replay { attempts_max: *attempts_max, undecodable: *undecodable };
    let passed_over = |counts: &DeadLetterCounts| {
        let DeadLetterCounts { capped, unknown, undecodable, unsure, replayed, dismissed, .. } = *counts;
        let also = [
            (dismissed, "were dismissed".to_owned()),
            (undecodable, "cannot be decoded and are left alone (--undecodable)".to_owned()),
            (
                unknown,
                "are of schemas that this build does not know and are left alone: replay them with a newer one"
                    .to_owned(),
            ),
            (unsure, "may have been replayed before and are left alone".to_owned()),
        ];
        let also = also.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("; {count} {why}"));
        format!(
            "{replayed} were replayed before; {capped} failed {attempts_max} times or more and are left alone (--attempts-max){}",
            also.collect::<String>()
        )
    };
    let plan = SettlePlan {
        filter: meant.filter(topic)?,
        deed,
        rate: *rate,
        patience: PATIENCE,
        limits: ScanLimits::NONE,
    };
    let mut settle = Settle::plan(topic, plan).map_err(not_read)?;
    let done = run(topic, &mut settle, meant.dry_run, "replayed", passed_over, runtime);
    match (wait, &done) {
        (Some(seconds), Ok(done)) if *done > 0 => {
            let outcome = settle.outcome(Duration::from_secs(seconds.get())).map_err(not_read)?;
            became(*done, &outcome, seconds.get())?;
        }
        _ => {}
    }
    done.map(drop)?;
    all_read(topic, settle.unread(), "which other dead letters there are")
}

/// What became of them: an exit code other than 0 unless all of them are applied.
fn became(done: u64, outcome: &ReplayOutcome, seconds: u64) -> Result<(), Exit> {
    let ReplayOutcome { failed_again, open } = outcome;
    let others = done.saturating_sub(*failed_again);
    match open {
        None => say(format_args!("{done} replayed: {others} applied, {failed_again} failed again"))?,
        Some(_) => say(format_args!("{done} replayed: {failed_again} failed again, {others} not known yet"))?,
    }
    match (failed_again, open) {
        (0, None) => Ok(()),
        (0, Some(why)) => Err(Exit::CannotTell(format!(
            "not all of them were applied or had failed again within {seconds} s: {why}"
        ))),
        (_, why) => {
            let why = why.as_ref().map_or(String::new(), |why| format!("; after {seconds} s {why}"));
            Err(Exit::failed(format!("{failed_again} failed again: `floodgate dlq list` says why{why}")))
        }
    }
}

pub(super) fn dismiss(topic: &DeadLetterTopic, args: &DismissArgs, runtime: &Handle) -> Result<(), Exit> {
    let DismissArgs { meant, because } = args;
    let refused = |Refusal { field, detail }| Exit::usage(format!("--{field}: {detail}"));
    let deed = Deed::dismiss(because).map_err(refused)?;
    let passed_over = |counts: &DeadLetterCounts| {
        let unsure = match counts.unsure {
            0 => String::new(),
            unsure => format!("; {unsure} may have been settled before and are left alone"),
        };
        format!("{} were replayed before, {} dismissed{unsure}", counts.replayed, counts.dismissed)
    };
    let plan = SettlePlan {
        filter: meant.filter(topic)?,
        deed,
        rate: None,
        patience: PATIENCE,
        limits: ScanLimits::NONE,
    };
    let mut settle = Settle::plan(topic, plan).map_err(not_read)?;
    run(topic, &mut settle, meant.dry_run, "dismissed", passed_over, runtime)?;
    all_read(topic, settle.unread(), "which other dead letters there are")
}

/// Settles what is due, and says so; returns how many those are.
fn run(
    topic: &DeadLetterTopic,
    settle: &mut Settle,
    dry_run: bool,
    what: &str,
    passed_over: impl Fn(&DeadLetterCounts) -> String,
    runtime: &Handle,
) -> Result<u64, Exit> {
    let counts = settle.counts();
    let unreadable = unreadable_records(settle.unreadable());
    let DeadLetterCounts { due, capped, unknown, undecodable, unsure, replayed, dismissed, .. } = counts;
    // a reason with a mistake in it must not look as if all was done
    if due + capped + unknown + undecodable + unsure + replayed + dismissed == 0 {
        say(format_args!("no dead letter is meant by this: none was {what}{unreadable}"))?;
        return Ok(0);
    }
    let passed_over = passed_over(&counts) + &unreadable;
    if dry_run {
        say(format_args!("{} would be {what}; {passed_over}", letters(due)))?;
        return Ok(0);
    }
    let _reports_go_on_here = runtime.enter();
    let publisher = topic.strategy.publisher().map_err(Exit::usage)?;
    let bar = progress_bar(counts.due);
    let settled = settle.run(&*publisher, |done| bar.set_position(done));
    bar.finish_and_clear();
    runtime.block_on(publisher.close(PATIENCE));
    let settled = settled.map_err(Exit::failed)?;
    say(format_args!("{} {what}; {passed_over}", letters(settled.done)))?;
    match settled.failed.first {
        None => Ok(settled.done),
        Some(first) => Err(Exit::failed(format!(
            "{} could not be {what}, the first: {first}",
            letters(settled.failed.count)
        ))),
    }
}

fn letters(number: u64) -> String {
    format!("{number} dead letter{}", if number == 1 { "" } else { "s" })
}
