//! What a member's pipeline and the thread that owns its consumer share.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::share::Share;
use crate::BatchLimits;

/// The longest the thread sits in one poll or wait: how fast it notices that it should end.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What pipeline and thread share. Each locks for one call of [`Share`], which waits for nothing (decision 28).
pub(super) struct Shared {
    pub(super) limits: BatchLimits,
    pub(super) share: Mutex<Share>,
    /// Tells the pipeline that a batch began, is full, or will never come.
    pub(super) news: Notify,
    /// Tells the thread that a batch was taken or given back, or that it should end.
    pub(super) changed: Condvar,
}

impl Shared {
    /// The group has given this member its share.
    pub(super) fn joined(&self) {
        self.share.lock().joins();
        self.news.notify_one();
    }

    /// This member can go on no longer; the pipeline learns why.
    pub(super) fn fail(&self, reason: String) {
        self.share.lock().fail(reason);
        self.news.notify_one();
    }
}
