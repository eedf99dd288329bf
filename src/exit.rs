//! How the program ends, and how it tells results.

use std::io::Write;

/// Why the program ends with another code than 0.
pub(crate) enum Exit {
    /// 1: it could not do its work.
    Failed(String),
    /// 2: it was called or configured wrongly.
    Usage(String),
    /// 3: it did its work, and the answer is that nobody can tell.
    CannotTell(String),
}

impl Exit {
    pub(crate) fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    pub(crate) fn usage(reason: impl std::fmt::Display) -> Self {
        Self::Usage(reason.to_string())
    }

    /// In words.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Failed(reason) | Self::Usage(reason) | Self::CannotTell(reason) => reason,
        }
    }
}

/// Prints a result. Whoever reads may have seen enough and be gone, which is no failure.
pub(crate) fn say(line: impl std::fmt::Display) -> Result<(), Exit> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Exit::failed(error)),
        _ => Ok(()),
    }
}
