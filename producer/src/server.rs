//! The clients' listener.
//!
//! hyper is driven directly, not through `axum::serve`, which offers neither time limits, nor limits of connections, nor a bound
//! on how long a graceful stop waits. A connection has a place among all and among its client's, then TLS and what it speaks are
//! settled in the time that a client may take to send something ([`crate::connection`]), and then it is served.

#[cfg(feature = "fuzzing")]
mod fuzzing;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONNECTION, ORIGIN};
use axum::http::{HeaderValue, Version};
use axum::response::Response;
use floodgate_listener::{Counted, Crowd, Linger, Places, Settled, Watch};
use floodgate_observe::HttpMetrics;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::connection::{Connection, FirstBytes, Limits};
use crate::exchange::{Exchange, Working};
use crate::head::{self, HeadError};
use crate::ingress::Ingress;
use crate::meter::Meter;
use crate::patience::Protocol;
use crate::stream::Stream;
use crate::tls::{self, Tls};
use crate::unread::Unread;
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
    crowd: Arc<Crowd>,
    connections: Arc<Semaphore>,
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
    head_max_bytes: usize,
    target_max_bytes: usize,
    linger: Linger,
    metrics: HttpMetrics,
}

/// Whom a connection leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Of the nearest hop, which may be a proxy.
    pub(crate) address: SocketAddr,
}

/// An open connection, counted, and its place among those that may be open.
struct Open {
    connections: IntGauge,
    _place: OwnedSemaphorePermit,
    _of_client: Counted,
}

impl Open {
    fn new(connections: IntGauge, place: OwnedSemaphorePermit, of_client: Counted) -> Self {
        connections.inc();
        Self { connections, _place: place, _of_client: of_client }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

impl Routes {
    /// Answers one request. What of it was not read is read afterwards, by the connection where only that can.
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        working: Working,
    ) -> Result<Response, Infallible> {
        let metered = self.meter.begin(request.method(), request.uri().path());
        let checked = head::check(&request, self.head_max_bytes, self.target_max_bytes);
        let is_http_1 = request.version() <= Version::HTTP_11;
        let request = request.map(|body| Unread::over(body, working.exchange()));
        // a stream of HTTP/2 is reset behind its answer, and the client told that nothing more is wanted
        let (request, watch) = match is_http_1 {
            true => Watch::over(request),
            false => Watch::none(request),
        };
        let (mut response, closes) = match checked {
            Ok(()) => {
                let peer = peer.address.ip();
                (service::answered(&self.ingress, &self.router, peer, request).await?, false)
            }
            Err(HeadError { problem, closes }) => {
                let origin = request.headers().get(ORIGIN).cloned();
                drop(request);
                (service::refused(&self.ingress, origin, problem).await?, closes)
            }
        };
        if watch.settle(&mut response, self.linger) == Settled::Broken {
            working.exchange().linger();
        }
        if closes {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        metered.ended(response.status());
        working.answered();
        Ok(response)
    }
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

    /// Serves a connection until its end. After `stop` that is when the request in work is answered.
    async fn serve(&self, stream: TcpStream, peer: Peer, stop: CancellationToken) {
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.limits.silence.send, self.open(stream)) => opened,
            () = stop.cancelled() => return,
        };
        let Ok(Some((stream, first, protocol))) = opened else {
            if self.tls.is_some() {
                self.routes.metrics.connections_refused.with_label_values(&["tls"]).inc();
            }
            return;
        };
        self.speak((stream, first, protocol), peer, stop).await;
    }

    /// Serves a connection whose client has said what it speaks.
    async fn speak(
        &self,
        (stream, first, protocol): (Stream, FirstBytes, Protocol),
        peer: Peer,
        stop: CancellationToken,
    ) {
        let exchange = Exchange::new();
        let metrics = self.routes.metrics.clone();
        let stream = Connection::new(stream, (first, protocol), self.limits, Arc::clone(&exchange), metrics);
        let answered = |request: Request<Incoming>| {
            let body = request.body().size_hint().exact().unwrap_or_default();
            Arc::clone(&self.routes).serve(request, peer, exchange.begin(body))
        };
        if protocol == Protocol::Http2 {
            return http2::serve(&self.http2, stream, &exchange, &stop, answered).await;
        }
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(stream), service_fn(answered)));
        tokio::select! {
            biased;
            // a client that goes away is its own affair
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
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
        let routes = Arc::new(Routes {
            ingress: Arc::clone(ingress),
            router: routes::router(Arc::clone(ingress)),
            meter: Meter::new(&routes::OPERATIONS, &ingress.requests),
            head_max_bytes: config.head_max_bytes,
            target_max_bytes: config.target_max_bytes,
            linger: config.linger(),
            metrics: ingress.http.clone(),
        });
        routes.metrics.connections_refused.with_label_values(&["client"]);
        let limits = Limits { silence: config.silence(), linger: config.linger() };
        let http2 = http2::builder(config);
        let places =
            Places { of_one: config.connections_per_client_max, before_newcomers: config.connections_max };
        // a proxy has many behind it
        let of = Arc::clone(ingress);
        let exempt = Box::new(move |address| of.admission.trusts(address));
        Ok(Self {
            listener,
            served: Served { routes, http1, http2, tls: None, limits },
            crowd: Crowd::new(places, exempt),
            connections: Arc::new(Semaphore::new(config.connections_max)),
        })
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
        let Self { listener, served, crowd, connections } = self;
        let (served, open) = (Arc::new(served), TaskTracker::new());
        let metrics = &served.routes.metrics;
        let serve = async {
            loop {
                let Some(place) = place(&connections, metrics).await else { return };
                let (stream, address) = accept(&listener).await;
                let Some(of_client) = crowd.admit(address.ip()) else {
                    metrics.connections_refused.with_label_values(&["client"]).inc();
                    continue;
                };
                let counted = Open::new(metrics.connections.clone(), place, of_client);
                let (served, stop) = (Arc::clone(&served), stop.clone());
                open.spawn(async move {
                    served.serve(stream, Peer { address }, stop).await;
                    drop(counted);
                });
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

/// Room for one more connection, waited for if there is none.
async fn place(connections: &Arc<Semaphore>, metrics: &HttpMetrics) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(connections).try_acquire_owned() {
        return Some(place);
    }
    tracing::debug!("http.connections_max is reached: more connections wait to be accepted");
    metrics.connections_full.inc();
    Arc::clone(connections).acquire_owned().await.ok()
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
