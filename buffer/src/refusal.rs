//! What a strategy does not do at all.

/// A strategy does not have this part: one sentence that says so, and what serves instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Absent(pub String);

/// A configuration under which the strategy cannot work: give up and tell the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);
