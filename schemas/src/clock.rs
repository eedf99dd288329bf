//! What time it is, handed in.
//!
//! Logic that depends on the time of day asks a [`Clock`] that it was given, so that a test says what time it is, stops it
//! or sets it back, and waits for nothing. The binary makes one [`SystemClock`] and hands it down.
//!
//! A clock is for times that are written down or compared with a client's. It can be set back, so nothing is timed by it:
//! waits, deadlines and expiry go by tokio's `Instant`, which tests pause and advance. What is measured for a metric alone
//! may use the standard library's.

use std::fmt;

use crate::time::Timestamp;

/// Tells the time of day.
///
/// Asked for every event that is accepted: an implementation takes no lock and allocates nothing.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now. May be equal to, or earlier than, what was told before: clocks stand still and are set back.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
