//! Holding partitions: those that are mostly bad, as the storm breaker decides, and those that have come to a record which
//! only a newer build can read. Done and told, together with those that stand for a reason of the strategy's.
//!
//! A record of an unknown schema is no bad one: somebody deployed the writers first, and readers that know the schema are on
//! their way. The partition waits in front of it: what stands before is applied and committed, nothing of it or behind it
//! is. Whoever owns the partition next begins with that record, and goes on if it can read it.

use std::collections::{BTreeMap, HashMap};

use floodgate_buffer::{Batch, Offset, Partition, Standing, Subscription};
use floodgate_schemas::Event;
use floodgate_schemas::codec::SchemaName;

use crate::ConsumersConfig;
use crate::apply::Searched;
use crate::pipeline::Pipeline;
use crate::storm::{Storms, Verdict};

/// Why a partition is held, in metrics.
const BAD_RECORDS: &str = "bad-records";
const UNKNOWN_SCHEMA: &str = "unknown-schema";
const UNREADABLE: &str = "unreadable";

/// A record that only a newer build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) offset: Offset,
    pub(crate) schema: SchemaName,
}

/// The partitions that one member holds.
pub(crate) struct Holds {
    /// As most of their records are bad.
    pub(crate) storms: Storms,
    /// In front of a record that only a newer build can read.
    unknown: BTreeMap<Partition, Unknown>,
    /// As the strategy says.
    standing: Vec<Standing>,
}

impl Holds {
    pub(crate) fn new(config: &ConsumersConfig) -> Self {
        let storms = Storms::new(config.dead_letter_share_max, config.dead_letter_storm_min);
        Self { storms, unknown: BTreeMap::new(), standing: Vec::new() }
    }

