//! What a check found.

use std::fmt;

use floodgate_buffer::{GroupLag, Names};
use floodgate_schemas::Timestamp;
use floodgate_schemas::text::escaped;
use floodgate_store::Discrepancy;
use serde::Serialize;

use crate::class::Tally;
use crate::doubt::{Doubt, Lost};
use crate::finding::Column;
use crate::range::OffsetRange;
use crate::record::RecordReport;
use crate::state::PartitionProgress;

/// The result, as `floodgate verify --json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the ends of the partitions were read: later events are not part of this.
    pub as_of: String,
    /// Every type of event; none where their log is in another process.
    pub types: Vec<TypeReport>,
    /// Missing records, by type, partition and offset, the first [`NAMED_MAX`](crate::NAMED_MAX).
    pub missing: Vec<MissingReport>,
    /// Events whose rows carry them with other values, likewise.
    pub differences: Vec<DifferenceReport>,
    /// Records that are gone from the log, and were never applied.
    pub lost: Vec<Lost>,
    /// Rows that contradict each other, the first [`NAMED_MAX`](crate::NAMED_MAX).
    pub discrepancies: Vec<DiscrepancyReport>,
    /// How many such rows there are.
    pub discrepancy_count: u64,
    /// Of what nobody can tell whether it is a violation.
    pub cannot_tell: Vec<Doubt>,
    /// What to keep in mind with these figures, in sentences.
    pub notes: Vec<String>,
    /// All violations: missing, differing and lost events and records, and discrepancies.
    pub violations: u64,
    /// Whether events were checked at all, or only whether the database agrees with itself.
    pub events_checked: bool,
    /// Whether values of rows were compared, or only which event stands on them.
    pub values_compared: bool,
    /// What it comes to.
    pub verdict: Verdict,
    /// Whether that is [`Verdict::Balanced`].
    pub balanced: bool,
}

/// What a check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No violation, and nothing of which nobody can tell.
    Balanced,
    /// At least one, whatever else is not known.
    Violations,
    /// None that is known, and something of which nobody can tell.
    CannotTell,
}

/// What became of one type of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeReport {
    /// Its name.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// Its topic's full name.
    pub topic: String,
    /// Records read, copies of one event and records that are no events included.
    pub records: u64,
    /// Distinct events among them, partition by partition.
    pub events: u64,
    /// What became of the events.
    #[serde(flatten)]
    pub tally: Tally,
    /// What became of the records that are no events.
    pub unreadable: Unreadable,
    /// Offsets whose records expired before they could be read.
    pub unchecked: Vec<OffsetRange>,
}

/// What became of records that are no events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// Their origins are among the dead letters'.
    pub dead_lettered: u64,
    /// They are at or beyond the group's committed offset.
    pub in_flight: u64,
    /// Neither: violations.
    pub missing: u64,
    /// Neither, but their dead letters may have expired, or be where they cannot be read.
    pub cannot_tell: u64,
    /// Neither, and written with schemas that this build does not know: only a build that does can tell.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown_schema: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Tally> for Unreadable {
    fn from(Tally { dead_lettered, in_flight, missing, cannot_tell, .. }: Tally) -> Self {
        Self { dead_lettered, in_flight, missing, cannot_tell, unknown_schema: 0 }
    }
}

/// A record that is neither in the database, nor among the dead letters, nor before its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingReport {
    /// Which.
    #[serde(flatten)]
    pub record: RecordReport,
    /// What mends it.
    pub mend: String,
}

impl fmt::Display for MissingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, is missing; {}", self.record, self.mend)
    }
}

/// An event whose row carries it with other values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceReport {
    /// Which.
    #[serde(flatten)]
    pub record: RecordReport,
    /// What differs.
    pub columns: Vec<Column>,
    /// What mends it.
    pub mend: String,
}

impl fmt::Display for DifferenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, differs: ", self.record)?;
        for (number, Column { column, expected, found }) in self.columns.iter().enumerate() {
            let separator = if number > 0 { ", " } else { "" };
            let [expected, found] = [expected, found].map(|text| escaped(text.as_bytes()));
            write!(f, "{separator}{column} is {found} and should be {expected}")?;
        }
        write!(f, "; {}", self.mend)
    }
}

/// Rows that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiscrepancyReport {
    /// Which, and how.
    #[serde(flatten)]
    pub discrepancy: Discrepancy,
    /// What mends it.
    pub mend: String,
}

