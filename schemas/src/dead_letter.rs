//! The dead-letter topic and the headers on it: what the consumers write and every tool reads.
//!
//! A dead letter is the original record with a block of headers behind its own. Whatever stands from
//! [`headers::TOPIC`] on was added by us; what stands before is the original's, byte for byte.

use crate::Timestamp;
use crate::undecodable::DecodeError;

/// One header of a record: names and values are bytes.
pub type Header<'h> = (&'h [u8], Option<&'h [u8]>);

/// The topic of dead letters, before any configured prefix.
pub const DEAD_LETTER_TOPIC: &str = "floodgate.dlq.v1";

/// The reason of letters whose row no database takes.
pub const BAD_ROW: &str = "bad-row";

/// The reason of letters that `floodgate row reset` writes. Replaying them undoes the reset.
pub const ROW_RESET: &str = "row-reset";

/// Every reason that this build writes.
pub const REASONS: [&str; 5] = {
    let [not_avro, unknown_schema, undecodable] = DecodeError::REASONS;
    [not_avro, unknown_schema, undecodable, BAD_ROW, ROW_RESET]
};

/// How often the event of a record with these headers has failed by now: once more than its replay says, if it is one.
fn attempts(headers: &[Header<'_>]) -> u32 {
    let before = text(headers, headers::REPLAY_ATTEMPTS).and_then(|text| text.parse().ok());
    before.unwrap_or(0_u32).saturating_add(1)
}

/// The last of a name: what was dead-lettered, taken up by hand and dead-lettered once more has several.
fn text<'h>(headers: &[Header<'h>], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().rev().find(|(found, _)| *found == name.as_bytes())?;
    std::str::from_utf8((*value)?).ok()
}

/// Where the record of a dead letter stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'p> {
    /// The full name of its topic.
    pub topic: &'p str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Which log the topic was: a topic that was made anew has other records at the same offsets. `None` where the strategy
    /// does not tell, and in letters of builds that did not say.
    pub log: Option<&'p str>,
}

impl<'h> Place<'h> {
    /// As a letter's headers tell it; `None` where they do not.
    pub fn read(headers: &[Header<'h>]) -> Option<Self> {
        Some(Self {
            topic: text(headers, headers::TOPIC)?,
            partition: text(headers, headers::PARTITION)?.parse().ok()?,
            offset: text(headers, headers::OFFSET)?.parse().ok()?,
            log: text(headers, headers::LOG),
        })
    }
}

/// What makes a record a dead letter.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'v> {
    /// Where it stood.
    pub place: Place<'v>,
    /// The full name of the group that gave up on it.
    pub group: &'v str,
    /// A short, stable word for why.
    pub reason: &'v str,
    /// What exactly is wrong, for a person to read.
    pub message: &'v str,
    /// When.
    pub failed_at: Timestamp,
}

impl Heading<'_> {
    /// Gives `publish` the headers of the letter: those of the record as they are, and the block that says why behind them.
    pub fn under<T>(&self, record: &[Header<'_>], publish: impl FnOnce(&[Header<'_>]) -> T) -> T {
        let Place { topic, partition, offset, log } = self.place;
        let numbers = [partition.to_string(), offset.to_string(), attempts(record).to_string()];
        let failed_at = self.failed_at.to_string();
        let block = [
            (headers::TOPIC, Some(topic)),
            (headers::PARTITION, Some(numbers[0].as_str())),
            (headers::OFFSET, Some(&numbers[1])),
            (headers::LOG, log),
            (headers::GROUP, Some(self.group)),
            (headers::REASON, Some(self.reason)),
            (headers::MESSAGE, Some(self.message)),
            (headers::ATTEMPTS, Some(&numbers[2])),
            (headers::FAILED_AT, Some(&failed_at)),
        ];
        let told =
            block.iter().filter_map(|(name, value)| Some((name.as_bytes(), Some((*value)?.as_bytes()))));
        let all: Vec<Header<'_>> = record.iter().copied().chain(told).collect();
        publish(&all)
    }
}

/// The headers that make a record a dead letter, all of them UTF-8 text, in the order they are written.
pub mod headers {
    /// The full name of the topic the record stood on.
    pub const TOPIC: &str = "floodgate-dlq-topic";
    /// The partition it stood in.
    pub const PARTITION: &str = "floodgate-dlq-partition";
    /// The offset it stood at.
    pub const OFFSET: &str = "floodgate-dlq-offset";
    /// Which log the topic was, where the strategy tells: offsets are of it.
    pub const LOG: &str = "floodgate-dlq-log";
    /// The full name of the group that gave up on it.
    pub const GROUP: &str = "floodgate-dlq-group";
    /// A short, stable word for why.
    pub const REASON: &str = "floodgate-dlq-reason";
    /// What exactly was wrong, for a person to read.
    pub const MESSAGE: &str = "floodgate-dlq-message";
    /// How often the event has failed: 1, and one more with every replay before.
    pub const ATTEMPTS: &str = "floodgate-dlq-attempts";
    /// When, as RFC 3339 has it.
    pub const FAILED_AT: &str = "floodgate-dlq-failed-at";

    /// All of the above that every letter has.
    pub const ALL: [&str; 8] = [TOPIC, PARTITION, OFFSET, GROUP, REASON, MESSAGE, ATTEMPTS, FAILED_AT];

    /// Makes a copy of a dead letter a *marker*: since this time the letter counts as replayed.
    pub const REPLAYED_AT: &str = "floodgate-dlq-replayed-at";
    /// Makes it one that says that an operator dismissed the letter, since when, and with the next one why.
    pub const DISMISSED_AT: &str = "floodgate-dlq-dismissed-at";
    /// Behind [`DISMISSED_AT`]: what the operator said.
    pub const DISMISSED_BECAUSE: &str = "floodgate-dlq-dismissed-because";

    /// What the names of all headers of a replayed record begin with.
    pub const REPLAY_PREFIX: &str = "floodgate-replay-";
    /// On a replayed record: where the original stood, as `TOPIC/PARTITION/OFFSET`.
    pub const REPLAY_OF: &str = "floodgate-replay-of";
    /// On a replayed record: how often the event had failed by then.
    pub const REPLAY_ATTEMPTS: &str = "floodgate-replay-attempts";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::at;

    /// What is written is read back, behind the record's own headers, and a letter of a letter is the later one.
    #[test]
    fn letters_say_where_their_record_stood() {
        let place = Place { topic: "floodgate.like.v1", partition: 3, offset: 42, log: Some("one") };
        let heading = Heading { place, group: "g", reason: "bad-row", message: "no", failed_at: at(0) };
        let original: [Header<'_>; 2] = [(b"own", None), (headers::REPLAY_ATTEMPTS.as_bytes(), Some(b"2"))];
        heading.under(&original, |letter| {
            assert_eq!(letter[..2], original);
            assert_eq!(Place::read(letter), Some(place));
            assert_eq!(letter.len(), 2 + headers::ALL.len() + 1);
            assert_eq!(text(letter, headers::ATTEMPTS), Some("3"));
            let later = Heading { place: Place { offset: 43, log: None, ..place }, ..heading };
            later.under(letter, |again| assert_eq!(Place::read(again).map(|found| found.offset), Some(43)));
        });
        assert_eq!(Place::read(&original), None);
    }
}
