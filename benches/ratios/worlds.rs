//! Where a round runs: a fresh world, or an empty database with our tables.

use anyhow::{Context, Result};
use floodgate_store::Config;

use crate::support::world::{Servers, World};
use crate::tools::database::config;

/// A fresh world with the settings that are measured.
pub fn world(servers: &Servers) -> Result<World> {
    let world = World::ready(&servers.kafka, &servers.postgres)?;
    for setting in std::env::var("FLOODGATE_BENCH_SET").unwrap_or_default().split_whitespace() {
        let (key, value) = setting.split_once('=').context("FLOODGATE_BENCH_SET is a list of key=value")?;
        world.set(key, value);
    }
    Ok(world)
}

/// An empty database with our tables.
pub fn fresh_tables(servers: &Servers, runtime: &tokio::runtime::Runtime) -> Result<(String, Config)> {
    let url = servers.postgres.create_database()?;
    let config = config(url.clone(), 16);
    runtime.block_on(floodgate_store::migrate(&config))?;
    servers.postgres.psql("postgres", "CHECKPOINT")?;
    Ok((url, config))
}

/// Leaves no rows for the next round to be slowed by.
pub fn drop_database(servers: &Servers, url: &str) -> Result<()> {
    let name = url.rsplit('/').next().unwrap_or_default();
    servers.postgres.psql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")).map(drop)
}
