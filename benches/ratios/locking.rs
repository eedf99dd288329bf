//! Coupons as they are often written: one transaction for each request, which locks the coupon's row.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use crate::backlog::{CONNECTIONS, COUPON, STOCK};
use crate::support::world::Servers;
use crate::table::{Cpu, Run};
use crate::worlds::{drop_database, fresh_tables};

const LASTS: Duration = Duration::from_secs(5);

/// Decisions a second on one coupon.
pub fn coupons(servers: &Servers) -> Result<Run> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (url, _) = fresh_tables(servers, &runtime)?;
    let coupon = format!("INSERT INTO coupons (coupon_id, stock, issued) VALUES ('{COUPON}', {STOCK}, 0)");
    servers.postgres.psql(&url, &coupon)?;
    let cpu = Cpu::watch(&[("client", std::process::id()), ("Postgres", servers.postgres.pid()?)]);
    let decided = runtime.block_on(async {
        let clients = (0..CONNECTIONS).map(|client| tokio::spawn(decide(url.clone(), client)));
        let mut decided = 0;
        for done in clients.collect::<Vec<_>>() {
            decided += done.await??;
        }
        anyhow::Ok(decided)
    })?;
    let cpu = cpu.per_event(decided as f64);
    drop_database(servers, &url)?;
    Ok(Run { value: decided as f64 / LASTS.as_secs_f64(), cpu, note: String::new() })
}

async fn decide(url: String, client: usize) -> Result<u64> {
    let mut connection = PgConnection::connect(&url).await?;
    let (mut decided, began) = (0, Instant::now());
    while began.elapsed() < LASTS {
        let user = format!("user-{client}-{decided}");
        let request = Uuid::now_v7();
        let mut transaction = connection.begin().await?;
        let coupon = sqlx::query("SELECT stock, issued FROM coupons WHERE coupon_id = $1 FOR UPDATE");
        let coupon = coupon.bind(COUPON).fetch_one(&mut *transaction).await?;
        let (stock, issued): (i32, i32) = (coupon.get(0), coupon.get(1));
        let held = sqlx::query("SELECT 1 FROM coupon_issues WHERE coupon_id = $1 AND user_id = $2");
        let held = held.bind(COUPON).bind(&user).fetch_optional(&mut *transaction).await?.is_some();
        let rank = (issued < stock && !held).then_some(issued + 1);
        if rank.is_some() {
            let issue = "INSERT INTO coupon_issues (coupon_id, user_id, request_id, rank, issued_at) \
                         VALUES ($1, $2, $3, $4, now())";
            let issue = sqlx::query(issue).bind(COUPON).bind(&user).bind(request).bind(rank);
            issue.execute(&mut *transaction).await?;
            let count = sqlx::query("UPDATE coupons SET issued = issued + 1 WHERE coupon_id = $1");
            count.bind(COUPON).execute(&mut *transaction).await?;
        }
        let outcome = if rank.is_some() { "ISSUED" } else { "SOLD_OUT" };
        let decision = "INSERT INTO coupon_requests (request_id, coupon_id, user_id, outcome, rank, decided_at) \
                        VALUES ($1, $2, $3, $4, $5, now())";
        let decision = sqlx::query(decision).bind(request).bind(COUPON).bind(&user).bind(outcome).bind(rank);
        decision.execute(&mut *transaction).await?;
        transaction.commit().await?;
        decided += 1;
    }
    connection.close().await?;
    Ok(decided)
}
