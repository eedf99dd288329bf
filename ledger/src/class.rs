//! What can have become of a record, and counts of it.

use floodgate_buffer::Offset;
use floodgate_store::EventStatus;
use serde::{Deserialize, Serialize};

/// What became of one copy of an event. The order decides where copies of one event differ: what was applied with
/// one of them was applied with the event (of copies with different values one has to be on the row), and a copy that is
/// missing is a violation although another is on its way or among the dead letters: it may be the replay of that dead
/// letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Current,
    Decided,
    Differing,
    Superseded,
    /// A coupon request that was decided so long ago that its decision may have been deleted.
    Forgotten,
    Missing,
    /// The same, if none of the dead letters that expired was its own.
    LetterExpired,
    /// The same, if none of those that cannot be read now is.
    LetterUnread,
    DeadLettered,
    InFlight,
}

/// Whether there is a dead letter of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HasLetter {
    Yes,
    No,
    /// Not any more, if there ever was.
    Expired,
    /// If there is one it is where letters cannot be read now.
    Unread,
}

impl Class {
    const ALL: [Class; 10] = [
        Class::Current,
        Class::Decided,
        Class::Differing,
        Class::Superseded,
        Class::Forgotten,
        Class::Missing,
        Class::LetterExpired,
        Class::LetterUnread,
        Class::DeadLettered,
        Class::InFlight,
    ];

    /// Of a record at `offset`, whose event stands in the database as said, if it is one at all.
    pub(crate) fn of(
        status: EventStatus,
        offset: Offset,
        committed: Option<Offset>,
        letter: impl FnOnce() -> HasLetter,
    ) -> Self {
        match status {
            EventStatus::Current => return Class::Current,
            EventStatus::Superseded => return Class::Superseded,
            EventStatus::Decided => return Class::Decided,
            EventStatus::Absent => {}
        }
        match letter() {
            HasLetter::Yes => Class::DeadLettered,
            // a group that never committed has everything before it
            _ if committed.is_none_or(|committed| offset >= committed) => Class::InFlight,
            HasLetter::No => Class::Missing,
            HasLetter::Expired => Class::LetterExpired,
            HasLetter::Unread => Class::LetterUnread,
        }
    }

    /// The same, of an event whose row may have been deleted since: the group has passed it, so it was done.
    pub(crate) fn unless_forgotten(self) -> Self {
        match self {
            Class::Missing | Class::LetterExpired | Class::LetterUnread => Class::Forgotten,
            class => class,
        }
    }

    /// Whether events of this class are named one by one, with what is known of them.
    pub(crate) const fn is_named(self) -> bool {
        matches!(self, Class::Differing | Class::Missing | Class::LetterExpired | Class::LetterUnread)
    }

    /// Its number in run files.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The class of this number.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// How many events are of which class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Their rows carry them.
    pub current: u64,
    /// Their rows carry a greater pair of version or time and event id.
    pub superseded: u64,
    /// Coupon requests that are decided.
    pub decided: u64,
    /// Coupon requests that were decided, and whose decisions may have been deleted since.
    pub forgotten: u64,
    /// Their rows carry them with other values, which is only looked at on demand: violations.
    pub differing: u64,
    /// Not in the database, and among the dead letters.
    pub dead_lettered: u64,
    /// Neither, and at or beyond the group's committed offset.
    pub in_flight: u64,
    /// None of all that: violations.
    pub missing: u64,
    /// The same, but dead letters among which they may be have expired or cannot be read: nobody can tell.
    pub cannot_tell: u64,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn count(&mut self, class: Class) {
        *match class {
            Class::Current => &mut self.current,
            Class::Superseded => &mut self.superseded,
            Class::Forgotten => &mut self.forgotten,
            Class::Decided => &mut self.decided,
            Class::DeadLettered => &mut self.dead_lettered,
            Class::Differing => &mut self.differing,
            Class::Missing => &mut self.missing,
            Class::LetterExpired | Class::LetterUnread => &mut self.cannot_tell,
            Class::InFlight => &mut self.in_flight,
        } += 1;
    }

    /// All classes together.
    pub fn total(&self) -> u64 {
        let Self { current, superseded, decided, forgotten, differing, .. } = self;
        let Self { dead_lettered, in_flight, missing, cannot_tell, .. } = self;
        let done = current + superseded + decided + forgotten + dead_lettered;
        done + differing + in_flight + missing + cannot_tell
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.current += other.current;
        self.superseded += other.superseded;
        self.decided += other.decided;
        self.forgotten += other.forgotten;
        self.dead_lettered += other.dead_lettered;
        self.in_flight += other.in_flight;
        self.missing += other.missing;
        self.differing += other.differing;
        self.cannot_tell += other.cannot_tell;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_their_classes() {
        for class in Class::ALL {
            assert_eq!(Class::numbered(class.number()), Some(class));
        }
        assert_eq!(Class::numbered(10), None);
    }

    #[test]
    fn what_is_not_in_the_database_is_dead_lettered_in_flight_or_missing() {
        let class = |offset, committed: Option<i64>, letter| {
            Class::of(EventStatus::Absent, Offset(offset), committed.map(Offset), || letter)
        };
        assert_eq!(class(4, Some(5), HasLetter::No), Class::Missing);
        assert_eq!(class(4, Some(5), HasLetter::Expired), Class::LetterExpired);
        assert_eq!(class(4, Some(5), HasLetter::Unread), Class::LetterUnread);
        for letter in [HasLetter::No, HasLetter::Expired, HasLetter::Unread] {
            assert_eq!(class(5, Some(5), letter), Class::InFlight);
            assert_eq!(class(4, None, letter), Class::InFlight);
        }
        for committed in [None, Some(0), Some(9)] {
            assert_eq!(class(4, committed, HasLetter::Yes), Class::DeadLettered);
        }
        // what the database holds is done, whatever else is true of it
        let decided = Class::of(EventStatus::Decided, Offset(9), Some(Offset(5)), || HasLetter::Yes);
        assert_eq!(decided, Class::Decided);
    }

    #[test]
    fn every_class_is_counted_for_itself() {
        let mut tally = Tally::default();
        for (times, class) in (1..).zip(Class::ALL) {
            (0..times).for_each(|_| tally.count(class));
        }
        let counts = |by: u64| Tally {
            current: by,
            decided: 2 * by,
            differing: 3 * by,
            superseded: 4 * by,
            forgotten: 5 * by,
            missing: 6 * by,
            // letters that expired, and those that cannot be read
            cannot_tell: (7 + 8) * by,
            dead_lettered: 9 * by,
            in_flight: 10 * by,
        };
        assert_eq!((tally, tally.total()), (counts(1), 55));
        tally.add(&counts(10));
        assert_eq!((tally, tally.total()), (counts(11), 605));
    }
}
