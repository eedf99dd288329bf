//! The thread that owns one consumer.
//!
//! It polls, fills the batch that the pipeline takes next, and commits what the pipeline gave back. Three
//! rules keep offsets and membership honest:
//!
//! * **A position is never left to chance.** At assignment the committed offset and the log's bounds are
//!   read. Without a commit reading starts at the log's start. A commit outside the log (records expired
//!   unread, or the topic was made anew) is an error in the log that names the missing range, and reading
//!   goes on at the start. librdkafka itself never resets a position: `auto.offset.reset` is `error`.
//! * **A partition leaves in order.** When it is revoked, its records not yet in work are forgotten, the
//!   batch in work gets time to finish, what is done is committed synchronously, and only then it goes. If
//!   the batch takes too long, or the partition was lost already, its later commit is ignored here.
//! * **A stalled database costs no membership.** While the batch is full and nobody takes it, the thread
//!   waits; if that lasts, it pauses its partitions and goes on polling, so that the group sees it alive.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::client::ClientSettings;
use super::native;
use super::offsets::positions;
use super::subscription::{Phase, Position, Shared};
use crate::{Offset, OpenError, Partition, SubscribeError};

/// How long a full batch may wait for the pipeline before the partitions are paused.
const PAUSE_AFTER: Duration = Duration::from_millis(500);

/// The longest the thread sits in one poll or wait: how fast it notices that it should end.
const TICK: Duration = Duration::from_millis(100);

/// How long the cluster is asked for positions at an assignment before the member gives up. Partitions
/// that change leaders, or were made a moment ago, answer after a few tries.
const ASSIGN_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two such tries.
const ASSIGN_RETRY: Duration = Duration::from_millis(100);

/// How long the last commit waits for a group in the midst of a rebalance: a few heartbeats of all members.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for partitions that are being revoked: the group waits for this member meanwhile.
const REVOKE_COMMIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two such tries.
const COMMIT_RETRY: Duration = Duration::from_millis(50);

/// A consumer and what it shares with its pipeline.
pub(super) struct Owner {
    consumer: BaseConsumer<MemberContext>,
    shared: Arc<Shared>,
    commit_interval: Duration,
    committed_at: Instant,
    /// Since when the full batch has not been taken.
    full_since: Option<Instant>,
    paused: bool,
}

pub(super) struct MemberContext {
    shared: Arc<Shared>,
    name: String,
    group: String,
}

