//! Partitions that come and go, and the commits that belong to them: what librdkafka calls while a member polls.
//!
//! Two rules keep offsets honest:
//!
//! * **A position is never left to chance.** At assignment the committed offset, which log it is of and the log's bounds
//!   are read (see [`crate::share::place`]). Without a commit reading starts at the log's start. A commit outside the log
//!   (records expired unread) or of another log is an error in our log that names the range, and reading
//!   goes on at the start. librdkafka itself never resets a position: `auto.offset.reset` is `error`. A partition whose
//!   leader does not tell waits, paused, and keeps no other from being read.
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

use super::cause::Asking;
use super::mark::metadata;
use super::native::commit::commit_with_answer;
use super::native::group::member_id;
use super::native::poll::add;
use super::offsets::places;
use crate::share::commits::Commit;
use crate::share::place::tell;
use crate::share::shared::Shared;
use crate::{LogId, Offset, Partition};

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

/// How often rust-rdkafka would look up from a poll of its own; ours come more often.
const MIN_POLL: Duration = Duration::from_millis(100);

/// Between two such tries.
pub(super) const COMMIT_RETRY: Duration = Duration::from_millis(50);

/// Offsets that were not committed: the first of them, and why.
pub(super) struct NotCommitted {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) error: KafkaError,
}

impl NotCommitted {
    /// Of these, the first of which is meant.
    fn first_of(first: &Commit) -> impl Fn(KafkaError) -> Self + use<> {
        let (partition, offset) = (first.partition, first.next);
        move |error| Self { partition, offset, error }
    }
}

/// What librdkafka calls for one member.
pub(super) struct MemberContext {
    pub(super) shared: Arc<Shared>,
    /// The topic's full name.
    pub(super) topic: String,
    pub(super) group: String,
    /// What the client said, for explaining what it does not get.
    pub(super) asking: Asking,
}

impl MemberContext {
    /// Sends what is done and was not sent before; the answer comes to [`Self::commit_callback`].
    pub(super) fn commit_done(&self, consumer: &BaseConsumer<Self>) -> Result<(), NotCommitted> {
        let (commits, log) = {
            let mut share = self.shared.share.lock();
            (share.commits_to_send(tokio::time::Instant::now()), share.log().cloned())
        };
        let Some(first) = commits.first() else { return Ok(()) };
        let sent = self.list(&commits, log.as_ref()).and_then(|list| commit_with_answer(consumer, &list));
        if sent.is_err() {
            let mut share = self.shared.share.lock();
            commits.iter().for_each(|commit| share.answered(commit.partition, None));
        }
        sent.map_err(NotCommitted::first_of(first))
    }

    fn list(&self, commits: &[Commit], log: Option<&LogId>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for Commit { partition, next, leader_epoch, word } in commits {
            let mark = metadata(log, word.as_ref());
            add(&mut list, &self.topic, *partition, (*next, *leader_epoch), &mark)?;
        }
        Ok(list)
    }

    /// Commits what is done in the partitions asked for and not acknowledged yet, and waits for the answer. While
    /// the group is in the midst of a rebalance it tries again, with `pause` in between.
    pub(super) fn commit_unacknowledged(
        &self,
        consumer: &BaseConsumer<Self>,
        of: impl Fn(Partition) -> bool,
        within: Duration,
        pause: impl Fn(),
    ) -> Result<(), NotCommitted> {
        let until = Instant::now() + within;
        loop {
            // anew for every try: partitions may have gone, committed, while it paused
            let (commits, log) = {
                let mut share = self.shared.share.lock();
                (share.commits_to_settle(&of), share.log().cloned())
            };
            let Some(first) = commits.first() else { return Ok(()) };
            let not_committed = NotCommitted::first_of(first);
            let list = self.list(&commits, log.as_ref()).map_err(&not_committed)?;
            let outcome = consumer.commit(&list, CommitMode::Sync);
            self.answered(&list, outcome.is_ok());
            match outcome {
                Err(error) if in_rebalance(&error) && Instant::now() < until => pause(),
                outcome => return outcome.map_err(not_committed),
            }
        }
    }

