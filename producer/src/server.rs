//! The clients' listener.
//!
//! hyper is driven directly, not through `axum::serve`, which offers neither time limits, nor limits of connections, nor a bound
//! on how long a graceful stop waits. A connection has a place among all and among its client's ([`crate::seats`]), then TLS and what
//! it speaks are settled in the time that a client may take to send something (`floodgate_listener`), and then it is served.

#[cfg(feature = "fuzzing")]
mod fuzzing;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::ORIGIN;
use axum::response::Response;
use floodgate_listener::{Begun, Bounds, Connection, FirstBytes, Limits, Protocol, Silence, Working};
use floodgate_observe::HttpMetrics;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Peer;
use crate::bodies::Held;
use crate::client::Client;
use crate::config::HttpConfig;
use crate::ingress::Ingress;
use crate::meter::Meter;
use crate::paths::PROBES;
use crate::problem::Problem;
use crate::room::Room;
use crate::seats::{STANDS_FOR, Seat, Seats};
use crate::stream::Stream;
use crate::tls::{self, Tls};
use crate::yielding::Guest;
use crate::{http2, routes, service};

/// After an error of accept that will not pass at once (such as too many open files).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Connections the kernel may hold ready for us, so that a burst of clients is not refused.
const BACKLOG: u32 = 4096;

/// The listener cannot be opened.
#[derive(Debug)]
pub struct ServerError {
    /// Where it should have listened.
    pub listen: SocketAddr,
    /// Why it cannot.
    pub source: std::io::Error,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { listen, source } = self;
        write!(f, "http.listen: cannot listen on {listen}: {source}")
    }
}

impl std::error::Error for ServerError {}

/// A listener that is open; [`Server::run`] serves it.
pub struct Server {
    listener: TcpListener,
    served: Served,
}

/// What every connection is served by.
struct Served {
    routes: Arc<Routes>,
    http1: http1::Builder,
    http2: hyper::server::conn::http2::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    limits: Limits,
}

/// What every request is answered by.
struct Routes {
    ingress: Arc<Ingress>,
    router: Router,
    meter: Meter,
    seats: Arc<Seats>,
    bounds: Bounds,
    metrics: HttpMetrics,
}

/// Whom a connection leads to, and its place: counted while it is open.
pub(crate) struct Open {
    peer: Peer,
    seat: Seat,
    guest: Guest,
    connections: IntGauge,
}

impl Open {
    fn new(peer: Peer, seat: Seat, guest: Guest, connections: IntGauge) -> Arc<Self> {
        connections.inc();
        Arc::new(Self { peer, seat, guest, connections })
    }

    /// Whether it makes room for others and nobody waits for anything of it.
    fn goes_at_once(&self) -> bool {
        let exchange = &self.guest.exchange;
        exchange.makes_room() && (self.seat.stands() || !exchange.is_busy())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// What a request takes beside others on its connection, apart from its head and its body.
const BESIDE_OTHERS_BYTES: usize = 8 << 10;

impl Routes {
    /// Answers one request.
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        open: Arc<Open>,
        working: Working,
    ) -> Result<Response, Infallible> {
        let metered = self.meter.begin(request.method(), request.uri().path());
        let (mut begun, request, checked) = Begun::new(request, working, &self.bounds);
        let (is_http_1, stands) = (begun.is_http_1(), open.seat.stands());
        if stands {
            begun.closes();
        }
        let admitted = match checked {
            // one of HTTP/1.1 has what its connection has
            Ok(_) if is_http_1 && !stands => Ok(None),
            Ok(head_bytes) => {
                let bytes = if is_http_1 { 0 } else { BESIDE_OTHERS_BYTES + 2 * head_bytes };
                Box::pin(self.admit(&open, request.uri().path(), bytes)).await
            }
            Err(fault) => Err(fault.into()),
        };
        let mut response = match &admitted {
            Ok(_) => service::answered(&self.ingress, &self.router, &open.peer, request).await?,
            Err(problem) => {
                let origin = request.headers().get(ORIGIN).cloned();
                drop(request);
                Box::pin(service::refused(&self.ingress, origin, problem.clone())).await?
            }
        };
        begun.answered(&mut response);
        metered.ended(response.status());
        Ok(response)
    }

    /// What a request needs to be answered at all. Whoever asks how the process is needs nothing.
    async fn admit(&self, open: &Open, path: &str, bytes: usize) -> Result<Option<Granted>, Problem> {
        if PROBES.contains(&path) {
            return Ok(None);
        }
        let held = self.ingress.bodies.hold(&open.peer.holder, bytes)?;
        let place = self.seats.admit(&open.seat).await?;
        Ok(Some(Granted { _held: held, _place: place }))
    }
}

/// What a request has until it is answered.
struct Granted {
    _held: Held,
    _place: Option<OwnedSemaphorePermit>,
}

impl Served {
    /// What a client speaks, once it has said so. `None` where it does not come about.
    async fn open(&self, stream: TcpStream) -> Option<(Stream, FirstBytes, Protocol)> {
        let Some(tls) = &self.tls else {
            let mut stream = Stream::Plain(stream);
            let (first, protocol) = FirstBytes::read(&mut stream).await?;
            return Some((stream, first, protocol));
        };
        let stream = tls.acceptor().accept(stream).await.ok()?;
        let is_http_2 = tls::is_http_2(stream.get_ref().1.alpn_protocol());
        let protocol = if is_http_2 { Protocol::Http2 } else { Protocol::Http1 };
        Some((Stream::Tls(Box::new(stream)), FirstBytes::default(), protocol))
    }

