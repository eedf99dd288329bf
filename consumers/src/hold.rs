//! Holding partitions: those that are mostly bad, as the storm breaker decides, and those that have come to a record which
//! only a newer build can read. Done and told, together with those that stand for a reason of the strategy's.
//!
//! A record of an unknown schema is no bad one: somebody deployed the writers first, and readers that know the schema are on
//! their way. The partition waits in front of it: what stands before is applied and committed, nothing of it or behind it
//! is. Whoever owns the partition next begins with that record, and goes on if it can read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Batch, Names, Partition, Standing, Subscription, Word};
use floodgate_schemas::EventType;
use floodgate_schemas::codec::SchemaName;

use crate::apply::Searched;
use crate::config::ConsumersConfig;
use crate::decode::Newer;
use crate::health::MemberHealth;
use crate::metrics::PipelineMetrics;
use crate::storm::{Ruling, Storms};

/// Why a partition is held, in metrics.
const BAD_RECORDS: &str = "bad-records";
const UNKNOWN_SCHEMA: &str = "unknown-schema";
const UNREADABLE: &str = "unreadable";

/// How many records of a partition that is held are tried: enough to see whether they are still bad.
const PROBE_RECORDS: usize = 20;

/// The partitions that one member holds.
pub(crate) struct Holds {
    group: String,
    topic: String,
    metrics: Arc<PipelineMetrics>,
    health: MemberHealth,
    /// How long a partition that is held waits before it is tried again.
    pause: Duration,
    /// As most of their records are bad.
    pub(crate) storms: Storms,
    /// In front of a record that only a newer build can read.
    newer: BTreeMap<Partition, Newer>,
    /// As the strategy says.
    standing: Vec<Standing>,
}

/// What makes a partition go on that is held in front of a record of this schema.
fn cure(schema: SchemaName) -> &'static str {
    match schema {
        SchemaName::Fingerprint(_) => "it takes consumers as new as the writer",
        SchemaName::RegistryId(_) => {
            "it takes a schema registry that tells it, or consumers that can read it; the log says which"
        }
    }
}

impl Holds {
    /// Of a member that begins, which readiness and metrics are told.
    pub(crate) fn new(
        of: EventType,
        names: &Names,
        config: &ConsumersConfig,
        metrics: Arc<PipelineMetrics>,
        health: MemberHealth,
    ) -> Self {
        let group = names.group(of).to_owned();
        metrics.holds_nothing((&group, health.number()));
        health.held(None);
        Self {
            group,
            topic: names.events(of).to_owned(),
            metrics,
            health,
            pause: config.retry_max(),
            storms: Storms::new(config.dead_letter_share_max, config.dead_letter_storm_min),
            newer: BTreeMap::new(),
            standing: Vec::new(),
        }
    }

    /// Of partitions that are held as mostly bad leaves a few records to be tried. Returns which these are.
    pub(crate) fn cut_to_probes(&self, batch: &mut Batch) -> Vec<Partition> {
        let probed: Vec<_> = self.storms.held().collect();
        probed.iter().for_each(|partition| batch.keep_first(*partition, PROBE_RECORDS));
        probed
    }

    /// Why each partition is held, for whoever looks at the group from outside.
    pub(crate) fn words(&self) -> BTreeMap<Partition, Word> {
        let bad = "too many bad records (consumers.dead_letter_share_max)";
        let stormy = self.storms.held().map(|partition| (partition, Word::held(bad)));
        let newer = self.newer.iter().map(|(partition, Newer { schema, .. })| {
            let cure = cure(*schema);
            (*partition, Word::held(format!("written with an unknown schema, {schema}: {cure}")))
        });
        let standing =
            self.standing.iter().map(|standing| (standing.partition, Word::held(&standing.reason)));
        stormy.chain(newer).chain(standing).collect()
    }

