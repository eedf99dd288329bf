//! Likes without a key and without a time of their own, switched on and off one after the other: only the order in which
//! they are accepted says which one stands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use floodgate_testkit::Postgres;
use tokio::task::JoinHandle;

use super::client::{Ask, Client, runtime};

/// What the targets of toggles begin with: they are in no plan.
pub const TOGGLED: &str = "toggled-";

/// Between two switches of one pair.
const PACE: Duration = Duration::from_millis(15);

/// Pairs that are switched until they are stopped.
pub struct Toggles {
    stop: Arc<AtomicBool>,
    pairs: Vec<JoinHandle<Option<bool>>>,
}

impl Toggles {
    /// Begins to switch so many pairs, each through one ingress after the other.
    pub fn start(ingresses: &[SocketAddr], pairs: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Arc<[Client]> = ingresses.iter().copied().map(Client::new).collect();
        let pairs =
            (0..pairs).map(|pair| runtime().spawn(switch(pair, Arc::clone(&clients), Arc::clone(&stop))));
        let pairs = pairs.collect();
        Self { stop, pairs }
    }

    /// Stops, and returns how each pair must stand: as the last switch that was accepted left it.
    pub fn finish(self) -> Result<Vec<bool>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut stand = Vec::new();
        for pair in self.pairs {
            let last = runtime().block_on(pair)?;
            ensure!(last.is_some(), "a pair was never switched");
            stand.extend(last);
        }
        Ok(stand)
    }

    /// Compares the database with what [`Toggles::finish`] returned.
    pub fn check(postgres: &Postgres, url: &str, stand: &[bool]) -> Result<()> {
        for (pair, wanted) in stand.iter().enumerate() {
            let sql = format!("SELECT liked FROM likes WHERE target_ocid = '{TOGGLED}{pair}'");
            let found = postgres.psql(url, &sql)?;
            ensure!(
                found.trim() == if *wanted { "t" } else { "f" },
                "pair {pair} should be {wanted}: {found}"
            );
        }
        Ok(())
    }
}

/// Returns the last state that was accepted. A switch that is not is tried again until it is: what comes later was
/// accepted later.
async fn switch(pair: usize, clients: Arc<[Client]>, stop: Arc<AtomicBool>) -> Option<bool> {
    let (mut liked, mut last, mut turn) = (true, None, pair);
    while !stop.load(Ordering::Relaxed) || last != Some(!liked) {
        let path = format!("/api/v6/characters/{TOGGLED}{pair}/likes/fan");
        let ask = Ask::new(if liked { "PUT" } else { "DELETE" }, path);
        let answer = clients[turn % clients.len()].send(&ask).await;
        turn += 1;
        if answer.is_ok_and(|answer| answer.status == 202) {
            (last, liked) = (Some(liked), !liked);
        }
        tokio::time::sleep(PACE).await;
    }
    last
}
