//! How the program ends, and how it tells results.

use std::io::Write;

use floodgate_observe::{printable, printable_in_colour};

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

/// Prints a result, JSON or text, which may hold what anybody wrote. Whoever reads may have seen enough and be gone, which is no
/// failure.
pub(crate) fn say(line: impl std::fmt::Display) -> Result<(), Exit> {
    print(&printable(&format!("{line}\n"))).map(drop)
}

/// The same of a text in which whoever made it left nothing that a terminal obeys but what it should, as colours. Returns whether
/// somebody still reads.
pub(crate) fn say_as_it_is(text: &str) -> Result<bool, Exit> {
    print(&printable_in_colour(text))
}

fn print(text: &str) -> Result<bool, Exit> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(Exit::failed),
    }
}
