//! Partitions that come and go, and the commits that belong to them: what librdkafka calls while a member polls.
//!
//! Two rules keep offsets honest:
//!
//! * **A position is never left to chance.** At assignment the committed offset and the log's bounds are
//!   read. Without a commit reading starts at the log's start. A commit outside the log (records expired
//!   unread, or the topic was made anew) is an error in the log that names the missing range, and reading
//!   goes on at the start. librdkafka itself never resets a position: `auto.offset.reset` is `error`.
//! * **A partition leaves in order.** When it is revoked, its records not yet in work are forgotten, the
//!   batch in work gets time to finish, what is done is committed synchronously, and only then it goes. If
//!   the batch takes too long, or the partition was lost already, its later commit is ignored here.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::member::TICK;
use super::native;
use super::offsets::positions;
use super::subscription::{Phase, Position, Shared};
use crate::{Offset, Partition};

/// How long the cluster is asked for positions at an assignment before the member gives up. Partitions
/// that change leaders, or were made a moment ago, answer after a few tries.
const ASSIGN_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two such tries.
const ASSIGN_RETRY: Duration = Duration::from_millis(100);

/// How long the commit of partitions that are being revoked is tried: the group waits for this member meanwhile.
const REVOKE_COMMIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two such tries.
pub(super) const COMMIT_RETRY: Duration = Duration::from_millis(50);

/// What librdkafka calls for one member.
pub(super) struct MemberContext {
    pub(super) shared: Arc<Shared>,
    /// The topic's full name.
    pub(super) topic: String,
    pub(super) group: String,
}

impl MemberContext {
    /// Sends what is done and was not sent before; the answer comes to [`Self::commit_callback`].
    pub(super) fn commit_done(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in &mut self.shared.state.lock().owned {
            if position.done > position.sent {
                list.add_partition_offset(
                    &self.topic,
                    partition.0,
                    rdkafka::Offset::Offset(position.done.0),
                )?;
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
    pub(super) fn commit_unacknowledged(
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
                list.add_partition_offset(
                    &self.topic,
                    partition.0,
                    rdkafka::Offset::Offset(position.done.0),
                )?;
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
            match positions(consumer, &self.group, &self.topic, &partitions) {
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
            list.add_partition_offset(&self.topic, partition.0, rdkafka::Offset::Offset(from.0))?;
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
        consumer.incremental_assign(&list)?;
        // librdkafka remembers that a partition was paused when it left this member; it would never be read
        consumer.resume(&list)
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
        super::say(level as i32, facility, message);
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
