//! Forgetting decisions that nobody asks for any more.
//!
//! In a sale a coupon of a thousand pieces is asked for by a million, and a row says of each what came of it. Those who were
//! given nothing hardly ask again after weeks. Their rows may go: whoever asks anew is decided anew, by the rows that stay, so
//! nobody gets a second piece and no piece is given twice.
//!
//! Decisions that gave out a piece stay for ever. There are no more of them than pieces, a winner's retry is known by them,
//! and the recount compares them with the pieces.
//!
//! Rows are walked over in the order of their primary key, some at a time: an index by age would have to be kept for every
//! decision that is ever made, and nobody needs the oldest one first.

use floodgate_schemas::{EventId, Timestamp};

use crate::{BoxFuture, ReadError};

/// How far the walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// How many decisions were deleted.
    pub deleted: u64,
    /// Where the next step goes on; `None` at the end.
    pub last: Option<EventId>,
}

/// Forgets decisions. Every call ends within twice `connect_timeout_ms + statement_timeout_ms`.
pub trait Forget: Send + Sync {
    /// Looks at so many decisions behind a request's, at the first ones without it, and deletes those of them that gave
    /// nothing and were made before a time.
    fn forget_decisions(
        &self,
        behind: Option<EventId>,
        at_most: u32,
        before: Timestamp,
    ) -> BoxFuture<'_, Result<Forgotten, ReadError>>;
}

impl Forgotten {
    /// A step that looked at these, of at most so many.
    pub(crate) fn step(looked_at: &[(EventId, bool)], at_most: u32, deleted: u64) -> Self {
        let is_end = looked_at.len() < at_most as usize;
        Self { deleted, last: looked_at.last().map(|(id, _)| *id).filter(|_| !is_end) }
    }
}
