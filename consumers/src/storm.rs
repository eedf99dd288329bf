//! The storm breaker: a topic is not emptied into the dead letters.
//!
//! A bad record now and then is dead-lettered and the rest goes on. When most of a partition's records are bad, it is
//! rather this program, its schemas or its tables that are wrong: dead-lettering them all would bury good events among
//! the dead ones, and bringing them back is work. So above a configured share the partition is *held*: it waits, its
//! offset stays, an alert is raised, and after a pause its records are tried again. Other partitions go on. It ends by
//! itself when the records can be applied (the table was mended, a newer build took over), or when an operator raises the
//! share.

use std::collections::{HashMap, HashSet};

use floodgate_buffer::Partition;

/// As many records as a partition's past is judged by: beyond it older ones count half.
const RECENT_RECORDS: f64 = 1000.0;

/// What one member has seen of its partitions.
pub(crate) struct Storms {
    share_max: f64,
    bad_min: f64,
    seen: HashMap<Partition, Seen>,
    held: HashSet<Partition>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    records: f64,
    bad: f64,
}

impl Seen {
    fn share(self) -> f64 {
        self.bad / self.records.max(1.0)
    }

    fn and(self, records: usize, bad: usize) -> Self {
        Self { records: self.records + records as f64, bad: self.bad + bad as f64 }
    }
}

impl Storms {
    pub(crate) fn new(share_max: f64, bad_min: usize) -> Self {
        Self { share_max, bad_min: bad_min as f64, seen: HashMap::new(), held: HashSet::new() }
    }

    /// The partitions that are held.
    pub(crate) fn held(&self) -> impl Iterator<Item = Partition> + '_ {
        self.held.iter().copied()
    }

    /// Whoever owns the partition now judges it anew.
    pub(crate) fn forget(&mut self, partition: Partition) {
        self.held.remove(&partition);
        self.seen.remove(&partition);
    }

    /// A search for bad rows broke off: the partition is held, whatever else is in the batch. Whether that is new.
    pub(crate) fn broke_out(&mut self, partition: Partition) -> Ruling {
        if self.held.insert(partition) { Ruling::Held } else { Ruling::StillHeld }
    }

    fn is_storm(&self, seen: Seen) -> bool {
        seen.bad >= self.bad_min && seen.share() > self.share_max
    }

    /// Judges the part of a batch that one partition has in it: whether it must be held, and whether that is new.
    pub(crate) fn judge(&mut self, partition: Partition, records: usize, bad: usize) -> Ruling {
        let batch = Seen::default().and(records, bad);
        let seen = self.seen.get(&partition).copied().unwrap_or_default();
        let together = seen.and(records, bad);
        let was_held = self.held.contains(&partition);
        let is_storm = match was_held {
            // what comes again comes in parts of any size: no number of bad ones is small any more; and it is over
            // only when it is clearly less, or it would begin again at once
            true => batch.share() > self.share_max / 2.0,
            false => self.is_storm(together),
        };
        if is_storm {
            // not counted: it comes again
            self.held.insert(partition);
            return if was_held { Ruling::StillHeld } else { Ruling::Held };
        }
        let mut seen = if was_held { batch } else { together };
        if seen.records > RECENT_RECORDS {
            seen = Seen { records: seen.records / 2.0, bad: seen.bad / 2.0 };
        }
        self.seen.insert(partition, seen);
        if self.held.remove(&partition) { Ruling::Over } else { Ruling::Calm }
    }
}

/// What a search for bad rows came across lately, partition by partition.
///
/// Every bad row that stands alone has cost two transactions, so a search that finds little else must end long before the
/// batch does. It looks back on twice as many records as make a storm, older ones fading, and on nothing before the batch.
pub(crate) struct Search<'s> {
    storms: &'s Storms,
    lately: HashMap<Partition, Seen>,
}

impl<'s> Search<'s> {
    pub(crate) fn new(storms: &'s Storms) -> Self {
        Self { storms, lately: HashMap::new() }
    }

    /// The next record of a partition was looked at.
    pub(crate) fn saw(&mut self, partition: Partition, is_bad: bool) {
        let lately = self.lately.entry(partition).or_default();
        let Seen { records, bad } = lately.and(1, is_bad.into());
        let fading = (2.0 * self.storms.bad_min / records).min(1.0);
        *lately = Seen { records: records * fading, bad: bad * fading };
    }

    /// Whether the partition is to be held, and nothing more of it to be searched. What is tried of one that is held
    /// already is little, and is searched to its end.
    pub(crate) fn breaks_off(&self, partition: Partition) -> bool {
        let lately = self.lately.get(&partition).copied().unwrap_or_default();
        !self.storms.held.contains(&partition) && self.storms.is_storm(lately)
    }
}

