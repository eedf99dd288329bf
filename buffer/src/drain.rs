//! Moving what waits in one strategy to where another one's publisher takes it.
//!
//! A mover is a member of the source's groups like any other, whose way of applying a batch is to publish it and to wait: what the
//! other strategy acknowledged is committed, and the rest comes again. So all that holds of members holds of movers. Several
//! share the partitions; one that dies leaves what it had not committed to the others; what was published and not committed is
//! published once more, which changes no row.
//!
//! Records of one key stay in order: they lie in one partition of the source, and of a batch only what comes before the first
//! record that was not acknowledged is committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use floodgate_schemas::EventType;
use tokio::sync::watch;

use crate::{
    Batch, BatchLimits, Offset, Partition, Publish, Receipts, Record, Refused, Strategy, SubscribeError,
    Subscription,
};

/// What is published and waited for together.
const LIMITS: BatchLimits = BatchLimits {
    events: 1000,
    bytes: 1 << 20,
    wait: Duration::from_millis(50),
    drain: Duration::from_secs(5),
};

/// After a record was not acknowledged, until it is tried again; and where there was no room for it.
const RETRY: Duration = Duration::from_millis(500);
const ROOM: Duration = Duration::from_millis(50);

/// After a member ended by an error, until the next one.
const REJOIN: Duration = Duration::from_secs(1);

/// Moves records.
pub struct Drain {
    from: Arc<dyn Strategy>,
    to: Arc<dyn Publish>,
    moved: Arc<Moved>,
    stop: watch::Receiver<bool>,
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

/// A record that the other strategy never takes stands at the head of a partition, in a sentence for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DrainError(pub String);

impl Drain {
    /// From one strategy to another's publisher, until `stop` says so, or whoever says so is gone.
    pub fn new(from: Arc<dyn Strategy>, to: Arc<dyn Publish>, stop: watch::Receiver<bool>) -> Self {
        Self { from, to, moved: Arc::default(), stop }
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
            match self.membership(of, &takes).await {
                Ok(()) => {}
                Err(Ended::Never(error)) => return Err(error),
                Err(Ended::Membership(error)) => {
                    let reason = error.to_string();
                    if told.as_ref() != Some(&reason) {
                        tracing::warn!(from = self.from.name(), "moving events begins anew: {reason}");
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
        loop {
            let next = tokio::select! {
                biased;
                () = self.stopped() => break,
                next = member.next() => next?,
            };
            let Some(batch) = next else { break };
            self.publish(of, &mut *member, batch, takes).await?;
        }
        Ok(member.close().await?)
    }

    /// Publishes a batch and commits what was acknowledged, up to the first record of each partition that was not.
    async fn publish(
        &self,
        of: EventType,
        member: &mut dyn Subscription,
        mut batch: Batch,
        takes: &impl Fn() -> bool,
    ) -> Result<(), DrainError> {
        let receipts = Receipts::that_stay(batch.len());
        let mut refused = (!takes()).then(|| Refused::Unavailable("nothing is taken now".to_owned()));
        for (index, received) in batch.iter().enumerate() {
            let receipt = receipts.receipt(index);
            // a receipt that goes unused says that nothing is known
            if refused.is_some() {
                continue;
            }
            let record = Record {
                topic: received.origin.topic,
                key: received.key,
                value: received.value,
                headers: &received.headers,
            };
            refused = self.to.offer(&record, receipt).map_err(Refused::from).err();
        }
        receipts.all().await;
        let mut left: HashMap<Partition, Offset> = HashMap::new();
        for (index, received) in batch.iter().enumerate() {
            if !receipts.outcome(index).is_stored() {
                left.entry(received.origin.partition).or_insert(received.origin.offset);
            }
        }
        left.iter().for_each(|(partition, offset)| batch.keep_before(*partition, *offset));
        self.moved.0[of as usize].fetch_add(batch.len() as u64, Ordering::Relaxed);
        member.commit(batch);
        let pause = if refused == Some(Refused::Full) { ROOM } else { RETRY };
        left.keys().for_each(|partition| member.hold(*partition, pause));
        match refused {
            Some(Refused::TooLarge) => Err(DrainError(format!(
                "a record of {} is larger than where it is moved to takes, and nothing behind it is moved",
                self.from.names().events(of)
            ))),
            _ => Ok(()),
        }
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
