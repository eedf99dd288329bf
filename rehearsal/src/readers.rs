//! Connections that ask for something large, over and over, and hardly read it: as clients do behind a bad network.
//!
//! What they ask for costs the server memory for as long as they take, and must not cost the others anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::client::Client;

/// The largest that everybody may read.
const PATH: &str = "/openapi.json";
/// So much at a time, and then a pause: a kilobyte a second.
const BYTES: usize = 256;
const PAUSE: Duration = Duration::from_millis(250);

/// So many of them, until what is returned is dropped.
pub(crate) fn start(clients: &Arc<[Client]>, number: u32) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for reader in 0..number as usize {
        let clients = Arc::clone(clients);
        readers.spawn(async move {
            loop {
                // however it ends, whoever is that slow comes again
                let _ = read(&clients[reader % clients.len()]).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    readers
}

async fn read(client: &Client) -> std::io::Result<()> {
    let mut stream = client.connect().await?;
    let (request, mut answer) = (client.get(PATH), [0; BYTES]);
    loop {
        stream.write_all(&request).await?;
        for _ in 0..1000 {
            if stream.read(&mut answer).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