    /// How patient one is with a client: not very with who has no place.
    fn limits(&self, open: &Open) -> Limits {
        let Limits { mut silence, linger } = self.limits;
        if open.seat.stands() {
            silence = Silence { send: silence.send.min(STANDS_FOR), idle: silence.idle.min(STANDS_FOR) };
        }
        Limits { silence, linger }
    }

    /// Serves a connection until its end. Once it is to leave that is when the request in work is answered.
    async fn serve(&self, stream: TcpStream, open: Arc<Open>) {
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.limits(&open).silence.send, self.open(stream)) => opened,
            () = open.guest.leave.cancelled() => return,
        };
        let Ok(Some((stream, first, protocol))) = opened else {
            if self.tls.is_some() {
                self.routes.metrics.connections_refused.with_label_values(&["tls"]).inc();
            }
            return;
        };
        self.speak((stream, first, protocol), open).await;
    }

    /// Serves a connection whose client has said what it speaks.
    async fn speak(&self, (stream, first, protocol): (Stream, FirstBytes, Protocol), open: Arc<Open>) {
        let Guest { exchange, leave } = &open.guest;
        let room = Room::new(&self.routes.ingress.bodies, &open.peer.holder);
        let client = Client { room, ingress: Arc::clone(&self.routes.ingress) };
        let (spoken, limits) = ((first, protocol), self.limits(&open));
        let stream = Connection::new(stream, spoken, limits, client, Arc::clone(exchange));
        let answered = |request: Request<Incoming>| {
            let body = request.body().size_hint().exact();
            Arc::clone(&self.routes).serve(request, Arc::clone(&open), exchange.begin(body))
        };
        if protocol == Protocol::Http2 {
            return http2::serve(&self.http2, stream, exchange, leave, answered).await;
        }
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(stream), service_fn(answered)));
        tokio::select! {
            biased;
            // a client that goes away is its own affair
            _ = connection.as_mut() => return,
            () = leave.cancelled() => {}
        }
        if open.goes_at_once() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

impl Server {
    /// Opens the listener, so that a taken port is known before anything else starts.
    ///
    /// # Errors
    /// [`ServerError`] with the address and the system's reason.
    pub fn bind(config: &HttpConfig, ingress: &Arc<Ingress>) -> Result<Self, ServerError> {
        let listener =
            listen(config.listen).map_err(|source| ServerError { listen: config.listen, source })?;
        let mut http1 = http1::Builder::new();
        // silence is the connection's affair
        http1.header_read_timeout(None).max_buf_size(config.head_max_bytes);
        let of_all = (config.connections_max, config.connections_per_client_max);
        let routes = Arc::new(Routes {
            ingress: Arc::clone(ingress),
            router: routes::router(Arc::clone(ingress)),
            meter: Meter::new(&routes::OPERATIONS, &ingress.requests),
            seats: Seats::new(of_all, config.silence().send, ingress.http.clone()),
            bounds: Bounds {
                head_max_bytes: config.head_max_bytes,
                target_max_bytes: config.target_max_bytes,
                linger: config.linger(),
            },
            metrics: ingress.http.clone(),
        });
        routes.metrics.connections_refused.with_label_values(&["client"]);
        let limits = Limits { silence: config.silence(), linger: config.linger() };
        let http2 = http2::builder(config);
        Ok(Self { listener, served: Served { routes, http1, http2, tls: None, limits } })
    }

    /// Secures connections, if there is something to secure them with.
    #[must_use]
    pub fn secured(mut self, tls: Option<Arc<Tls>>) -> Self {
        if tls.is_some() {
            self.served.routes.metrics.connections_refused.with_label_values(&["tls"]);
        }
        self.served.tls = tls;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's, when it cannot say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then accepts nothing more and waits for the requests being served, at most
    /// `drain`. Returns whether all of them were answered.
    pub async fn run(self, stop: CancellationToken, drain: Duration) -> bool {
        let Self { listener, served } = self;
        let (served, open) = (Arc::new(served), TaskTracker::new());
        let Routes { ingress, seats, metrics, .. } = &*served.routes;
        let serve = async {
            loop {
                let (stream, address) = accept(&listener).await;
                let peer = ingress.admission.peer(address.ip());
                let is_proxy = ingress.admission.trusts(address.ip());
                let guest = Guest::new(&stop);
                let Some(seat) = seats.take(&peer, is_proxy, &guest) else { continue };
                let counted = Open::new(peer, seat, guest, metrics.connections.clone());
                let served = Arc::clone(&served);
                open.spawn(async move { served.serve(stream, counted).await });
            }
        };
        tokio::select! {
            () = serve => {}
            () = stop.cancelled() => {}
        }
        drop(listener);
        open.close();
        tokio::time::timeout(drain, open.wait()).await.is_ok()
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // a restarted instance must get its port back while old connections linger
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // answers are small and waited for: never held back to fill a packet
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
