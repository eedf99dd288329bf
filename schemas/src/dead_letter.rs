//! The dead-letter topic and the headers on it: what the consumers write and every tool reads.
//!
//! A dead letter is the original record with a block of headers behind its own. Whatever stands from
//! [`headers::TOPIC`] on was added by us; what stands before is the original's, byte for byte.

/// The topic of dead letters, before any configured prefix.
pub const DEAD_LETTER_TOPIC: &str = "floodgate.dlq.v1";

/// The reason of letters that `floodgate row reset` writes. Replaying them undoes the reset.
pub const ROW_RESET: &str = "row-reset";

/// How often the event of a record with these headers has failed by now: once more than its replay says, if it is one.
pub fn attempts<'h>(headers: impl DoubleEndedIterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> u32 {
    let before = headers.rev().find(|(name, _)| *name == headers::REPLAY_ATTEMPTS.as_bytes());
    let before = before.and_then(|(_, value)| std::str::from_utf8(value?).ok()?.parse().ok());
    before.unwrap_or(0_u32).saturating_add(1)
}

/// The headers that make a record a dead letter, all of them UTF-8 text, in the order they are written.
pub mod headers {
    /// The full name of the topic the record stood on.
    pub const TOPIC: &str = "floodgate-dlq-topic";
    /// The partition it stood in.
    pub const PARTITION: &str = "floodgate-dlq-partition";
    /// The offset it stood at.
    pub const OFFSET: &str = "floodgate-dlq-offset";
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

    /// All of the above.
    pub const ALL: [&str; 8] = [TOPIC, PARTITION, OFFSET, GROUP, REASON, MESSAGE, ATTEMPTS, FAILED_AT];

    /// Makes a copy of a dead letter a *marker*: since this time the letter counts as replayed.
    pub const REPLAYED_AT: &str = "floodgate-dlq-replayed-at";

    /// What the names of all headers of a replayed record begin with.
    pub const REPLAY_PREFIX: &str = "floodgate-replay-";
    /// On a replayed record: where the original stood, as `TOPIC/PARTITION/OFFSET`.
    pub const REPLAY_OF: &str = "floodgate-replay-of";
    /// On a replayed record: how often the event had failed by then.
    pub const REPLAY_ATTEMPTS: &str = "floodgate-replay-attempts";
}