impl Owner {
    pub(super) fn subscribe(
        settings: &ClientSettings,
        shared: &Arc<Shared>,
        name: String,
        group: &str,
    ) -> Result<Self, OpenError> {
        let context =
            MemberContext { shared: Arc::clone(shared), name: name.clone(), group: group.to_owned() };
        let config = settings.member(group, &shared.limits);
        let consumer = BaseConsumer::from_config_and_context(&config, context)
            .and_then(|consumer: BaseConsumer<MemberContext>| {
                consumer.subscribe(&[&name])?;
                Ok(consumer)
            })
            .map_err(|error| OpenError(format!("no Kafka consumer for group {group}: {error}")))?;
        Ok(Self {
            consumer,
            shared: Arc::clone(shared),
            commit_interval: Duration::from_millis(settings.kafka.commit_interval_ms),
            committed_at: Instant::now(),
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
            if self.wait_while_full() {
                continue;
            }
            match self.consumer.poll(TICK.min(self.commit_interval)) {
                Some(Ok(message)) if phase == Phase::Running => {
                    self.keep(&message);
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

    fn keep(&self, message: &BorrowedMessage<'_>) {
        let headers = native::headers(message);
        let partition = Partition(message.partition());
        let mut state = self.shared.state.lock();
        // revoked or stopped between the poll and here
        if state.phase != Phase::Running || !state.owned.contains_key(&partition) {
            return;
        }
        let content = (message.key(), message.payload());
        let appended_at_ms = message.timestamp().to_millis().unwrap_or(0);
        let begins = state.filling.is_empty();
        state.filling.push(partition, Offset(message.offset()), appended_at_ms, content, headers.into_iter());
        if begins {
            state.hand_out_at = Some(tokio::time::Instant::now() + self.shared.limits.wait);
        }
        let tell = begins || self.shared.is_full(&state.filling);
        drop(state);
        if tell {
            self.shared.news.notify_one();
        }
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

    fn pause(&mut self, pause: bool) {
        let done = self.consumer.assignment().and_then(|assigned| match pause {
            true => self.consumer.pause(&assigned),
            false => self.consumer.resume(&assigned),
        });
        match done {
            Ok(()) => self.paused = pause,
            Err(error) => {
                tracing::warn!(%error, pause, "partitions not paused or resumed; trying again")
            }
        }
    }

    fn meet(&self, error: &KafkaError) {
        let context = self.consumer.context();
        match error {
            KafkaError::MessageConsumption(code) => match code {
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition => self.shared.fail(format!(
                    "topic {} is missing in Kafka; run `floodgate topics create`",
                    context.name
                )),
                // the log moved under the position: subscribing anew reads bounds and commits again
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                    self.shared.fail(format!("a position in {} is outside the log", context.name));
                }
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => {
                    self.shared.fail(format!(
                        "Kafka denies group {} to read {}: {code}",
                        context.group, context.name
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

impl MemberContext {
    /// Sends what is done and was not sent before; the answer comes to [`Self::commit_callback`].
    fn commit_done(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in &mut self.shared.state.lock().owned {
            if position.done > position.sent {
                list.add_partition_offset(&self.name, partition.0, rdkafka::Offset::Offset(position.done.0))?;
                position.sent = position.done;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        native::commit_with_answer(consumer, &list).inspect_err(|_| self.answered(&list, false))
    }

    /// Commits what is done in the partitions asked for and not acknowledged yet, and waits for the answer. While
    /// the group is in the midst of a rebalance it tries again, with `pause` in between.
    fn commit_unacknowledged(
        &self,
        consumer: &BaseConsumer<Self>,
        of: impl Fn(Partition) -> bool,
        within: Duration,
        pause: impl Fn(),
    ) -> KafkaResult<()> {
        let until = Instant::now() + within;
        loop {
            // anew for every try: partitions may have gone, committed, while it paused
            let list = self.unacknowledged(&of)?;
            if list.count() == 0 {
                return Ok(());
            }
            let outcome = consumer.commit(&list, CommitMode::Sync);
            self.answered(&list, outcome.is_ok());
            match outcome {
                Err(error) if in_rebalance(&error) && Instant::now() < until => pause(),
                outcome => return outcome,
            }
        }
    }

    fn unacknowledged(&self, of: &impl Fn(Partition) -> bool) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in &self.shared.state.lock().owned {
            if of(*partition) && position.done > position.acknowledged {
                list.add_partition_offset(&self.name, partition.0, rdkafka::Offset::Offset(position.done.0))?;
            }
        }
        Ok(list)
    }

    /// A commit was acknowledged, or it failed and must be sent again.
    fn answered(&self, offsets: &TopicPartitionList, acknowledged: bool) {
        let mut state = self.shared.state.lock();
        for element in offsets.elements() {
            let Some(position) = state.owned.get_mut(&Partition(element.partition())) else { continue };
            match element.offset() {
                rdkafka::Offset::Offset(next) if acknowledged && element.error().is_ok() => {
                    position.acknowledged = position.acknowledged.max(Offset(next));
                }
                _ => position.sent = position.acknowledged,
            }
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) -> KafkaResult<()> {
        let partitions: Vec<Partition> =
            assigned.elements().iter().map(|element| Partition(element.partition())).collect();
        // a rebalance may give this member nothing new, and librdkafka cannot be asked about no partitions
        if partitions.is_empty() {
            self.shared.joined();
            return consumer.incremental_assign(assigned);
        }
        let until = Instant::now() + ASSIGN_TIMEOUT;
        let positions = loop {
            match positions(consumer, &self.group, &self.name, &partitions) {
                Ok(positions) => break positions,
                Err(error) if Instant::now() < until => {
                    tracing::debug!(group = self.group, %error, "positions not read; trying again");
                    thread::sleep(ASSIGN_RETRY);
                }
                Err(error) => {
                    self.shared.fail(format!("positions of group {} cannot be read: {error}", self.group));
                    return consumer.incremental_assign(assigned);
                }
            }
        };
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, from) in &positions {
            list.add_partition_offset(&self.name, partition.0, rdkafka::Offset::Offset(from.0))?;
        }
        let owned = {
            let mut state = self.shared.state.lock();
            state
                .owned
                .extend(positions.into_iter().map(|(partition, from)| (partition, Position::at(from))));
            state.owned.len()
        };
        let numbers: Vec<_> = partitions.iter().map(|partition| partition.0).collect();
        tracing::info!(group = self.group, partitions = ?numbers, owned, "partitions assigned");
        self.shared.joined();
        consumer.incremental_assign(&list)
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) -> KafkaResult<()> {
        let leaving: Vec<Partition> =
            revoked.elements().iter().map(|element| Partition(element.partition())).collect();
        let is_leaving = |partition: &Partition| leaving.contains(partition);
        let lost = consumer.assignment_lost();
        let until = Instant::now() + self.shared.limits.drain;
        let mut state = self.shared.state.lock();
        state.filling.retain_partitions(|partition| !is_leaving(&partition));
        let mut drained = true;
        // a lost partition has a new owner already, and a closing handle gives nothing back any more
        while !lost && drained && state.phase != Phase::Closing && state.in_work.iter().any(is_leaving) {
            drained = !self.shared.changed.wait_until(&mut state, until).timed_out();
        }
        drop(state);
        // committed while still owned, then owned no longer: what the pipeline gives back from here on is ignored
        let sleep = || thread::sleep(COMMIT_RETRY);
        let committed = if lost {
            Ok(())
        } else {
            self.commit_unacknowledged(consumer, |p| is_leaving(&p), REVOKE_COMMIT_TIMEOUT, sleep)
        };
        {
            let mut state = self.shared.state.lock();
            state.owned.retain(|partition, _| !is_leaving(partition));
            state.in_work.retain(|partition| !is_leaving(partition));
        }
        let numbers: Vec<_> = leaving.iter().map(|partition| partition.0).collect();
        tracing::info!(group = self.group, partitions = ?numbers, lost, drained, "partitions revoked");
        if let Err(error) = committed {
            tracing::warn!(group = self.group, %error, "offsets of revoked partitions not committed: their last batch will be delivered again");
        }
        consumer.incremental_unassign(revoked)
    }
}

/// Whether a commit failed only because the group is handing out partitions anew.
fn in_rebalance(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{IllegalGeneration, RebalanceInProgress};
    matches!(error, KafkaError::ConsumerCommit(RebalanceInProgress | IllegalGeneration))
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", group = self.group, %error, "{reason}");
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let outcome = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        };
        if let Err(error) = outcome {
            self.shared.fail(format!("group {} could not be rebalanced: {error}", self.group));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match &result {
            Ok(()) => {}
            // commits under way when a rebalance begins end like this, a few in every one
            Err(error) if in_rebalance(error) => {
                tracing::debug!(group = self.group, %error, "offsets not committed; trying again");
            }
            Err(error) => tracing::warn!(group = self.group, %error, "offsets not committed; trying again"),
        }
        self.answered(offsets, result.is_ok());
    }

    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(TICK)
    }
}
