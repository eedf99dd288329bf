//! Moving what waits in one strategy to where another one's publisher takes it.
//!
//! A mover is a member of the source's groups like any other, whose way of applying a batch is to publish it and to wait: what the
//! other strategy acknowledged is committed, and the rest comes again. So all that holds of members holds of movers. Several
//! share the partitions; one that dies leaves what it had not committed to the others; what was published and not committed is
//! published once more, which changes no row.
//!
//! Records of one key stay in order: they lie in one partition of the source, and of a batch only what comes before the first
//! record that was not acknowledged is committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use floodgate_schemas::EventType;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{
    Batch, BatchLimits, Origin, Partition, Publish, Receipts, Record, Refused, Strategy, SubscribeError,
    Subscription,
};

/// What is published and waited for together.
const LIMITS: BatchLimits = BatchLimits {
    events: 1000,
    bytes: 1 << 20,
    wait: Duration::from_millis(50),
    drain: Duration::from_secs(5),
};

/// After a record was not acknowledged, until its partition is tried again: at first, and at most where that goes on, so that
/// others are moved meanwhile; and where there was no room for it.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
const ROOM: Duration = Duration::from_millis(50);

/// How long a member keeps its partitions though nothing is taken from it: others may be able to move them.
const KEEPS_FOR: Duration = Duration::from_secs(1);

/// How often it is looked whether records are taken again.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often in a row a partition fails until that is told.
const TOLD_AFTER: u32 = 4;

/// After a member ended by an error, until the next one.
const REJOIN: Duration = Duration::from_secs(1);

/// Moves records.
pub struct Drain {
    from: Arc<dyn Strategy>,
    to: Arc<dyn Publish>,
    moved: Arc<Moved>,
    stop: watch::Receiver<bool>,
    /// Whether a record that is never taken ends it.
    gives_up: bool,
}

/// How many records were moved, by event type.
#[derive(Debug, Default)]
pub struct Moved([AtomicU64; EventType::ALL.len()]);

impl Moved {
    /// Of all types.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A record that is never taken stands at the head of a partition, in a sentence for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DrainError(pub String);

impl Drain {
    /// From one strategy to another's publisher, until `stop` says so, or whoever says so is gone.
    pub fn new(from: Arc<dyn Strategy>, to: Arc<dyn Publish>, stop: watch::Receiver<bool>) -> Self {
        Self { from, to, moved: Arc::default(), stop, gives_up: true }
    }

    /// The same that goes on where a record is never taken: its partition stands, and that is told.
    pub(crate) fn that_goes_on(self) -> Self {
        Self { gives_up: false, ..self }
    }

    /// How many it has moved.
    pub fn moved(&self) -> Arc<Moved> {
        Arc::clone(&self.moved)
    }

