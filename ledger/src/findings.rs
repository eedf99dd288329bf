//! Records that are named one by one, a limited number of each kind.

use std::collections::BinaryHeap;

use crate::class::Class;
use crate::finding::{Finding, NAMED_MAX};
use crate::runs::Entry;
use crate::state::PartitionProgress;

/// The first findings by offset, a limited number.
#[derive(Debug, Default)]
struct Named {
    at_most: usize,
    /// The last is on top.
    findings: BinaryHeap<Finding>,
}

impl Named {
    fn new(at_most: usize, so_far: Vec<Finding>) -> Self {
        Self { at_most, findings: so_far.into() }
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        if self.findings.len() > self.at_most {
            self.findings.pop();
        }
    }

    fn sorted(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.findings.iter().cloned().collect();
        findings.sort_unstable();
        findings
    }
}

/// What is named of one partition.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    missing: Named,
    differing: Named,
    unknown: Named,
    unread: Named,
}

impl Findings {
    /// Of the partition `progress`, where all partitions together name so many of each kind.
    pub(crate) fn new(progress: &PartitionProgress, all: &[Vec<PartitionProgress>]) -> Self {
        let named = |of: fn(&PartitionProgress) -> &Vec<Finding>| {
            let named: usize = all.iter().flatten().map(|partition| of(partition).len()).sum();
            let so_far = of(progress).clone();
            Named::new(NAMED_MAX.saturating_sub(named - so_far.len()), so_far)
        };
        Self {
            missing: named(|of| &of.missing),
            differing: named(|of| &of.differing),
            unknown: named(|of| &of.unknown),
            unread: named(|of| &of.unread),
        }
    }

    pub(crate) fn add(&mut self, class: Class, finding: impl FnOnce() -> Finding) {
        match class {
            Class::Missing => self.missing.add(finding()),
            Class::Differing => self.differing.add(finding()),
            Class::LetterExpired => self.unknown.add(finding()),
            Class::LetterUnread => self.unread.add(finding()),
            Class::Current | Class::Decided | Class::Superseded | Class::Forgotten => {}
            Class::DeadLettered | Class::InFlight => {}
        }
    }

    pub(crate) fn add_event(&mut self, entry: Entry) {
        let Entry { id, class, offset, note } = entry;
        self.add(class, || Finding::new(offset, Some(id), note.map(Vec::from)));
    }

    pub(crate) fn save(&self, progress: &mut PartitionProgress) {
        progress.missing = self.missing.sorted();
        progress.differing = self.differing.sorted();
        progress.unknown = self.unknown.sorted();
        progress.unread = self.unread.sorted();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_whatever_their_order() {
        let record = |offset| Finding::new(offset, None, None);
        let mut named = Named::new(3, vec![record(9), record(1)]);
        [7, 3, 8, 2].map(record).into_iter().for_each(|record| named.add(record));
        assert_eq!(named.sorted(), [1, 2, 3].map(record));
        let mut nobody = Named::new(0, Vec::new());
        nobody.add(record(1));
        assert_eq!(nobody.sorted(), []);
    }
}
