//! Tokens that somebody else signed (JSON Web Tokens, RFC 7519, as RFC 8725 says to take them).
//!
//! A token says by what it is signed and with which key, and must not be believed in either before it is verified. So what it
//! says only *chooses*, among the algorithms that are configured and the keys that the issuer serves for them: a key of one
//! kind is never tried as another, `none` is no algorithm, and what a token brings along itself (`jwk`, `jku`, `x5c`) is never
//! looked at. Times are compared with the clock that is handed in.
//!
//! Verifying takes up to a tenth of a millisecond, and clients send a token many times. A token that was verified is
//! remembered by its hash, until it expires, or the issuer's keys change.

use std::sync::Arc;

use floodgate_schemas::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use moka::sync::Cache;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::caller::{Identity, Untrusted};
use super::config::JwtConfig;
use super::issuer::{Issuer, IssuerKey, KeySet};
use super::keys::hash;
use super::limits::Client;
use super::signatures;
use crate::scope::Scope;

/// Longer tokens are none: those of large directories have some thousand bytes.
const TOKEN_MAX_BYTES: usize = 8192;

/// Of `sub`.
const SUBJECT_MAX_CHARACTERS: usize = 128;

/// Verifies tokens.
pub(crate) struct Tokens {
    pub(super) issuer: Issuer,
    validation: Validation,
    algorithms: Vec<Algorithm>,
    leeway_micros: i64,
    verified: Cache<[u8; 32], Arc<Verified>>,
}

/// What a token was found to say.
struct Verified {
    /// Of the issuer's keys.
    generation: u64,
    identity: Arc<Identity>,
    not_before: Option<i64>,
    expires: i64,
}

/// Why a token is not believed.
pub(super) enum Distrust {
    /// It will not be.
    Token(Untrusted),
    /// It names a key that is not known: there may be a new one.
    KeyUnknown,
}

#[derive(Deserialize)]
struct Claims {
    /// Whether it is there is looked at beside it, like the next.
    #[serde(default)]
    sub: String,
    #[serde(default)]
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    /// RFC 9068.
    #[serde(default)]
    scope: Option<Words>,
    /// What some issuers call it.
    #[serde(default)]
    scp: Option<Words>,
}

/// Words separated by spaces, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    List(Vec<String>),
}

impl Words {
    fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Text(text) => text.split(' ').filter_map(Scope::named).collect(),
            Self::List(list) => list.iter().filter_map(|name| Scope::named(name)).collect(),
        }
    }
}

const fn untrusted(reason: &'static str) -> Distrust {
    Distrust::Token(Untrusted(reason))
}

impl Tokens {
    /// Touches no network.
    ///
    /// # Errors
    /// The issuer cannot be asked as configured.
    pub(super) fn open(config: &JwtConfig) -> Result<Self, String> {
        signatures::install();
        let mut validation = Validation::default();
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // by the clock that is handed in
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        Ok(Self {
            issuer: Issuer::open(config)?,
            validation,
            algorithms: config.algorithms.clone(),
            leeway_micros: i64::from(config.leeway_s) * 1_000_000,
            verified: Cache::new(config.verified_max),
        })
    }

    /// Whose token this is, if it was verified before.
    pub(super) fn remembered(&self, token: &str, now: Timestamp) -> Option<Result<Arc<Identity>, Untrusted>> {
        if token.len() > TOKEN_MAX_BYTES {
            return Some(Err(Untrusted("the token is longer than 8192 bytes")));
        }
        let verified = self.verified.get(&hash(token.as_bytes()))?;
        (verified.generation == self.issuer.keys().generation).then(|| self.in_time(&verified, now))
    }

    /// Whose token this is.
    pub(super) fn identify(&self, token: &str, now: Timestamp) -> Result<Arc<Identity>, Distrust> {
        let verified = Arc::new(self.verify(token, &self.issuer.keys())?);
        self.verified.insert(hash(token.as_bytes()), Arc::clone(&verified));
        self.in_time(&verified, now).map_err(Distrust::Token)
    }

    fn in_time(&self, verified: &Verified, now: Timestamp) -> Result<Arc<Identity>, Untrusted> {
        let now = now.as_micros();
        if now.saturating_sub(self.leeway_micros) >= verified.expires {
            return Err(Untrusted("the token has expired"));
        }
        if verified.not_before.is_some_and(|from| now.saturating_add(self.leeway_micros) < from) {
            return Err(Untrusted("the token is not valid yet"));
        }
        Ok(Arc::clone(&verified.identity))
    }

    fn verify(&self, token: &str, keys: &KeySet) -> Result<Verified, Distrust> {
        let header = decode_header(token).map_err(|_| untrusted("this is no token that is taken here"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(untrusted("the token is signed by an algorithm that is not taken"));
        }
        // what is signed is not what stands there (RFC 7797), which no token may say of itself
        let is_raw = !matches!(header.extras.get::<IgnoredAny>("b64"), Ok(None));
        if header.crit.is_some() || is_raw {
            return Err(untrusted("the token says that more of it must be understood than is"));
        }
        if !header.typ.as_deref().is_none_or(is_of_access) {
            return Err(untrusted("the token says that it is of another kind (typ) than JWT or at+jwt"));
        }
        let key = key_of(&header, &keys.keys)?;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let claims =
            decode::<Claims>(token, &key.key, &validation).map_err(|error| untrusted(reason(&error)))?;
        let Claims { sub, exp, nbf, scope, scp } = claims.claims;
        // as ids are, which it is compared with
        if sub.is_empty() || sub.chars().count() > SUBJECT_MAX_CHARACTERS {
            return Err(untrusted("the token names nobody of 1 to 128 characters (sub)"));
        }
        let scopes = [scope, scp].iter().flatten().flat_map(Words::scopes).collect();
        let micros = |seconds: f64| (seconds * 1e6) as i64;
        let subject = Arc::from(sub);
        Ok(Verified {
            generation: keys.generation,
            identity: Arc::new(Identity { client: Client::Subject(Arc::clone(&subject)), subject, scopes }),
            not_before: nbf.map(micros),
            expires: micros(exp),
        })
    }
}

/// Whether a token of this media type may be one that lets in (RFC 9068), or is of no kind in particular: one that says it is for
/// something else, such as `logout+jwt`, is not.
fn is_of_access(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

/// The key that a token is signed with: the one it names, or the only one there is for its algorithm.
fn key_of<'k>(header: &Header, keys: &'k [IssuerKey]) -> Result<&'k IssuerKey, Distrust> {
    let mut fit = keys.iter().filter(|key| key.algorithms.contains(&header.alg));
    match &header.kid {
        Some(id) => fit.find(|key| key.id.as_ref() == Some(id)).ok_or(Distrust::KeyUnknown),
        None => match (fit.next(), fit.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Distrust::KeyUnknown),
            _ => Err(untrusted("the token does not name its key (kid), and there are several")),
        },
    }
}

fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => "the token's signature is not right",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks one of exp, iss, aud and sub",
        ErrorKind::InvalidAlgorithm => "the token is signed by an algorithm that is not taken",
        _ => "the token cannot be read",
    }
}
