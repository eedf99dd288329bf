//! Letters as they are told: as JSON, and to people.

use floodgate_buffer::{NamedOrigin, Names};
use floodgate_schemas::Mixed;
use floodgate_schemas::text::{escaped, plain, shortened};
use serde::Serialize;
use serde_json::Value;

use super::letter::{Letter, Mark};
use super::topic::DeadLetterTopic;

/// The longest text that a list tells of one field. The consumers keep no longer messages, events no longer keys.
const TEXT_MAX_CHARS: usize = 1000;
/// How much is shown of a value that is no event.
const VALUE_SHOWN_BYTES: usize = 256;

/// Whether anything was done about a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterStanding {
    /// Nothing.
    Open,
    /// Its record was published again.
    Replayed,
    /// An operator said that nothing will be done.
    Dismissed,
}

impl LetterStanding {
    /// Nothing was done about it.
    pub fn is_open(self) -> bool {
        self == Self::Open
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Dismissed => "dismissed",
        }
    }
}

/// One letter of a list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterReport {
    /// Where its record stood.
    pub origin: NamedOrigin,
    /// The group that gave up on it.
    pub group: String,
    /// A short, stable word.
    pub reason: String,
    /// What exactly was wrong.
    pub message: String,
    /// How often the event has failed.
    pub attempts: u32,
    /// When it failed.
    pub failed_at: String,
    /// Whether anything was done about it.
    pub state: LetterStanding,
    /// When it was replayed, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<String>,
    /// When it was dismissed, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissed_at: Option<String>,
    /// Why, as whoever dismissed it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissed_because: Option<String>,
    /// Its key, escaped where it is no UTF-8; `null` without one.
    pub key: Option<String>,
    /// The key as a terminal may show it.
    #[serde(skip)]
    pub key_escaped: Option<String>,
    /// The event, if the value is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
}

/// Everything about one letter.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterDetail {
    /// What a list tells.
    #[serde(flatten)]
    pub letter: DeadLetterReport,
    /// How long the value is.
    pub value_bytes: usize,
    /// Why the value is no event, if it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecodable: Option<String>,
    /// The beginning of a value that is no event, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_start: Option<String>,
    /// The original record's headers.
    pub headers: Vec<HeaderReport>,
}

/// One header, in JSON escaped where it is no UTF-8.
#[derive(Debug, Clone, Serialize)]
pub struct HeaderReport {
    /// Its name.
    pub name: String,
    /// Its value; `null` without one.
    pub value: Option<String>,
    /// Both as a terminal may show them.
    #[serde(skip)]
    pub escaped: String,
}

impl DeadLetterReport {
    pub(super) fn new(letter: &Letter<'_>, topic: &DeadLetterTopic) -> Self {
        let event = Mixed::decode(letter.origin.of, value(letter), &topic.codecs).ok();
        Self::with_event(letter, topic.names(), event)
    }

    fn with_event(letter: &Letter<'_>, topics: &Names, event: Option<Mixed>) -> Self {
        let short = |text: &str| shortened(text.to_owned(), TEXT_MAX_CHARS);
        let mut report = Self {
            origin: topics.named(letter.origin),
            group: short(&letter.group),
            reason: short(&letter.reason),
            message: short(&letter.message),
            attempts: letter.attempts,
            failed_at: letter.failed_at.to_string(),
            state: LetterStanding::Open,
            replayed_at: None,
            dismissed_at: None,
            dismissed_because: None,
            key: letter.key.map(|key| shortened(plain(key), TEXT_MAX_CHARS)),
            key_escaped: letter.key.map(|key| shortened(escaped(key), TEXT_MAX_CHARS)),
            event: event.map(|event| event.to_json()),
        };
        report.mark(letter);
        report
    }

    /// Tells what a copy says that is a marker; the last one counts.
    pub(super) fn mark(&mut self, copy: &Letter<'_>) {
        match &copy.mark {
            None => {}
            Some(Mark::Replayed(at)) => {
                self.state = LetterStanding::Replayed;
                self.replayed_at = Some(at.to_string());
            }
            Some(Mark::Dismissed(at, because)) => {
                self.state = LetterStanding::Dismissed;
                self.dismissed_at = Some(at.to_string());
                self.dismissed_because = Some(shortened(because.clone().into_owned(), TEXT_MAX_CHARS));
            }
        }
    }
}

impl DeadLetterDetail {
    pub(super) fn new(letter: &Letter<'_>, topic: &DeadLetterTopic) -> Self {
        let value = value(letter);
        let (event, undecodable) = match Mixed::decode(letter.origin.of, value, &topic.codecs) {
            Ok(event) => (Some(event), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let start = &value[..value.len().min(VALUE_SHOWN_BYTES)];
        let header = |(name, value): &(&[u8], Option<&[u8]>)| HeaderReport {
            name: plain(name),
            value: value.map(plain),
            escaped: format!("{}: {}", escaped(name), value.map_or("-".to_owned(), escaped)),
        };
        Self {
            letter: DeadLetterReport::with_event(letter, topic.names(), event),
            value_bytes: value.len(),
            value_start: undecodable.is_some().then(|| escaped(start)),
            undecodable,
            headers: letter.headers.iter().map(header).collect(),
        }
    }
}

fn value<'r>(letter: &Letter<'r>) -> &'r [u8] {
    letter.value.unwrap_or_default()
}
