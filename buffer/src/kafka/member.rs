//! The thread that owns one consumer.
//!
//! It polls, fills the batch that the pipeline takes next, and commits what the pipeline gave back. What happens when
//! partitions come and go, inside its polls, is in [`super::rebalance`].
//!
//! **A stalled database costs no membership.** While the batch is full and nobody takes it, the thread waits; if that
//! lasts, it pauses its partitions and goes on polling, so that the group sees it alive.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::cause::Asking;
use super::client::ASK_TIMEOUT;
use super::client::ClientSettings;
use super::native::poll::{Events, Polled, Record, Trouble, add};
use super::position::{Hold, Position, Unplaced};
use super::rebalance::{COMMIT_RETRY, MemberContext};
use super::shared::{Phase, Shared, TICK};
use super::trouble::{Judgement, judge};
use super::watch::{Member, Watch};
use crate::{Offset, OpenError, Partition, Standing, SubscribeError};

/// How long a full batch may wait for the pipeline before the partitions are paused.
const PAUSE_AFTER: Duration = Duration::from_millis(500);

/// How many messages are taken before the thread looks after commits and held partitions again.
const MESSAGES_AT_ONCE: usize = 1000;

/// After a partition could not be paused or set back, until it is tried again.
const HOLD_RETRY: Duration = Duration::from_secs(1);

/// After a partition met trouble of its own, until it is read on from where it stands.
const STANDING_RETRY: Duration = Duration::from_secs(5);

/// How long the last commit waits for a group in the midst of a rebalance: a few heartbeats of all members.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A consumer and what it shares with its pipeline.
pub(super) struct Owner {
    // in this order they go: questions and queue before the client they belong to
    watch: Watch,
    events: Events,
    consumer: BaseConsumer<MemberContext>,
    shared: Arc<Shared>,
    wait_here: Duration,
    commit_interval: Duration,
    committed_at: Instant,
    holds_served_at: tokio::time::Instant,
    /// Since when the full batch has not been taken.
    full_since: Option<Instant>,
    paused: bool,
}

impl Owner {
    pub(super) fn subscribe(
        settings: &ClientSettings,
        shared: &Arc<Shared>,
        topic: String,
        group: &str,
    ) -> Result<Self, OpenError> {
        let context = MemberContext {
            shared: Arc::clone(shared),
            topic: topic.clone(),
            group: group.to_owned(),
            log: OnceLock::new(),
            asking: Asking::new(&settings.kafka.brokers),
        };
        let config = settings.member(group, &shared.limits);
        let (events, consumer) = BaseConsumer::from_config_and_context(&config, context)
            .and_then(|consumer: BaseConsumer<MemberContext>| {
                consumer.subscribe(&[&topic])?;
                Ok((Events::of(&consumer)?, consumer))
            })
            .map_err(|error| OpenError(format!("no Kafka consumer for group {group}: {error}")))?;
        Ok(Self {
            watch: Watch::new(&topic),
            events,
            consumer,
            shared: Arc::clone(shared),
            wait_here: ClientSettings::wait_here(&shared.limits),
            commit_interval: Duration::from_millis(settings.kafka.commit_interval_ms),
            committed_at: Instant::now(),
            holds_served_at: tokio::time::Instant::now(),
            full_since: None,
            paused: false,
        })
    }

    /// Until the handle closes or is dropped. Then commits what is done and leaves the group.
    pub(super) fn run(mut self) -> Result<(), SubscribeError> {
        loop {
            let phase = self.shared.state.lock().phase;
            if phase == Phase::Closing {
                break;
            }
            self.commit_if_due();
            self.serve_holds();
            let is_behind = self.paused || self.full_since.is_some();
            let member = Member { consumer: &self.consumer, shared: &self.shared, is_behind };
            self.watch.look_around(member);
            if self.wait_while_full() {
                continue;
            }
            let polled = self.events.poll(&self.consumer, TICK.min(self.commit_interval));
            let was_record = matches!(polled, Some(Polled::Record(_)));
            // while records are taken at all
            if polled.is_some_and(|polled| self.take(polled)) && was_record && phase == Phase::Running {
                self.take_what_came();
            }
            if was_record && self.paused {
                // it came from a partition that was assigned since
                self.pause(true);
            }
        }
        // the group may be in the midst of a rebalance, which goes on only while somebody polls
        let poll = || drop(self.events.poll(&self.consumer, COMMIT_RETRY));
        let committed = self.consumer.context().commit_unacknowledged(
            &self.consumer,
            |_| true,
            LAST_COMMIT_TIMEOUT,
            poll,
        );
        // dropping the consumer leaves the group, which revokes what it still owns
        drop(self);
        committed.map_err(|error| SubscribeError(format!("the last offsets were not committed: {error}")))
    }

