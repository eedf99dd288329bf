//! Every distinct letter that was read, and how it stands.

use std::collections::HashMap;

use floodgate_buffer::{Names, Partition, Received, murmur2_partition};
use floodgate_schemas::Codecs;

use super::filter::Filter;
use super::letter::{Letter, LetterId};
use super::scan::{Scan, ScanError, ScanLimits, Unread};
use super::topic::DeadLetterTopic;

/// What is known of one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LetterState {
    /// The filter does not mean it.
    Other,
    /// Meant, and not replayed. Where its marker would be, which is behind it; `None` if that may be anywhere.
    Due(Option<Partition>),
    /// Meant, and its marker may be where nobody can read it.
    Unsure,
    /// Meant, not replayed, and it failed as often as it may.
    Capped,
    /// Meant, not replayed, and written with a schema that this build does not know.
    Unknown,
    /// Meant, and replayed.
    Replayed,
}

/// How many letters stand how, of those that the filter means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Not replayed.
    pub due: u64,
    /// Not replayed, as they failed as often as they may.
    pub capped: u64,
    /// Not replayed, as they were written with schemas that this build does not know: its consumers would hold their
    /// partitions.
    pub unknown: u64,
    /// Not known to be replayed, since it may be said where nobody can read it.
    pub unsure: u64,
    /// Replayed.
    pub replayed: u64,
}

/// Things that went wrong for single letters and stopped nothing: how often, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Troubles {
    /// How often.
    pub count: u64,
    /// Which letter was the first, and what was wrong.
    pub first: Option<String>,
}

impl Troubles {
    pub(super) fn note(&mut self, trouble: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(trouble);
    }
}

/// Every distinct letter that was read, and how it stands. Its first copy speaks for it.
pub(super) struct Index {
    filter: Filter,
    attempts_max: u32,
    letters_max: usize,
    /// Of the topic.
    partitions: usize,
    /// How much of what could not be read is accounted for.
    passed: usize,
    states: HashMap<LetterId, LetterState>,
    pub(super) topics: Names,
    codecs: Codecs,
    pub(super) unreadable: Troubles,
}

impl Index {
    /// Letters with fewer attempts than `attempts_max` are due.
    pub(super) fn new(
        topic: &DeadLetterTopic,
        filter: &Filter,
        attempts_max: u32,
        limits: &ScanLimits,
        scan: &Scan,
    ) -> Self {
        Self {
            partitions: scan.partitions,
            passed: 0,
            filter: filter.clone(),
            attempts_max,
            letters_max: limits.letters_max,
            states: HashMap::new(),
            topics: topic.names().clone(),
            codecs: topic.codecs.clone(),
            unreadable: Troubles::default(),
        }
    }

    /// Reads a letter and remembers it. Returns it if the filter means it, and whether it is the first copy.
    pub(super) fn note<'r>(
        &mut self,
        record: &'r Received<'r>,
    ) -> Result<Option<(Letter<'r>, bool)>, ScanError> {
        let letter = match Letter::read(record, &self.topics) {
            Ok(letter) => letter,
            Err(reason) => {
                let (partition, offset) = (record.origin.partition, record.origin.offset);
                let place = self.topics.dead_letter(partition, offset);
                self.unreadable.note(|| format!("{place}: {reason}"));
                return Ok(None);
            }
        };
        let known = self.states.get(&letter.id()).copied();
        let before = match known {
            Some(state) => state,
            None if self.states.len() >= self.letters_max => {
                return Err(ScanError::TooMany(self.letters_max));
            }
            None if !self.filter.matches(&letter) => LetterState::Other,
            None if letter.attempts >= self.attempts_max => LetterState::Capped,
            None if letter.is_of_unknown_schema(&self.codecs) => LetterState::Unknown,
            None => LetterState::Due(self.marker_of(&letter, record.origin.partition)),
        };
        let is_marked = letter.replayed_at.is_some() && before != LetterState::Other;
        self.states.insert(letter.id(), if is_marked { LetterState::Replayed } else { before });
        Ok((before != LetterState::Other).then_some((letter, known.is_none())))
    }

    /// A marker has the key of its letter. Where the letter itself is not where its key belongs there were more or fewer
    /// partitions once.
    fn marker_of(&self, letter: &Letter<'_>, partition: Partition) -> Option<Partition> {
        let place = murmur2_partition(letter.key?, self.partitions);
        usize::try_from(partition.0).is_ok_and(|number| number == place).then_some(partition)
    }

    /// What comes next stands behind what could not be read by now; what was noted before may be marked there.
    pub(super) fn passes(&mut self, unread: &[Unread]) {
        for passed in
            unread.get(self.passed..).unwrap_or_default().iter().filter(|unread| unread.range.is_some())
        {
            self.doubt(|marker| marker == Some(Partition(passed.partition)));
        }
        self.passed = unread.len();
    }

    /// Everything was read but this.
    pub(super) fn ends(&mut self, unread: &[Unread]) {
        self.passes(unread);
        if !unread.is_empty() {
            self.doubt(|marker| marker.is_none());
        }
    }

    /// Letters with such a marker are due no longer.
    fn doubt(&mut self, may_be_unread: impl Fn(Option<Partition>) -> bool) {
        for state in self.states.values_mut() {
            match state {
                LetterState::Due(marker) if may_be_unread(*marker) => *state = LetterState::Unsure,
                _ => {}
            }
        }
    }

    /// Whether this letter is due. From here on it is not.
    pub(super) fn take(&mut self, letter: LetterId) -> bool {
        let state = self.states.get_mut(&letter);
        let state = state.filter(|state| matches!(state, LetterState::Due(_)));
        state.map(|state| *state = LetterState::Replayed).is_some()
    }

    pub(super) fn counts(&self) -> DeadLetterCounts {
        let mut counts = DeadLetterCounts::default();
        for state in self.states.values() {
            match state {
                LetterState::Other => {}
                LetterState::Due(_) => counts.due += 1,
                LetterState::Unsure => counts.unsure += 1,
                LetterState::Capped => counts.capped += 1,
                LetterState::Unknown => counts.unknown += 1,
                LetterState::Replayed => counts.replayed += 1,
            }
        }
        counts
    }
}
