//! Why a check has no result, and work on threads of its own.

use floodgate_buffer::{Absent, LagError, LogError, OpenError};
use floodgate_store::{ApplyError, ReadError};

/// A check has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Log, database or disk do not answer: try again, with the same state it goes on where it was.
    #[error("{0}")]
    Unavailable(String),
    /// The configuration is at fault.
    #[error("{0}")]
    Config(String),
    /// The state is in use, or of another check: give another folder.
    #[error("{0}")]
    State(String),
}

impl From<LagError> for VerifyError {
    fn from(error: LagError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<LogError> for VerifyError {
    fn from(error: LogError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Absent> for VerifyError {
    fn from(absent: Absent) -> Self {
        Self::Config(absent.to_string())
    }
}

impl From<OpenError> for VerifyError {
    fn from(error: OpenError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<ApplyError> for VerifyError {
    fn from(error: ApplyError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What work on the check's own threads came to.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VerifyError> + Send + 'static,
) -> Result<T, VerifyError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(VerifyError::Unavailable(error.to_string())))
}
