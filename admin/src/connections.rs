//! Connections of operators: so many at a time, and none for long that asks for nothing. They are files of a process that has more to
//! do, whoever opens them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use floodgate_listener::Crowd;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Open at once; more wait to be accepted.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// Of one address; more are closed at once, so that nobody keeps those out who ask whether the process lives.
const CONNECTIONS_OF_ONE_MAX: usize = 64;

/// How long a request's head may take, from the answer before it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// The largest head.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// Serves as many as there are places, until it is dropped, and all connections with it.
pub(crate) async fn serve(listener: TcpListener, router: Router, places: Arc<Semaphore>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_MAX_BYTES);
    let crowd = Crowd::new(CONNECTIONS_OF_ONE_MAX, Box::new(|_| false));
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        // those that have ended
        while connections.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let Some(of_one) = crowd.admit(address.ip()) else { continue };
        let (http, service) = (http.clone(), TowerToHyperService::new(router.clone()));
        connections.spawn(async move {
            let _places = (place, of_one);
            // how it ended is the client's affair
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A connection that was gone before it was accepted is nobody's; else no file or memory was left, which takes a while to change.
async fn accept_failed(error: &std::io::Error) {
    if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
        tracing::error!(%error, "no connection could be accepted on the operators' listener");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// The last one is served once those that say nothing have been closed, which is by the clock and so moved on.
    #[tokio::test]
    async fn those_that_ask_for_nothing_make_room() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(20));
        let router = Router::new().route("/", get(async || "here"));
        let serving = tokio::spawn(serve(listener, router, Arc::clone(&places)));
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET").await.unwrap();
            // it is served, and not only accepted by the system
            assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
            silent.push(stream);
        }
        assert_eq!(places.available_permits(), 0);
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        tokio::time::pause();
        let mut answer = String::new();
        let read = tokio::time::timeout(2 * HEAD_WITHIN, late.read_to_string(&mut answer)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "not served: {answer}");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        serving.abort();
    }
}
