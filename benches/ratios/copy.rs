//! The same rows by COPY, which checks nothing: the fastest way into the tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use floodgate_schemas::{Event, Like};
use sqlx::{Connection, PgConnection};

use crate::backlog::CONNECTIONS;
use crate::support::world::Servers;
use crate::table::{Cpu, Run};
use crate::worlds::{drop_database, fresh_tables};

const LIKES: &str = "COPY likes (target_ocid, liker_account_id, liked, occurred_at, event_id) FROM STDIN";
const COUNTS: &str = "COPY like_counts (target_ocid, count) FROM STDIN";

/// Likes over as many connections as consumers have, then their counters.
pub fn likes(servers: &Servers, likes: &[Like]) -> Result<Run> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (url, _) = fresh_tables(servers, &runtime)?;
    let mut shares = vec![String::new(); CONNECTIONS];
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (number, like) in likes.iter().enumerate() {
        let share = &mut shares[number * CONNECTIONS / likes.len()];
        let (target, liker) = (like.target_ocid.as_str(), like.liker_account_id.as_str());
        writeln!(share, "{target}\t{liker}\tt\t{}\t{}", like.occurred_at, like.event_id())?;
        *counts.entry(target).or_default() += 1;
    }
    let counts: String = counts.iter().map(|(target, count)| format!("{target}\t{count}\n")).collect();
    let cpu = Cpu::watch(&[("client", std::process::id()), ("Postgres", servers.postgres.pid()?)]);
    let began = Instant::now();
    runtime.block_on(async {
        let loads = shares.into_iter().map(|share| tokio::spawn(copy(url.clone(), LIKES, share)));
        let mut rows = 0;
        for done in loads.collect::<Vec<_>>() {
            rows += done.await??;
        }
        ensure!(rows == likes.len() as u64, "{rows} rows were copied");
        copy(url.clone(), COUNTS, counts).await
    })?;
    let value = likes.len() as f64 / began.elapsed().as_secs_f64();
    let run = Run { value, cpu: cpu.per_event(likes.len() as f64), note: String::new() };
    drop_database(servers, &url)?;
    Ok(run)
}

async fn copy(url: String, statement: &'static str, rows: String) -> Result<u64> {
    let mut connection = PgConnection::connect(&url).await?;
    let mut copy = connection.copy_in_raw(statement).await?;
    copy.send(rows.into_bytes()).await?;
    let rows = copy.finish().await?;
    connection.close().await?;
    Ok(rows)
}
