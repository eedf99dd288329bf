//! How benches open a database.

use floodgate_store::{Config, Pooler};

/// The default waits, and so many connections.
pub fn config(url: String, max_connections: u32) -> Config {
    Config {
        url: url.into(),
        pooler: Pooler::None,
        max_connections,
        connect_timeout_ms: 5000,
        statement_timeout_ms: 15_000,
        lock_timeout_ms: 5000,
        apply_timeout_ms: 30_000,
    }
}
