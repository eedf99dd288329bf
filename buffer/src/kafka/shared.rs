//! What a member's pipeline and the thread that owns its consumer share.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::position::{Position, Unplaced};
use crate::{Batch, BatchLimits, Incident, LogId, Partition, Standing, Topic};

/// The longest the thread sits in one poll or wait: how fast it notices that it should end.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What pipeline and thread share.
pub(super) struct Shared {
    pub(super) topic: Topic,
    pub(super) limits: BatchLimits,
    pub(super) state: Mutex<State>,
    /// Tells the pipeline that a batch began, is full, or will never come.
    pub(super) news: Notify,
    /// Tells the thread that a batch was taken or given back, or that it should end.
    pub(super) changed: Condvar,
}

pub(super) struct State {
    /// Which log all records are of, as long as this member lives.
    pub(super) log: Option<LogId>,
    pub(super) filling: Batch,
    /// The memory of the batch that was given back last.
    pub(super) spare: Option<Batch>,
    /// When the batch being filled is handed out though not full.
    pub(super) hand_out_at: Option<Instant>,
    /// Partitions of the batch in work.
    pub(super) in_work: HashSet<Partition>,
    /// Partitions this member owns.
    pub(super) owned: HashMap<Partition, Position>,
    /// What is to be known of those whose place is not.
    pub(super) unplaced: HashMap<Partition, Unplaced>,
    /// Those that do not go on, and why.
    pub(super) standing: HashMap<Partition, Standing>,
    /// What operators must know of and were not told yet.
    pub(super) incidents: Vec<Incident>,
    pub(super) phase: Phase,
    /// Whether the group has given this member its share, which may be nothing.
    pub(super) joined: bool,
    /// Why this member is of no more use.
    pub(super) failed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// No new records; the batch in work may still be given back.
    Stopping,
    /// Commit, leave and end.
    Closing,
}

impl State {
    /// Forgets what is in batches of one partition: it will be read again.
    pub(super) fn forget_work(&mut self, partition: Partition) {
        self.in_work.remove(&partition);
        self.filling.retain_partitions(|other| other != partition);
    }
}

impl Shared {
    pub(super) fn is_full(&self, batch: &Batch) -> bool {
        batch.len() >= self.limits.events || batch.bytes() >= self.limits.bytes
    }

    /// The group has given this member its share.
    pub(super) fn joined(&self) {
        self.state.lock().joined = true;
        self.news.notify_one();
    }

    /// This member can go on no longer; the pipeline learns why.
    pub(super) fn fail(&self, reason: String) {
        self.state.lock().failed.get_or_insert(reason);
        self.news.notify_one();
    }
}
