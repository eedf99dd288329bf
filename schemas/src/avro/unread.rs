//! Why data are not read, though their schema can be.

use crate::InvalidDatum;

/// Why a writer's record is not read.
#[derive(Debug)]
pub enum Unread {
    /// Nobody will.
    Invalid(InvalidDatum),
    /// A build that knows more may.
    NotYet(&'static str),
}

impl From<InvalidDatum> for Unread {
    fn from(invalid: InvalidDatum) -> Self {
        Self::Invalid(invalid)
    }
}
