//! SQLite passes the suite, and behaves as its module's documentation says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use floodgate_store::contract::Subject;
use floodgate_store::{BoxFuture, Config, Store, migrate, open};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use tempfile::TempDir;

struct Sqlite {
    folder: TempDir,
    config: Config,
    store: Arc<dyn Store>,
}

async fn empty() -> Sqlite {
    let folder = TempDir::new().unwrap();
    let config = Config {
        url: format!("sqlite://{}/floodgate.db", folder.path().display()),
        max_connections: 4,
        connect_timeout_ms: 5_000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5_000,
        apply_timeout_ms: 15_000,
    };
    let store = open(&config).unwrap();
    Sqlite { folder, config, store }
}

impl Sqlite {
    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("floodgate.db"));
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

impl Subject for Sqlite {
    fn config(&self) -> &Config {
        &self.config
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn sql<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Option<i64>> {
        Box::pin(async move {
            let mut connection = self.connect().await;
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            row.map(|row| row.get(0))
        })
    }
}

async fn migrated() -> Sqlite {
    let sqlite = empty().await;
    migrate(&sqlite.config).await.unwrap();
    sqlite
}

floodgate_store::store_contract! {
    migrated: migrated,
    empty: empty,
    cases: 200,
    forbid_bad_liker: "CREATE TRIGGER forbid BEFORE INSERT ON likes WHEN new.liker_account_id = 'bad'
        BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
}
