//! The `[store]` section, and what makes it unusable.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// The `[store]` section of the configuration. Every key is required: the defaults stand in the
/// configuration file that is compiled into the binary.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which database: `sqlite://path` or `postgres://user:password@host:port/database?sslmode=…`. Only who connects reads
    /// it; for people there is [`Config::masked_url`].
    pub url: SecretString,
    /// What is between this process and the server.
    pub pooler: Pooler,
    /// How many connections this process opens at most, at least 2. Batches and requests have their own, so
    /// that neither starves the other. PostgreSQL: a quarter (at least one) serves requests, the rest applies
    /// batches. SQLite: one writes, the rest reads.
    pub max_connections: u32,
    /// How long connecting may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long the server may work on one statement, in milliseconds.
    pub statement_timeout_ms: u64,
    /// How long a statement waits for another's lock, in milliseconds.
    pub lock_timeout_ms: u64,
    /// How long applying one batch may take altogether, in milliseconds. The process itself watches this
    /// one: it holds also when the database does not answer at all.
    pub apply_timeout_ms: u64,
}

/// What is between a process and its database's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooler {
    /// Nothing that shares sessions.
    None,
    /// One that lends a session for a transaction at a time.
    Transaction,
}

/// The `[store]` section cannot be used as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[store] {key} {reason}")]
pub struct OpenError {
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong with it, to be read behind its name. Never holds the URL, which holds the password.
    pub reason: String,
}

impl OpenError {
    pub(crate) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into() }
    }
}

impl Config {
    /// Checks what can be checked without the database, except the URL.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.max_connections < 2 {
            return Err(OpenError::new("max_connections", "must be at least 2: one reads, one writes"));
        }
        let ascending = [
            ("connect_timeout_ms", 0, self.connect_timeout_ms),
            ("lock_timeout_ms", 0, self.lock_timeout_ms),
            ("statement_timeout_ms", self.lock_timeout_ms, self.statement_timeout_ms),
            ("apply_timeout_ms", self.statement_timeout_ms, self.apply_timeout_ms),
        ];
        for (key, least, value) in ascending {
            // the server's settings are 32-bit
            if value == 0 || value > i32::MAX as u64 {
                return Err(OpenError::new(key, format!("must be between 1 and {}", i32::MAX)));
            }
            if value < least {
                let reason =
                    "is too short: lock_timeout_ms ≤ statement_timeout_ms ≤ apply_timeout_ms must hold";
                return Err(OpenError::new(key, reason));
            }
        }
        Ok(())
    }

    /// How many connections serve requests; the other `max_connections` minus these apply batches.
    pub(crate) fn request_connections(&self) -> u32 {
        (self.max_connections / 4).max(1)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn lock_timeout(&self) -> Duration {
        Duration::from_millis(self.lock_timeout_ms)
    }

    pub(crate) fn apply_timeout(&self) -> Duration {
        Duration::from_millis(self.apply_timeout_ms)
    }

    /// How long a request may take: to connect, and to run one statement.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.saturating_add(self.statement_timeout_ms))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("pooler", &self.pooler)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("statement_timeout_ms", &self.statement_timeout_ms)
            .field("lock_timeout_ms", &self.lock_timeout_ms)
            .field("apply_timeout_ms", &self.apply_timeout_ms)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            url: "postgres://ann:secret@db/floodgate".into(),
            pooler: Pooler::None,
            max_connections: 8,
            connect_timeout_ms: 2_000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 5_000,
            apply_timeout_ms: 15_000,
        }
    }

    #[test]
    fn the_url_is_never_printed() {
        assert!(!format!("{:?}", config()).contains("secret"));
    }

    #[test]
    fn unusable_settings_are_named() {
        assert_eq!(config().check(), Ok(()));
        let key = |change: fn(&mut Config)| {
            let mut changed = config();
            change(&mut changed);
            changed.check().map_err(|error| error.key)
        };
        assert_eq!(key(|c| c.max_connections = 1), Err("max_connections"));
        assert_eq!(key(|c| c.connect_timeout_ms = 0), Err("connect_timeout_ms"));
        assert_eq!(key(|c| c.lock_timeout_ms = u64::MAX), Err("lock_timeout_ms"));
        assert_eq!(key(|c| c.lock_timeout_ms = 10_001), Err("statement_timeout_ms"));
        assert_eq!(key(|c| c.apply_timeout_ms = 9_999), Err("apply_timeout_ms"));
    }

    #[test]
    fn every_key_is_required_and_known() {
        let text = "url = 'sqlite://x'\npooler = 'none'\nmax_connections = 4\nconnect_timeout_ms = 1\nstatement_timeout_ms = 1\n\
                    lock_timeout_ms = 1\napply_timeout_ms = 1\n";
        assert!(toml::from_str::<Config>(text).is_ok());
        assert!(toml::from_str::<Config>(&text.replace("max_connections = 4\n", "")).is_err());
        assert!(toml::from_str::<Config>(&format!("{text}pool = 1\n")).is_err());
    }
}
