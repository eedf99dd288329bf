//! Which events are wanted back, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::class::Class;
use crate::finding::NAMED_MAX;

/// What became of a row whose values were set.
pub(crate) const SET: &str = "set";

/// What came of bringing events back, as `floodgate reapply --json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reapplied {
    /// Whether nothing was done, and this is what would have been.
    pub dry_run: bool,
    /// How many events came to what: the outcomes of metrics, and `set` where a row's values were set. In a dry run
    /// `wouldApply`, `wouldDecide`, `wouldSet`, `current`, `superseded` and `decided`.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many records were left as they are.
    pub left_count: u64,
    /// The first of them, and why.
    pub left: Vec<Left>,
    /// What to keep in mind, in sentences.
    pub notes: Vec<String>,
}

/// A record that was not brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where it stands, as `TOPIC/PARTITION/OFFSET`.
    pub origin: String,
    /// Why it was left.
    pub reason: String,
}

impl Reapplied {
    pub(crate) fn new(dry_run: bool) -> Self {
        Self { dry_run, outcomes: BTreeMap::new(), left_count: 0, left: Vec::new(), notes: Vec::new() }
    }

    /// Adds a later round: what was left by then is looked at again in it.
    pub(crate) fn add(&mut self, later: Self) {
        for (outcome, count) in later.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        (self.left_count, self.left) = (later.left_count, later.left);
        self.notes.extend(later.notes);
        self.notes.dedup();
    }

    /// Whether values were set, which may show that other events are missing.
    pub(crate) fn has_set(&self) -> bool {
        self.outcomes.contains_key(SET)
    }

    /// How many events came to something.
    pub fn events(&self) -> u64 {
        self.outcomes.values().sum()
    }

    pub(crate) fn count(&mut self, outcome: &'static str, events: u64) {
        if events > 0 {
            *self.outcomes.entry(outcome).or_default() += events;
        }
    }

    pub(crate) fn leave(&mut self, origin: String, reason: String) {
        self.left_count += 1;
        if self.left.len() < NAMED_MAX {
            self.left.push(Left { origin, reason });
        }
    }
}

/// Offsets of one partition whose events are wanted back.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) offsets: Vec<i64>,
    /// Those among them whose rows are to be set.
    pub(crate) to_set: Vec<i64>,
}

impl Wanted {
    pub(crate) fn add(&mut self, class: Class, offset: i64) {
        match class {
            Class::Missing => self.offsets.push(offset),
            Class::Differing => {
                self.offsets.push(offset);
                self.to_set.push(offset);
            }
            _ => {}
        }
    }

    pub(crate) fn sort(&mut self) {
        self.offsets.sort_unstable();
        self.offsets.dedup();
        self.to_set.sort_unstable();
    }

    /// Whether sorted offsets hold this one.
    pub(crate) fn has(offsets: &[i64], offset: i64) -> bool {
        offsets.binary_search(&offset).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_add_up_and_what_is_left_is_of_the_last() {
        let round = |outcomes: &[(&'static str, u64)], left: &str, notes: &[&str]| {
            let mut round = Reapplied::new(false);
            outcomes.iter().for_each(|(outcome, events)| round.count(outcome, *events));
            round.leave(left.to_owned(), "reason".to_owned());
            round.notes.extend(notes.iter().map(ToString::to_string));
            round
        };
        let mut all = round(&[("applied", 2), ("applied", 3), ("superseded", 0)], "first", &["a"]);
        assert_eq!((all.outcomes.clone(), all.events(), all.has_set()), ([("applied", 5)].into(), 5, false));
        all.add(round(&[("applied", 10), (SET, 4)], "second", &["a", "b"]));
        assert_eq!((all.outcomes.clone(), all.events()), ([("applied", 15), (SET, 4)].into(), 19));
        assert!(all.has_set());
        let left: Vec<_> = all.left.iter().map(|left| &*left.origin).collect();
        assert_eq!((all.left_count, left), (1, vec!["second"]));
        assert_eq!(all.notes, ["a", "b"]);
    }

    #[test]
    fn as_many_as_may_be_are_named_and_all_are_counted() {
        let mut all = Reapplied::new(false);
        (0..=NAMED_MAX).for_each(|number| all.leave(number.to_string(), String::new()));
        assert_eq!((all.left.len(), all.left_count), (NAMED_MAX, NAMED_MAX as u64 + 1));
    }

    #[test]
    fn what_is_missing_or_differs_is_wanted() {
        let mut wanted = Wanted::default();
        for (class, offset) in [
            (Class::Differing, 9),
            (Class::Missing, 3),
            (Class::Current, 1),
            (Class::Differing, 4),
            (Class::Missing, 9),
        ] {
            wanted.add(class, offset);
        }
        wanted.sort();
        assert_eq!((&*wanted.offsets, &*wanted.to_set), (&[3, 4, 9][..], &[4, 9][..]));
        assert_eq!([3, 5].map(|offset| Wanted::has(&wanted.offsets, offset)), [true, false]);
    }
}
