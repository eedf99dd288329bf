//! How much waits.

/// How much waits in a publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub events: usize,
    /// Their keys, values and headers, in bytes.
    pub bytes: usize,
}

impl Waiting {
    /// What is left of so much.
    pub(crate) const fn less(self, taken: Self) -> Self {
        Self {
            events: self.events.saturating_sub(taken.events),
            bytes: self.bytes.saturating_sub(taken.bytes),
        }
    }
}