impl From<Discrepancy> for DiscrepancyReport {
    fn from(discrepancy: Discrepancy) -> Self {
        Self { mend: format!("mend: {}", discrepancy.mend()), discrepancy }
    }
}

impl fmt::Display for DiscrepancyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.discrepancy, self.mend)
    }
}

impl Report {
    /// Of nothing yet.
    pub(crate) fn new(as_of: Timestamp) -> Self {
        Self {
            as_of: as_of.to_string(),
            types: Vec::new(),
            missing: Vec::new(),
            differences: Vec::new(),
            lost: Vec::new(),
            discrepancies: Vec::new(),
            discrepancy_count: 0,
            cannot_tell: Vec::new(),
            notes: Vec::new(),
            violations: 0,
            events_checked: false,
            values_compared: false,
            verdict: Verdict::Balanced,
            balanced: true,
        }
    }

    /// Adds one type, all of whose partitions are counted.
    pub(crate) fn add(&mut self, lag: &GroupLag, partitions: &[PartitionProgress], names: &Names) {
        let (mut events, mut unreadable) = (Tally::default(), Tally::default());
        for partition in partitions {
            events.add(&partition.events);
            unreadable.add(&partition.unreadable);
            self.add_findings(lag, partition, names);
            self.lost.extend(partition.lost.map(|range| Lost::unread(lag, range)));
            let has_committed = partition.committed.is_some();
            let doubts = partition.doubtful.iter().map(|range| Doubt::expired(lag, has_committed, *range));
            self.cannot_tell.extend(doubts);
            let damaged = partition.damaged.iter();
            self.cannot_tell.extend(damaged.map(|damage| Doubt::damaged(lag, partition.committed, damage)));
        }
        let unknown_schema = partitions.iter().map(|partition| partition.unknown_schema).sum();
        if unknown_schema > 0 {
            self.notes.push(format!(
                "{unknown_schema} records of {} that were committed are written with schemas that are not known here, and \
                 are unchecked: verify with a build as new as the newest consumers, and with a schema registry that answers",
                lag.topic
            ));
        }
        self.types.push(TypeReport {
            of: lag.of.name(),
            topic: lag.topic.clone(),
            records: partitions.iter().map(|partition| partition.records).sum(),
            events: events.total(),
            tally: events,
            unreadable: Unreadable { unknown_schema, ..unreadable.into() },
            unchecked: partitions.iter().flat_map(|partition| partition.unchecked.clone()).collect(),
        });
    }

    fn add_findings(&mut self, lag: &GroupLag, partition: &PartitionProgress, names: &Names) {
        let record = |finding| RecordReport::new(lag.of, partition.partition, finding, names);
        self.missing.extend(partition.missing.iter().map(record).map(|record| MissingReport {
            mend: match record.event_id {
                Some(_) => format!("mend: `floodgate reapply {}`", record.origin),
                None => format!(
                    "mend: set the offset of group {} in partition {} back to {} while none of its consumers runs; they \
                     will dead-letter it",
                    lag.group, record.partition, record.offset
                ),
            },
            record,
        }));
        self.differences.extend(partition.differing.iter().map(|finding| {
            let (record, columns) = (record(finding), finding.note().columns);
            DifferenceReport {
                mend: format!("mend: `floodgate reapply --values {}`", record.origin),
                columns,
                record,
            }
        }));
        let unknown = partition.unknown.iter().map(record);
        self.cannot_tell.extend(unknown.map(|record| Doubt::letter_expired(lag, record)));
        let unread = partition.unread.iter().map(record);
        self.cannot_tell.extend(unread.map(|record| Doubt::letter_unread(lag, record)));
    }

    /// Says what all of it comes to.
    pub(crate) fn summed_up(mut self) -> Self {
        let events =
            self.types.iter().map(|of| of.tally.missing + of.tally.differing + of.unreadable.missing);
        let lost = self.lost.iter().map(|lost| lost.records);
        self.violations = events.chain(lost).sum::<u64>() + self.discrepancy_count;
        self.verdict = match (self.violations, self.cannot_tell.is_empty()) {
            (0, true) => Verdict::Balanced,
            (0, false) => Verdict::CannotTell,
            _ => Verdict::Violations,
        };
        self.balanced = self.verdict == Verdict::Balanced;
        self
    }
}

#[cfg(test)]
mod tests;
