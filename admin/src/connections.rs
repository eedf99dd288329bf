//! Connections of operators: so many at a time, and none for long that asks for nothing, or does not take what it asked for. They are
//! files of a process that has more to do, whoever opens them. Those who ask whether it lives get in, whoever holds the others.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use floodgate_listener::{
    Begun, Bounds, Connection, Counted, Crowd, Exchange, Fault, FirstBytes, Limits, Linger, Owner,
    Places as PlacesOf, Protocol, Refusal, Silence, Unread, Working,
};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::problem::Problem;

/// Open at once; more wait to be accepted.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// Of one address; more are closed at once.
const CONNECTIONS_OF_ONE_MAX: usize = 64;

/// Of all, those that an address gets only while it has none: a few that hold as many as they may keep nobody else out.
const FOR_NEWCOMERS: usize = 32;

/// How long a client may take: for a request's head, from the answer before it; for a body; and to take something of an answer.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);

/// The largest head.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// What connections are counted by.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    taken: IntGauge,
}

/// One of them, until it is dropped.
struct Taken {
    _place: OwnedSemaphorePermit,
    _of_one: Counted,
    taken: IntGauge,
}

impl Places {
    /// So many; those that are taken are told.
    pub(crate) fn new(places: usize, taken: IntGauge) -> Self {
        Self { free: Arc::new(Semaphore::new(places)), taken }
    }

    fn take(&self, place: OwnedSemaphorePermit, of_one: Counted) -> Taken {
        self.taken.inc();
        Taken { _place: place, _of_one: of_one, taken: self.taken.clone() }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.taken.dec();
    }
}

/// An operator's connection: there are so few that each may have a head as large as any.
struct Operator;

impl Owner for Operator {
    fn refuse(&mut self, fault: Fault) -> Refusal {
        Problem::from(fault).refusal()
    }
}

/// Serves as many as there are places, until it is dropped, and all connections with it. Requests that are answered before they
/// were read are read on within `linger`.
pub(crate) async fn serve(listener: TcpListener, router: Router, linger: Linger, places: Places) {
    let mut http = http1::Builder::new();
    // silence is the connection's affair
    http.header_read_timeout(None).max_buf_size(HEAD_MAX_BYTES);
    let of = PlacesOf { of_one: CONNECTIONS_OF_ONE_MAX, before_newcomers: CONNECTIONS_MAX - FOR_NEWCOMERS };
    let crowd = Crowd::new(of);
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places.free).acquire_owned().await {
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
        let taken = places.take(place, of_one);
        let (http, router) = (http.clone(), router.clone());
        connections.spawn(async move {
            let _taken = taken;
            speak(&http, stream, &router, linger).await;
        });
    }
}

/// Serves one connection until its end.
async fn speak(http: &http1::Builder, stream: TcpStream, router: &Router, linger: Linger) {
    let exchange = Exchange::new();
    let limits = Limits { silence: Silence { send: WITHIN, idle: WITHIN }, linger };
    let spoken = (FirstBytes::default(), Protocol::Http1);
    let stream = Connection::new(stream, spoken, limits, Operator, Arc::clone(&exchange));
    let bounds = Bounds { head_max_bytes: HEAD_MAX_BYTES, target_max_bytes: HEAD_MAX_BYTES, linger };
    let service = service_fn(|request: Request<Incoming>| {
        let body = request.body().size_hint().exact();
        answer(router.clone(), request, exchange.begin(body), bounds)
    });
    // how it ended is the client's affair
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// Answers one request. Who is told something for long is not idle meanwhile.
async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    working: Working,
    bounds: Bounds,
) -> Result<Response<Unread<Body>>, Infallible> {
    let exchange = Arc::clone(working.exchange());
    let (begun, request, checked) = Begun::new(request, working, &bounds);
    let mut response = match checked {
        Ok(_) => router.call(request).await?,
        Err(fault) => {
            drop(request);
            Problem::from(fault).into_response()
        }
    };
    begun.answered(&mut response);
    Ok(response.map(|body| Unread::over(body, &exchange)))
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
    use axum::body::Bytes;
    use axum::routing::get;
    use futures_util::stream::repeat;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const PLACES: usize = 20;

    /// The last one is served once those that hold all places have been closed, which is by the clock and so moved on.
    async fn makes_room(said: &[u8], router: Router) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = IntGauge::new("taken", "Taken").unwrap();
        let places = Places::new(PLACES, taken.clone());
        let free = Arc::clone(&places.free);
        let router = router.route("/", get(async || "here"));
        let linger = Linger { max_bytes: 1 << 20, within: WITHIN };
        let serving = tokio::spawn(serve(listener, router, linger, places));
        let mut held = Vec::new();
        for _ in 0..PLACES {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said).await.unwrap();
            // it is served, and not only accepted by the system
            assert!(stream.read(&mut [0; 16]).await.unwrap() > 0);
            held.push(stream);
        }
        assert_eq!((free.available_permits(), taken.get()), (0, PLACES as i64));
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        tokio::time::pause();
        let mut answer = String::new();
        let read = tokio::time::timeout(2 * WITHIN, late.read_to_string(&mut answer)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "not served: {answer}");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        serving.abort();
        tokio::time::resume();
    }

    #[tokio::test]
    async fn those_that_ask_for_nothing_make_room() {
        makes_room(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET", Router::new()).await;
    }

    #[tokio::test]
    async fn those_that_take_no_answer_make_room() {
        // more than sockets hold
        let bytes = Bytes::from(vec![7; 32 << 20]);
        let large = Router::new().route("/large", get(async move || bytes));
        makes_room(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n", large).await;
        let endless = async || Body::from_stream(repeat(Ok::<_, Infallible>(Bytes::from_static(&[7; 1024]))));
        let endless = Router::new().route("/live", get(endless));
        makes_room(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n", endless).await;
    }
}
