//! The list for people: two lines a letter, so that what they need to go on with is whole and the rest fits a terminal.

use std::collections::BTreeMap;

use floodgate_admin::dead_letters::{DeadLetterReport, LetterStanding, Survey, Troubles};
use floodgate_buffer::Names;
use floodgate_lag::words::many;
use floodgate_schemas::text::{escaped, shortened_escaped};

/// How wide terminals are at least.
const COLUMNS: usize = 80;
/// How much of a reason and of a key there is room for.
const REASON_CHARS: usize = 20;
const KEY_CHARS: usize = 28;
/// `2026-11-21T10:00:00`, of a time with microseconds.
const TO_THE_SECOND: usize = 19;

/// Where, how it stands and since when; below that why.
pub(super) fn table(letters: &[DeadLetterReport], topics: &Names) -> String {
    let origins: Vec<String> = letters.iter().map(|letter| short_origin(letter, topics)).collect();
    let widest = origins.iter().map(String::len).chain([0]).max().unwrap_or(0);
    let mut text = format!("{:<widest$}  {:<9}  {:>5}  FAILED AT\n", "ORIGIN", "STATE", "TRIES");
    for (letter, origin) in letters.iter().zip(&origins) {
        let at: String = letter.failed_at.chars().take(TO_THE_SECOND).collect();
        let (state, attempts) = (letter.state.name(), letter.attempts);
        text += &format!("{origin:<widest$}  {state:<9}  {attempts:>5}  {at}Z\n");
        text += &(why(letter) + "\n");
    }
    text
}

/// Without what is put before all topics: `dlq show` knows it.
fn short_origin(letter: &DeadLetterReport, topics: &Names) -> String {
    let origin = letter.origin.to_string();
    origin.strip_prefix(topics.prefix()).map_or(origin.clone(), str::to_owned)
}

fn why(letter: &DeadLetterReport) -> String {
    let reason = shortened_escaped(&escaped(letter.reason.as_bytes()), REASON_CHARS);
    let key = shortened_escaped(letter.key_escaped.as_deref().unwrap_or("-"), KEY_CHARS);
    let said = match (letter.state, &letter.dismissed_because) {
        (LetterStanding::Dismissed, Some(because)) => format!("dismissed: {because}"),
        // it may have been dismissed before it was replayed
        _ => letter.message.clone(),
    };
    shortened_escaped(&format!("  {reason}  {key}  {}", escaped(said.as_bytes())), COLUMNS)
}

/// What there is of all, in a sentence.
pub(super) fn counts(survey: &Survey) -> String {
    let Survey { open, replayed, dismissed, unreadable, open_by_reason, letters, .. } = survey;
    let mut text =
        format!("{open} open{}; {replayed} replayed, {dismissed} dismissed", reasons(open_by_reason));
    if survey.truncated {
        text += &format!("; {} are listed, --limit N lists more", letters.len());
    }
    text + &unreadable_records(unreadable)
}

fn reasons(by_reason: &BTreeMap<String, u64>) -> String {
    let counts = by_reason.iter().map(|(reason, count)| format!("{count} {}", escaped(reason.as_bytes())));
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}

pub(super) fn unreadable_records(unreadable: &Troubles) -> String {
    match &unreadable.first {
        None => String::new(),
        Some(first) => {
            let records = many(unreadable.count, "record");
            let are_none = if unreadable.count == 1 { "is no dead letter" } else { "are no dead letters" };
            format!("; {records} on the topic {are_none}, the first: {first}")
        }
    }
}
