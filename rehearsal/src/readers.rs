//! Connections that ask for something large, many times at once, and hardly read it: as clients do behind a bad network.
//!
//! What they ask for costs the server memory for as long as they take, and must not cost the others anything. They have small buffers of
//! their own, and ask for more than both systems' buffers hold: so the server itself is what cannot go on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::report::SlowReaders;

/// The largest that everybody may read, a tenth of a megabyte.
const PATH: &str = "/openapi.json";
/// So many requests are written at once: with what is answered no buffer of a connection's is large enough, by default.
const REQUESTS: usize = 200;
/// What this side's system may hold of what was not read.
const RECEIVE_BYTES: u32 = 4096;
/// So much is read at a time, and then a pause: a kilobyte a second.
const BYTES: usize = 256;
const PAUSE: Duration = Duration::from_millis(250);

/// So many of them, until what is returned is dropped.
pub(crate) fn start(clients: &Arc<[Client]>, number: u32, seen: &Arc<Mutex<SlowReaders>>) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for reader in 0..number as usize {
        let (clients, seen) = (Arc::clone(clients), Arc::clone(seen));
        readers.spawn(async move {
            loop {
                // however it ends, whoever is that slow comes again
                read(&clients[reader % clients.len()], &seen).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    readers
}

async fn read(client: &Client, seen: &Mutex<SlowReaders>) {
    let mut stream = match begin(client).await {
        Ok(stream) => stream,
        Err(error) => {
            let mut seen = seen.lock();
            seen.failed += 1;
            seen.trouble = Some(format!("{}: {error}", client.url()));
            return;
        }
    };
    seen.lock().answered += 1;
    let mut answer = [0; BYTES];
    // until the server has enough of it
    while matches!(stream.read(&mut answer).await, Ok(read) if read > 0) {
        tokio::time::sleep(PAUSE).await;
    }
    seen.lock().ended += 1;
}

/// A connection whose first answer has begun.
async fn begin(client: &Client) -> io::Result<Box<dyn crate::client::Stream>> {
    let mut stream = client.connect(Some(RECEIVE_BYTES)).await?;
    stream.write_all(&client.get(PATH).repeat(REQUESTS)).await?;
    let mut begins = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut begins).await?;
    if begins.ends_with(b" 200") {
        return Ok(stream);
    }
    Err(io::Error::other(format!("{PATH} answered {}", String::from_utf8_lossy(&begins).escape_debug())))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::client::Asking;

    async fn connected(token: Option<&str>) -> (TcpStream, Arc<Mutex<SlowReaders>>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let token = token.map(str::to_owned);
        let asking = Asking { connections: 1, timeout: Duration::from_secs(10), token };
        let clients: Arc<[Client]> = [Client::new(&url, &asking).unwrap()].into();
        let seen = Arc::default();
        let readers = start(&clients, 1, &seen);
        let (stream, _) = timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
        (stream, seen, readers)
    }

    /// Answers as long as the first of what was asked for are more than anybody takes.
    #[tokio::test]
    async fn a_server_is_blocked_by_one() {
        const LARGE: usize = 100_000;
        let (mut stream, seen, _readers) = connected(Some("secret")).await;
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
        assert!(asked.matches("GET /openapi.json HTTP/1.1").count() > 1, "{asked}");
        assert!(asked.contains("authorization: Bearer secret\r\n"), "{asked}");
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(LARGE, b'x');
        let answers = async {
            for _ in 0..REQUESTS {
                stream.write_all(&answer).await.unwrap();
            }
        };
        // by a kilobyte a second it takes hours
        assert!(timeout(Duration::from_secs(5), answers).await.is_err(), "all was taken");
        let seen = seen.lock().clone();
        assert_eq!((seen.answered, seen.ended, seen.failed), (1, 0, 0));
    }

    #[tokio::test]
    async fn another_answer_is_a_failure_and_is_told() {
        let (mut stream, seen, _readers) = connected(None).await;
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
        let failed = async {
            while seen.lock().failed == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), failed).await.unwrap();
        let seen = seen.lock().clone();
        assert!(seen.trouble.is_some_and(|trouble| trouble.contains("answered HTTP/1.1 403")));
    }
}