    /// Which partitions of a topic are held and why, for people.
    fn told(&self, topic: &str) -> Option<String> {
        let mut stormy: Vec<_> = self.storms.held().collect();
        stormy.sort();
        let stormy: Vec<_> = stormy.iter().map(|partition| format!("partition {partition}")).collect();
        let stormy = (!stormy.is_empty()).then(|| {
            let partitions = stormy.join(", ");
            format!("{partitions} of {topic} held: too many bad records (consumers.dead_letter_share_max)")
        });
        let unknown = self.unknown.iter().map(|(partition, Unknown { offset, schema })| {
            format!(
                "partition {partition} of {topic} held at offset {offset}, written with an unknown schema, {schema}: it \
                 takes consumers as new as the writer"
            )
        });
        let standing = self.standing.iter().map(|Standing { partition, offset, reason }| {
            let place = offset.map_or(String::new(), |offset| format!(" at offset {offset}"));
            format!("partition {partition} of {topic} stands{place}: {reason}")
        });
        let told: Vec<_> = stormy.into_iter().chain(unknown).chain(standing).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl<E: Event> Pipeline<E> {
    /// The partitions of the batch that have too many bad records: nothing of them is dead-lettered or committed.
    pub(crate) fn judge(&self, batch: &Batch, searched: &Searched, holds: &mut Holds) -> Vec<Partition> {
        let (mut held, mut over) = (Vec::new(), Vec::new());
        let Searched { letters, broken_off } = searched;
        let mut counts: HashMap<Partition, (usize, usize)> = HashMap::new();
        for received in batch.iter() {
            counts.entry(received.origin.partition).or_default().0 += 1;
        }
        for received in letters.iter().filter_map(|letter| batch.get(letter.record)) {
            counts.entry(received.origin.partition).or_default().1 += 1;
        }
        for (partition, (records, bad)) in counts {
            let verdict = match broken_off.contains(&partition) {
                true => holds.storms.broke_out(partition),
                false => holds.storms.judge(partition, records, bad),
            };
            match verdict {
                Verdict::Calm => {}
                Verdict::Over => over.push(partition),
                Verdict::Held | Verdict::StillHeld => held.push(partition),
            }
            if verdict == Verdict::Held {
                let of_it = letters.iter().find(|letter| {
                    batch.get(letter.record).is_some_and(|received| received.origin.partition == partition)
                });
                let group = self.strategy.names().group(E::TYPE);
                let message = of_it.map_or("", |letter| letter.message.as_str());
                tracing::error!(
                    %group, %partition, records, bad, message,
                    "most of a partition's records would be dead letters: it is held until they can be applied; if they \
                     really are dead, raise consumers.dead_letter_share_max"
                );
            }
        }
        self.tell_held(&over, BAD_RECORDS, holds);
        held
    }

    /// Holds partitions in front of the records that only a newer build can read, and no longer those of the batch that
    /// have none any more.
    pub(crate) fn wait_for_newer(
        &self,
        batch: &Batch,
        found: &BTreeMap<Partition, Unknown>,
        holds: &mut Holds,
    ) {
        if found.is_empty() && holds.unknown.is_empty() {
            return;
        }
        let group = self.strategy.names().group(E::TYPE);
        for (partition, unknown) in found {
            if holds.unknown.insert(*partition, *unknown) != Some(*unknown) {
                let Unknown { offset, schema } = unknown;
                tracing::error!(
                    %group, %partition, %offset, %schema,
                    "a record is written with a schema that this build does not know: its partition is held from there on, \
                     and goes on by itself with consumers as new as the writer"
                );
            }
        }
        let came: Vec<_> = batch.iter().map(|received| received.origin.partition).collect();
        let over: Vec<_> = holds.unknown.keys().copied().collect();
        let is_over = |partition: &Partition| came.contains(partition) && !found.contains_key(partition);
        let over: Vec<_> = over.into_iter().filter(is_over).collect();
        holds.unknown.retain(|partition, _| !over.contains(partition));
        self.tell_held(&over, UNKNOWN_SCHEMA, holds);
    }

    /// Tells which partitions stand for a reason of the strategy's, and what happened to positions.
    pub(crate) fn look_at_standing(&self, subscription: &mut dyn Subscription, holds: &mut Holds) {
        let group = self.strategy.names().group(E::TYPE);
        for incident in subscription.incidents() {
            self.metrics.incident(&group, incident);
        }
        let mut standing = subscription.standing();
        standing.sort_by_key(|standing| standing.partition);
        if standing == holds.standing {
            return;
        }
        let stands = |partition| standing.iter().any(|standing| standing.partition == partition);
        let before = holds.standing.iter().map(|standing| standing.partition);
        let over: Vec<_> = before.filter(|partition| !stands(*partition)).collect();
        holds.standing = standing;
        self.tell_held(&over, UNREADABLE, holds);
    }

    /// These partitions are not held by this member any more.
    pub(crate) fn forget(&self, holds: &mut Holds, which: impl Fn(Partition) -> bool) {
        let forgotten: Vec<_> = holds.storms.held().filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            forgotten.iter().for_each(|partition| holds.storms.forget(*partition));
            self.tell_held(&forgotten, BAD_RECORDS, holds);
        }
        let forgotten: Vec<_> = holds.unknown.keys().copied().filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            holds.unknown.retain(|partition, _| !forgotten.contains(partition));
            self.tell_held(&forgotten, UNKNOWN_SCHEMA, holds);
        }
        let standing = holds.standing.iter().map(|standing| standing.partition);
        let forgotten: Vec<_> = standing.filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            holds.standing.retain(|standing| !forgotten.contains(&standing.partition));
            self.tell_held(&forgotten, UNREADABLE, holds);
        }
    }

    /// Tells readiness and metrics of a member that begins.
    pub(crate) fn holds_nothing(&self) {
        self.metrics.holds_nothing((self.strategy.names().group(E::TYPE), self.health.number()));
        self.health.held(None);
    }

    /// Tells readiness and metrics which partitions are held, and the log that others are not any more.
    fn tell_held(&self, no_more: &[Partition], reason: &'static str, holds: &Holds) {
        let group = self.strategy.names().group(E::TYPE);
        let by = (group, self.health.number());
        for partition in no_more {
            self.metrics.held(by, *partition, reason, false);
            tracing::info!(
                %group, %partition, reason,
                "a partition is held no more: it goes on, here or with another member"
            );
        }
        holds.storms.held().for_each(|partition| self.metrics.held(by, partition, BAD_RECORDS, true));
        let unknown = holds.unknown.keys();
        unknown.for_each(|partition| self.metrics.held(by, *partition, UNKNOWN_SCHEMA, true));
        let standing = holds.standing.iter();
        standing.for_each(|standing| self.metrics.held(by, standing.partition, UNREADABLE, true));
        self.health.held(holds.told(self.strategy.names().events(E::TYPE)));
    }
}
