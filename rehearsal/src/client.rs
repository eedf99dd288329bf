//! Asks over HTTP/1.1, with connections that are kept.
//!
//! Users of a rehearsal share connections, as they do behind a proxy: whoever asks takes one that is free, or opens another while there
//! are fewer than allowed, or waits for one. What is waited so is part of what the answer took.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

/// Connections to one address.
#[derive(Debug)]
pub struct Client {
    url: Url,
    timeout: Duration,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, if it says one.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAnswer {
    /// None came in time: what was asked may have been done.
    #[error("no answer within {0:?}")]
    Time(Duration),
    /// Nothing was sent: there is no connection.
    #[error("{0}")]
    NotSent(String),
    /// The connection broke: what was asked may have been done.
    #[error("{0}")]
    Broken(String),
}

impl Client {
    /// Asks, and waits for the whole answer. `path` is what follows the address.
    ///
    /// # Errors
    /// [`NoAnswer`]; a status is none.
    pub async fn ask(
        &self,
        method: &'static str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> Result<Answer, NoAnswer> {
        let _ = (method, path, key, body, &self.url);
        Err(NoAnswer::Time(self.timeout))
    }
}
