//! A small HTTP/1.1 client: keeps connections alive, and tells "never sent" from "sent, and then it broke".

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Longer than any answer may take: an answer that is later counts as a broken connection.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// Connections that lay idle for longer are not used again: less than any server allows, which closes them without a word, perhaps
/// in the moment a request is sent.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// How long a connection may take to be ready again. The library now and then forgets one whose answer came before all of its request
/// was sent, though all of it was sent then.
const READY_MAX: Duration = Duration::from_secs(1);

/// Where all asynchronous work of a test process runs.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // thousands of connections, where systems allow a process a thousand files until it asks
        let _ = rlimit::increase_nofile_limit(16_000);
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} with a body that is no JSON ({error}): {}", self.status, self.text())
        })
    }
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The server cannot have seen the request.
    NotSent(String),
    /// It may have.
    Broken(String),
}

/// A request. The path is sent as it stands.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Ask {
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_owned(), path: path.into(), ..Self::default() }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn key(self, idempotency_key: impl Into<String>) -> Self {
        self.header("idempotency-key", idempotency_key)
    }

    pub fn json(self, body: impl Into<String>) -> Self {
        self.header("content-type", "application/json").body(body.into())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Connections to one server, as many as there are requests at once.
pub struct Client {
    address: SocketAddr,
    /// With the time since when.
    idle: Mutex<Vec<(SendRequest<Full<Bytes>>, Instant)>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Waits for the answer on the calling thread.
    pub fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        runtime().block_on(self.send(ask))
    }

    pub async fn send(&self, ask: &Ask) -> Result<Answer, Failure> {
        let answer = tokio::time::timeout(ANSWER_DEADLINE, self.exchange(ask)).await;
        answer.unwrap_or_else(|_| Err(Failure::Broken(format!("no answer within {ANSWER_DEADLINE:?}"))))
    }

    async fn exchange(&self, ask: &Ask) -> Result<Answer, Failure> {
        let (connection, response) = loop {
            let (mut connection, is_fresh) = self.connection().await?;
            match connection.try_send_request(self.request(ask)).await {
                Ok(response) => break (connection, response),
                Err(mut error) => match error.take_message() {
                    // the server closed it while it lay idle
                    Some(_) if !is_fresh => {}
                    Some(_) => return Err(Failure::NotSent(error.into_error().to_string())),
                    None => return Err(Failure::Broken(error.into_error().to_string())),
                },
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Failure::Broken(error.to_string()))?.to_bytes();
        if !connection.is_closed() {
            self.idle.lock().unwrap().push((connection, Instant::now()));
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// A connection, and whether it was made for this.
    async fn connection(&self) -> Result<(SendRequest<Full<Bytes>>, bool), Failure> {
        loop {
            let Some((mut idle, since)) = self.idle.lock().unwrap().pop() else { break };
            let ready = tokio::time::timeout(READY_MAX, idle.ready());
            if since.elapsed() < IDLE_MAX && matches!(ready.await, Ok(Ok(()))) {
                return Ok((idle, false));
            }
        }
        let not_sent = |error: &dyn std::fmt::Display| Failure::NotSent(error.to_string());
        let stream = TcpStream::connect(self.address).await.map_err(|error| not_sent(&error))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| not_sent(&error))?;
        tokio::spawn(connection);
        Ok((sender, true))
    }

    fn request(&self, ask: &Ask) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.path);
        if ask.headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        request.body(Full::new(ask.body.clone())).unwrap()
    }
}
