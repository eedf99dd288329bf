//! The `[auth]` and `[rate_limit]` sections.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use jsonwebtoken::Algorithm;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

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

impl JwtConfig {
    /// Where the issuer's keys are, for people.
    pub fn place(&self) -> String {
        [self.jwks_file.clone(), self.shown_url()].concat()
    }

    /// Where they are served, for people: what stands behind a `?` may be a secret.
    pub fn shown_url(&self) -> String {
        match self.jwks_url.split_once('?') {
            Some((shown, _)) => format!("{shown}?***"),
            None => self.jwks_url.clone(),
        }
    }
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
    /// How long a request that is refused waits for its answer, so that whoever floods does not keep the process busy; 0: not at all.
    pub refusal_delay_ms: u64,
    /// Clients that are told apart; beyond it the one that was silent for longest is forgotten.
    pub clients_max: u64,
    /// Whose word on a client's address is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

/// Networks; an address is one of itself, and what stands for addresses of IPv4 is of IPv4, as whoever comes from there is.
fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        address.or_else(|_| text.parse().map(canonical)).map_err(|_| {
            let told = "is neither an address nor a network, such as 10.0.0.1 and 10.0.0.0/8";
            D::Error::custom(format!("{text:?} {told}"))
        })
    };
    Vec::<String>::deserialize(from)?.into_iter().map(network).collect()
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let of_v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    let of_v4 = of_v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    of_v4.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_network_of_itself() {
        let read = |text: &str| {
            let value = serde_json::json!([text]);
            networks(value).map(|nets| nets[0].to_string()).map_err(|error| error.to_string())
        };
        for (text, net) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::7", "fd00::7/128"),
            ("fd00::/8", "fd00::/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1/128", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::ffff:0.0.0.0/95"),
            ("::/0", "::/0"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(net));
        }
        for wrong in ["10.0.0", "10.0.0.0/33", "proxy.example", "", "10.0.0.1:80"] {
            let told = read(wrong).unwrap_err();
            assert!(told.contains(&format!("{wrong:?} is neither")), "{told}");
        }
    }
}
