//! One group member as its pipeline sees it, and what it shares with the thread that owns the consumer.
//!
//! librdkafka runs rebalance callbacks inside `poll`, so one thread owns the consumer and never does
//! anything slow (see [`super::member`]). Pipeline and thread meet in [`super::shared`]: the thread *fills* a batch
//! while the pipeline *works* on the one before, which it took whole; given back, its offsets are *done* and
//! the thread commits them. At most these two batches are in memory, whatever the backlog.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::client::ClientSettings;
use super::member::Owner;
use super::position::Hold;
use super::shared::{Phase, Shared, State};
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
        let shared = Arc::new(Shared {
            topic,
            limits,
            state: Mutex::new(State {
                log: None,
                filling: Batch::new(topic),
                spare: None,
                hand_out_at: None,
                in_work: HashSet::new(),
                owned: HashMap::new(),
                unplaced: HashMap::new(),
                standing: HashMap::new(),
                incidents: Vec::new(),
                phase: Phase::Running,
                joined: false,
                failed: None,
            }),
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
        let mut state = self.shared.state.lock();
        state.phase = phase;
        // what is not in work goes to whoever reads the partition next
        state.filling.retain_partitions(|_| false);
        drop(state);
        self.shared.changed.notify_all();
        self.shared.news.notify_one();
    }
}

/// What the pipeline finds when it asks for a batch.
enum Look {
    Take(Batch),
    Ended,
    Failed(String),
    Wait(Option<Instant>),
}

impl Shared {
    fn look(&self) -> Look {
        let mut state = self.state.lock();
        if state.phase != Phase::Running {
            return Look::Ended;
        }
        if let Some(reason) = &state.failed {
            return Look::Failed(reason.clone());
        }
        if state.filling.is_empty() {
            return Look::Wait(None);
        }
        match state.hand_out_at {
            Some(at) if at > Instant::now() && !self.is_full(&state.filling) => Look::Wait(Some(at)),
            _ => {
                let empty = state.spare.take().unwrap_or_else(|| Batch::new(self.topic));
                let mut batch = std::mem::replace(&mut state.filling, empty);
                batch.set_log(state.log.clone());
                state.hand_out_at = None;
                state.in_work.extend(batch.progress().map(|(partition, _)| partition));
                drop(state);
                self.changed.notify_all();
                Look::Take(batch)
            }
        }
    }
}

impl Subscription for KafkaSubscription {
    fn joined(&mut self) -> BoxFuture<'_, Result<(), SubscribeError>> {
        Box::pin(async move {
            loop {
                {
                    let state = self.shared.state.lock();
                    match &state.failed {
                        Some(reason) => return Err(SubscribeError(reason.clone())),
                        None if state.joined || state.phase != Phase::Running => return Ok(()),
                        None => {}
                    }
                }
                self.shared.news.notified().await;
            }
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, SubscribeError>> {
        Box::pin(async move {
            loop {
                match self.shared.look() {
                    Look::Take(batch) => return Ok(Some(batch)),
                    Look::Ended => return Ok(None),
                    Look::Failed(reason) => return Err(SubscribeError(reason)),
                    Look::Wait(None) => self.shared.news.notified().await,
                    Look::Wait(Some(until)) => {
                        // either way, the next look tells
                        let _ = tokio::time::timeout_at(until, self.shared.news.notified()).await;
                    }
                }
            }
        })
    }

    fn commit(&mut self, batch: Batch) {
        let mut state = self.shared.state.lock();
        let ends: HashMap<Partition, crate::Offset> = batch.progress().collect();
        for (partition, next) in ends {
            // a partition that left meanwhile is no longer in work, also if it came back since: what was taken
            // under an earlier ownership says nothing about the present one
            if state.in_work.remove(&partition)
                && let Some(position) = state.owned.get_mut(&partition)
            {
                position.is_done(next);
            }
        }
        state.spare = Some(batch.emptied());
        drop(state);
        self.shared.changed.notify_all();
    }

    fn hold(&mut self, partition: Partition, pause: Duration) {
        let mut state = self.shared.state.lock();
        state.forget_work(partition);
        if let Some(position) = state.owned.get_mut(&partition) {
            position.hold = Hold::Wanted(Instant::now() + pause);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn owns(&self, partition: Partition) -> bool {
        self.shared.state.lock().owned.contains_key(&partition)
    }

    fn standing(&self) -> Vec<Standing> {
        self.shared.state.lock().standing.values().cloned().collect()
    }

    fn incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.shared.state.lock().incidents)
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
        let acknowledged = || {
            let state = member.shared.state.lock();
            state.owned.get(&Partition(0)).filter(|position| position.acknowledged == Offset(1)).map(drop)
        };
        wait::until("the commit's answer", Duration::from_secs(30), acknowledged).unwrap();
    }
}
