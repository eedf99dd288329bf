//! One member's life.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Batch, Partition, Publish, Strategy, SubscribeError, Subscription};
use floodgate_schemas::{Chance, Clock, Codecs, Event};
use floodgate_store::Apply;
use floodgate_traces::Tracer;
use tokio_util::sync::CancellationToken;

use crate::ahead::Ahead;
use crate::apply::Applier;
use crate::backoff::Backoff;
use crate::config::ConsumersConfig;
use crate::dead_letter::{DeadLetter, DeadLetterWriter};
use crate::decode::Decoder;
use crate::follow::Follow;
use crate::health::MemberHealth;
use crate::hold::Holds;
use crate::metrics::PipelineMetrics;
use crate::patience::{GaveUp, Patience};
use crate::words::Words;

/// One member of the group that applies `E`: what it is given.
pub(crate) struct Pipeline<E: Event> {
    pub(crate) strategy: Arc<dyn Strategy>,
    pub(crate) publisher: Arc<dyn Publish>,
    pub(crate) store: Arc<dyn Apply<E>>,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) config: ConsumersConfig,
    pub(crate) ahead_max_micros: i64,
    pub(crate) health: MemberHealth,
    pub(crate) stop: CancellationToken,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) codecs: Codecs,
    pub(crate) tracer: Tracer,
}

/// What a member does next.
enum Next {
    Batch(Batch),
    /// Looks whether the partitions it holds are still its own.
    NothingYet,
    End,
}

/// How often a member without records looks which of its partitions stand, and whether those it holds are still its own.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl<E: Event> Pipeline<E> {
    /// Until told to stop. Subscribes anew, after a pause, whenever the strategy says that it must.
    ///
    /// # Errors
    /// The last offsets were not committed: what they stand for will be delivered, and do nothing, again.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), SubscribeError> {
        let patience = self.patience();
        let mut backoff = patience.backoff();
        loop {
            let worked = self.work(&patience, &mut backoff).await;
            let Err(error) = worked else { return Ok(()) };
            if self.stop.is_cancelled() {
                return Err(error);
            }
            if patience.troubled(error.to_string()) {
                tracing::warn!(group = self.strategy.names().group(E::TYPE), %error, "subscribing anew");
            }
            if patience.pause(backoff.pause()).await.is_err() {
                return Ok(());
            }
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::new(&*self.strategy, E::TYPE, &self.config, &self.health, &self.stop, &self.chance)
    }

    async fn work(&self, patience: &Patience, backoff: &mut Backoff) -> Result<(), SubscribeError> {
        let mut steps = self.steps(patience);
        let mut subscription = self.subscribe().await?;
        tokio::select! {
            joined = subscription.joined() => joined?,
            () = self.stop.cancelled() => {}
        }
        patience.recovered();
        let ended = loop {
            let received = self.receive(&mut *subscription).await;
            steps.holds.look_at_standing(&mut *subscription);
            steps.words.hold(steps.holds.words(), &mut *subscription);
            match received {
                Ok(Next::Batch(batch)) => {
                    if steps.take(batch, &mut *subscription).await.is_err() {
                        break Ok(());
                    }
                    backoff.reset();
                    patience.recovered();
                }
                Ok(Next::NothingYet) => steps.holds.forget(|partition| !subscription.owns(partition)),
                Ok(Next::End) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // a member without partitions has none that is held
        steps.holds.forget(|_| true);
        ended?;
        subscription.close().await
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

    /// Those of a new subscription, which know nothing of the one before.
    fn steps(&self, patience: &Patience) -> Steps<E> {
        let names = self.strategy.names();
        let (publisher, store) = (Arc::clone(&self.publisher), Arc::clone(&self.store));
        let (metrics, clock) = (|| Arc::clone(&self.metrics), || Arc::clone(&self.clock));
        Steps {
            decoder: Decoder { codecs: self.codecs.clone() },
            ahead: Ahead { max_micros: self.ahead_max_micros, metrics: metrics(), clock: clock() },
            applier: Applier::new(store, metrics(), patience.clone(), clock()),
            dead_letters: DeadLetterWriter {
                of: E::TYPE,
                names: names.clone(),
                publisher,
                metrics: metrics(),
                patience: patience.clone(),
                clock: clock(),
            },
            holds: Holds::new(E::TYPE, names, &self.config, metrics(), self.health.clone()),
            words: Words::default(),
            follow: Follow { tracer: self.tracer.clone(), group: names.group(E::TYPE).to_owned() },
            patience: patience.clone(),
        }
    }
}

/// What a batch goes through between being received and being committed.
struct Steps<E: Event> {
    decoder: Decoder,
    ahead: Ahead,
    applier: Applier<E>,
    dead_letters: DeadLetterWriter,
    holds: Holds,
    words: Words,
    follow: Follow,
    patience: Patience,
}

impl<E: Event> Steps<E> {
    /// Decodes, applies, dead-letters and commits. What is held of it is not committed, and comes again.
    async fn take(&mut self, mut batch: Batch, subscription: &mut dyn Subscription) -> Result<(), GaveUp> {
        let may_hold = self.patience.may_hold();
        // partitions that went to other members are theirs to hold
        self.holds.forget(|partition| !subscription.owns(partition));
        let probed = self.holds.cut_to_probes(&mut batch);

        let (decoded, newer) = self.decoder.decode::<E>(&mut batch, may_hold).await;
        self.holds.wait_for_newer(&batch, &newer);
        self.ahead.tell_of(&batch, &decoded);

        let mut followed = self.follow.batch(&batch, &decoded);

        let storms = may_hold.then_some(&self.holds.storms);
        let applying = self.applier.apply(&batch, decoded, storms, &followed);
        let searched = self.words.during(applying, &batch, &self.patience, subscription).await;
        let searched = searched.inspect_err(|_| followed.gave_up())?;
        let held = if may_hold { self.holds.judge(&batch, &searched) } else { Vec::new() };
        followed.came_to(&searched.letters, &held);

        let is_held = |letter: &DeadLetter| {
            batch.get(letter.record).is_some_and(|received| held.contains(&received.origin.partition))
        };
        let letters = searched.letters.into_iter().filter(|letter| !is_held(letter)).collect();
        let writing = self.dead_letters.write(&batch, letters);
        let written = self.words.during(writing, &batch, &self.patience, subscription).await;
        written.inspect_err(|_| followed.gave_up())?;

        batch.retain_partitions(|partition| !held.contains(&partition));
        subscription.commit(batch);
        followed.done();
        let standing: Vec<Partition> = held.into_iter().chain(newer.into_keys()).collect();
        self.holds.pause(subscription, &standing, &probed);
        Ok(())
    }
}
