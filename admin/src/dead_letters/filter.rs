//! Which letters are meant, in the words that the command line and `/dlq` share.

use floodgate_buffer::{EventOrigin, Names};
use floodgate_schemas::dead_letter::ROW_RESET;
use floodgate_schemas::text::escaped;
use floodgate_schemas::{EventType, Timestamp};

use super::letter::Letter;

/// What filters are called, on the command line with two dashes before.
pub const FILTERS: [&str; 6] = ["type", "reason", "since", "until", "key", "origin"];

/// Letters that have all of what is set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    of: Option<EventType>,
    reason: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    key: Option<String>,
    origin: Option<EventOrigin>,
    /// Whether letters of rows that were set back are meant only by their reason or origin.
    spares_resets: bool,
}

/// A filter or another parameter cannot be read: tell whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {detail}")]
pub struct Refusal {
    /// What it is called.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(field: &str, detail: impl Into<String>) -> Self {
        Self { field: field.to_owned(), detail: detail.into() }
    }
}

impl Filter {
    /// Sets one of [`FILTERS`].
    ///
    /// # Errors
    /// [`Refusal`] when there is no such filter, or when it does not take this value.
    pub fn set(&mut self, field: &str, text: &str, topics: &Names) -> Result<(), Refusal> {
        let refused = |detail: String| Refusal::new(field, detail);
        let time = || text.parse().map(Some).map_err(|error| refused(format!("{error}")));
        match field {
            "type" => self.of = Some(event_type(text).map_err(refused)?),
            "reason" => self.reason = Some(text.to_owned()),
            "since" => self.since = time()?,
            "until" => self.until = time()?,
            "key" => self.key = Some(text.to_owned()),
            "origin" => self.origin = Some(topics.read(text).map_err(refused)?),
            _ => return Err(refused(format!("is no filter; these are {}", FILTERS.join(", ")))),
        }
        Ok(())
    }

    /// Whether it leaves no letter out.
    pub fn means_all(&self) -> bool {
        let Self { of, reason, since, until, key, origin, spares_resets } = self;
        let is_set = of.is_some() || reason.is_some() || since.is_some() || until.is_some();
        !(is_set || key.is_some() || origin.is_some() || *spares_resets)
    }

    /// Whether it means a single letter.
    pub(super) fn names_one(&self) -> bool {
        self.origin.is_some()
    }

    /// The same, without letters of rows that were set back, unless it names their reason or an origin: replaying them
    /// would undo that.
    pub(super) fn for_replay(self) -> Self {
        Self { spares_resets: self.reason.is_none() && self.origin.is_none(), ..self }
    }

    pub(super) fn matches(&self, letter: &Letter<'_>) -> bool {
        let Self { of, reason, since, until, key, origin, spares_resets } = self;
        of.is_none_or(|of| of == letter.origin.of)
            && reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && since.is_none_or(|since| since <= letter.failed_at)
            && until.is_none_or(|until| letter.failed_at < until)
            && key.as_ref().is_none_or(|key| letter.key.is_some_and(|bytes| is_key(key, bytes)))
            && origin.is_none_or(|origin| origin == letter.origin)
            && !(*spares_resets && letter.reason == ROW_RESET)
    }
}

/// The key itself, or as it is shown: keys of likes have a control character that nobody can type.
fn is_key(text: &str, key: &[u8]) -> bool {
    text.as_bytes() == key || (text.contains('\\') && escaped(key) == text)
}

fn event_type(text: &str) -> Result<EventType, String> {
    let found = EventType::ALL.into_iter().find(|of| of.name() == text);
    found.ok_or_else(|| format!("must be one of {}", EventType::ALL.map(EventType::name).join(", ")))
}
