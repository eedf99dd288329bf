//! A member as its pipeline sees it, whoever owns its consumer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::shared::Shared;
use super::{Phase, Taken};
use crate::{Batch, BoxFuture, Incident, Partition, Standing, SubscribeError, Subscription, Word};

/// Dropping it ends its member.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    /// What came of the last commit, once the owner has ended.
    ended: Option<oneshot::Receiver<Result<(), SubscribeError>>>,
}

impl Handle {
    /// Of a member whose owner says how it ended.
    pub(crate) fn new(shared: Arc<Shared>, ended: oneshot::Receiver<Result<(), SubscribeError>>) -> Self {
        Self { shared, ended: Some(ended) }
    }

    fn enter(&self, phase: Phase) {
        self.shared.share.lock().enter(phase);
        self.shared.tell_owner();
        self.shared.news.notify_one();
    }
}

impl Subscription for Handle {
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
                        self.shared.tell_owner();
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
        self.shared.tell_owner();
    }

    fn hold(&mut self, partition: Partition, pause: Duration) {
        self.shared.share.lock().hold(partition, Instant::now() + pause);
        self.shared.tell_owner();
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

    fn rebalances(&mut self) -> u64 {
        self.shared.share.lock().take_rebalances()
    }

    fn leave_word(&mut self, partition: Partition, word: Option<&Word>) {
        let is_news = self.shared.share.lock().leave_word(partition, word);
        if is_news {
            self.shared.tell_owner();
        }
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
                    .unwrap_or_else(|_| Err(SubscribeError("the member's owner ended early".to_owned()))),
                None => Ok(()),
            }
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.enter(Phase::Closing);
    }
}
