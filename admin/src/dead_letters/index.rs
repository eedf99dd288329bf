//! Every distinct letter that was read, and how it stands.

use std::collections::{HashMap, HashSet};

use floodgate_buffer::{EventOrigin, Names, Partition, Received, murmur2_partition};
use floodgate_schemas::Codecs;

use super::filter::Filter;
use super::letter::{Letter, LetterId, Mark, Reads};
use super::scan::{Scan, ScanError, ScanLimits, Unread};
use super::topic::DeadLetterTopic;

/// What is known of one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LetterState {
    /// The filter does not mean it.
    Other,
    /// Meant, and open. Where its marker would be, which is behind it; `None` if that may be anywhere.
    Due(Option<Partition>),
    /// Meant, and its marker may be where nobody can read it.
    Unsure,
    /// Meant, open, and left alone for this.
    Left(LeftAlone),
    /// Meant, and replayed.
    Replayed,
    /// Meant, and dismissed.
    Dismissed,
    /// Was due, and was taken.
    Taken,
}

impl LetterState {
    /// Nothing was done about it, as far as is known.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Due(_) | Self::Unsure | Self::Left(_))
    }
}

/// Why an open letter is not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftAlone {
    /// It failed as often as it may.
    Capped,
    /// It was written with a schema that this build does not know.
    Unknown,
    /// Its bytes are no event, and will be none.
    Undecodable,
}

/// Which open letters are left alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sparing {
    /// Those that failed this often.
    pub(super) attempts_max: u32,
    /// Those of schemas that this build does not know.
    pub(super) unknown: bool,
    /// Those that are no events.
    pub(super) undecodable: bool,
    /// Whether that a letter was dismissed settles it.
    pub(super) dismissed: bool,
}

impl Sparing {
    /// None of them.
    pub(super) const NONE: Self =
        Self { attempts_max: u32::MAX, unknown: false, undecodable: false, dismissed: true };

    fn leaves(&self, letter: &Letter<'_>, codecs: &Codecs) -> Option<LeftAlone> {
        if letter.attempts >= self.attempts_max {
            return Some(LeftAlone::Capped);
        }
        if !(self.unknown || self.undecodable) {
            return None;
        }
        match letter.reads(codecs) {
            Reads::Unknown => self.unknown.then_some(LeftAlone::Unknown),
            Reads::Nothing => self.undecodable.then_some(LeftAlone::Undecodable),
            Reads::Event => None,
        }
    }
}

/// How many letters stand how, of those that the filter means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Open.
    pub due: u64,
    /// Open, as they failed as often as they may.
    pub capped: u64,
    /// Open, as they were written with schemas that this build does not know: its consumers would hold their partitions.
    pub unknown: u64,
    /// Open, as they are no events, which no replay makes of them.
    pub undecodable: u64,
    /// Not known to be settled, since it may be said where nobody can read it.
    pub unsure: u64,
    /// Replayed.
    pub replayed: u64,
    /// Dismissed.
    pub dismissed: u64,
}

impl DeadLetterCounts {
    /// Those about which nothing was done.
    pub fn open(&self) -> u64 {
        self.due + self.capped + self.unknown + self.undecodable + self.unsure
    }

    /// All but those that are due.
    pub fn left_alone(&self) -> u64 {
        self.open() - self.due + self.replayed + self.dismissed
    }
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
    sparing: Sparing,
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

/// A letter that the filter means, or a copy of it, as it was read.
pub(super) struct Noted<'r> {
    pub(super) letter: Letter<'r>,
    /// How the letter stood before; `None` when this is its first copy.
    pub(super) before: Option<LetterState>,
    /// How it stands.
    pub(super) now: LetterState,
}

impl Index {
    pub(super) fn new(
        topic: &DeadLetterTopic,
        filter: &Filter,
        sparing: Sparing,
        limits: &ScanLimits,
        scan: &Scan,
    ) -> Self {
        Self {
            partitions: scan.partitions,
            passed: 0,
            filter: filter.clone(),
            sparing,
            letters_max: limits.letters_max,
            states: HashMap::new(),
            topics: topic.names().clone(),
            codecs: topic.codecs.clone(),
            unreadable: Troubles::default(),
        }
    }

    /// Reads a letter and remembers it. Returns it if the filter means it.
    pub(super) fn note<'r>(&mut self, record: &'r Received<'r>) -> Result<Option<Noted<'r>>, ScanError> {
        let letter = match Letter::read(record, &self.topics) {
            Ok(letter) => letter,
            Err(reason) => {
                let (partition, offset) = (record.origin.partition, record.origin.offset);
                let place = self.topics.dead_letter(partition, offset);
                self.unreadable.note(|| format!("{place}: {reason}"));
                return Ok(None);
            }
        };
        let before = self.states.get(&letter.id()).copied();
        if before.is_none() && self.states.len() >= self.letters_max {
            return Err(ScanError::TooMany(self.letters_max));
        }
        let unmarked = before.unwrap_or_else(|| self.judged(&letter, record.origin.partition));
        let now = match &letter.mark {
            _ if unmarked == LetterState::Other => LetterState::Other,
            Some(Mark::Replayed(_)) => LetterState::Replayed,
            Some(Mark::Dismissed(..)) if self.sparing.dismissed => LetterState::Dismissed,
            Some(Mark::Dismissed(..)) | None => unmarked,
        };
        self.states.insert(letter.id(), now);
        Ok((now != LetterState::Other).then_some(Noted { letter, before, now }))
    }

    /// How a letter stands that has no marker.
    fn judged(&self, letter: &Letter<'_>, partition: Partition) -> LetterState {
        if !self.filter.matches(letter) {
            return LetterState::Other;
        }
        match self.sparing.leaves(letter, &self.codecs) {
            Some(why) => LetterState::Left(why),
            None => LetterState::Due(self.marker_of(letter, partition)),
        }
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
        state.map(|state| *state = LetterState::Taken).is_some()
    }

    /// Where those stood that were taken.
    pub(super) fn taken(&self) -> HashSet<EventOrigin> {
        let taken = self.states.iter().filter(|(_, state)| **state == LetterState::Taken);
        taken.map(|(id, _)| id.origin).collect()
    }

    /// How this letter stands, the first time that is asked of it.
    pub(super) fn once(&mut self, letter: LetterId) -> Option<LetterState> {
        self.states.remove(&letter)
    }

    pub(super) fn counts(&self) -> DeadLetterCounts {
        let mut counts = DeadLetterCounts::default();
        for state in self.states.values() {
            let count = match state {
                LetterState::Other => continue,
                LetterState::Due(_) => &mut counts.due,
                LetterState::Unsure => &mut counts.unsure,
                LetterState::Left(LeftAlone::Capped) => &mut counts.capped,
                LetterState::Left(LeftAlone::Unknown) => &mut counts.unknown,
                LetterState::Left(LeftAlone::Undecodable) => &mut counts.undecodable,
                LetterState::Replayed | LetterState::Taken => &mut counts.replayed,
                LetterState::Dismissed => &mut counts.dismissed,
            };
            *count += 1;
        }
        counts
    }
}
