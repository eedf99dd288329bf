//! Which letters are meant, and what could not be read of them.

use clap::Args;
use clap::builder::PossibleValuesParser;
use floodgate_admin::dead_letters::{DeadLetterTopic, Filter, Refusal, ScanError, Unread};
use floodgate_buffer::{Names, Topic};
use floodgate_schemas::EventType;
use floodgate_schemas::dead_letter::REASONS;

use crate::arguments::known;
use crate::exit::Exit;

/// Letters that have all of what is given are meant.
#[derive(Args)]
pub(crate) struct FilterArgs {
    /// Events of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(EventType::ALL.map(EventType::name)))]
    of: Option<String>,
    /// With this reason; consumers of another build may have others
    #[arg(long, value_parser = known(REASONS))]
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

impl FilterArgs {
    pub(super) fn filter(&self, topics: &Names) -> Result<Filter, Exit> {
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

pub(super) fn not_read(error: ScanError) -> Exit {
    match error {
        ScanError::Absent(absent) => Exit::usage(absent),
        ScanError::Open(error) => Exit::usage(error),
        error => Exit::failed(error),
    }
}

/// Fails with what could not be read, if there is something, and what therefore is not known.
pub(super) fn all_read(topic: &DeadLetterTopic, unread: &[Unread], unknown: &str) -> Result<(), Exit> {
    if unread.is_empty() {
        return Ok(());
    }
    let topic = topic.names().topic(Topic::DeadLetters);
    let named: Vec<_> = unread.iter().map(|unread| format!("{topic} {unread}")).collect();
    Err(Exit::CannotTell(format!("cannot tell {unknown}; not read: {}", named.join("; "))))
}
