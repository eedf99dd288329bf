//! PostgreSQL passes the suite, and every way to fail that it knows is told apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use floodgate_store::Pooler;
use floodgate_store::contract::Subject;
use support::{Database, FORBID_BAD_LIKER, config, server};

async fn empty() -> Database {
    Database::of(config(server().create_database().unwrap(), Pooler::None))
}

async fn migrated() -> Database {
    empty().await.migrated().await
}

floodgate_store::store_contract! {
    migrated: migrated,
    empty: empty,
    cases: 64,
    forbid_bad_liker: FORBID_BAD_LIKER
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
