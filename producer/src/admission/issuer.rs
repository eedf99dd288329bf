//! The public keys of whoever signs tokens.
//!
//! They are read again and again, since issuers change them, and kept for as long as there are no others: an issuer that is
//! away stops nobody whose token is signed with a key that is known. A token that names a key that is not known is the first
//! that is heard of a new one. So that is looked for at once, but not for every such token: anybody can make one up.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::RwLock;
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::config::JwtConfig;

/// So much of a set of keys is read.
const SET_MAX_BYTES: usize = 1 << 20;
/// So many keys of it are kept: each token may be tried with one of them only, but they take memory.
const KEYS_MAX: usize = 100;
/// Sooner than this after the last time nobody looks again because of a token.
const AGAIN: Duration = Duration::from_secs(5);

/// One key.
pub(super) struct IssuerKey {
    pub(super) id: Option<String>,
    /// What tokens may be signed by with it.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// All that are known, and how often they have changed.
#[derive(Default)]
pub(super) struct KeySet {
    pub(super) generation: u64,
    pub(super) keys: Vec<IssuerKey>,
    /// What they were read from: the same again changes nothing.
    text: Vec<u8>,
}

/// Where keys come from.
enum Source {
    File(String),
    Url { client: reqwest::Client, url: String },
}

/// Looks after the issuer's keys.
pub(crate) struct Issuer {
    source: Source,
    /// The same for people.
    place: String,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    known: RwLock<Arc<KeySet>>,
    /// When they were looked for last; held while somebody does.
    looked: Mutex<Option<Instant>>,
}

/// A set of keys (RFC 7517), one by one: a key that is of no use to us is no reason to have none.
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Issuer {
    /// Touches no network, but reads a file of keys.
    ///
    /// # Errors
    /// The address is none that can be asked, the file none that holds keys.
    pub(super) fn open(config: &JwtConfig) -> Result<Self, String> {
        let source = match config.jwks_url.as_str() {
            "" => Source::File(config.jwks_file.clone()),
            url => Source::Url { client: client(url, config.timeout_ms)?, url: url.to_owned() },
        };
        let issuer = Self {
            source,
            place: config.place(),
            algorithms: config.algorithms.clone(),
            refresh: Duration::from_millis(config.refresh_ms),
            known: RwLock::default(),
            looked: Mutex::default(),
        };
        if let Source::File(path) = &issuer.source {
            let read = std::fs::read(path).map_err(|error| error.to_string());
            let taken = read.and_then(|text| issuer.take(text));
            taken.map_err(|reason| format!("auth.jwt.jwks_file: {path}: {reason}"))?;
        }
        Ok(issuer)
    }

    /// What is known now.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.known.read())
    }

    /// # Errors
    /// No key is known: no token can be verified.
    pub(super) fn ready(&self) -> Result<(), String> {
        match self.keys().generation {
            0 => Err("the token issuer's keys are not known yet (auth.jwt)".to_owned()),
            _ => Ok(()),
        }
    }

    /// Looks for keys, again and again, until `stop`.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        loop {
            let found = self.look(Duration::ZERO).await;
            // without any, nobody is let in: more often then
            let pause = if found || self.ready().is_ok() { self.refresh } else { self.refresh.min(AGAIN) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks for keys once, and says how many are of use.
    pub(super) async fn ask(&self) -> Result<usize, String> {
        self.take(self.read().await?)?;
        Ok(self.keys().keys.len())
    }

    /// Looks for keys because a token names one that is not known, unless somebody just has.
    pub(super) async fn look_again(&self) {
        self.look(AGAIN).await;
    }

    /// Looks for keys unless somebody has within `unless`. Returns whether some were found.
    async fn look(&self, unless: Duration) -> bool {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < unless) {
            return false;
        }
        let read = self.read().await;
        *looked = Some(Instant::now());
        match read.and_then(|text| self.take(text)) {
            Ok(()) => true,
            Err(reason) => {
                tracing::warn!(
                    reason,
                    place = self.place,
                    "no keys of the token issuer: those that are known stay"
                );
                false
            }
        }
    }

