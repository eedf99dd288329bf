//! One line for each request: what is kept of it while the load runs.

/// What became of a request, as far as its last try says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// 202: it will take effect.
    Accepted,
    /// 409 `sold-out`: nothing is left, and nothing is stored.
    SoldOut,
    /// 429 or 503, whichever try: certainly not stored.
    NotStored(u16),
    /// Another status below 500: the request is at fault.
    Rejected(u16),
    /// 504, another error of the server's, or no answer, of any try, and no later 202: it may take effect or not.
    Unknown(Unanswered),
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// This status said so.
    Status(u16),
    /// No answer came in time.
    Time,
    /// The connection broke, or there was none.
    Connection,
}

/// A request that was sent. Times are microseconds from the beginning of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its number in the plan.
    pub number: u32,
    /// When it was due.
    pub due_us: u64,
    /// When its first try was handed to a connection; when it was set going, if none was. Nobody can have known of it before.
    pub asked_us: u64,
    /// When its first 202 had come; without one the answer to its last try, or nothing more was waited for.
    pub answered_us: u64,
    /// How often it was sent.
    pub tries: u16,
    /// To which of the addresses, its last try.
    pub instance: u16,
    /// What became of it.
    pub fate: Fate,
}

impl Record {
    /// What its client waited, in microseconds.
    pub fn latency_us(&self) -> u64 {
        self.answered_us.saturating_sub(self.due_us)
    }
}
