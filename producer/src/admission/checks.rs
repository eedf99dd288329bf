//! What is wrong with the `[auth]` and `[rate_limit]` sections by themselves.

use super::config::{AuthConfig, AuthMode, RateLimitConfig};
use super::keys::Keys;
use super::signatures;

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
        must(
            self.keys.is_empty() || self.mode == AuthMode::Keys,
            "auth.keys does nothing without auth.mode = \"keys\": nobody is asked for one",
        );
        let jwt = &self.jwt;
        for (name, value) in [
            ("jwks_file", &jwt.jwks_file),
            ("jwks_url", &jwt.jwks_url),
            ("issuer", &jwt.issuer),
            ("audience", &jwt.audience),
        ] {
            must(
                value.is_empty() || self.mode == AuthMode::Jwt,
                &format!("auth.jwt.{name} does nothing without auth.mode = \"jwt\""),
            );
        }
        match self.mode {
            AuthMode::Off => {}
            AuthMode::Keys => must(
                !self.keys.is_empty(),
                "auth.mode is \"keys\" and there are none in auth.keys: `floodgate key new` makes one",
            ),
            AuthMode::Jwt => {
                must(
                    jwt.jwks_file.is_empty() != jwt.jwks_url.is_empty(),
                    "auth.mode is \"jwt\": set one of auth.jwt.jwks_file and auth.jwt.jwks_url",
                );
                must(!jwt.issuer.is_empty(), "auth.mode is \"jwt\": auth.jwt.issuer must be set");
                must(!jwt.audience.is_empty(), "auth.mode is \"jwt\": auth.jwt.audience must be set");
                must(!jwt.algorithms.is_empty(), "auth.mode is \"jwt\": auth.jwt.algorithms must name one");
                must(
                    jwt.algorithms.iter().all(|algorithm| signatures::is_public(*algorithm)),
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
        problems.extend(Keys::new(&self.keys).err().into_iter().flatten());
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
        let slow = (self.refusal_delay_ms > 10_000)
            .then(|| "rate_limit.refusal_delay_ms must be at most 10000".to_owned());
        [
            slow,
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
