//! What became of records that were replayed: applied, or a dead letter again.
//!
//! A group commits an offset only when everything before it is applied or dead-lettered. So once it has passed the end that
//! its topic had after the replay, nothing of the replay is open any more, and those that failed again have their letters
//! behind where the dead-letter topic ended before. Such a letter carries its record's headers, and with them which letter
//! was replayed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use floodgate_buffer::{EventOrigin, GroupLag, LagError, Offset, Partition};
use floodgate_schemas::EventType;

use super::letter::Letter;
use super::scan::{Scan, ScanError, ScanLimits};
use super::topic::DeadLetterTopic;

/// Between looks at how far groups are.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of what was replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOutcome {
    /// Records that are dead letters again.
    pub failed_again: u64,
    /// Why nothing is known of the others yet; `None` when all of them are applied.
    pub open: Option<String>,
}

/// Follows what was replayed.
pub(super) struct Follow<'t> {
    pub(super) topic: &'t DeadLetterTopic,
    /// Where the letters stood that were replayed.
    pub(super) replayed: HashSet<EventOrigin>,
    pub(super) until: Instant,
}

impl Follow<'_> {
    /// Until all is decided, or the time is over. `before` was read before the first was replayed.
    pub(super) fn to_the_end(&self, before: &Scan) -> Result<ReplayOutcome, ScanError> {
        let open = self.wait_for_groups();
        let mut scan = Scan::open(self.topic, &ScanLimits::NONE)?.of_headers();
        scan.skip_read_by(before);
        let topics = self.topic.names();
        let mut failed = HashSet::new();
        scan.each(|batch, _| {
            for record in batch.iter() {
                let letter = Letter::read(&record, topics).ok().filter(|letter| letter.mark.is_none());
                let origin = letter.as_ref().and_then(Letter::replay_of).and_then(|of| topics.read(&of).ok());
                failed.extend(origin.filter(|origin| self.replayed.contains(origin)));
            }
            Ok::<_, ScanError>(())
        })?;
        let unread = scan.unread.first().map(|unread| format!("dead letters cannot be read: {unread}"));
        Ok(ReplayOutcome { failed_again: failed.len() as u64, open: open.or(unread) })
    }

    /// Why not all groups have read what was replayed, if they have not in time.
    fn wait_for_groups(&self) -> Option<String> {
        let mut waiting: Vec<Ahead> = Vec::new();
        let groups = EventType::ALL.into_iter().filter(|of| self.replayed.iter().any(|at| at.of == *of));
        for of in groups {
            match self.in_time(|| self.end_of(of)) {
                Ok(ahead) => waiting.push(ahead),
                Err(why) => return Some(why),
            }
        }
        let passed = |ahead: &Ahead| self.in_time(|| self.is_passed(ahead)).err();
        waiting.iter().find_map(passed)
    }

    /// Looks again and again, until it is so or the time is over; then says why it is not.
    fn in_time<T>(&self, look: impl Fn() -> Result<T, String>) -> Result<T, String> {
        loop {
            match look() {
                Err(_) if Instant::now() < self.until => std::thread::sleep(PAUSE),
                looked => return looked,
            }
        }
    }

    /// Where the topic of a group ends, now that all that was replayed is on it.
    fn end_of(&self, of: EventType) -> Result<Ahead, String> {
        if let Some(spill) = self.topic.strategy.spill() {
            let spill = spill.map_err(|error| error.to_string())?;
            if spill.waiting > 0 {
                return Err(format!("{} records wait in {}", spill.waiting, spill.strategy));
            }
        }
        let lag = self.topic.strategy.lag(of).map_err(|error: LagError| error.to_string())?;
        if let Some((partition, reason)) = lag.unknown.first() {
            return Err(format!("{}: partition {partition}: {reason}", lag.group));
        }
        let ends = lag.partitions.iter().map(|partition| (partition.partition, partition.end));
        Ok(Ahead { of, ends: ends.collect() })
    }

    fn is_passed(&self, ahead: &Ahead) -> Result<(), String> {
        let lag = self.topic.strategy.lag(ahead.of).map_err(|error: LagError| error.to_string())?;
        let left = ahead.left(&lag);
        if left == 0 {
            return Ok(());
        }
        let members = match lag.members {
            Some(0) => ", which has no members,",
            _ => "",
        };
        Err(format!("{}{members} has {left} records to read up to where they are", lag.group))
    }
}

/// Where a group has to be.
struct Ahead {
    of: EventType,
    ends: Vec<(Partition, Offset)>,
}

impl Ahead {
    /// How many records it has left before it is there; those of partitions that are not known among them, as one each.
    fn left(&self, lag: &GroupLag) -> u64 {
        if let Some(queue) = lag.queue {
            return queue.waiting;
        }
        let left = |(partition, end): &(Partition, Offset)| {
            let Some(found) = lag.partitions.iter().find(|found| found.partition == *partition) else {
                return 1;
            };
            let next = found.next_unapplied().max(found.nothing_until.unwrap_or(Offset(0)));
            u64::try_from(end.0.saturating_sub(next.0)).unwrap_or(0)
        };
        self.ends.iter().map(left).sum()
    }
}
