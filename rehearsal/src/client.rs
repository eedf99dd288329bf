//! Asks over HTTP/1.1, with connections that are kept.
//!
//! Users of a rehearsal share connections, as they do behind a proxy: whoever asks takes one that is free, or opens another while there
//! are fewer than allowed, or waits for one. What is waited so is part of what the answer took.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

/// Of an answer; more of it is an error. The largest that is asked for is what groups are behind.
const BODY_MAX_BYTES: usize = 16 << 20;

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connections to one address.
pub struct Client {
    url: Url,
    host: String,
    port: u16,
    host_header: HeaderValue,
    authorization: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How many more may be opened or taken.
    places: Semaphore,
    /// Those that nobody has, the last one used at the end.
    free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    timeout: Duration,
}

/// How an address is asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Connections at a time.
    pub connections: usize,
    /// For an answer, from when its request was sent; before that once for a free place, and once for a new connection.
    pub timeout: Duration,
    /// What stands behind `Authorization: Bearer`.
    pub token: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, if it says one.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// What became of a request, and when.
#[derive(Debug)]
pub struct Exchange {
    /// For how long all connections were taken.
    pub waited: Duration,
    /// When it was handed to a connection; nothing if it never was.
    pub sent: Option<Instant>,
    /// What was answered.
    pub answer: Result<Answer, NoAnswer>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAnswer {
    /// None came in time: what was asked may have been done.
    #[error("no answer within {0:?}")]
    Time(Duration),
    /// Nothing was sent: there is no connection.
    #[error("no connection: {0}")]
    NotSent(String),
    /// The connection broke: what was asked may have been done.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl Client {
    /// One of an address, `http` or `https`.
    ///
    /// # Errors
    /// What is wrong with the address, or with this machine's certificates.
    pub fn new(url: &Url, asking: &Asking) -> Result<Self, String> {
        let host = url.host_str().ok_or_else(|| format!("{url} has no host"))?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(format!("{url}: {other} is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "an address must not hold a user or a password; a key stands in FLOODGATE_KEY".to_owned()
            );
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let host_header = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authorization = asking.token.as_ref().map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| "a key or token is visible ASCII".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        // brackets are how URLs write it
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self {
            tls: is_tls.then(|| connector(&host)).transpose()?,
            host,
            port,
            host_header: HeaderValue::try_from(host_header).map_err(|error| format!("{url}: {error}"))?,
            authorization: authorization.transpose()?,
            places: Semaphore::new(asking.connections.max(1)),
            free: Mutex::new(Vec::new()),
            timeout: asking.timeout,
            url: url.clone(),
        })
    }

    /// Whom it asks.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Asks, and waits for the whole answer. `path` is what follows the address.
    ///
    /// # Errors
    /// [`NoAnswer`]; a status is none.
    pub async fn ask(
        &self,
        method: &'static str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> Result<Answer, NoAnswer> {
        self.exchange(method, path, key, body).await.answer
    }

    /// The same, with its times.
    pub async fn exchange(
        &self,
        method: &'static str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> Exchange {
        let began = Instant::now();
        let place = timeout(self.timeout, self.places.acquire()).await;
        let (waited, mut sent) = (began.elapsed(), None);
        let answer = match place {
            Ok(Ok(_place)) => self.send(method, path, key, body, &mut sent).await,
            Ok(Err(error)) => Err(NoAnswer::NotSent(error.to_string())),
            Err(_) => Err(NoAnswer::NotSent(format!("none was free within {:?}", self.timeout))),
        };
        Exchange { waited, sent, answer }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &str,
        sent: &mut Option<Instant>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self.request(method, path, key, body)?;
        let (response, sender, at) = loop {
            let kept = self.free.lock().pop();
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.open().await?,
            };
            match sender.ready().await {
                Ok(()) => {}
                // it was closed while nobody had it
                Err(_) if is_kept => continue,
                Err(error) => return Err(NoAnswer::NotSent(error.to_string())),
            }
            let at = *sent.insert(Instant::now());
            match self.in_time(at, sender.try_send_request(request)).await? {
                Ok(response) => break (response, sender, at),
                Err(mut failed) => match failed.take_message() {
                    // closed at the moment it was taken: nothing of it was sent
                    Some(unsent) => {
                        *sent = None;
                        if !is_kept {
                            return Err(NoAnswer::NotSent(failed.error().to_string()));
                        }
                        request = unsent;
                    }
                    None => return Err(NoAnswer::Broken(failed.error().to_string())),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = self.in_time(at, Limited::new(body, BODY_MAX_BYTES).collect()).await?;
        let body = body.map_err(|error| NoAnswer::Broken(error.to_string()))?.to_bytes();
        if !sender.is_closed() {
            self.free.lock().push(sender);
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: head.status.as_u16(), retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// Whatever a request that was sent then still may take.
    async fn in_time<F: Future>(&self, sent: Instant, of: F) -> Result<F::Output, NoAnswer> {
        let left = self.timeout.saturating_sub(sent.elapsed());
        timeout(left, of).await.map_err(|_| NoAnswer::Time(self.timeout))
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> Result<Request<Full<Bytes>>, NoAnswer> {
        // an address may have a path of its own, as behind a proxy
        let path = format!("{}{path}", self.url.path().trim_end_matches('/'));
        let uri: Uri = path.parse().map_err(|error| NoAnswer::NotSent(format!("{path}: {error}")))?;
        let mut request = Request::builder().method(method).uri(uri).header(HOST, &self.host_header);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        request.body(body).map_err(|error| NoAnswer::NotSent(error.to_string()))
    }

    /// A connection that speaks HTTP.
    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let stream = timeout(self.timeout, self.connect(None)).await;
        let stream = stream.map_err(|_| NoAnswer::NotSent(format!("none within {:?}", self.timeout)))?;
        let stream = stream.map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        tokio::spawn(async move {
            // how it ended is told to whoever asked by it
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// A connection on which nothing was said yet; with a buffer of so many bytes for what comes.
    pub(crate) async fn connect(&self, receive_bytes: Option<u32>) -> std::io::Result<Box<dyn Stream>> {
        let stream = match receive_bytes {
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
            Some(bytes) => self.connect_with(bytes).await?,
        };
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }

    /// The size of the buffer counts only if it is said before.
    async fn connect_with(&self, receive_bytes: u32) -> std::io::Result<TcpStream> {
        let mut failed = std::io::Error::other(format!("{} has no address", self.host));
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_recv_buffer_size(receive_bytes)?;
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// A request for this path, for who writes it by hand.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        let mut head =
            format!("GET {}{path} HTTP/1.1\r\nhost: ", self.url.path().trim_end_matches('/')).into_bytes();
        head.extend(self.host_header.as_bytes());
        if let Some(authorization) = &self.authorization {
            head.extend(b"\r\nauthorization: ");
            head.extend(authorization.as_bytes());
        }
        head.extend(b"\r\n\r\n");
        head
    }
}

/// TLS as this machine trusts it (`SSL_CERT_FILE` names others).
fn connector(host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(
            "this machine has no certificates to trust; name a file of them in SSL_CERT_FILE".to_owned()
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}
