//! The `[auth]` and `[rate_limit]` sections.

use ipnet::IpNet;
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use crate::scope::Scope;

/// `[auth]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// How callers say who they are.
    pub mode: AuthMode,
    /// Whether a caller writes coupon issues and likes for itself alone.
    pub bind_user: bool,
    /// The keys of mode `keys`.
    pub keys: Vec<KeyConfig>,
    /// The tokens of mode `jwt`.
    pub jwt: JwtConfig,
}

/// How callers say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMode {
    /// They don't.
    Off,
    /// By keys that stand in the configuration, as hashes.
    Keys,
    /// By tokens that somebody else signed (JSON Web Tokens, RFC 7519).
    Jwt,
}

/// One key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Who has it. Several keys may have one id, so that one can follow another while both are good.
    pub id: String,
    /// The SHA-256 of the key, in hexadecimal.
    pub sha256: String,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// From when on it is good no more, in RFC 3339.
    #[serde(default)]
    pub expires: Option<String>,
}

/// `[auth.jwt]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuer's public keys: a file that holds a JWK set (RFC 7517).
    pub jwks_file: String,
    /// Or where it is served.
    pub jwks_url: String,
    /// `iss` of every token.
    pub issuer: String,
    /// Among `aud` of every token.
    pub audience: String,
    /// By which tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be from ours, for `exp` and `nbf`.
    pub leeway_s: u32,
    /// How often keys are looked for.
    pub refresh_ms: u64,
    /// How long the issuer has for an answer.
    pub timeout_ms: u64,
    /// Tokens that were verified, of which is remembered that they were.
    pub verified_max: u64,
}

/// `[rate_limit]`. Rates and bursts are in events; 0 is no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// What each client may send, a second.
    pub client_events_per_s: u32,
    /// At once, after it has sent less for a while; 0: a second's worth.
    pub client_burst_events: u32,
    /// What all clients of this instance may send together, a second.
    pub total_events_per_s: u32,
    /// At once; 0: a second's worth.
    pub total_burst_events: u32,
    /// Clients that are told apart; beyond it the one that was silent for longest is forgotten.
    pub clients_max: u64,
    /// Whose word on a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Faster than this a rate cannot be kept to exactly: what an event takes is counted in whole nanoseconds.
const EVENTS_PER_S_MAX: u32 = 10_000_000;

impl AuthConfig {
    /// What is wrong with it by itself.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, rule: &str| {
            if !holds {
                problems.push(rule.to_owned());
            }
        };
        must(
            !self.bind_user || self.mode != AuthMode::Off,
            "auth.bind_user needs callers that say who they are: auth.mode = \"keys\" or \"jwt\"",
        );
        match self.mode {
            AuthMode::Off => {}
            AuthMode::Keys => must(
                !self.keys.is_empty(),
                "auth.mode is \"keys\" and there are none in auth.keys: `floodgate key new` makes one",
            ),
            AuthMode::Jwt => {
                let jwt = &self.jwt;
                must(
                    jwt.jwks_file.is_empty() != jwt.jwks_url.is_empty(),
                    "auth.mode is \"jwt\": set one of auth.jwt.jwks_file and auth.jwt.jwks_url",
                );
                must(!jwt.issuer.is_empty(), "auth.mode is \"jwt\": auth.jwt.issuer must be set");
                must(!jwt.audience.is_empty(), "auth.mode is \"jwt\": auth.jwt.audience must be set");
                must(!jwt.algorithms.is_empty(), "auth.mode is \"jwt\": auth.jwt.algorithms must name one");
                must(
                    jwt.algorithms.iter().all(|algorithm| super::signatures::is_public(*algorithm)),
                    "auth.jwt.algorithms: of HS256, HS384 and HS512 whoever can verify can sign, so they are not taken",
                );
                must(
                    (1000..=86_400_000).contains(&jwt.refresh_ms),
                    "auth.jwt.refresh_ms must be between 1000 and 86400000",
                );
                must(
                    (1..=60_000).contains(&jwt.timeout_ms),
                    "auth.jwt.timeout_ms must be between 1 and 60000",
                );
                must(jwt.leeway_s <= 600, "auth.jwt.leeway_s must be at most 600");
            }
        }
        problems.extend(super::keys::Keys::new(&self.keys).err().into_iter().flatten());
        problems
    }
}

impl RateLimitConfig {
    /// What is wrong with it by itself.
    pub fn problems(&self) -> Vec<String> {
        let too_fast = |name: &str, rate: u32| {
            (rate > EVENTS_PER_S_MAX).then(|| format!("rate_limit.{name} must be at most {EVENTS_PER_S_MAX}"))
        };
        let without = |name: &str, rate: u32, burst: u32| {
            (rate == 0 && burst > 0).then(|| {
                format!("rate_limit.{name}_burst_events does nothing without rate_limit.{name}_events_per_s")
            })
        };
        let clients = (self.client_events_per_s > 0 && !(1..=10_000_000).contains(&self.clients_max))
            .then(|| "rate_limit.clients_max must be between 1 and 10000000".to_owned());
        [
            too_fast("client_events_per_s", self.client_events_per_s),
            too_fast("total_events_per_s", self.total_events_per_s),
            without("client", self.client_events_per_s, self.client_burst_events),
            without("total", self.total_events_per_s, self.total_burst_events),
            clients,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
