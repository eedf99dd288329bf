//! Letters as they are told: as JSON, and to people.

use floodgate_buffer::{NamedOrigin, Names};
use floodgate_schemas::Mixed;
use floodgate_schemas::text::{escaped, plain, shortened};
use serde::Serialize;
use serde_json::Value;

use super::letter::Letter;
use super::topic::DeadLetterTopic;

/// The longest text that a list tells of one field. The consumers keep no longer messages, events no longer keys.
const TEXT_MAX_CHARS: usize = 1000;
/// How much is shown of a value that is no event.
const VALUE_SHOWN_BYTES: usize = 256;

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
    /// When it was replayed, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<String>,
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
        Self {
            origin: topics.named(letter.origin),
            group: short(&letter.group),
            reason: short(&letter.reason),
            message: short(&letter.message),
            attempts: letter.attempts,
            failed_at: letter.failed_at.to_string(),
            replayed_at: letter.replayed_at.map(|at| at.to_string()),
            key: letter.key.map(|key| shortened(plain(key), TEXT_MAX_CHARS)),
            key_escaped: letter.key.map(|key| shortened(escaped(key), TEXT_MAX_CHARS)),
            event: event.map(|event| event.to_json()),
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
