//! How much is unacknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is unacknowledged.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) events: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

impl Counts {
    pub(super) fn release(&self, bytes: usize) {
        self.release_all(1, bytes);
    }

    pub(super) fn release_all(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}