    /// A commit was acknowledged, or it failed and must be sent again.
    fn answered(&self, offsets: &TopicPartitionList, acknowledged: bool) {
        let mut share = self.shared.share.lock();
        for element in offsets.elements() {
            let next = match element.offset() {
                rdkafka::Offset::Offset(next) if acknowledged && element.error().is_ok() => {
                    Some(Offset(next))
                }
                _ => None,
            };
            share.answered(Partition(element.partition()), next);
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
                    let partition = partitions.first().map(|first| first.0);
                    let (group, offset) = (&self.group, None::<i64>);
                    tracing::debug!(group, partition, offset, %error, "positions not read, and so no offset is known; trying again");
                    thread::sleep(ASSIGN_RETRY);
                }
                Err(error) => {
                    let reason = self.asking.explain(&error);
                    self.shared.fail(format!("positions of group {} cannot be read: {reason}", self.group));
                    return consumer.incremental_assign(assigned);
                }
            }
        };
        if !self.shared.share.lock().reads_from(places.topic.as_ref()) {
            self.shared.fail(format!("topic {} was made anew while it was consumed", self.topic));
            return consumer.incremental_assign(assigned);
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut paused = TopicPartitionList::new();
        let mut share = self.shared.share.lock();
        let now = tokio::time::Instant::now();
        let found = places.known.iter().map(|(partition, place)| (*partition, place));
        let uncommitted = tell(&self.group, &self.topic, found);
        for (partition, place) in places.known {
            add(&mut list, &self.topic, partition, (place.offset, place.leader_epoch), "")?;
            if share.comes(partition, &place, now) {
                paused.add_partition(&self.topic, partition.0);
            }
        }
        for (partition, leader, error, committed) in places.unknown {
            // where it is assigned does not matter: it is paused, and set to its place once that is known
            list.add_partition_offset(&self.topic, partition.0, rdkafka::Offset::Beginning)?;
            paused.add_partition(&self.topic, partition.0);
            let why = self.asking.explain_partition(leader, &error);
            let reason = format!("where it is read on is not known yet: {why}");
            let offset = committed.as_ref().map(|committed| committed.offset.0);
            let (group, topic) = (&self.group, &self.topic);
            tracing::warn!(group, topic, partition = partition.0, offset, "{reason}");
            share.comes_unplaced(partition, committed, reason);
        }
        share.is_assigned();
        let owned = share.owned();
        drop(share);
        let numbers: Vec<_> = partitions.iter().map(|partition| partition.0).collect();
        let member = member_id(consumer.client());
        tracing::info!(group = self.group, member, partitions = ?numbers, owned, uncommitted, "partitions assigned");
        self.shared.joined();
        consumer.incremental_assign(&list)?;
        // librdkafka remembers that a partition was paused when it left this member; it would never be read
        consumer.resume(&list)?;
        if paused.count() > 0 {
            consumer.pause(&paused)?;
        }
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) -> KafkaResult<()> {
        let leaving: Vec<Partition> =
            revoked.elements().iter().map(|element| Partition(element.partition())).collect();
        let lost = consumer.assignment_lost();
        let until = Instant::now() + self.shared.limits.drain;
        let mut share = self.shared.share.lock();
        share.begin_to_leave(&leaving);
        let mut drained = true;
        // a lost partition has a new owner already
        while !lost && drained && share.are_in_work(&leaving) {
            drained = !self.shared.changed.wait_until(&mut share, until).timed_out();
        }
        drop(share);
        // committed while still owned, then owned no longer: what the pipeline gives back from here on is ignored
        let sleep = || thread::sleep(COMMIT_RETRY);
        let committed = if lost {
            Ok(())
        } else {
            self.commit_unacknowledged(consumer, |p| leaving.contains(&p), REVOKE_COMMIT_TIMEOUT, sleep)
        };
        self.shared.share.lock().have_left(&leaving);
        let numbers: Vec<_> = leaving.iter().map(|partition| partition.0).collect();
        tracing::info!(group = self.group, partitions = ?numbers, lost, drained, "partitions revoked");
        if let Err(NotCommitted { partition, offset, error }) = committed {
            let (group, partition, offset) = (&self.group, partition.0, offset.0);
            tracing::warn!(group, partition, offset, %error, "offsets of revoked partitions not committed, this one first: their last batch will be delivered again");
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
        let first =
            offsets.elements().first().map(|element| (element.partition(), element.offset().to_raw()));
        let (partition, offset) = first.map_or((None, None), |(partition, offset)| (Some(partition), offset));
        match &result {
            Ok(()) => {}
            // commits under way when a rebalance begins end like this, a few in every one
            Err(error) if in_rebalance(error) => {
                tracing::debug!(group = self.group, partition, offset, %error, "offsets not committed; trying again");
            }
            Err(error) => {
                tracing::warn!(group = self.group, partition, offset, %error, "offsets not committed, this one first; trying again");
            }
        }
        self.answered(offsets, result.is_ok());
    }

    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(MIN_POLL)
    }
}