    /// Is one member of the group that applies `of`, and publishes while `takes` says that records are taken. Begins anew
    /// whenever the membership ends by an error.
    ///
    /// # Errors
    /// [`DrainError`] when a record can never be published. Nothing behind it is moved; whoever calls again meets it again.
    pub async fn run(&self, of: EventType, takes: impl Fn() -> bool) -> Result<(), DrainError> {
        let mut told = None;
        while !self.is_over() {
            // whoever cannot publish leaves the partitions to those who can
            if !takes() {
                let _ = tokio::time::timeout(LOOK_INTERVAL, self.stopped()).await;
                continue;
            }
            match self.membership(of, &takes).await {
                Ok(()) => told = None,
                Err(Ended::Never(error)) => return Err(error),
                Err(Ended::Membership(error)) => {
                    let reason = error.to_string();
                    if told.as_ref() != Some(&reason) {
                        let (group, strategy) = (self.from.names().group(of), self.from.name());
                        tracing::warn!(group, strategy, "moving events begins anew: {reason}");
                    }
                    told = Some(reason);
                    let _ = tokio::time::timeout(REJOIN, self.stopped()).await;
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    async fn stopped(&self) {
        // an error is the end of whoever could say so
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    async fn membership(&self, of: EventType, takes: &impl Fn() -> bool) -> Result<(), Ended> {
        let from = Arc::clone(&self.from);
        // making a member may start threads
        let subscribed = tokio::task::spawn_blocking(move || from.subscribe(of, LIMITS)).await;
        let mut member = match subscribed {
            Ok(subscribed) => subscribed.map_err(|error| SubscribeError(error.to_string()))?,
            Err(error) => return Err(SubscribeError(error.to_string()).into()),
        };
        let mut failing = HashMap::new();
        let mut taken_at = Instant::now();
        loop {
            let next = tokio::select! {
                biased;
                () = self.stopped() => break,
                next = member.next() => next?,
                () = tokio::time::sleep(KEEPS_FOR) => {
                    if !takes() {
                        break;
                    }
                    continue;
                }
            };
            let Some(batch) = next else { break };
            let is_taken = takes();
            self.publish(of, &mut *member, batch, is_taken, &mut failing).await?;
            if is_taken {
                taken_at = Instant::now();
            } else if taken_at.elapsed() > KEEPS_FOR {
                break;
            }
        }
        Ok(member.close().await?)
    }

    /// Publishes a batch and commits what was acknowledged, up to the first record of each partition that was not. `failing` counts
    /// how often in a row one was not.
    async fn publish(
        &self,
        of: EventType,
        member: &mut dyn Subscription,
        mut batch: Batch,
        is_taken: bool,
        failing: &mut HashMap<Partition, u32>,
    ) -> Result<(), DrainError> {
        let receipts = Receipts::that_stay(batch.len());
        // by record: whether it was tried; by partition: its first record that is refused, with nothing of it offered behind that
        let mut tried = vec![false; batch.len()];
        let mut refused: HashMap<Partition, (Origin, Refused)> = HashMap::new();
        let (mut is_over, mut is_full) = (!is_taken, false);
        for (index, received) in batch.iter().enumerate() {
            let receipt = receipts.receipt(index);
            let origin = received.origin;
            // a receipt that goes unused says that nothing is known
            if is_over || refused.contains_key(&origin.partition) {
                continue;
            }
            let record = Record {
                topic: origin.topic,
                key: received.key,
                value: received.value,
                headers: &received.headers,
            };
            match self.to.offer(&record, receipt).map_err(Refused::from) {
                Ok(()) => tried[index] = true,
                Err(reason @ (Refused::Full | Refused::Closed)) => {
                    (is_over, is_full) = (true, reason == Refused::Full);
                }
                Err(reason) => {
                    tried[index] = true;
                    refused.insert(origin.partition, (origin, reason));
                }
            }
        }
        receipts.all().await;
        let (mut left, mut partitions): (HashMap<Partition, (usize, Origin)>, HashSet<Partition>) =
            Default::default();
        for (index, received) in batch.iter().enumerate() {
            partitions.insert(received.origin.partition);
            if !receipts.outcome(index).is_stored() {
                left.entry(received.origin.partition).or_insert((index, received.origin));
            }
        }
        left.iter().for_each(|(partition, (_, origin))| batch.keep_before(*partition, origin.offset));
        self.moved.0[of as usize].fetch_add(batch.len() as u64, Ordering::Relaxed);
        member.commit(batch);
        let mut never = None;
        for partition in &partitions {
            let Some((index, origin)) = left.get(partition) else {
                failing.remove(partition);
                continue;
            };
            // what was not even tried does not count
            if !tried[*index] {
                member.hold(*partition, if is_full { ROOM } else { RETRY_MIN });
                continue;
            }
            let times = failing.get(partition).copied().unwrap_or(0) + 1;
            failing.insert(*partition, times);
            member.hold(*partition, (RETRY_MIN * (1 << (times - 1).min(6))).min(RETRY_MAX));
            let why = refused.get(partition).filter(|(of, _)| of == origin).map(|(_, reason)| reason);
            let is_never = why == Some(&Refused::TooLarge);
            if is_never && self.gives_up {
                never.get_or_insert(*origin);
            } else if times == TOLD_AFTER || is_never && times == 1 {
                let place = self.place(*origin);
                let why = why.map_or("it is not acknowledged".to_owned(), ToString::to_string);
                let (group, partition, offset) = (self.from.names().group(of), partition.0, origin.offset.0);
                tracing::error!(
                    group,
                    partition,
                    offset,
                    "{place} cannot be moved, and nothing behind it is: {why}"
                );
            }
        }
        match never {
            Some(origin) => Err(DrainError(format!(
                "{} is larger than where it is moved to takes, and nothing behind it is moved",
                self.place(origin)
            ))),
            None => Ok(()),
        }
    }

    /// A record's place, for people.
    fn place(&self, Origin { topic, partition, offset }: Origin) -> String {
        format!("{} {}/{partition}/{offset}", self.from.name(), self.from.names().topic(topic))
    }
}

/// Why a membership ended though nobody wanted it to.
enum Ended {
    Membership(SubscribeError),
    Never(DrainError),
}

impl From<SubscribeError> for Ended {
    fn from(error: SubscribeError) -> Self {
        Self::Membership(error)
    }
}

impl From<DrainError> for Ended {
    fn from(error: DrainError) -> Self {
        Self::Never(error)
    }
}