    /// Takes what librdkafka has fetched already, without looking at the clock in between.
    fn take_what_came(&self) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(polled) = self.events.poll(&self.consumer, Duration::ZERO) else { return };
            if !self.take(polled) {
                return;
            }
        }
    }

    /// Whether there may be more to take at once.
    fn take(&self, polled: Polled<'_>) -> bool {
        match polled {
            Polled::Record(record) => self.keep(&record),
            Polled::End(partition, offset) => {
                self.reach(partition, offset);
                true
            }
            Polled::Trouble(trouble) => {
                self.meet(&trouble);
                false
            }
            Polled::Served => false,
        }
    }

    /// There is nothing more in a partition up to this offset.
    fn reach(&self, partition: Partition, offset: Offset) {
        let mut state = self.shared.state.lock();
        let Some(position) = state.owned.get_mut(&partition) else { return };
        if position.hold == Hold::SetBack(Offset(i64::MAX)) {
            // it is read again, and nothing had been read that could be passed over
            position.hold = Hold::None;
        }
        if position.hold == Hold::None {
            position.reaches(offset);
        }
    }

    /// Puts a record into the batch, if it still belongs there. Returns whether there is room for another.
    fn keep(&self, record: &Record<'_>) -> bool {
        let headers = record.headers();
        let partition = record.partition();
        let mut state = self.shared.state.lock();
        // revoked, held or stopped between the poll and here
        let Some(position) = state.owned.get_mut(&partition).filter(|position| !position.hold.is_on()) else {
            return true;
        };
        let offset = record.offset();
        if let Hold::SetBack(below) = std::mem::replace(&mut position.hold, Hold::None)
            && offset >= below
        {
            drop(state);
            // taking it would pass over what lies before
            self.shared.fail(format!("partition {partition} went on at {offset} instead of before {below}"));
            return false;
        }
        position.reads(offset, record.leader_epoch());
        // what is read again before the place where it stands says nothing of that place
        if state.standing.get(&partition).is_some_and(|stands| stands.offset.is_none_or(|at| offset >= at)) {
            state.standing.remove(&partition);
        }
        if state.phase != Phase::Running {
            return false;
        }
        let content = (record.key(), record.value());
        let begins = state.filling.is_empty();
        state.filling.push(partition, offset, record.appended_at_ms(), content, headers.into_iter());
        if begins {
            state.hand_out_at = Some(tokio::time::Instant::now() + self.wait_here);
        }
        let full = self.shared.is_full(&state.filling);
        drop(state);
        if begins || full {
            self.shared.news.notify_one();
        }
        !full
    }

    /// Waits a moment if the batch is full. Returns whether it was, and there is nothing to poll for.
    fn wait_while_full(&mut self) -> bool {
        let mut state = self.shared.state.lock();
        if !self.shared.is_full(&state.filling) {
            drop(state);
            self.full_since = None;
            if self.paused {
                self.pause(false);
            }
            return false;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PAUSE_AFTER {
            self.shared.changed.wait_for(&mut state, TICK.min(self.commit_interval));
            return true;
        }
        drop(state);
        if !self.paused {
            self.pause(true);
        }
        // paused: the poll below only keeps the membership
        false
    }

    /// Pauses partitions the pipeline wants held, and reads those again whose time is over.
    fn serve_holds(&mut self) {
        let now = tokio::time::Instant::now();
        if self.holds_served_at + TICK > now {
            return;
        }
        self.holds_served_at = now;
        let held: Vec<_> = {
            let state = self.shared.state.lock();
            let held = state.owned.iter().filter(|(_, position)| position.hold != Hold::None);
            held.map(|(partition, position)| (*partition, position.clone())).collect()
        };
        for (partition, position) in held {
            let Position { hold, done, read, .. } = position;
            // while the batch is full everything is paused anyway
            let (outcome, next) = match hold {
                Hold::Wanted(until) => (self.pause_one(partition), Hold::Paused(until)),
                Hold::Paused(until) if until <= now && !self.paused && !self.is_in_work(partition) => {
                    let below = if done < read { read } else { Offset(i64::MAX) };
                    (self.set_back(partition, done, position.epoch_of_done()), Hold::SetBack(below))
                }
                // librdkafka may pass over a resumption without a word
                Hold::SetBack(_) if !self.paused => (self.resume_one(partition), hold),
                _ => continue,
            };
            let next = outcome.map(|()| next).unwrap_or_else(|error| {
                tracing::warn!(%partition, %error, "a partition was not held, or not set back; trying again");
                Hold::Paused(now + HOLD_RETRY)
            });
            if let Some(position) = self.shared.state.lock().owned.get_mut(&partition)
                && position.hold == hold
            {
                position.hold = next;
                if matches!(next, Hold::SetBack(_)) && !matches!(hold, Hold::SetBack(_)) {
                    position.is_set_back();
                }
            }
        }
    }

    /// Whether batches hold records of a partition, which will be done or given up.
    fn is_in_work(&self, partition: Partition) -> bool {
        let state = self.shared.state.lock();
        state.in_work.contains(&partition) || state.filling.progress().any(|(other, _)| other == partition)
    }

    /// One partition as a list, from an offset where that matters.
    fn one(&self, partition: Partition, from: rdkafka::Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.consumer.context().topic, partition.0, from)?;
        Ok(list)
    }

    fn pause_one(&self, partition: Partition) -> KafkaResult<()> {
        self.consumer.pause(&self.one(partition, rdkafka::Offset::Invalid)?)
    }

    fn resume_one(&self, partition: Partition) -> KafkaResult<()> {
        self.consumer.resume(&self.one(partition, rdkafka::Offset::Invalid)?)
    }

    /// Reads a partition from there, if the log before it is the one that a leader of this epoch wrote.
    fn set_back(&self, partition: Partition, to: Offset, leader_epoch: Option<i32>) -> KafkaResult<()> {
        let list = || {
            let mut list = TopicPartitionList::new();
            add(&mut list, &self.consumer.context().topic, partition, (to, leader_epoch), "")?;
            Ok::<_, KafkaError>(list)
        };
        let seek = || {
            let sought = self.consumer.seek_partitions(list()?, ASK_TIMEOUT)?;
            sought.elements().iter().try_for_each(|element| element.error())
        };
        match seek() {
            // librdkafka gives up on a partition whose position it cannot use: it takes it again as a new one, unchecked
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::State) => {
                self.consumer.incremental_unassign(&list()?)?;
                self.consumer.incremental_assign(&list()?)?;
                leader_epoch.map_or(Ok(()), |_| seek())?;
            }
            outcome => outcome?,
        }
        self.resume_one(partition)
    }

    fn pause(&mut self, pause: bool) {
        let done = self.consumer.assignment().and_then(|assigned| match pause {
            true => self.consumer.pause(&assigned),
            false => self.consumer.resume(&self.without_held(&assigned)?),
        });
        match done {
            Ok(()) => self.paused = pause,
            Err(error) => {
                tracing::warn!(%error, pause, "partitions not paused or resumed; trying again")
            }
        }
    }

    fn without_held(&self, assigned: &TopicPartitionList) -> KafkaResult<TopicPartitionList> {
        let state = self.shared.state.lock();
        let is_held = |partition| state.owned.get(&Partition(partition)).is_some_and(|p| p.hold.is_on());
        let mut list = TopicPartitionList::new();
        for element in assigned.elements().iter().filter(|element| !is_held(element.partition())) {
            list.add_partition_offset(element.topic(), element.partition(), element.offset())?;
        }
        Ok(list)
    }

    fn meet(&self, trouble: &Trouble) {
        // whatever follows from the trouble for which a partition is held already: it is set back before it goes on
        let is_held = |partition| {
            let state = self.shared.state.lock();
            state.owned.get(&partition).is_some_and(|position| position.hold.is_on())
        };
        if trouble.at.is_some_and(|(partition, _)| is_held(partition)) {
            return;
        }
        let context = self.consumer.context();
        let (group, topic) = (&context.group, &context.topic);
        match judge(trouble, group, topic) {
            Judgement::Passes => {
                tracing::debug!(group, code = %trouble.code, at = ?trouble.at, "the consumer met an error: {}", trouble.reason);
            }
            Judgement::Fails(reason) => self.shared.fail(reason),
            Judgement::AnotherLog(partition, reason) => self.read_from_start(partition, &reason),
            Judgement::Stands(partition, offset, reason) => self.stand(partition, offset, reason),
        }
    }

    /// A partition met trouble of its own: what came of it before goes on, nothing behind it does, and it is tried again.
    fn stand(&self, partition: Partition, offset: Option<Offset>, reason: String) {
        let context = self.consumer.context();
        let mut state = self.shared.state.lock();
        let Some(position) = state.owned.get_mut(&partition) else { return };
        let offset = offset.unwrap_or(position.read).max(position.read);
        position.hold = Hold::Wanted(tokio::time::Instant::now() + STANDING_RETRY);
        let stands = Standing { partition, offset: Some(offset), reason };
        let before = state.standing.insert(partition, stands.clone());
        drop(state);
        if before.is_none_or(|before| before.reason != stands.reason) {
            let reason = &stands.reason;
            tracing::error!(
                group = context.group, topic = context.topic, %partition, %offset,
                "the partition stands at offset {offset}: {reason}"
            );
        }
    }

    /// A partition's log is not the one it was read from.
    fn read_from_start(&self, partition: Partition, reason: &str) {
        let context = self.consumer.context();
        let mut state = self.shared.state.lock();
        let Some(position) = state.owned.get_mut(&partition) else { return };
        position.hold = Hold::Unplaced;
        let read = position.read;
        state.unplaced.insert(partition, Unplaced::AnotherLog(read));
        state.forget_work(partition);
        drop(state);
        tracing::error!(
            group = context.group, topic = context.topic, %partition, %read,
            "the log was cut below offset {read}, up to which it was read: {reason}"
        );
    }

    fn commit_if_due(&mut self) {
        if self.committed_at.elapsed() < self.commit_interval {
            return;
        }
        self.committed_at = Instant::now();
        if let Err(error) = self.consumer.context().commit_done(&self.consumer) {
            tracing::warn!(%error, "offsets not committed; trying again");
        }
    }
}
