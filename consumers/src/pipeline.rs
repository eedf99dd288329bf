//! One member's life.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Batch, Partition, Publish, Strategy, SubscribeError, Subscription};
use floodgate_schemas::codec::decode;
use floodgate_schemas::{Event, Timestamp};
use floodgate_store::Apply;
use tokio_util::sync::CancellationToken;

use crate::ConsumersConfig;
use crate::apply::Pace;
use crate::backoff::Backoff;
use crate::dead_letter::DeadLetter;
use crate::health::MemberHealth;
use crate::hold::{Holds, Unknown};
use crate::metrics::PipelineMetrics;

/// One member of the group that applies `E`.
pub(crate) struct Pipeline<E: Event> {
    pub(crate) strategy: Arc<dyn Strategy>,
    pub(crate) publisher: Arc<dyn Publish>,
    pub(crate) store: Arc<dyn Apply<E>>,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) config: ConsumersConfig,
    pub(crate) ahead_max_micros: i64,
    pub(crate) health: MemberHealth,
    pub(crate) stop: CancellationToken,
    pub(crate) event: PhantomData<fn() -> E>,
}

/// Stopped in the middle of something that does not get done: the batch is not committed, and comes again.
pub(crate) struct GaveUp;

/// What a member does next.
enum Next {
    Batch(Batch),
    /// Looks whether the partitions it holds are still its own.
    NothingYet,
    End,
}

/// How many records of a partition that is held are tried: enough to see whether they are still bad.
const PROBE_RECORDS: usize = 20;

/// How often a member without records looks which of its partitions stand, and whether those it holds are still its own.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How many records are decoded before other tasks get their turn: about half a millisecond.
const DECODED_AT_ONCE: usize = 500;

/// A batch, decoded.
pub(crate) struct Decoded<E> {
    /// The events, in order.
    pub(crate) events: Vec<E>,
    /// For each event, the number of its record in the batch.
    pub(crate) records: Vec<usize>,
    /// Records that are no events, in order.
    pub(crate) undecodable: Vec<DeadLetter>,
    /// For each partition that has one, the first record that only a newer build can read.
    pub(crate) unknown: BTreeMap<Partition, Unknown>,
}

impl<E: Event> Pipeline<E> {
    /// Until told to stop. Subscribes anew, after a pause, whenever the strategy says that it must.
    ///
    /// # Errors
    /// The last offsets were not committed: what they stand for will be delivered, and do nothing, again.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), SubscribeError> {
        let mut backoff = Backoff::new(&self.config);
        loop {
            let worked = self.work(&mut backoff).await;
            let Err(error) = worked else { return Ok(()) };
            if self.stop.is_cancelled() {
                return Err(error);
            }
            if self.health.troubled(error.to_string()) {
                tracing::warn!(group = self.strategy.names().group(E::TYPE), %error, "subscribing anew");
            }
            if self.pause(backoff.pause()).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn work(&self, backoff: &mut Backoff) -> Result<(), SubscribeError> {
        let mut pace = Pace::unbounded();
        let mut holds = Holds::new(&self.config);
        self.holds_nothing();
        let mut subscription = self.subscribe().await?;
        tokio::select! {
            joined = subscription.joined() => joined?,
            () = self.stop.cancelled() => {}
        }
        self.recovered();
        let ended = loop {
            let received = self.receive(&mut *subscription).await;
            self.look_at_standing(&mut *subscription, &mut holds);
            match received {
                Ok(Next::Batch(batch)) => {
                    let done = self.work_on(batch, &mut *subscription, &mut holds, &mut pace).await;
                    if done.is_err() {
                        break Ok(());
                    }
                    backoff.reset();
                    self.recovered();
                }
                Ok(Next::NothingYet) => self.forget(&mut holds, |partition| !subscription.owns(partition)),
                Ok(Next::End) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // a member without partitions has none that is held
        self.forget(&mut holds, |_| true);
        ended?;
        subscription.close().await
    }

    async fn work_on(
        &self,
        mut batch: Batch,
        subscription: &mut dyn Subscription,
        holds: &mut Holds,
        pace: &mut Pace,
    ) -> Result<(), GaveUp> {
        // what only this process holds goes with it: better dead-lettered, and logged, than lost without a word
        let may_hold = !self.stop.is_cancelled() || self.strategy.reach().outlives_process;
        // partitions that went to other members are theirs to hold
        self.forget(holds, |partition| !subscription.owns(partition));
        let probed: Vec<_> = holds.storms.held().collect();
        probed.iter().for_each(|partition| batch.keep_first(*partition, PROBE_RECORDS));
        let mut decoded = decode_all::<E>(&batch, may_hold).await;
        if !decoded.unknown.is_empty() {
            // numbers of records are those of what is left: decoded again, which happens while a partition is held only
            let cut =
                |(partition, first): (&Partition, &Unknown)| batch.keep_before(*partition, first.offset);
            decoded.unknown.iter().for_each(cut);
            decoded = Decoded { unknown: decoded.unknown, ..decode_all::<E>(&batch, may_hold).await };
        }
        let waiting: Vec<_> = decoded.unknown.keys().copied().collect();
        self.wait_for_newer(&batch, &decoded.unknown, holds);
        let held = self.finish(&batch, decoded, (holds, may_hold), pace).await?;
        batch.retain_partitions(|partition| !held.contains(&partition));
        subscription.commit(batch);
        let stands = |partition: &Partition| held.contains(partition) || waiting.contains(partition);
        held.iter().chain(&waiting).for_each(|partition| {
            subscription.hold(*partition, self.config.retry_max());
        });
        // what was left out of the batch comes next
        let goes_on = probed.iter().filter(|partition| !stands(partition));
        goes_on.for_each(|partition| subscription.hold(*partition, Duration::ZERO));
        Ok(())
    }

    /// Making a client may read files and start threads: not on a thread that serves others.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        let (strategy, limits) = (Arc::clone(&self.strategy), self.config.limits());
        let subscribed = tokio::task::spawn_blocking(move || strategy.subscribe(E::TYPE, limits)).await;
        match subscribed {
            Ok(subscribed) => subscribed.map_err(|error| SubscribeError(error.to_string())),
            Err(error) => Err(SubscribeError(error.to_string())),
        }
    }

    async fn receive(&self, subscription: &mut dyn Subscription) -> Result<Next, SubscribeError> {
        let look_at_holds = tokio::time::sleep(LOOK_INTERVAL);
        if !self.stop.is_cancelled() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                batch = subscription.next() => return Ok(batch?.map_or(Next::End, Next::Batch)),
                () = look_at_holds => return Ok(Next::NothingYet),
            }
        }
        subscription.stop();
        Ok(subscription.next().await?.map_or(Next::End, Next::Batch))
    }

