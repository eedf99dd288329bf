//! PostgreSQL passes the suite, and every way to fail that it knows is told apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, OnceLock};

use floodgate_store::contract::Subject;
use floodgate_store::{BoxFuture, Config, Pooler, Store, migrate, open};
use floodgate_testkit::{Postgres, PostgresOptions};
use secrecy::ExposeSecret;

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
        let answer = server().psql(self.config.url.expose_secret(), sql).unwrap();
        Box::pin(async move { answer.lines().next().and_then(|line| line.parse().ok()) })
    }
}

async fn empty() -> Database {
    let config = Config {
        url: server().create_database().unwrap().into(),
        pooler: Pooler::None,
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
    // what a text with a NUL is told
    forbid_bad_liker: "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''forbidden'' USING ERRCODE = ''22021''; END';
        CREATE TRIGGER forbid BEFORE INSERT ON likes FOR EACH ROW WHEN (new.liker_account_id = 'bad')
            EXECUTE FUNCTION forbid()"
}

/// Names and types that other programs' queries rely on; ids compare bytewise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_what_was_promised() {
    let database = migrated().await;
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND ";
    for (table, names, data_type) in [
        ("expectations", "character_id,version", "bigint"),
        ("expectations", "preset_no", "smallint"),
        (
            "expectations",
            "total_expected_cost,black_cube_cost,red_cube_cost,additional_cube_cost,starforce_cost",
            "numeric",
        ),
        ("expectations", "calculated_at,updated_at", "timestamp with time zone"),
        ("expectations", "event_id", "uuid"),
        ("coupons", "coupon_id", "text"),
        ("coupons", "stock,issued", "integer"),
        ("coupons", "opens_at,closes_at", "timestamp with time zone"),
        ("coupon_issues", "coupon_id,user_id", "text"),
        ("coupon_issues", "request_id", "uuid"),
        ("coupon_issues", "rank", "integer"),
        ("coupon_issues", "issued_at", "timestamp with time zone"),
        ("coupon_requests", "request_id", "uuid"),
        ("coupon_requests", "coupon_id,user_id,outcome", "text"),
        ("coupon_requests", "rank", "integer"),
        ("coupon_requests", "decided_at", "timestamp with time zone"),
        ("likes", "target_ocid,liker_account_id", "text"),
        ("likes", "liked", "boolean"),
        ("likes", "occurred_at", "timestamp with time zone"),
        ("likes", "event_id", "uuid"),
        ("like_counts", "target_ocid", "text"),
        ("like_counts", "count", "bigint"),
    ] {
        let listed = names.replace(',', "','");
        let of = format!("{columns} table_name = '{table}' AND column_name IN ('{listed}')");
        let count = names.split(',').count() as i64;
        let typed = database.sql(&format!("{of} AND data_type = '{data_type}'")).await;
        assert_eq!(typed, Some(count), "{table}: {names} are not all {data_type}");
        if names.contains("_id") && data_type == "text" {
            let ids = format!("{of} AND column_name <> 'outcome' AND collation_name = 'C'");
            let ids = database.sql(&ids).await;
            let count = names.split(',').filter(|name| *name != "outcome").count() as i64;
            assert_eq!(ids, Some(count), "{table}: {names} do not compare bytewise");
        }
    }
    let scale = format!("{columns} data_type = 'numeric' AND (numeric_precision, numeric_scale) = (20, 2)");
    assert_eq!(database.sql(&scale).await, Some(5));
}
