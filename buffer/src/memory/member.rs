//! One member of a group: claims records, hands them out, and drops them when they are done.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::partition::is_full;
use super::state::State;
use crate::{Batch, BatchLimits, BoxFuture, Partition, SubscribeError, Subscription, Topic, Waiting, Word};

pub(super) struct Member {
    pub(super) state: Arc<State>,
    pub(super) topic: Topic,
    pub(super) id: usize,
    // woken when more comes to a partition that it has claimed
    pub(super) news: Arc<Notify>,
    pub(super) limits: BatchLimits,
    pub(super) stopped: bool,
    // what is claimed for the next batch; kept here, so that a cancelled `next` loses nothing
    pub(super) filling: Batch,
    pub(super) hand_out_at: Option<Instant>,
}

impl Member {
    /// Claims what fits into the batch from partitions nobody else works on, but no more of these than are its share: the rest
    /// is for the others, one of which is woken. Returns whether it has its share.
    fn claim(&mut self) -> bool {
        let mut log = self.state.topics[self.topic.index()].lock();
        let (count, from) = (log.partitions.len(), log.cursor);
        let share = count.div_ceil(log.members.max(1));
        let mut mine = log.partitions.iter().filter(|partition| partition.is_claimed_by(self.id)).count();
        let mut is_some_left = false;
        for number in (from..from + count).map(|place| place % count) {
            let partition = &mut log.partitions[number];
            let was_mine = partition.is_claimed_by(self.id);
            if !was_mine && mine >= share {
                is_some_left |= partition.is_free();
                continue;
            }
            partition.claim_into(&mut self.filling, number, (self.id, &self.news), &self.limits);
            if !was_mine && partition.is_claimed_by(self.id) {
                mine += 1;
                log.cursor = (number + 1) % count;
            }
            if is_full(&self.filling, &self.limits) {
                break;
            }
        }
        drop(log);
        if is_some_left {
            self.state.news[self.topic.index()].notify_one();
        }
        mine >= share
    }

    /// When the next held partition can be read again.
    fn held_until(&self) -> Option<Instant> {
        let log = self.state.topics[self.topic.index()].lock();
        log.partitions.iter().filter_map(|partition| partition.held_until).min()
    }

    fn has_waiting(&self) -> bool {
        let log = self.state.topics[self.topic.index()].lock();
        log.partitions.iter().any(|partition| !partition.records.is_empty())
    }
}

impl Subscription for Member {
    fn joined(&mut self) -> BoxFuture<'_, Result<(), SubscribeError>> {
        Box::pin(async { Ok(()) })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, SubscribeError>> {
        Box::pin(async move {
            let (state, own) = (Arc::clone(&self.state), Arc::clone(&self.news));
            let news = &state.news[self.topic.index()];
            loop {
                // registered before looking, so that news between the look and the wait is not missed
                let (of_mine, of_others) = (own.notified(), news.notified());
                let has_its_share = self.claim();
                // what came to partitions that nobody has is for members that can take more of them
                let notified = async {
                    tokio::select! {
                        () = of_mine => {}
                        () = of_others, if !has_its_share => {}
                    }
                };
                if is_full(&self.filling, &self.limits) {
                    break;
                }
                if self.filling.is_empty() {
                    if self.stopped && !self.has_waiting() {
                        // others of this group may be asleep waiting for what is no longer there
                        news.notify_one();
                        return Ok(None);
                    }
                    match self.held_until() {
                        // either way, the next look tells
                        Some(until) => drop(timeout_at(until, notified).await),
                        None => notified.await,
                    }
                    continue;
                }
                let wait = self.limits.wait;
                let until = *self.hand_out_at.get_or_insert_with(|| Instant::now() + wait);
                if self.stopped || timeout_at(until, notified).await.is_err() {
                    break;
                }
            }
            // one member was woken for what may be more than fits into its batch
            news.notify_one();
            self.hand_out_at = None;
            let mut batch = std::mem::replace(&mut self.filling, Batch::new(self.topic));
            batch.set_log(Some(self.state.id.clone()));
            Ok(Some(batch))
        })
    }

    fn commit(&mut self, batch: Batch) {
        let done = {
            let mut log = self.state.topics[self.topic.index()].lock();
            let mut done = Waiting::default();
            for (partition, next) in batch.progress() {
                let Ok(number) = usize::try_from(partition.0) else {
                    continue;
                };
                let part = log.partitions[number].commit(next);
                done.events += part.events;
                done.bytes += part.bytes;
            }
            done
        };
        self.state.release(done.events, done.bytes);
        self.state.news[self.topic.index()].notify_one();
    }

    fn hold(&mut self, partition: Partition, pause: Duration) {
        self.filling.retain_partitions(|other| other != partition);
        let mut log = self.state.topics[self.topic.index()].lock();
        let held = usize::try_from(partition.0).ok().and_then(|number| log.partitions.get_mut(number));
        if let Some(held) = held.filter(|held| held.claim.as_ref().is_some_and(|c| c.member == self.id)) {
            held.claim = None;
            held.held_until = Some(Instant::now() + pause);
        }
    }

    fn leave_word(&mut self, partition: Partition, word: Option<&Word>) {
        let mut log = self.state.topics[self.topic.index()].lock();
        let told = usize::try_from(partition.0).ok().and_then(|number| log.partitions.get_mut(number));
        let Some(told) = told else { return };
        let is_mine = told.claim.as_ref().is_none_or(|claim| claim.member == self.id);
        match word {
            Some(word) if is_mine => told.word = Some((self.id, word.clone())),
            None if told.word.as_ref().is_some_and(|(member, _)| *member == self.id) => told.word = None,
            _ => {}
        }
    }

    fn owns(&self, partition: Partition) -> bool {
        // held by nobody: whoever asks first takes it when its time is over
        let log = self.state.topics[self.topic.index()].lock();
        let partition = usize::try_from(partition.0).ok().and_then(|number| log.partitions.get(number));
        partition.is_some_and(|p| p.claim.as_ref().is_none_or(|claim| claim.member == self.id))
    }

    fn stop(&mut self) {
        self.stopped = true;
        // the process is about to end: nothing can be waited for any more
        for partition in &mut self.state.topics[self.topic.index()].lock().partitions {
            partition.held_until = None;
        }
        self.state.news[self.topic.index()].notify_waiters();
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), SubscribeError>> {
        // dropping gives the claims back
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut log = self.state.topics[self.topic.index()].lock();
        log.members -= 1;
        for partition in &mut log.partitions {
            match &partition.claim {
                Some(claim) if claim.member == self.id => partition.claim = None,
                // its share is larger now
                Some(claim) => claim.news.notify_one(),
                None => {}
            }
            partition.word.take_if(|(member, _)| *member == self.id);
        }
        drop(log);
        self.state.news[self.topic.index()].notify_waiters();
        self.state.news[self.topic.index()].notify_one();
    }
}