    /// Applies, dead-letters: when it returns `Ok`, every record of the batch is done, but for those of the partitions that
    /// are held as mostly bad.
    async fn finish(
        &self,
        batch: &Batch,
        decoded: Decoded<E>,
        (holds, may_hold): (&mut Holds, bool),
        pace: &mut Pace,
    ) -> Result<Vec<Partition>, GaveUp> {
        self.tell_of_ahead(batch, &decoded);
        let storms = may_hold.then_some(&holds.storms);
        let searched = self.apply(batch, decoded, storms, pace).await?;
        let held = if may_hold { self.judge(batch, &searched, holds) } else { Vec::new() };
        let is_held = |letter: &DeadLetter| {
            batch.get(letter.record).is_some_and(|received| held.contains(&received.origin.partition))
        };
        let letters = searched.letters.into_iter().filter(|letter| !is_held(letter)).collect();
        self.dead_letter(batch, letters).await?;
        Ok(held)
    }

    /// Tells of events that no later write will exceed for long. They count all the same: the greatest stands, whoever
    /// wrote it, and it was accepted. Mending the row is for operators, who have to know.
    fn tell_of_ahead(&self, batch: &Batch, decoded: &Decoded<E>) {
        let latest = Timestamp::now().saturating_add_micros(self.ahead_max_micros).as_micros();
        let ahead = |(_, event): &(&usize, &E)| event.ranked_at().is_some_and(|micros| micros > latest);
        let mut found = decoded.records.iter().zip(&decoded.events).filter(ahead);
        let Some((record, event)) = found.next() else { return };
        let events = 1 + found.count();
        self.metrics.ahead.inc_by(events as u64);
        if let Some(received) = batch.get(*record) {
            let (partition, offset, event_id) =
                (received.origin.partition, received.origin.offset, event.event_id());
            tracing::warn!(
                of = %E::TYPE, events, %partition, %offset, %event_id,
                "versions or times lie further ahead than clients may send, this one first: writes on their rows do not \
                 count until then (`floodgate row reset` sets one back)"
            );
        }
    }

    /// Waits, unless the process is told to stop and somebody else can do the work.
    pub(crate) async fn pause(&self, pause: Duration) -> Result<(), GaveUp> {
        if !self.strategy.reach().outlives_process {
            // what only this process holds is tried until the process itself is out of time
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        tokio::select! {
            () = self.stop.cancelled() => Err(GaveUp),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Something went well that may have been in trouble before.
    pub(crate) fn recovered(&self) {
        if self.health.well() {
            tracing::info!(group = self.strategy.names().group(E::TYPE), "working again");
        }
    }
}

/// Lets other tasks have their turn in between: requests may be served by the same thread. Where nothing `may_wait` for a
/// newer build, what only that can read is no event.
async fn decode_all<E: Event>(batch: &Batch, may_wait: bool) -> Decoded<E> {
    let mut decoded = Decoded {
        events: Vec::with_capacity(batch.len()),
        records: Vec::with_capacity(batch.len()),
        undecodable: Vec::new(),
        unknown: BTreeMap::new(),
    };
    for (number, record) in batch.iter().enumerate() {
        if number % DECODED_AT_ONCE == DECODED_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        match decode(record.value.unwrap_or_default()) {
            Ok(event) => {
                decoded.events.push(event);
                decoded.records.push(number);
            }
            Err(error) => match error.unknown_schema().filter(|_| may_wait) {
                Some(schema) => {
                    let first = Unknown { offset: record.origin.offset, schema };
                    decoded.unknown.entry(record.origin.partition).or_insert(first);
                }
                None => decoded.undecodable.push(DeadLetter {
                    record: number,
                    reason: error.reason(),
                    message: error.to_string(),
                }),
            },
        }
    }
    decoded
}
