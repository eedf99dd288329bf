//! Where a member reads on.
//!
//! **A number alone names no record.** A topic that was deleted and made anew, a log that lost its end with a broker's disk, a
//! cluster set up again under the same address: all count from 0, and an offset committed for what was there before
//! means nothing in what is there now, or worse, seems to mean something. So a commit of ours carries which log it is of,
//! and where leaders change the epoch of the one that wrote the last record before it, by which the client
//! finds out whether the log was cut since ([KIP-320](https://cwiki.apache.org/confluence/x/fYlvBQ)). A commit of another
//! log is no position: reading begins at the log's start, which repeats change nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Incident, LogId, Offset, Partition, Word};

/// Who committed an offset, and of which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommitMark {
    /// This program, of the topic of this id; `None` where the cluster gives none.
    Ours(Option<LogId>),
    /// Another program, or a build before commits were marked.
    Foreign,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: Offset,
    /// The epoch of the leader that took the last record before it, where that is known.
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) mark: CommitMark,
    /// Why the partition did not go on when it was committed, if it did not.
    pub(crate) word: Option<Word>,
}

/// What a position was found to be, when it is not simply where the group was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing is committed: reading begins at the log's start.
    NeverCommitted,
    /// Records expired before they were read.
    ExpiredUnread(Range<Offset>),
    /// The position is of a log that is there no more: this one is read from its start, with these numbers.
    AnotherLog { position: Offset, log: Range<Offset> },
    /// Another program set the offset.
    SetByOthers,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: Offset,
    /// By which librdkafka checks that the log before it is still the same.
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) finding: Option<Finding>,
    /// Whether a member before left word there, which is its own no more.
    pub(crate) has_word: bool,
}

impl Place {
    /// Whether what is committed says something of its own: what expired, or that somebody set it.
    pub(crate) fn is_found(&self) -> bool {
        self.incident().is_some()
    }

    /// What operators must know of.
    pub(crate) fn incident(&self) -> Option<Incident> {
        match &self.finding {
            None | Some(Finding::NeverCommitted) => None,
            Some(Finding::ExpiredUnread(_)) => Some(Incident::ExpiredUnread),
            Some(Finding::AnotherLog { .. }) => Some(Incident::AnotherLog),
            Some(Finding::SetByOthers) => Some(Incident::OffsetSetByOthers),
        }
    }
}

/// Where a member reads on, given what the group committed and where the log lies.
pub(crate) fn place(committed: Option<&Committed>, topic: Option<&LogId>, log: Range<Offset>) -> Place {
    let has_word = committed.is_some_and(|committed| committed.word.is_some());
    let from_start =
        |finding| Place { offset: log.start, leader_epoch: None, finding: Some(finding), has_word };
    let Some(Committed { offset: next, leader_epoch, mark, .. }) = committed else {
        return from_start(Finding::NeverCommitted);
    };
    let is_another = match mark {
        CommitMark::Ours(Some(of)) => topic.is_some_and(|topic| topic != of),
        CommitMark::Ours(None) | CommitMark::Foreign => false,
    };
    if is_another || *next > log.end {
        return from_start(Finding::AnotherLog { position: *next, log: log.clone() });
    }
    if *next < log.start {
        return from_start(Finding::ExpiredUnread(*next..log.start));
    }
    let finding = (*mark == CommitMark::Foreign).then_some(Finding::SetByOthers);
    Place { offset: *next, leader_epoch: *leader_epoch, finding, has_word }
}

/// Whether this process has told that groups are new. All partitions of all groups would otherwise say the same.
static NEW_TOLD: AtomicBool = AtomicBool::new(false);

/// Tells operators what was found of partitions that come together. Returns of how many nothing is committed.
pub(crate) fn tell<'p>(
    group: &str,
    topic: &str,
    places: impl IntoIterator<Item = (Partition, &'p Place)>,
) -> usize {
    let (mut new, mut cut) = (0, Vec::new());
    for (partition, place) in places {
        match &place.finding {
            None => {}
            Some(Finding::NeverCommitted) => {
                new += 1;
                cut.extend((place.offset > Offset(0)).then_some((partition.0, place.offset.0)));
            }
            Some(finding) => tell_one(group, topic, partition.0, place.offset.0, finding),
        }
    }
    if let Some((partition, from)) = cut.first() {
        tracing::warn!(
            group,
            topic,
            partition,
            from,
            partition_count = cut.len(),
            "nothing committed yet, and the log no longer has what stood before {from}: reading from there, and others alike"
        );
    }
    if new > cut.len() && !NEW_TOLD.swap(true, Ordering::Relaxed) {
        tracing::info!(
            "nothing committed yet: reading from the log's start; how many partitions of which groups is told as they are assigned"
        );
    }
    new
}

fn tell_one(group: &str, topic: &str, partition: i32, from: i64, finding: &Finding) {
    match finding {
        Finding::NeverCommitted => {}
        Finding::ExpiredUnread(Range { start: Offset(start), end: Offset(end) }) => tracing::error!(
            group,
            topic,
            partition,
            missing_from = start,
            missing_until = end,
            missing = end - start,
            "records expired before they were read: offsets {start} up to {end} are missing"
        ),
        Finding::AnotherLog {
            position: Offset(position),
            log: Range { start: Offset(start), end: Offset(end) },
        } => tracing::error!(
            group,
            topic,
            partition,
            position,
            start,
            end,
            "the position {position} is of a log that is there no more (the topic was made anew, or its end was lost): reading \
             this one, which ends at {end}, from its start, {start}; what was there before and not applied is lost"
        ),
        Finding::SetByOthers => tracing::warn!(
            group,
            topic,
            partition,
            from,
            "the committed offset {from} was set by another program, or by a build that did not mark its commits: what lies \
             before it and was not applied is skipped; `floodgate verify` tells"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<LogId> {
        Some(LogId::new(text))
    }

    fn another(position: i64) -> Option<Finding> {
        Some(Finding::AnotherLog { position: Offset(position), log: Offset(10)..Offset(20) })
    }

    fn found(offset: i64, mark: CommitMark) -> (i64, Option<Finding>) {
        let committed = Committed { offset: Offset(offset), leader_epoch: Some(3), mark, word: None };
        let place = place(Some(&committed), id("now").as_ref(), Offset(10)..Offset(20));
        assert!(
            place.leader_epoch.is_none() || place.offset == Offset(offset),
            "an epoch belongs to its offset"
        );
        (place.offset.0, place.finding)
    }

    #[test]
    fn a_position_outside_the_log_goes_to_its_start() {
        let ours = || CommitMark::Ours(id("now"));
        let none = place(None, None, Offset(10)..Offset(20));
        assert_eq!((none.offset, none.finding), (Offset(10), Some(Finding::NeverCommitted)));
        assert_eq!(found(9, ours()), (10, Some(Finding::ExpiredUnread(Offset(9)..Offset(10)))));
        for inside in [10, 15, 20] {
            assert_eq!(found(inside, ours()), (inside, None));
        }
        assert_eq!(found(21, ours()), (10, another(21)));
    }

    #[test]
    fn a_position_of_another_log_is_none() {
        assert_eq!(found(15, CommitMark::Ours(id("before"))), (10, another(15)));
        assert_eq!(found(15, CommitMark::Foreign), (15, Some(Finding::SetByOthers)));
        assert_eq!(found(15, CommitMark::Ours(None)), (15, None), "a cluster without ids");
    }
}