    /// Takes a set of keys in the place of the one before.
    fn take(&self, text: Vec<u8>) -> Result<(), String> {
        let before = self.keys();
        if before.generation > 0 && before.text == text {
            return Ok(());
        }
        let set: Set = serde_json::from_slice(&text).map_err(|error| format!("no set of keys: {error}"))?;
        let mut keys: Vec<_> = set.keys.into_iter().filter_map(|key| self.usable(key)).collect();
        if keys.is_empty() {
            return Err("none of its keys is for signatures of auth.jwt.algorithms".to_owned());
        }
        if keys.len() > KEYS_MAX {
            let (left_out, place) = (keys.len() - KEYS_MAX, &self.place);
            tracing::warn!(
                left_out,
                place,
                "the token issuer has more keys than are kept, and the last are left out"
            );
            keys.truncate(KEYS_MAX);
        }
        tracing::info!(keys = keys.len(), place = self.place, "the token issuer's keys are known");
        *self.known.write() = Arc::new(KeySet { generation: before.generation + 1, keys, text });
        Ok(())
    }

    fn usable(&self, key: serde_json::Value) -> Option<IssuerKey> {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        let common = &jwk.common;
        let is_for_signatures =
            common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature)
                && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let says = |algorithm: Algorithm| {
            let named = format!("{algorithm:?}").parse::<KeyAlgorithm>().ok();
            common.key_algorithm.is_none() || common.key_algorithm == named
        };
        let algorithms: Vec<_> =
            self.algorithms.iter().copied().filter(|a| fits(*a, &jwk) && says(*a)).collect();
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| is_for_signatures && !algorithms.is_empty())?;
        Some(IssuerKey { id: jwk.common.key_id, algorithms, key })
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        match &self.source {
            Source::File(path) => {
                let text = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
                if text.len() > SET_MAX_BYTES { Err(too_large()) } else { Ok(text) }
            }
            Source::Url { client, url } => {
                // which would tell all of it
                let told = |error: reqwest::Error| floodgate_observe::with_causes(&error.without_url());
                let mut answer =
                    client.get(url).send().await.map_err(told)?.error_for_status().map_err(told)?;
                let mut text = BytesMut::new();
                while let Some(piece) = answer.chunk().await.map_err(told)? {
                    if text.len() + piece.len() > SET_MAX_BYTES {
                        return Err(too_large());
                    }
                    text.extend_from_slice(&piece);
                }
                Ok(text.into())
            }
        }
    }
}

fn too_large() -> String {
    format!("it is larger than {SET_MAX_BYTES} bytes")
}

/// Whether a key of this kind makes signatures of this kind.
fn fits(algorithm: Algorithm, key: &Jwk) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => algorithm == ES256,
            EllipticCurve::P384 => algorithm == ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(pair) => pair.curve == EllipticCurve::Ed25519 && algorithm == EdDSA,
        _ => false,
    }
}

impl JwtConfig {
    /// Whether keys come over a network on which others can put theirs.
    pub fn comes_in_the_clear(&self) -> bool {
        let Ok(url) = Url::parse(&self.jwks_url) else { return false };
        let is_this_machine = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => true,
        };
        url.scheme() == "http" && !is_this_machine
    }
}

fn client(url: &str, timeout_ms: u64) -> Result<reqwest::Client, String> {
    let parsed = Url::parse(url).map_err(|error| format!("auth.jwt.jwks_url: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err("auth.jwt.jwks_url must begin with https:// or http://".to_owned());
    }
    // it is shown and logged
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("auth.jwt.jwks_url must not hold a user or a password: public keys need none".to_owned());
    }
    // another one may have been chosen, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        reqwest::Client::builder().redirect(Policy::none()).timeout(Duration::from_millis(timeout_ms));
    // machines without certificates can do without TLS
    let client = if parsed.scheme() == "http" { client.tls_certs_only([]) } else { client };
    client.build().map_err(|error| format!("auth.jwt.jwks_url: {}", floodgate_observe::with_causes(&error)))
}
