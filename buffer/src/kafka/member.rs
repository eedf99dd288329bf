//! The thread that owns one consumer.
//!
//! It polls, fills the batch that the pipeline takes next, and commits what the pipeline gave back. What happens when
//! partitions come and go, inside its polls, is in [`super::rebalance`].
//!
//! **A stalled database costs no membership.** While the batch is full and nobody takes it, the thread waits; if that
//! lasts, it pauses its partitions and goes on polling, so that the group sees it alive.

use std::sync::Arc;
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
use super::rebalance::{COMMIT_RETRY, MemberContext, NotCommitted};
use super::trouble::{Judgement, judge};
use super::watch::{Member, Watch};
use crate::share::Phase;
use crate::share::reading::{Came, Step};
use crate::share::shared::Shared;
use crate::{Offset, OpenError, Partition, Standing, SubscribeError};

/// The longest the thread sits in one poll or wait: how fast it notices that it should end.
const TICK: Duration = Duration::from_millis(100);

/// How long a full batch may wait for the pipeline before the partitions are paused.
const PAUSE_AFTER: Duration = Duration::from_millis(500);

/// How many messages are taken before the thread looks after commits and held partitions again.
const MESSAGES_AT_ONCE: usize = 1000;

/// How long the last commit waits for a group in the midst of a rebalance: a few heartbeats of all members.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A consumer and what it shares with its pipeline.
pub(super) struct Owner {
    // in this order they go: questions and queue before the client they belong to
    watch: Watch,
    events: Events,
    consumer: BaseConsumer<MemberContext>,
    shared: Arc<Shared>,
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
            let phase = self.shared.share.lock().phase();
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
        committed.map_err(|NotCommitted { partition, offset, error }| {
            let first = format!("partition {partition} up to {offset} first");
            SubscribeError(format!("the last offsets were not committed, {first}: {error}"))
        })
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
                self.shared.share.lock().reaches(partition, offset);
                true
            }
            Polled::Trouble(trouble) => {
                self.meet(&trouble);
                false
            }
            Polled::Served => false,
        }
    }

    /// Puts a record into the batch. Returns whether there is room for another.
    fn keep(&self, record: &Record<'_>) -> bool {
        let came = Came {
            partition: record.partition(),
            offset: record.offset(),
            leader_epoch: record.leader_epoch(),
            appended_at_ms: record.appended_at_ms(),
            key: record.key(),
            value: record.value(),
            headers: record.headers().to_vec(),
        };
        let kept = self.shared.share.lock().keep(came, tokio::time::Instant::now());
        if kept.is_news {
            self.shared.news.notify_one();
        }
        kept.takes_more
    }

    /// Waits a moment if the batch is full. Returns whether it was, and there is nothing to poll for.
    fn wait_while_full(&mut self) -> bool {
        let mut share = self.shared.share.lock();
        if !share.is_full() {
            drop(share);
            self.full_since = None;
            if self.paused {
                self.pause(false);
            }
            return false;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PAUSE_AFTER {
            self.shared.changed.wait_for(&mut share, TICK.min(self.commit_interval));
            return true;
        }
        drop(share);
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
        // while the batch is full everything is paused anyway
        let turns = self.shared.share.lock().turns(now, self.paused);
        for turn in turns {
            let partition = turn.partition;
            let outcome = match turn.step {
                Step::Pause => self.pause_one(partition),
                Step::SetBack(to, leader_epoch) => self.set_back(partition, to, leader_epoch),
                Step::Resume => self.resume_one(partition),
            };
            if let Err(error) = &outcome {
                let group = &self.consumer.context().group;
                let offset = if let Step::SetBack(to, _) = turn.step { Some(to.0) } else { None };
                tracing::warn!(group, partition = partition.0, offset, %error, "a partition was not held, or not set back; trying again");
            }
            self.shared.share.lock().turned(turn, outcome.is_ok(), now);
        }
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
                let group = &self.consumer.context().group;
                let (partition, offset) = self.shared.share.lock().first();
                tracing::warn!(group, partition, offset, %error, pause, "partitions not paused or resumed, this one first; trying again")
            }
        }
    }

    fn without_held(&self, assigned: &TopicPartitionList) -> KafkaResult<TopicPartitionList> {
        let share = self.shared.share.lock();
        let mut list = TopicPartitionList::new();
        for element in
            assigned.elements().iter().filter(|element| !share.is_held(Partition(element.partition())))
        {
            list.add_partition_offset(element.topic(), element.partition(), element.offset())?;
        }
        Ok(list)
    }

    fn meet(&self, trouble: &Trouble) {
        // whatever follows from the trouble for which a partition is held already: it is set back before it goes on
        if trouble.at.is_some_and(|(partition, _)| self.shared.share.lock().is_held(partition)) {
            return;
        }
        let context = self.consumer.context();
        let (group, topic) = (&context.group, &context.topic);
        match judge(trouble, group, topic) {
            Judgement::Passes => {
                let (partition, offset) = (
                    trouble.at.map(|(partition, _)| partition.0),
                    trouble.at.and_then(|(_, offset)| Some(offset?.0)),
                );
                tracing::debug!(group, partition, offset, code = %trouble.code, "the consumer met an error: {}", trouble.reason);
            }
            Judgement::Fails(reason) => self.shared.fail(reason),
            Judgement::AnotherLog(partition, reason) => self.read_from_start(partition, &reason),
            Judgement::Stands(partition, offset, reason) => self.stand(partition, offset, reason),
        }
    }

    /// A partition met trouble of its own: what came of it before goes on, nothing behind it does, and it is tried again.
    fn stand(&self, partition: Partition, offset: Option<Offset>, reason: String) {
        let context = self.consumer.context();
        let now = tokio::time::Instant::now();
        let told = self.shared.share.lock().stands(partition, offset, reason, now);
        let Some(Standing { offset: Some(offset), reason, .. }) = told else { return };
        tracing::error!(
            group = context.group,
            topic = context.topic,
            partition = partition.0,
            offset = offset.0,
            "the partition stands at offset {offset}: {reason}"
        );
    }

    /// A partition's log is not the one it was read from.
    fn read_from_start(&self, partition: Partition, reason: &str) {
        let context = self.consumer.context();
        let Some(read) = self.shared.share.lock().lies_in_another_log(partition) else { return };
        tracing::error!(
            group = context.group,
            topic = context.topic,
            partition = partition.0,
            offset = read.0,
            "the log was cut below offset {read}, up to which it was read: {reason}"
        );
    }

    fn commit_if_due(&mut self) {
        if self.committed_at.elapsed() < self.commit_interval {
            return;
        }
        self.committed_at = Instant::now();
        if let Err(NotCommitted { partition, offset, error }) =
            self.consumer.context().commit_done(&self.consumer)
        {
            let group = &self.consumer.context().group;
            let (partition, offset) = (partition.0, offset.0);
            tracing::warn!(group, partition, offset, %error, "offsets not committed, this one first; trying again");
        }
    }
}
