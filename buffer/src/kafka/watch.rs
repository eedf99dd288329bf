//! What a member looks after besides records, without ever waiting for an answer:
//!
//! * whether the topic is still the one it reads: deleted and made anew, it goes on under the same name and numbers;
//! * partitions whose place could not be found out when they came, since their leader was away;
//! * partitions behind whose position records wait that do not come, since a transaction of another program is open, or
//!   since what the broker sends makes no sense to the client, which tries again for ever and does not always say so.

use std::collections::HashMap;
use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::client::ASK_TIMEOUT;
use super::native::ask::{Bound, Question};
use super::native::poll::known_end;
use super::offsets::{TopicFacts, c_name, facts};
use super::rebalance::MemberContext;
use super::trouble::MEND_DAMAGE;
use crate::share::place::tell;
use crate::share::shared::Shared;
use crate::{Offset, Partition};

/// How often it is looked. A topic that was made anew is noticed after this time, and read from its start then, whatever
/// was read of it meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a partition may not go on, as behind the transaction of another program, before its leader is asked about it.
const QUIET_PATIENCE: Duration = Duration::from_secs(5);

/// How long a partition may send nothing though its broker answers and records wait there, before it is told. Fetches come
/// several times a second.
const SILENCE_PATIENCE: Duration = Duration::from_secs(10);

/// A partition that does not go on though there is more of it.
#[derive(Clone, Copy)]
struct Quiet {
    at: Offset,
    /// The end of the log.
    end: Offset,
    since: Instant,
    /// Since when its leader says that it could be read on.
    readable_since: Option<Instant>,
}

/// Questions that are on their way, and what was seen before.
pub(super) struct Watch {
    topic: String,
    c_topic: CString,
    looked_at: Instant,
    facts: Option<Question>,
    /// Brokers that lead partitions; the first is asked next.
    brokers: Vec<i32>,
    bounds: Option<[Question; 2]>,
    quiet: HashMap<Partition, Quiet>,
    /// Up to where quiet ones can be read.
    stable: Option<Question>,
}

impl Watch {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            c_topic: c_name(topic),
            looked_at: Instant::now(),
            facts: None,
            brokers: Vec::new(),
            bounds: None,
            quiet: HashMap::new(),
            stable: None,
        }
    }
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) struct Member<'m> {
    pub(super) consumer: &'m BaseConsumer<MemberContext>,
    pub(super) shared: &'m Shared,
    /// While a batch waits or partitions are paused what was fetched waits here.
    pub(super) is_behind: bool,
}

impl Watch {
    /// Works off what was answered, and asks again when it is time.
    pub(super) fn look_around(&mut self, member: Member<'_>) {
        self.meet_facts(member);
        self.meet_bounds(member);
        self.meet_stable(member);
        if self.looked_at.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.looked_at = Instant::now();
        self.look_for_quiet_ones(member);
        if self.facts.is_none() && member.shared.share.lock().owned() > 0 {
            let broker = self.brokers.first().copied();
            let client = member.consumer.client();
            let asked = Question::topics(client, &[&self.topic], broker, ASK_TIMEOUT);
            self.facts = asked.ok();
        }
    }

    fn meet_facts(&mut self, member: Member<'_>) {
        let Some(question) = &self.facts else { return };
        let told = question.there(Duration::ZERO).and_then(|told| told.map(facts).transpose());
        match told {
            Ok(None) => return,
            Ok(Some(facts)) => {
                if self.brokers.is_empty() {
                    self.brokers = facts.partitions.iter().filter_map(|(_, leader)| *leader).collect();
                    self.brokers.sort_unstable();
                    self.brokers.dedup();
                }
                self.compare(member, &facts);
            }
            // a topic that is missing is told by the fetches of its partitions, a broker that is away by readiness
            Err(error) => {
                tracing::debug!(%error, "the topic could not be looked at");
                // the next one is asked then, and in the end whoever librdkafka takes
                if !self.brokers.is_empty() {
                    self.brokers.remove(0);
                }
            }
        }
        self.facts = None;
    }

    fn compare(&mut self, member: Member<'_>, facts: &TopicFacts) {
        if !member.shared.share.lock().reads_from(facts.id.as_ref()) {
            member.shared.fail(format!("topic {} was made anew while it was consumed", self.topic));
            return;
        }
        let unplaced = member.shared.share.lock().unplaced();
        let answerable = facts
            .partitions
            .iter()
            .filter(|(partition, leader)| leader.is_some() && unplaced.contains(partition));
        let answerable: Vec<Partition> = answerable.map(|(partition, _)| *partition).collect();
        if answerable.is_empty() || self.bounds.is_some() {
            return;
        }
        let client = member.consumer.client();
        let ask = |bound| Question::bounds(client, &self.topic, &answerable, bound, ASK_TIMEOUT);
        if let (Ok(starts), Ok(ends)) = (ask(Bound::Start), ask(Bound::End)) {
            self.bounds = Some([starts, ends]);
        }
    }

