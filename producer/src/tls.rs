//! TLS of the clients' listener: a certificate and its key, which may be replaced while connections are served.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floodgate_observe::HttpMetrics;
use floodgate_schemas::{Clock, Timestamp};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

use crate::expiry::Validity;

/// A chain of certificates takes some thousand bytes. What is much larger is another file.
const FILE_MAX_BYTES: u64 = 1 << 20;

const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// `[http.tls]`. Both are empty: none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate, and those that lead from it to its authority, in PEM.
    pub cert_file: PathBuf,
    /// The first one's private key, in PEM.
    pub key_file: PathBuf,
}

/// The files of `[http.tls]` are not to be served with.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsError {
    key: &'static str,
    file: PathBuf,
    reason: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, file, reason } = self;
        write!(f, "http.tls.{key}")?;
        if !file.as_os_str().is_empty() {
            write!(f, ": {}", file.display())?;
        }
        write!(f, ": {reason}")
    }
}

impl std::error::Error for TlsError {}

/// What connections are secured with.
pub struct Tls {
    files: TlsConfig,
    now: RwLock<Loaded>,
    metrics: HttpMetrics,
    clock: Arc<dyn Clock>,
}

/// What the files held when they were read.
struct Loaded {
    config: Arc<ServerConfig>,
    /// When the certificate is good, where that can be read.
    validity: Option<Validity>,
}

impl TlsConfig {
    /// Whether connections are to be secured.
    pub fn is_on(&self) -> bool {
        !self.cert_file.as_os_str().is_empty() || !self.key_file.as_os_str().is_empty()
    }

    /// Reads both files, if they are configured. Returns when the certificate is good, where that can be read.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn check(&self) -> Result<Option<Validity>, TlsError> {
        if self.is_on() { self.load().map(|loaded| loaded.validity) } else { Ok(None) }
    }

    fn load(&self) -> Result<Loaded, TlsError> {
        let of_certificate = |reason| wrong("cert_file", &self.cert_file, reason);
        let of_key = |reason| wrong("key_file", &self.key_file, reason);
        let certificate = read(&self.cert_file).map_err(of_certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
        let chain = chain.map_err(|error| of_certificate(told(&error, "certificate")))?;
        let validity = match chain.first() {
            Some(first) => Validity::of(first),
            None => return Err(of_certificate("there is no certificate in it".to_owned())),
        };
        let key = read(&self.key_file).map_err(of_key)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| of_key(told(&error, "private key")))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| of_certificate(error.to_string()))?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => of_key("it is not the key of the certificate".to_owned()),
            rustls::Error::InvalidCertificate(_) => of_certificate(error.to_string()),
            error => of_key(error.to_string()),
        })?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Loaded { config: Arc::new(config), validity })
    }
}

impl Tls {
    /// Reads both files. `None` without them.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn open(
        files: &TlsConfig,
        metrics: &HttpMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        if !files.is_on() {
            return Ok(None);
        }
        let loaded = files.load()?;
        let _ = ["ok", "failed"].map(|result| metrics.tls_reloads.with_label_values(&[result]));
        tracing::info!(expires = loaded.expires(), "connections of clients are secured by TLS");
        loaded.tell(metrics, clock.now());
        let (files, metrics) = (files.clone(), metrics.clone());
        Ok(Some(Arc::new(Self { files, now: RwLock::new(loaded), metrics, clock })))
    }

    /// Reads both files again, for connections from here on. What cannot be served with changes nothing, but is told.
    pub fn reload(&self) {
        let result = match self.files.load() {
            Ok(loaded) => {
                tracing::info!(expires = loaded.expires(), "the certificate and its key were read again");
                loaded.tell(&self.metrics, self.clock.now());
                *self.now.write() = loaded;
                "ok"
            }
            Err(error) => {
                let before = self.now.read().expires();
                tracing::error!(%error, expires = before, "the certificate in use stays, as the new one cannot be served with");
                "failed"
            }
        };
        self.metrics.tls_reloads.with_label_values(&[result]).inc();
    }

    /// For one connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.now.read().config))
    }
}

impl Loaded {
    fn expires(&self) -> String {
        self.validity.map_or_else(|| "unknown".to_owned(), |validity| validity.until.to_string())
    }

    /// It is served with whatever its times are, as clocks may be wrong, and clients may not look. But somebody has to know.
    fn tell(&self, metrics: &HttpMetrics, now: Timestamp) {
        let Some(validity) = self.validity else { return metrics.tls_expires.reset() };
        let seconds = validity.until.as_micros().div_euclid(1_000_000);
        metrics.tls_expires.with_label_values::<&str>(&[]).set(seconds);
        if let Some(why) = validity.trouble(now) {
            tracing::warn!(why, "the certificate is not good now: clients that look at it do not connect");
        }
    }
}

/// Whether client and server agreed on HTTP/2.
pub(crate) fn is_http_2(agreed: Option<&[u8]>) -> bool {
    agreed == Some(HTTP_2)
}

fn wrong(key: &'static str, file: &Path, reason: String) -> TlsError {
    TlsError { key, file: file.to_owned(), reason }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    if file.as_os_str().is_empty() {
        return Err("it is not set, and the other of the two is: TLS takes both".to_owned());
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| error.to_string())
}

fn told(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {what} in it"),
        error => format!("it is not PEM: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_without_the_other_is_refused_by_name() {
        let only = TlsConfig { cert_file: "a.pem".into(), ..TlsConfig::default() };
        assert_eq!(
            only.check().map_err(|error| error.key),
            Err("cert_file"),
            "the one that is named is read"
        );
        let only = TlsConfig { key_file: "a.key".into(), ..TlsConfig::default() };
        let told = only.check().err().map(|error| error.to_string());
        let expected = "http.tls.cert_file: it is not set, and the other of the two is: TLS takes both";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!(TlsConfig::default().check(), Ok(None));
    }
}