    /// Which partitions are held and why, for people.
    fn told(&self) -> Option<String> {
        let topic = &self.topic;
        let mut stormy: Vec<_> = self.storms.held().collect();
        stormy.sort();
        let stormy: Vec<_> = stormy.iter().map(|partition| format!("partition {partition}")).collect();
        let stormy = (!stormy.is_empty()).then(|| {
            let partitions = stormy.join(", ");
            format!("{partitions} of {topic} held: too many bad records (consumers.dead_letter_share_max)")
        });
        let newer = self.newer.iter().map(|(partition, Newer { offset, schema })| {
            let cure = cure(*schema);
            format!(
                "partition {partition} of {topic} held at offset {offset}, written with an unknown schema, {schema}: {cure}"
            )
        });
        let standing = self.standing.iter().map(|Standing { partition, offset, reason }| {
            let place = offset.map_or(String::new(), |offset| format!(" at offset {offset}"));
            format!("partition {partition} of {topic} stands{place}: {reason}")
        });
        let told: Vec<_> = stormy.into_iter().chain(newer).chain(standing).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The partitions of the batch that have too many bad records: nothing of them is dead-lettered or committed.
    pub(crate) fn judge(&mut self, batch: &Batch, searched: &Searched) -> Vec<Partition> {
        let (mut held, mut over) = (Vec::new(), Vec::new());
        let Searched { letters, broken_off } = searched;
        let mut counts: BTreeMap<Partition, (usize, usize)> = BTreeMap::new();
        for received in batch.iter() {
            counts.entry(received.origin.partition).or_default().0 += 1;
        }
        for received in letters.iter().filter_map(|letter| batch.get(letter.record)) {
            counts.entry(received.origin.partition).or_default().1 += 1;
        }
        for (partition, (records, bad)) in counts {
            let ruling = match broken_off.contains(&partition) {
                true => self.storms.broke_out(partition),
                false => self.storms.judge(partition, records, bad),
            };
            match ruling {
                Ruling::Calm => {}
                Ruling::Over => over.push(partition),
                Ruling::Held | Ruling::StillHeld => held.push(partition),
            }
            if ruling == Ruling::Held {
                let of_it = letters.iter().find(|letter| {
                    batch.get(letter.record).is_some_and(|received| received.origin.partition == partition)
                });
                // nothing of it is committed: its first record is where it stands
                let mut places = batch.iter().map(|received| received.origin);
                let offset = places.find(|origin| origin.partition == partition).map(|first| first.offset.0);
                let group = &self.group;
                let detail = of_it.map_or("", |letter| letter.message.as_str());
                tracing::error!(
                    group,
                    partition = partition.0,
                    offset,
                    records,
                    bad,
                    detail,
                    "most of a partition's records would be dead letters: it is held until they can be applied; if they \
                     really are dead, raise consumers.dead_letter_share_max"
                );
            }
        }
        self.tell_held(&over, BAD_RECORDS);
        held
    }

    /// Holds partitions in front of the records that only a newer build can read, and no longer those of the batch that
    /// have none any more.
    pub(crate) fn wait_for_newer(&mut self, batch: &Batch, found: &BTreeMap<Partition, Newer>) {
        if found.is_empty() && self.newer.is_empty() {
            return;
        }
        let group = &self.group;
        for (partition, newer) in found {
            if self.newer.insert(*partition, *newer) != Some(*newer) {
                let Newer { offset, schema } = newer;
                tracing::error!(
                    group, partition = partition.0, offset = offset.0, %schema,
                    "a record is written with a schema that this build does not know: its partition is held from there on, \
                     and goes on by itself: {}", cure(*schema)
                );
            }
        }
        let came: Vec<_> = batch.iter().map(|received| received.origin.partition).collect();
        let over: Vec<_> = self.newer.keys().copied().collect();
        let is_over = |partition: &Partition| came.contains(partition) && !found.contains_key(partition);
        let over: Vec<_> = over.into_iter().filter(is_over).collect();
        self.newer.retain(|partition, _| !over.contains(partition));
        self.tell_held(&over, UNKNOWN_SCHEMA);
    }

    /// Tells which partitions stand for a reason of the strategy's, and what happened to positions.
    pub(crate) fn look_at_standing(&mut self, subscription: &mut dyn Subscription) {
        let group = &self.group;
        self.metrics.rebalances.inc_by(subscription.rebalances());
        for incident in subscription.incidents() {
            self.metrics.incident(group, incident);
        }
        let mut standing = subscription.standing();
        standing.sort_by_key(|standing| standing.partition);
        if standing == self.standing {
            return;
        }
        let stands = |partition| standing.iter().any(|standing| standing.partition == partition);
        let before = self.standing.iter().map(|standing| standing.partition);
        let over: Vec<_> = before.filter(|partition| !stands(*partition)).collect();
        self.standing = standing;
        self.tell_held(&over, UNREADABLE);
    }

    /// These partitions are not held by this member any more.
    pub(crate) fn forget(&mut self, which: impl Fn(Partition) -> bool) {
        let forgotten: Vec<_> = self.storms.held().filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            forgotten.iter().for_each(|partition| self.storms.forget(*partition));
            self.tell_held(&forgotten, BAD_RECORDS);
        }
        let forgotten: Vec<_> = self.newer.keys().copied().filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            self.newer.retain(|partition, _| !forgotten.contains(partition));
            self.tell_held(&forgotten, UNKNOWN_SCHEMA);
        }
        let standing = self.standing.iter().map(|standing| standing.partition);
        let forgotten: Vec<_> = standing.filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            self.standing.retain(|standing| !forgotten.contains(&standing.partition));
            self.tell_held(&forgotten, UNREADABLE);
        }
    }

    /// Takes nothing of `standing` for a while; what was left out of the batch of others that were tried comes next.
    pub(crate) fn pause(
        &self,
        subscription: &mut dyn Subscription,
        standing: &[Partition],
        tried: &[Partition],
    ) {
        standing.iter().for_each(|partition| subscription.hold(*partition, self.pause));
        let goes_on = tried.iter().filter(|partition| !standing.contains(partition));
        goes_on.for_each(|partition| subscription.hold(*partition, Duration::ZERO));
    }

    /// Tells readiness and metrics which partitions are held, and the log that others are not any more.
    fn tell_held(&self, no_more: &[Partition], reason: &'static str) {
        let group = &self.group;
        let by = (group.as_str(), self.health.number());
        for partition in no_more {
            self.metrics.held(by, *partition, reason, false);
            tracing::info!(
                group,
                partition = partition.0,
                reason,
                "a partition is held no more: it goes on, here or with another member"
            );
        }
        self.storms.held().for_each(|partition| self.metrics.held(by, partition, BAD_RECORDS, true));
        let newer = self.newer.keys();
        newer.for_each(|partition| self.metrics.held(by, *partition, UNKNOWN_SCHEMA, true));
        let standing = self.standing.iter();
        standing.for_each(|standing| self.metrics.held(by, standing.partition, UNREADABLE, true));
        self.health.held(self.told());
    }
}