    fn meet_bounds(&mut self, member: Member<'_>) {
        let Some([starts, ends]) = &mut self.bounds else { return };
        let answered = match (starts.keep_offsets(), ends.keep_offsets()) {
            (Ok(Some(starts)), Ok(Some(ends))) => Some((starts, ends)),
            (Err(_), _) | (_, Err(_)) => None,
            _ => return,
        };
        self.bounds = None;
        let Some((starts, ends)) = answered else { return };
        let ends: HashMap<Partition, KafkaResult<i64>> = ends.into_iter().collect();
        for (partition, start) in starts {
            if let (Ok(start), Some(Ok(end))) = (start, ends.get(&partition)) {
                let (log, now) = (Offset(start)..Offset(*end), tokio::time::Instant::now());
                let place = member.shared.share.lock().put_in_place(partition, log, now);
                if let Some(place) = place {
                    tell(&member.consumer.context().group, &self.topic, [(partition, &place)]);
                }
            }
        }
    }

    /// Finds partitions that do not go on though there is more of them, and asks up to where they can be read. While a batch
    /// waits or a partition is held, what was fetched waits here, and nothing can be said.
    fn look_for_quiet_ones(&mut self, member: Member<'_>) {
        let reading = match member.is_behind {
            true => Vec::new(),
            false => member.shared.share.lock().reading(),
        };
        let mut quiet = HashMap::new();
        for (partition, at) in reading {
            let end = known_end(member.consumer, &self.c_topic, partition);
            let Some(end) = end.filter(|end| *end > at) else { continue };
            let before = self.quiet.get(&partition).filter(|before| before.at == at);
            let begins = Quiet { at, end, since: Instant::now(), readable_since: None };
            quiet.insert(partition, Quiet { end, ..before.copied().unwrap_or(begins) });
        }
        let before = std::mem::replace(&mut self.quiet, quiet);
        let mut share = member.shared.share.lock();
        before.iter().for_each(|(partition, quiet)| share.look_whether_it_went_on(*partition, quiet.at));
        drop(share);
        let long = self.quiet.iter().filter(|(_, quiet)| quiet.since.elapsed() >= QUIET_PATIENCE);
        let long: Vec<Partition> = long.map(|(partition, _)| *partition).collect();
        if self.stable.is_none() && !long.is_empty() {
            let client = member.consumer.client();
            let asked = Question::bounds(client, &self.topic, &long, Bound::Stable, ASK_TIMEOUT);
            self.stable = asked.ok();
        }
    }

    /// Tells partitions that are read up to a transaction that stays open, and those that could be read and send nothing.
    fn meet_stable(&mut self, member: Member<'_>) {
        let Some(question) = &mut self.stable else { return };
        let ends = match question.keep_offsets() {
            Ok(None) => return,
            Ok(Some(ends)) => ends,
            // told by readiness, if it lasts
            Err(_) => Vec::new(),
        };
        self.stable = None;
        for (partition, stable) in ends {
            let (Some(quiet), Ok(stable)) = (self.quiet.get_mut(&partition), stable) else { continue };
            let reason = if stable <= quiet.at.0 {
                quiet.readable_since = None;
                let waiting = quiet.end.0 - quiet.at.0;
                format!(
                    "a transaction of another program is open there, and the {waiting} offsets from it on cannot be read until \
                     it ends (kafka-transactions.sh find-hanging and abort end one that was left)"
                )
            } else if quiet.readable_since.get_or_insert_with(Instant::now).elapsed() >= SILENCE_PATIENCE {
                format!(
                    "its broker answers and has records there, but nothing that can be read comes: what it sends is damaged, \
                     it seems, and is tried again; {MEND_DAMAGE}"
                )
            } else {
                continue;
            };
            let quiet = *quiet;
            self.tell_quiet(member, partition, quiet, &reason);
        }
    }

    /// A partition stands at the place where it was found quiet.
    fn tell_quiet(&self, member: Member<'_>, partition: Partition, quiet: Quiet, reason: &str) {
        if member.shared.share.lock().is_quiet(partition, quiet.at, reason) {
            let (group, topic) = (&member.consumer.context().group, &self.topic);
            let (at, until) = (quiet.at.0, quiet.end.0);
            tracing::warn!(
                group,
                topic,
                partition = partition.0,
                offset = at,
                until,
                "records from offset {at} on do not come: {reason}"
            );
        }
    }
}
