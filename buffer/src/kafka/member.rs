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
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::ASK_TIMEOUT;
use super::client::ClientSettings;
use super::native;
use super::rebalance::{COMMIT_RETRY, MemberContext};
use super::subscription::{Hold, Phase, Position, Shared};
use crate::{Offset, OpenError, Partition, SubscribeError};

/// How long a full batch may wait for the pipeline before the partitions are paused.
const PAUSE_AFTER: Duration = Duration::from_millis(500);

/// The longest the thread sits in one poll or wait: how fast it notices that it should end.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How many messages are taken before the thread looks after commits and held partitions again.
const MESSAGES_AT_ONCE: usize = 1000;

/// After a partition could not be paused or set back, until it is tried again.
const HOLD_RETRY: Duration = Duration::from_secs(1);

/// How long the last commit waits for a group in the midst of a rebalance: a few heartbeats of all members.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A consumer and what it shares with its pipeline.
pub(super) struct Owner {
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
        let context =
            MemberContext { shared: Arc::clone(shared), topic: topic.clone(), group: group.to_owned() };
        let config = settings.member(group, &shared.limits);
        let consumer = BaseConsumer::from_config_and_context(&config, context)
            .and_then(|consumer: BaseConsumer<MemberContext>| {
                consumer.subscribe(&[&topic])?;
                Ok(consumer)
            })
            .map_err(|error| OpenError(format!("no Kafka consumer for group {group}: {error}")))?;
        Ok(Self {
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
            if self.wait_while_full() {
                continue;
            }
            match self.consumer.poll(TICK.min(self.commit_interval)) {
                Some(Ok(message)) if phase == Phase::Running => {
                    if self.keep(&message) {
                        self.keep_what_came();
                    }
                    if self.paused {
                        // it came from a partition that was assigned since
                        self.pause(true);
                    }
                }
                Some(Err(error)) => self.meet(&error),
                Some(Ok(_)) | None => {}
            }
        }
        // the group may be in the midst of a rebalance, which goes on only while somebody polls
        let poll = || drop(self.consumer.poll(COMMIT_RETRY));
        let committed = self.consumer.context().commit_unacknowledged(
            &self.consumer,
            |_| true,
            LAST_COMMIT_TIMEOUT,
            poll,
        );
        // dropping the consumer leaves the group, which revokes what it still owns
        drop(self.consumer);
        committed.map_err(|error| SubscribeError(format!("the last offsets were not committed: {error}")))
    }

    /// Takes what librdkafka has fetched already, without looking at the clock in between.
    fn keep_what_came(&self) {
        for _ in 0..MESSAGES_AT_ONCE {
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(message)) if self.keep(&message) => {}
                Some(Err(error)) => return self.meet(&error),
                Some(Ok(_)) | None => return,
            }
        }
    }

    /// Puts a message into the batch, if it still belongs there. Returns whether there is room for another.
    fn keep(&self, message: &BorrowedMessage<'_>) -> bool {
        let headers = native::headers(message);
        let partition = Partition(message.partition());
        let mut state = self.shared.state.lock();
        // revoked, held or stopped between the poll and here
        let Some(position) = state.owned.get_mut(&partition).filter(|position| !position.hold.is_on()) else {
            return true;
        };
        let offset = Offset(message.offset());
        if let Hold::SetBack(below) = std::mem::replace(&mut position.hold, Hold::None)
            && offset >= below
        {
            drop(state);
            // taking it would pass over what lies before
            self.shared.fail(format!("partition {partition} went on at {offset} instead of before {below}"));
            return false;
        }
        position.read = offset.next();
        if state.phase != Phase::Running {
            return false;
        }
        let content = (message.key(), message.payload());
        let appended_at_ms = message.timestamp().to_millis().unwrap_or(0);
        let begins = state.filling.is_empty();
        state.filling.push(partition, offset, appended_at_ms, content, headers.into_iter());
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
            held.map(|(partition, position)| (*partition, *position)).collect()
        };
        for (partition, Position { hold, done, read, .. }) in held {
            // while the batch is full everything is paused anyway
            let (outcome, next) = match hold {
                Hold::Wanted(until) => (self.pause_one(partition), Hold::Paused(until)),
                Hold::Paused(until) if until <= now && !self.paused => {
                    let below = if done < read { read } else { Offset(i64::MAX) };
                    (self.set_back(partition, done), Hold::SetBack(below))
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
            }
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

    fn set_back(&self, partition: Partition, to: Offset) -> KafkaResult<()> {
        let list = self.one(partition, rdkafka::Offset::Offset(to.0))?;
        let sought = self.consumer.seek_partitions(list, ASK_TIMEOUT)?;
        sought.elements().iter().try_for_each(|element| element.error())?;
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

    fn meet(&self, error: &KafkaError) {
        let context = self.consumer.context();
        match error {
            KafkaError::MessageConsumption(code) => match code {
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition => self.shared.fail(format!(
                    "topic {} is missing in Kafka; run `floodgate topics create`",
                    context.topic
                )),
                // the log moved under the position: subscribing anew reads bounds and commits again
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                    self.shared.fail(format!("a position in {} is outside the log", context.topic));
                }
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => {
                    self.shared.fail(format!(
                        "Kafka denies group {} to read {}: {code}",
                        context.group, context.topic
                    ));
                }
                RDKafkaErrorCode::InvalidSessionTimeout => self.shared.fail(
                    "the brokers do not allow buffer.kafka.session_timeout_ms: it must lie between their \
                     group.min.session.timeout.ms and group.max.session.timeout.ms (6000 and 1800000 by default)"
                        .to_owned(),
                ),
                RDKafkaErrorCode::InconsistentGroupProtocol => self.shared.fail(format!(
                    "group {} has members of another program, which assign partitions in another way",
                    context.group
                )),
                RDKafkaErrorCode::GroupMaxSizeReached => self.shared.fail(format!(
                    "group {} has as many members as the brokers allow (group.max.size)",
                    context.group
                )),
                // brokers that come and go, polls that came late: librdkafka recovers by itself
                _ => tracing::debug!(group = context.group, %error, "the consumer met an error"),
            },
            _ => self.shared.fail(format!("the consumer of group {} cannot go on: {error}", context.group)),
        }
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
