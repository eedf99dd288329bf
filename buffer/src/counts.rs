//! How much a publisher has under way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::Waiting;

/// How often it is looked whether nothing is under way any more; there is no call that waits for it without blocking.
const LOOK: Duration = Duration::from_millis(5);

/// What is unacknowledged.
#[derive(Default)]
pub(crate) struct Counts {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counts {
    /// Counts a record in; returns what was under way before.
    pub(crate) fn add(&self, bytes: usize) -> Waiting {
        Waiting {
            events: self.events.fetch_add(1, Ordering::AcqRel),
            bytes: self.bytes.fetch_add(bytes, Ordering::AcqRel),
        }
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.release_all(1, bytes);
    }

    pub(crate) fn release_all(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { events: self.events.load(Ordering::Acquire), bytes: self.bytes.load(Ordering::Acquire) }
    }

    /// Waits until nothing is under way, at most so long. Returns how many records still are.
    pub(crate) async fn emptied(&self, deadline: Duration) -> usize {
        let until = Instant::now() + deadline;
        while self.waiting().events > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        self.waiting().events
    }
}
