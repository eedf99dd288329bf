//! What a member's pipeline and whoever owns its consumer, a thread or a task, share.

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::Share;
use crate::BatchLimits;

/// What pipeline and owner share. It is locked for calls of [`Share`], which wait for nothing (decision 28).
pub(crate) struct Shared {
    pub(crate) limits: BatchLimits,
    pub(crate) share: Mutex<Share>,
    /// Tells the pipeline that a batch began, is full, or will never come.
    pub(crate) news: Notify,
    /// Tells an owner that is a thread that a batch was taken or given back, or that it should end.
    pub(crate) changed: Condvar,
    /// The same for one that is a task.
    pub(crate) woken: Notify,
}

impl Shared {
    pub(crate) fn new(share: Share, limits: BatchLimits) -> Self {
        Self {
            limits,
            share: Mutex::new(share),
            news: Notify::new(),
            changed: Condvar::new(),
            woken: Notify::new(),
        }
    }

    /// The pipeline did something that the owner may be waiting for.
    pub(crate) fn tell_owner(&self) {
        self.changed.notify_all();
        self.woken.notify_one();
    }

    /// The group has given this member its share.
    pub(crate) fn joined(&self) {
        self.share.lock().joins();
        self.news.notify_one();
    }

    /// This member can go on no longer; the pipeline learns why.
    pub(crate) fn fail(&self, reason: String) {
        self.share.lock().fail(reason);
        self.news.notify_one();
    }
}
