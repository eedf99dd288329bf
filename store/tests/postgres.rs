//! PostgreSQL passes the suite, and every way to fail that it knows is told apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, OnceLock};

use floodgate_store::contract::Subject;
use floodgate_store::{BoxFuture, Config, Store, migrate, open};
use floodgate_testkit::{Postgres, PostgresOptions};

/// The server that the tests of this file share; each has a database of its own.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

struct Database {
    config: Config,
    store: Arc<dyn Store>,
}

impl Subject for Database {
    fn config(&self) -> &Config {
        &self.config
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn sql<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Option<i64>> {
        let answer = server().psql(&self.config.url, sql).unwrap();
        Box::pin(async move { answer.lines().next().and_then(|line| line.parse().ok()) })
    }
}

async fn empty() -> Database {
    let config = Config {
        url: server().create_database().unwrap(),
        max_connections: 6,
        connect_timeout_ms: 5_000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5_000,
        apply_timeout_ms: 15_000,
    };
    let store = open(&config).unwrap();
    Database { config, store }
}

async fn migrated() -> Database {
    let database = empty().await;
    migrate(&database.config).await.unwrap();
    database
}

floodgate_store::store_contract! {
    migrated: migrated,
    empty: empty,
    cases: 64,
    forbid_bad_liker: "ALTER TABLE likes ADD CONSTRAINT forbid CHECK (liker_account_id <> 'bad')"
}
