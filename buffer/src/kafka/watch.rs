//! What a member looks after besides records, without ever waiting for an answer:
//!
//! * whether the topic is still the one it reads: deleted and made anew, it goes on under the same name and numbers;
//! * partitions whose place could not be found out when they came, since their leader was away;
//! * partitions behind whose position records wait that cannot be read, since a transaction of another program is open.

use std::collections::HashMap;
use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;

use super::ASK_TIMEOUT;
use super::member::Owner;
use super::native::ask::{Question, TopicFacts};
use super::native::poll::known_end;
use super::offsets::{Bound, Finding, Place, c_name, place};
use super::position::{Hold, Position, Unplaced};
use crate::{Offset, Partition, Standing};

/// How often it is looked. A topic that was made anew is noticed after this time, and read from its start then, whatever
/// was read of it meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long transactions of others may be open without anybody being told.
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(5);

/// Questions that are on their way, and what was seen before.
pub(super) struct Watch {
    topic: String,
    c_topic: CString,
    looked_at: Instant,
    facts: Option<Question>,
    /// Brokers that lead partitions; the first is asked next.
    brokers: Vec<i32>,
    bounds: Option<[Question; 2]>,
    /// Partitions that are read up to an open transaction, and since when.
    shut: HashMap<Partition, Instant>,
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
            shut: HashMap::new(),
        }
    }
}

impl Owner {
    /// Works off what was answered, and asks again when it is time.
    pub(super) fn look_around(&mut self) {
        self.meet_facts();
        self.meet_bounds();
        if self.watch.looked_at.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.watch.looked_at = Instant::now();
        self.look_for_transactions();
        if self.watch.facts.is_none() && !self.shared.state.lock().owned.is_empty() {
            let broker = self.watch.brokers.first().copied();
            let asked = Question::topic(&self.consumer, &self.watch.topic, broker, ASK_TIMEOUT);
            self.watch.facts = asked.ok();
        }
    }

    fn meet_facts(&mut self) {
        let Some(question) = &self.watch.facts else { return };
        match question.facts(Duration::ZERO) {
            Ok(None) => return,
            Ok(Some(facts)) => {
                if self.watch.brokers.is_empty() {
                    self.watch.brokers = facts.partitions.iter().filter_map(|(_, leader)| *leader).collect();
                    self.watch.brokers.sort_unstable();
                    self.watch.brokers.dedup();
                }
                self.compare(&facts);
            }
            // a topic that is missing is told by the fetches of its partitions, a broker that is away by readiness
            Err(error) => {
                tracing::debug!(%error, "the topic could not be looked at");
                // the next one is asked then, and in the end whoever librdkafka takes
                if !self.watch.brokers.is_empty() {
                    self.watch.brokers.remove(0);
                }
            }
        }
        self.watch.facts = None;
    }

    fn compare(&mut self, facts: &TopicFacts) {
        let context = self.consumer.context();
        if context.log.get().is_some_and(|log| *log != facts.id) {
            self.shared.fail(format!("topic {} was made anew while it was consumed", self.watch.topic));
            return;
        }
        let is_unplaced = {
            let state = self.shared.state.lock();
            let unplaced: Vec<Partition> = state.unplaced.keys().copied().collect();
            move |partition: &Partition| unplaced.contains(partition)
        };
        let answerable =
            facts.partitions.iter().filter(|(partition, leader)| leader.is_some() && is_unplaced(partition));
        let answerable: Vec<Partition> = answerable.map(|(partition, _)| *partition).collect();
        if answerable.is_empty() || self.watch.bounds.is_some() {
            return;
        }
        let ask =
            |bound| Question::bounds(&self.consumer, &self.watch.topic, &answerable, bound, ASK_TIMEOUT);
        if let (Ok(starts), Ok(ends)) = (ask(Bound::Start), ask(Bound::End)) {
            self.watch.bounds = Some([starts, ends]);
        }
    }

    fn meet_bounds(&mut self) {
        let Some([starts, ends]) = &mut self.watch.bounds else { return };
        let answered = match (starts.keep_offsets(), ends.keep_offsets()) {
            (Ok(Some(starts)), Ok(Some(ends))) => Some((starts, ends)),
            (Err(_), _) | (_, Err(_)) => None,
            _ => return,
        };
        self.watch.bounds = None;
        let Some((starts, ends)) = answered else { return };
        let ends: HashMap<Partition, KafkaResult<i64>> = ends.into_iter().collect();
        for (partition, start) in starts {
            if let (Ok(start), Some(Ok(end))) = (start, ends.get(&partition)) {
                self.put_in_place(partition, Offset(start)..Offset(*end));
            }
        }
    }

    /// Reads a partition from its place, now that it is known.
    fn put_in_place(&self, partition: Partition, log: std::ops::Range<Offset>) {
        let context = self.consumer.context();
        let mut state = self.shared.state.lock();
        let Some(unplaced) = state.unplaced.get(&partition) else { return };
        let place = match unplaced {
            Unplaced::Assigned(committed) => {
                place(committed.as_ref(), context.log.get().and_then(Option::as_ref), log)
            }
            Unplaced::AnotherLog(position) => {
                let finding = Some(Finding::AnotherLog { position: *position, log: log.clone() });
                Place { offset: log.start, leader_epoch: None, finding }
            }
        };
        let mut position = Position::at(place.offset, place.leader_epoch);
        // the thread sets it there when it serves holds
        position.hold = Hold::Wanted(tokio::time::Instant::now());
        state.owned.insert(partition, position);
        state.unplaced.remove(&partition);
        state.standing.remove(&partition);
        context.note(&mut state.incidents, partition, &place);
    }

    /// Tells partitions that are read up to a transaction that stays open. While a batch waits or a partition is held, what
    /// was fetched waits here, and nothing can be said.
    fn look_for_transactions(&mut self) {
        let is_behind = self.paused || self.full_since.is_some();
        let mut state = self.shared.state.lock();
        let mut shut = HashMap::new();
        for (partition, position) in &state.owned {
            if is_behind || !position.at_end || position.hold != Hold::None {
                continue;
            }
            let end = known_end(&self.consumer, &self.watch.c_topic, *partition);
            if let Some(end) = end.filter(|end| *end > position.read) {
                let since = self.watch.shut.get(partition).copied().unwrap_or_else(Instant::now);
                shut.insert(*partition, (since, position.read, end));
            }
        }
        for partition in self.watch.shut.keys().filter(|partition| !shut.contains_key(partition)) {
            state.standing.remove(partition);
        }
        for (partition, (since, at, end)) in &shut {
            if since.elapsed() < TRANSACTION_PATIENCE {
                continue;
            }
            let reason = format!(
                "a transaction of another program is open there, and the {} offsets from it on cannot be read until it ends \
                 (kafka-transactions.sh find-hanging and abort end one that was left)",
                end.0 - at.0
            );
            let standing = Standing { partition: *partition, offset: Some(*at), reason };
            if state.standing.insert(*partition, standing).is_none() {
                let group = &self.consumer.context().group;
                tracing::warn!(
                    group, topic = self.watch.topic, %partition, offset = %at, until = %end,
                    "records cannot be read: a transaction of another program is open from offset {at} on"
                );
            }
        }
        self.watch.shut = shut.into_iter().map(|(partition, (since, ..))| (partition, since)).collect();
    }
}