/// What becomes of a partition's part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It goes on.
    Calm,
    /// It goes on again.
    Over,
    /// It is held from here on.
    Held,
    /// It goes on being held.
    StillHeld,
}

#[cfg(test)]
mod tests {
    use super::Ruling::{Calm, Held, Over, StillHeld};
    use super::*;

    const P: Partition = Partition(3);

    #[test]
    fn few_bad_records_are_no_storm_and_many_are() {
        let mut storms = Storms::new(0.5, 100);
        assert_eq!(storms.judge(P, 10, 10), Calm, "fewer than the least");
        assert_eq!(storms.judge(P, 1000, 400), Calm, "fewer than the share");
        assert_eq!(storms.judge(P, 1000, 900), Held);
        assert_eq!(storms.held().collect::<Vec<_>>(), [P]);
        assert_eq!(storms.judge(Partition(4), 1000, 0), Calm, "others go on");
    }

    #[test]
    fn a_storm_goes_on_in_parts_of_any_size_and_ends_when_records_are_good() {
        let mut storms = Storms::new(0.5, 100);
        assert_eq!(storms.judge(P, 200, 200), Held);
        assert_eq!(storms.judge(P, 3, 2), StillHeld);
        assert_eq!(storms.judge(P, 2, 1), StillHeld);
        assert_eq!(storms.judge(P, 4, 1), Over);
        assert_eq!(storms.judge(P, 50, 50), Calm, "counting begins anew");
        assert_eq!(storms.judge(P, 60, 60), Held);
    }

    /// Wherever in a batch the bad rows begin, not many are looked for one by one.
    #[test]
    fn a_search_ends_soon_after_bad_rows_are_most() {
        let mut storms = Storms::new(0.5, 100);
        let until_it_breaks_off = |storms: &Storms, good: usize| {
            let mut search = Search::new(storms);
            (0..good).for_each(|_| search.saw(P, false));
            (1..=10_000).find(|_| {
                search.saw(P, true);
                search.breaks_off(P)
            })
        };
        assert_eq!(until_it_breaks_off(&storms, 0), Some(100));
        for good in [100, 5000] {
            let bad = until_it_breaks_off(&storms, good);
            assert!(bad.is_some_and(|bad| (100..=150).contains(&bad)), "{bad:?}");
        }
        let mut search = Search::new(&storms);
        for number in 0..10_000 {
            search.saw(P, number % 5 < 2);
            assert!(!search.breaks_off(P), "fewer than the share");
        }
        assert!(!Search::new(&storms).breaks_off(P));
        // one that is held already is tried in few, to the end
        assert_eq!((storms.broke_out(P), storms.broke_out(P)), (Held, StillHeld));
        assert_eq!(until_it_breaks_off(&storms, 0), None);
        // whoever wants them all has them all
        assert_eq!(until_it_breaks_off(&Storms::new(1.0, 100), 0), None);
    }

    #[test]
    fn exactly_the_share_is_not_more_than_it() {
        let mut storms = Storms::new(0.5, 100);
        assert_eq!(storms.judge(P, 199, 99), Calm, "one fewer than the least");
        assert_eq!(storms.judge(P, 1, 1), Calm, "half, and not more");
        assert_eq!(storms.judge(P, 2, 2), Held);
    }

    #[test]
    fn good_and_bad_fade_alike() {
        let mut storms = Storms::new(0.5, 100);
        // remembered as 150 of 750
        assert_eq!(storms.judge(P, 1500, 300), Calm);
        assert_eq!(storms.judge(P, 250, 250), Calm, "400 of 1000");
        assert_eq!(storms.judge(P, 300, 300), Held, "700 of 1300");
    }

    #[test]
    fn held_partitions_can_be_forgotten() {
        let mut storms = Storms::new(0.5, 10);
        for partition in [P, Partition(1)] {
            assert_eq!(storms.judge(partition, 10, 10), Held);
        }
        storms.forget(P);
        assert_eq!(storms.held().collect::<Vec<_>>(), [Partition(1)]);
        assert_eq!(storms.judge(P, 9, 9), Calm, "counting begins anew");
        storms.forget(Partition(1));
        assert_eq!(storms.held().next(), None);
    }

    #[test]
    fn the_past_fades_and_a_share_of_one_switches_it_off() {
        let mut storms = Storms::new(0.5, 100);
        for _ in 0..100 {
            assert_eq!(storms.judge(P, 1000, 0), Calm);
        }
        assert_eq!(storms.judge(P, 1000, 1000), Calm);
        assert_eq!(storms.judge(P, 1000, 1000), Held);
        let mut off = Storms::new(1.0, 100);
        assert_eq!(off.judge(P, 1000, 1000), Calm);
    }
}
