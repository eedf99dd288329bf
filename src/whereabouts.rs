//! `floodgate where`: which record an event is, and what has become of it.

use clap::Args;
use floodgate_lag::words::{count, many};
use floodgate_ledger::{Search, Sought, VerifyError, Whereabouts};
use floodgate_schemas::text::unescaped;
use floodgate_schemas::{EventId, EventType};

use crate::arguments::event_type;
use crate::exit::{Exit, say};
use crate::progress::counting_bar;
use crate::registry::codecs_of;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate where 01a3c5e7-0000-7000-8000-000000000001    the event of this eventId, or requestId
  floodgate where --key 4711 --type expectation           what was written for this character
  floodgate where --key 'star\\x1fann' --type like        what ann said of star

Exit codes: 0 found, 1 not found (or no result), 2 usage or configuration, 3 not found, but not everything could be looked at.")]
pub(crate) struct WhereArgs {
    /// The event's id
    #[arg(value_name = "EVENT_ID", required_unless_present = "key", conflicts_with = "key")]
    event_id: Option<String>,
    /// The records' key, as it is or as other commands show it
    #[arg(long, requires = "of")]
    key: Option<String>,
    /// The type of the events
    #[arg(long = "type", value_name = "TYPE", requires = "key", value_parser = event_type())]
    of: Option<EventType>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl WhereArgs {
    fn sought(&self) -> Result<Sought, Exit> {
        if let (Some(key), Some(of)) = (&self.key, self.of) {
            return Ok(Sought::Key(of, unescaped(key)));
        }
        let text = self.event_id.as_deref().unwrap_or_default();
        let event_id: Result<EventId, _> = text.parse();
        event_id.map(Sought::Event).map_err(|_| Exit::usage(format!("{text}: an event's id is a UUID")))
    }
}

pub(crate) async fn whereabouts(settings: &Settings, args: &WhereArgs) -> Result<(), Exit> {
    let sought = args.sought()?;
    let strategy = open_strategy(settings)?;
    if !strategy.reach().is_readable_from_outside {
        return Err(Exit::usage(format!(
            "the {} strategy's events are inside the running process: ask http://{}/where",
            strategy.name(),
            settings.admin.listen
        )));
    }
    let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
    let bar = counting_bar("records looked at");
    let search = Search {
        codecs: codecs_of(settings, &*strategy)?,
        strategy,
        store,
        kept: settings.coupon.decisions_kept(),
        clock: given().clock,
    };
    let found = search.run(&sought, |read| bar.inc(read)).await;
    bar.finish_and_clear();
    let found = found.map_err(|error| match error {
        VerifyError::Unavailable(reason) => Exit::failed(reason),
        error => Exit::usage(error),
    })?;
    match args.json {
        true => say(serde_json::to_string(&found).map_err(Exit::failed)?)?,
        false => tell(&found)?,
    }
    match (found.found.is_empty() && found.decision.is_none(), found.notes.is_empty()) {
        (false, _) => Ok(()),
        (true, true) => Err(Exit::failed(format!("not found among {}", many(found.records_read, "record")))),
        (true, false) => Err(Exit::CannotTell(format!("not found; {}", found.notes.join("; ")))),
    }
}

fn tell(found: &Whereabouts) -> Result<(), Exit> {
    for record in &found.found {
        let key = record.key.as_deref().unwrap_or("none");
        let event =
            record.event_id.as_ref().map_or("no event".to_owned(), |event_id| format!("event {event_id}"));
        say(format_args!(
            "{}  {}: {}\n    {} {event}, key {key}, appended at {}",
            record.origin, record.state, record.meaning, record.of, record.appended_at
        ))?;
    }
    if found.not_told > 0 {
        say(format_args!("and {} earlier", many(found.not_told, "record")))?;
    }
    if let Some(decision) = &found.decision {
        let rank = decision
            .rank
            .map_or(String::new(), |rank| format!(", rank {}", count(rank.unsigned_abs().into())));
        say(format_args!(
            "the request is decided: {}{rank}, coupon {} for {}, at {}",
            decision.status, decision.coupon_id, decision.user_id, decision.decided_at
        ))?;
    }
    for note in found.notes.iter().filter(|_| !found.found.is_empty() || found.decision.is_some()) {
        say(format_args!("note: {note}"))?;
    }
    Ok(())
}
