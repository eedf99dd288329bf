//! Partitions that come and go, and the commits that belong to them: what librdkafka calls while a member polls.
//!
//! Two rules keep offsets honest:
//!
//! * **A position is never left to chance.** At assignment the committed offset, which log it is of and the log's bounds
//!   are read (see [`super::offsets`]). Without a commit reading starts at the log's start. A commit outside the log
//!   (records expired unread) or of another log is an error in our log that names the range, and reading
//!   goes on at the start. librdkafka itself never resets a position: `auto.offset.reset` is `error`. A partition whose
//!   leader does not tell waits, paused, and keeps no other from being read.
//! * **A partition leaves in order.** When it is revoked, its records not yet in work are forgotten, the
//!   batch in work gets time to finish, what is done is committed synchronously, and only then it goes. If
//!   the batch takes too long, or the partition was lost already, its later commit is ignored here.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::cause::Asking;
use super::native::commit::commit_with_answer;
use super::native::poll::add;
use super::offsets::{Finding, Place, metadata, places, tell};
use super::position::{Hold, Position, Unplaced};
use super::shared::{Phase, Shared, TICK};
use crate::{Incident, LogId, Offset, Partition, Standing};

/// How long the cluster is asked for positions at an assignment before the member gives up. Partitions
/// that change leaders, or were made a moment ago, answer after a few tries.
const ASSIGN_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two such tries.
const ASSIGN_RETRY: Duration = Duration::from_millis(100);

/// How long an assignment waits for leaders that are just moving; those that are away then are waited for by their own
/// partitions only.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Which log the positions are of, as the first assignment found it.
    pub(super) log: OnceLock<Option<LogId>>,
    /// What the client said, for explaining what it does not get.
    pub(super) asking: Asking,
}

impl MemberContext {
    /// Sends what is done and was not sent before; the answer comes to [`Self::commit_callback`].
    pub(super) fn commit_done(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in &mut self.shared.state.lock().owned {
            if position.done > position.sent {
                self.add_commit(&mut list, *partition, position)?;
                position.sent = position.done;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        commit_with_answer(consumer, &list).inspect_err(|_| self.answered(&list, false))
    }

    fn add_commit(
        &self,
        list: &mut TopicPartitionList,
        partition: Partition,
        position: &Position,
    ) -> KafkaResult<()> {
        let mark = metadata(self.log.get().and_then(Option::as_ref));
        add(list, &self.topic, partition, (position.done, position.epoch_of_done()), &mark)
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
                self.add_commit(&mut list, *partition, position)?;
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
        let began = Instant::now();
        let until = began + ASSIGN_TIMEOUT;
        let places = loop {
            match places(consumer, &self.topic, &partitions) {
                Ok(places) if places.unknown.is_empty() || began.elapsed() > LEADERS_TIMEOUT => break places,
                Ok(_) => thread::sleep(ASSIGN_RETRY),
                Err(error) if Instant::now() < until => {
                    tracing::debug!(group = self.group, %error, "positions not read; trying again");
                    thread::sleep(ASSIGN_RETRY);
                }
                Err(error) => {
                    let reason = self.asking.explain(&error);
                    self.shared.fail(format!("positions of group {} cannot be read: {reason}", self.group));
                    return consumer.incremental_assign(assigned);
                }
            }
        };
        if *self.log.get_or_init(|| places.topic.clone()) != places.topic {
            self.shared.fail(format!("topic {} was made anew while it was consumed", self.topic));
            return consumer.incremental_assign(assigned);
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut paused = TopicPartitionList::new();
        let mut state = self.shared.state.lock();
        state.log.clone_from(&places.topic);
        for (partition, place) in places.known {
            add(&mut list, &self.topic, partition, (place.offset, place.leader_epoch), "")?;
            self.note(&mut state.incidents, partition, &place);
            let mut position = Position::at(place.offset, place.leader_epoch);
            if place.leader_epoch.is_some() {
                // librdkafka asks whether the log was cut where it seeks, not where it is assigned: the thread seeks
                paused.add_partition(&self.topic, partition.0);
                position.hold = Hold::Paused(tokio::time::Instant::now());
            }
            state.owned.insert(partition, position);
        }
        for (partition, leader, error, committed) in places.unknown {
            // where it is assigned does not matter: it is paused, and set to its place once that is known
            list.add_partition_offset(&self.topic, partition.0, rdkafka::Offset::Beginning)?;
            paused.add_partition(&self.topic, partition.0);
            let mut position = Position::at(Offset(0), None);
            position.hold = Hold::Unplaced;
            state.owned.insert(partition, position);
            state.unplaced.insert(partition, Unplaced::Assigned(committed));
            let why = self.asking.explain_partition(leader, &error);
            let reason = format!("where it is read on is not known yet: {why}");
            tracing::warn!(group = self.group, topic = self.topic, %partition, "{reason}");
            state.standing.insert(partition, Standing { partition, offset: None, reason });
        }
        let owned = state.owned.len();
        drop(state);
        let numbers: Vec<_> = partitions.iter().map(|partition| partition.0).collect();
        tracing::info!(group = self.group, partitions = ?numbers, owned, "partitions assigned");
        self.shared.joined();
        consumer.incremental_assign(&list)?;
        // librdkafka remembers that a partition was paused when it left this member; it would never be read
        consumer.resume(&list)?;
        if paused.count() > 0 {
            consumer.pause(&paused)?;
        }
        Ok(())
    }

    /// Tells what is unusual about a place.
    pub(super) fn note(&self, incidents: &mut Vec<Incident>, partition: Partition, place: &Place) {
        tell(&self.group, &self.topic, partition, place);
        incidents.extend(match &place.finding {
            None | Some(Finding::NeverCommitted) => None,
            Some(Finding::ExpiredUnread(_)) => Some(Incident::ExpiredUnread),
            Some(Finding::AnotherLog { .. }) => Some(Incident::AnotherLog),
            Some(Finding::SetByOthers) => Some(Incident::OffsetSetByOthers),
        });
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
            state.standing.retain(|partition, _| !is_leaving(partition));
            state.unplaced.retain(|partition, _| !is_leaving(partition));
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
        self.asking.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.asking.error(error, reason);
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
