//! One group member as its pipeline sees it, and what it shares with the thread that owns the consumer.
//!
//! librdkafka runs rebalance callbacks inside `poll`, so one thread owns the consumer and never does
//! anything slow (see [`super::member`]). Pipeline and thread meet in [`super::shared`]: the thread *fills* a batch
//! while the pipeline *works* on the one before, which it took whole; given back, its offsets are *done* and
//! the thread commits them. At most these two batches are in memory, whatever the backlog.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::client::ClientSettings;
use super::member::Owner;
use super::share::{Phase, Share, Taken};
use super::shared::Shared;
use crate::{
    Batch, BatchLimits, BoxFuture, Incident, OpenError, Partition, Standing, SubscribeError, Subscription,
    Topic,
};

pub(super) struct KafkaSubscription {
    shared: Arc<Shared>,
    ended: Option<oneshot::Receiver<Result<(), SubscribeError>>>,
}

impl KafkaSubscription {
    pub(super) fn start(
        settings: &Arc<ClientSettings>,
        topic: Topic,
        name: String,
        group: &str,
        limits: BatchLimits,
    ) -> Result<Self, OpenError> {
        let share = Share::new(topic, limits, ClientSettings::wait_here(&limits));
        let shared = Arc::new(Shared {
            limits,
            share: Mutex::new(share),
            news: Notify::new(),
            changed: Condvar::new(),
        });
        let owner = Owner::subscribe(settings, &shared, name, group)?;
        let (tell, ended) = oneshot::channel();
        let thread_shared = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| owner.run())).unwrap_or_else(|_| {
                    Err(SubscribeError("the consumer's thread met a bug and ended".to_owned()))
                });
                if let Err(error) = &ended {
                    thread_shared.fail(error.to_string());
                }
                // nobody may be listening any more: the handle was dropped
                drop(tell.send(ended));
            })
            .map_err(|error| OpenError(format!("no thread for group {group}: {error}")))?;
        Ok(Self { shared, ended: Some(ended) })
    }

    fn enter(&self, phase: Phase) {
        self.shared.share.lock().enter(phase);
        self.shared.changed.notify_all();
        self.shared.news.notify_one();
    }
}

impl Subscription for KafkaSubscription {
    fn joined(&mut self) -> BoxFuture<'_, Result<(), SubscribeError>> {
        Box::pin(async move {
            loop {
                if self.shared.share.lock().has_joined().map_err(SubscribeError)? {
                    return Ok(());
                }
                self.shared.news.notified().await;
            }
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, SubscribeError>> {
        Box::pin(async move {
            loop {
                let taken = self.shared.share.lock().take(Instant::now());
                match taken {
                    Taken::Batch(batch) => {
                        self.shared.changed.notify_all();
                        return Ok(Some(batch));
                    }
                    Taken::Ended => return Ok(None),
                    Taken::Failed(reason) => return Err(SubscribeError(reason)),
                    Taken::Wait(None) => self.shared.news.notified().await,
                    Taken::Wait(Some(until)) => {
                        // either way, the next look tells
                        let _ = tokio::time::timeout_at(until, self.shared.news.notified()).await;
                    }
                }
            }
        })
    }

    fn commit(&mut self, batch: Batch) {
        self.shared.share.lock().give_back(batch);
        self.shared.changed.notify_all();
    }

    fn hold(&mut self, partition: Partition, pause: Duration) {
        self.shared.share.lock().hold(partition, Instant::now() + pause);
        self.shared.changed.notify_all();
    }

    fn owns(&self, partition: Partition) -> bool {
        self.shared.share.lock().owns(partition)
    }

    fn standing(&self) -> Vec<Standing> {
        self.shared.share.lock().standing()
    }

    fn incidents(&mut self) -> Vec<Incident> {
        self.shared.share.lock().take_incidents()
    }

    fn stop(&mut self) {
        self.enter(Phase::Stopping);
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<(), SubscribeError>> {
        self.enter(Phase::Closing);
        let ended = self.ended.take();
        Box::pin(async move {
            match ended {
                Some(ended) => ended
                    .await
                    .unwrap_or_else(|_| Err(SubscribeError("the consumer's thread ended early".to_owned()))),
                None => Ok(()),
            }
        })
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.enter(Phase::Closing);
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;
    use floodgate_testkit::{Kafka, KafkaOptions, wait};

    use super::*;
    use crate::kafka::testing;
    use crate::{Offset, Receipts, Record, Strategy};

    /// A commit that is sent is also answered: without the answer one that failed would never be repeated.
    #[tokio::test(flavor = "multi_thread")]
    async fn commits_are_answered() {
        let broker = Kafka::start(KafkaOptions::default()).unwrap();
        let strategy = testing::strategy(broker.bootstrap());
        let topic = Topic::Events(EventType::Like);
        let receipts = Receipts::new(1);
        let record = Record { topic, key: None, value: Some(b"v"), headers: &[] };
        strategy.publisher().unwrap().offer(&record, receipts.receipt(0)).unwrap();

        let limits = BatchLimits { events: 1, bytes: 1, wait: Duration::ZERO, drain: Duration::from_secs(1) };
        let (name, group) = (strategy.names.topic(topic), strategy.names.group(EventType::Like));
        let mut member =
            KafkaSubscription::start(&strategy.settings, topic, name.to_owned(), group, limits).unwrap();
        let batch = futures_executor::block_on(member.next()).unwrap().unwrap();
        member.commit(batch);
        let is_acknowledged = || {
            let acknowledged = member.shared.share.lock().acknowledged(Partition(0));
            acknowledged.filter(|up_to| *up_to == Offset(1)).map(drop)
        };
        wait::until("the commit's answer", Duration::from_secs(30), is_acknowledged).unwrap();
    }
}
