//! `floodgate row`: one row of the database, and setting it back when no write counts on it any more.

use std::sync::Arc;

use clap::{Args, Subcommand};
use floodgate_ledger::{ResetReport, RowReset, VerifyError};
use floodgate_schemas::{CharacterId, Clock, LikerAccountId, PresetNo, TargetOcid, Timestamp};
use floodgate_store::{RowKey, RowRank};

use crate::exit::{Exit, say};
use crate::registry::codecs_of;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

#[derive(Subcommand)]
pub(crate) enum RowCommand {
    /// Show which event stands on a row, and whether later ones can count
    #[command(subcommand)]
    Show(Shown),
    /// Set a row back on which an event stands that no later one exceeds: what lies too far ahead is dead-lettered, and
    /// the greatest event that is left stands
    #[command(subcommand)]
    Reset(Set),
}

#[derive(Args)]
pub(crate) struct ExpectationArgs {
    /// The character
    #[arg(value_name = "CHARACTER_ID")]
    character_id: i64,
    /// Which of its presets
    #[arg(value_name = "PRESET_NO")]
    preset_no: i64,
}

#[derive(Args)]
pub(crate) struct LikeArgs {
    /// The character that is liked
    #[arg(value_name = "TARGET_OCID")]
    target_ocid: String,
    /// The account that likes it
    #[arg(value_name = "LIKER_ACCOUNT_ID")]
    liker_account_id: String,
}

#[derive(Subcommand)]
pub(crate) enum Shown {
    /// The expectation on one preset of a character
    #[command(after_help = "Examples:\n  floodgate row show expectation 4711 1")]
    Expectation(ExpectationArgs),
    /// What an account says of a character
    #[command(after_help = "Examples:\n  floodgate row show like star ann")]
    Like(LikeArgs),
}

#[derive(Subcommand)]
pub(crate) enum Set {
    /// The expectation on one preset of a character
    #[command(after_help = "Examples:\n  floodgate row reset expectation 4711 1")]
    Expectation {
        #[command(flatten)]
        row: ExpectationArgs,
        /// Versions above this one do not count [default: what clients may send now, http.clock_ahead_max_ms]
        #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
        above: Option<i64>,
    },
    /// What an account says of a character
    #[command(
        after_help = "Examples:\n  floodgate row reset like star ann\n  floodgate row reset like star ann --above 2026-01-01T00:00:00Z"
    )]
    Like {
        #[command(flatten)]
        row: LikeArgs,
        /// Events after this time (RFC 3339) do not count [default: what clients may send now, http.clock_ahead_max_ms]
        #[arg(long, value_name = "TIME")]
        above: Option<String>,
    },
}

fn refused<E: std::fmt::Display>(name: &'static str) -> impl Fn(E) -> Exit {
    move |reason| Exit::usage(format!("{name} {reason}"))
}

impl ExpectationArgs {
    fn key(&self) -> Result<RowKey, Exit> {
        let character = CharacterId::try_from(self.character_id).map_err(refused("CHARACTER_ID"))?;
        let preset = PresetNo::try_from(self.preset_no).map_err(refused("PRESET_NO"))?;
        Ok(RowKey::Expectation(character, preset))
    }
}

impl LikeArgs {
    fn key(&self) -> Result<RowKey, Exit> {
        let target = TargetOcid::try_from(self.target_ocid.clone()).map_err(refused("TARGET_OCID"))?;
        let liker =
            LikerAccountId::try_from(self.liker_account_id.clone()).map_err(refused("LIKER_ACCOUNT_ID"))?;
        Ok(RowKey::Like(target, liker))
    }
}

pub(crate) async fn row(settings: &Settings, command: &RowCommand) -> Result<(), Exit> {
    let clock = given().clock;
    let latest = settings.http.latest(clock.now()).as_micros();
    match command {
        RowCommand::Show(Shown::Expectation(row)) => show(settings, &row.key()?, latest).await,
        RowCommand::Show(Shown::Like(row)) => show(settings, &row.key()?, latest).await,
        RowCommand::Reset(Set::Expectation { row, above }) => {
            reset(settings, row.key()?, above.unwrap_or(latest), clock).await
        }
        RowCommand::Reset(Set::Like { row, above }) => {
            let above = above.as_ref().map(|text| text.parse::<Timestamp>()).transpose();
            let above = above.map_err(refused("--above"))?.map(Timestamp::as_micros);
            reset(settings, row.key()?, above.unwrap_or(latest), clock).await
        }
    }
}

/// A version as it is, a time as clients write it.
fn shown(row: &RowKey, micros: i64) -> String {
    match row {
        RowKey::Expectation(..) => format!("version {micros}"),
        RowKey::Like(..) => {
            Timestamp::from_micros(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
        }
    }
}

fn standing(row: &RowKey, rank: Option<RowRank>) -> String {
    match rank {
        None => "nothing".to_owned(),
        Some(RowRank { micros, event_id }) if micros == row.lowest() => {
            format!("what event {event_id} said, at the lowest rank: any write counts")
        }
        Some(RowRank { micros, event_id }) => format!("event {event_id}, {}", shown(row, micros)),
    }
}

async fn show(settings: &Settings, row: &RowKey, latest: i64) -> Result<(), Exit> {
    let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
    let rank = store.rank(row).await.map_err(Exit::failed)?;
    say(format_args!("{row}: {}", standing(row, rank)))?;
    match rank {
        Some(rank) if rank.micros > latest => say(format_args!(
            "this is beyond what clients may send now ({}): no write counts until then; `floodgate row reset {row}` sets \
             the row back",
            shown(row, latest)
        )),
        _ => Ok(()),
    }
}

async fn reset(settings: &Settings, row: RowKey, above: i64, clock: Arc<dyn Clock>) -> Result<(), Exit> {
    let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
    let strategy = open_strategy(settings)?;
    let reset = RowReset {
        codecs: codecs_of(settings, &*strategy)?,
        strategy,
        store,
        row: row.clone(),
        above,
        clock,
    };
    let report = reset.run().await.map_err(|error| match error {
        VerifyError::Unavailable(reason) => Exit::failed(reason),
        error => Exit::usage(error),
    })?;
    let ResetReport { before, was_reset, dead_lettered, after } = report;
    if !was_reset {
        let bound = shown(&row, above);
        return say(format_args!(
            "{row}: nothing to do, not above {bound}; on it stands {}",
            standing(&row, before)
        ));
    }
    say(format_args!("{row}: on it stood {}", standing(&row, before)))?;
    for origin in &dead_lettered {
        say(format_args!("dead-lettered {origin} (row-reset)"))?;
    }
    say(format_args!("now there stands {}", standing(&row, after)))
}
