//! A server of this test program's own, and databases on it that the suite is run over.

use std::sync::{Arc, OnceLock};

use floodgate_store::contract::Subject;
use floodgate_store::{BoxFuture, Config, Pooler, Store, migrate, open};
use floodgate_testkit::{Postgres, PostgresOptions};
use secrecy::ExposeSecret;

/// The server that the tests of this file share; each has a database of its own.
pub fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

/// One of its databases.
pub struct Database {
    pub config: Config,
    pub store: Arc<dyn Store>,
}

impl Subject for Database {
    fn config(&self) -> &Config {
        &self.config
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn sql<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Option<i64>> {
        let answer = server().psql(self.config.url.expose_secret(), sql).unwrap();
        Box::pin(async move { answer.lines().next().and_then(|line| line.parse().ok()) })
    }
}

pub fn config(url: String, pooler: Pooler) -> Config {
    Config {
        url: url.into(),
        pooler,
        max_connections: 6,
        connect_timeout_ms: 5_000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5_000,
        apply_timeout_ms: 15_000,
    }
}

impl Database {
    pub fn of(config: Config) -> Self {
        let store = open(&config).unwrap();
        Self { config, store }
    }

    pub async fn migrated(self) -> Self {
        migrate(&self.config).await.unwrap();
        self
    }
}

/// Refuses the liker `bad` as a text with a NUL is.
pub const FORBID_BAD_LIKER: &str = "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''forbidden'' USING ERRCODE = ''22021''; END';
    CREATE TRIGGER forbid BEFORE INSERT ON likes FOR EACH ROW WHEN (new.liker_account_id = 'bad')
        EXECUTE FUNCTION forbid()";
