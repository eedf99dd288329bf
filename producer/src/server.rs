//! The clients' listener.
//!
//! hyper is driven directly, not through `axum::serve`, which offers neither a time limit for request heads,
//! nor a limit of connections, nor a bound on how long a graceful stop waits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use floodgate_listener::{Linger, Settled, Watch};
use floodgate_observe::HttpMetrics;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;
use crate::connection::{Connection, Limits};
use crate::follow;
use crate::ingress::Ingress;
use crate::problem::{Problem, ProblemName};
use crate::routes;

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
    routes: Arc<Routes>,
    http: http1::Builder,
    connections: Arc<Semaphore>,
    write_timeout: Duration,
}

/// What every connection is served by.
struct Routes {
    ingress: Arc<Ingress>,
    router: Router,
    head_max_bytes: usize,
    target_max_bytes: usize,
    linger: Linger,
    metrics: HttpMetrics,
}

/// Whom a connection leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Of the nearest hop, which may be a proxy.
    #[allow(dead_code, reason = "for whoever tells clients apart")]
    pub(crate) address: SocketAddr,
}

/// An open connection, counted, and its place among those that may be open.
struct Open {
    connections: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(connections: IntGauge, place: OwnedSemaphorePermit) -> Self {
        connections.inc();
        Self { connections, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

impl Routes {
    /// The HTTP library's own limit is as coarse as the pieces it reads.
    fn check_head(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target_bytes > self.target_max_bytes {
            return Err(Problem::target_too_long(self.target_max_bytes));
        }
        let field_bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let head_bytes = target_bytes + request.headers().iter().map(field_bytes).sum::<usize>();
        if head_bytes > self.head_max_bytes { Err(Problem::head_too_large()) } else { Ok(()) }
    }

    /// Answers one request. What of it was not read is read afterwards; `lingers` is told where only the connection can.
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        _peer: Peer,
        lingers: Arc<AtomicBool>,
    ) -> Result<Response, Infallible> {
        let checked = self.check_head(&request);
        let (request, watch) = Watch::over(request.map(Body::new));
        let mut response = match checked {
            Ok(()) => follow::answered(&self.ingress, &self.router, request).await?,
            Err(problem) => {
                drop(request);
                problem.into_response()
            }
        };
        if watch.settle(&mut response, self.linger) == Settled::Broken {
            lingers.store(true, Ordering::Release);
        }
        if let Some(ProblemName(name)) = response.extensions().get() {
            self.metrics.problems.with_label_values(&[*name]).inc();
        }
        Ok(response)
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
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(config.send_timeout_ms))
            .max_buf_size(config.head_max_bytes);
        let routes = Arc::new(Routes {
            ingress: Arc::clone(ingress),
            router: routes::router(Arc::clone(ingress)),
            head_max_bytes: config.head_max_bytes,
            target_max_bytes: config.target_max_bytes,
            linger: config.linger(),
            metrics: ingress.http.clone(),
        });
        Ok(Self {
            listener,
            routes,
            http,
            connections: Arc::new(Semaphore::new(config.connections_max)),
            write_timeout: Duration::from_millis(config.send_timeout_ms),
        })
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
        let graceful = GracefulShutdown::new();
        let serve = async {
            loop {
                let Some(place) = self.place().await else { return };
                let (stream, address) = accept(&self.listener).await;
                let peer = Peer { address };
                let open = Open::new(self.routes.metrics.connections.clone(), place);
                let (routes, http, timeout) =
                    (Arc::clone(&self.routes), self.http.clone(), self.write_timeout);
                // from here on it counts among those that a stop waits for
                let watcher = graceful.watcher();
                tokio::spawn(async move {
                    let lingers = Arc::new(AtomicBool::new(false));
                    let limits = Limits { write_timeout: timeout, linger: routes.linger };
                    let stream =
                        Connection::new(stream, limits, Arc::clone(&lingers), routes.metrics.clone());
                    let service = service_fn(move |request| {
                        Arc::clone(&routes).serve(request, peer, Arc::clone(&lingers))
                    });
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    // a client that goes away is its own affair
                    let _ = watcher.watch(connection).await;
                    drop(open);
                });
            }
        };
        tokio::select! {
            () = serve => {}
            () = stop.cancelled() => {}
        }
        drop(self.listener);
        tokio::time::timeout(drain, graceful.shutdown()).await.is_ok()
    }

    /// Room for one more connection, waited for if there is none.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let connections = Arc::clone(&self.connections);
        if let Ok(place) = Arc::clone(&connections).try_acquire_owned() {
            return Some(place);
        }
        tracing::debug!("http.connections_max is reached: more connections wait to be accepted");
        self.routes.metrics.connections_full.inc();
        connections.acquire_owned().await.ok()
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
