//! Who may come in, and how fast: what stands before the routes.
//!
//! A request is let in by its head alone, so that nothing of the body of one that is refused is worked on:
//!
//! 1. *who asks*: the address ([`address`]), and where callers have to say who they are, by which key ([`keys`]) or token
//!    ([`jwt`]);
//! 2. *how much*: one event is taken of the caller's share and of all callers' ([`limits`]). Somebody whose word on who it is
//!    is not believed is charged by address: guessing is limited, too;
//!
//! What it may do is looked at by its route, with what [`Admitted`] hands on: the scope that the operation takes, and for whom it
//! writes; of a batch what it costs, and every event by itself. Only `/api/` is behind this door: health is asked by whoever keeps the process alive. Where
//! nothing is configured nothing of it is in a request's way.

mod address;
mod caller;
mod checks;
mod config;
mod delays;
mod issuer;
mod jwt;
mod keys;
mod limits;
mod refusals;
mod signatures;
mod standing;
mod strangers;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use floodgate_listener::site;
use floodgate_observe::HttpMetrics;
use floodgate_schemas::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

pub(crate) use caller::{Admitted, Peer};
pub use config::{AuthConfig, AuthMode, JwtConfig, KeyConfig, RateLimitConfig};
pub use keys::{key_hash, new_key};

use crate::holders::Holders;
use crate::paths;
use crate::problem::Problem;
pub(crate) use address::Proxies;
use caller::{Caller, Identity, Untrusted};
use delays::Delays;
use jwt::{Distrust, Tokens};
use keys::Keys;
use limits::{Client, Limits};
use standing::{Exceeded, Standing};
use strangers::Strangers;

/// Which limits there are (draft-ietf-httpapi-ratelimit-headers-10).
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How a caller stands (draft-ietf-httpapi-ratelimit-headers-10).
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What an event takes in a body that nobody made larger than it has to be, in bytes: at most two ids and a key of 128 characters each, of which
/// JSON may write one as twelve bytes.
const EVENT_BYTES_MAX: usize = 4 << 10;

/// What requests have to pass.
pub struct Admission {
    identities: Identities,
    is_bound: bool,
    proxies: Proxies,
    limits: Option<Limits>,
    strangers: Strangers,
    /// What each client holds of what all share.
    holders: Holders<Client>,
    delays: Delays,
    /// What is told of the limits, the same in every answer.
    policies: Option<HeaderValue>,
    clock: Arc<dyn Clock>,
}

/// How callers say who they are.
enum Identities {
    Off,
    Keys(Keys),
    Tokens(Box<Tokens>),
}

impl Admission {
    /// Touches no network.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn open(
        auth: &AuthConfig,
        limit: &RateLimitConfig,
        metrics: &HttpMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Vec<String>> {
        let identities = match auth.mode {
            AuthMode::Off => Identities::Off,
            AuthMode::Keys => Identities::Keys(Keys::new(&auth.keys)?),
            AuthMode::Jwt => {
                Identities::Tokens(Box::new(Tokens::open(&auth.jwt).map_err(|problem| vec![problem])?))
            }
        };
        let limits = Limits::new(limit, &metrics.clients);
        Ok(Self {
            identities,
            is_bound: auth.bind_user,
            proxies: Proxies::new(&limit.trusted_proxies),
            policies: limits.as_ref().and_then(|limits| HeaderValue::try_from(limits.policies()).ok()),
            limits,
            strangers: Strangers::new(limit.clients_max),
            holders: Holders::default(),
            delays: Delays::new(Duration::from_millis(limit.refusal_delay_ms)),
            clock,
        })
    }

    /// One that everybody passes.
    pub fn off(clock: Arc<dyn Clock>) -> Self {
        Self {
            identities: Identities::Off,
            is_bound: false,
            proxies: Proxies::default(),
            limits: None,
            strangers: Strangers::new(0),
            holders: Holders::default(),
            delays: Delays::new(Duration::ZERO),
            policies: None,
            clock,
        }
    }

    /// How callers have to say who they are.
    pub(crate) fn mode(&self) -> AuthMode {
        match self.identities {
            Identities::Off => AuthMode::Off,
            Identities::Keys(_) => AuthMode::Keys,
            Identities::Tokens(_) => AuthMode::Jwt,
        }
    }

    /// Whether there is anything to pass.
    pub(crate) fn is_on(&self) -> bool {
        self.limits.is_some() || !matches!(self.identities, Identities::Off)
    }

    /// Whether who asks is at the other end of the connection, and nothing more is to be known.
    pub(crate) fn is_told_by_connections(&self) -> bool {
        !self.is_on() && self.proxies.is_empty()
    }

    /// # Errors
    /// Why nobody can be let in yet.
    pub(crate) fn ready(&self) -> Result<(), String> {
        match &self.identities {
            Identities::Tokens(tokens) => tokens.issuer.ready(),
            Identities::Off | Identities::Keys(_) => Ok(()),
        }
    }

    /// Asks the token issuer for its keys, and says how many are of use, or why none is known; `None` where there is none.
    pub async fn ask_issuer(&self) -> Option<Result<usize, String>> {
        match &self.identities {
            Identities::Tokens(tokens) => Some(tokens.issuer.ask().await),
            Identities::Off | Identities::Keys(_) => None,
        }
    }

    /// Keeps what is known of others up to date, until `stop`: where there is something.
    pub async fn run(&self, stop: &CancellationToken) {
        let issuer = async {
            if let Identities::Tokens(tokens) = &self.identities {
                tokens.issuer.run(stop).await;
            }
        };
        let limits = async {
            if let Some(limits) = &self.limits {
                limits.keep(stop).await;
            }
        };
        tokio::join!(issuer, limits, stop.cancelled());
    }

    /// Who is at the other end of a connection, as a client that holds something.
    pub(crate) fn peer(&self, address: IpAddr) -> Peer {
        Peer { address, holder: self.holders.of(&Client::Site(site(address))) }
    }

    /// Lets a request in, which came from `peer`.
    ///
    /// # Errors
    /// 401, 403 or 429; 503 where tokens cannot be verified yet.
    pub(crate) async fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        &Peer { address: peer, ref holder }: &Peer,
    ) -> Result<Admitted, Problem> {
        if !self.is_on() || !path.starts_with(paths::API) {
            let holder = match self.proxies.trust(peer.to_canonical()) {
                true => self.holders.of(&Client::Site(site(self.proxies.client(peer, headers)))),
                false => Arc::clone(holder),
            };
            return Ok(Admitted { caller: None, holder });
        }
        let site = || site(self.proxies.client(peer, headers));
        let identity = match self.identify(headers, site).await {
            Ok(identity) => identity,
            Err(problem) => return Err(self.turned_away(site(), problem)),
        };
        let client = match &identity {
            Some(identity) => identity.client.clone(),
            None => Client::Site(site()),
        };
        let standing = self.limits.as_ref().map_or(Ok(None), |limits| limits.take_one(&client));
        let standing = standing.map_err(|exceeded| self.exceeded(exceeded))?;
        let holder = self.holders.of(&client);
        let caller = Caller::new(client, identity, self.is_bound);
        standing.into_iter().for_each(|standing| caller.stands(standing));
        Ok(Admitted { caller: Some(Arc::new(caller)), holder })
    }

    /// Charges somebody who is not believed, by address alone: what all may send together is for those who are let in.
    fn turned_away(&self, site: IpAddr, problem: Problem) -> Problem {
        let taken =
            self.limits.as_ref().map_or(Ok(()), |limits| limits.take_of_stranger(&Client::Site(site)));
        match taken {
            Ok(()) => problem,
            Err(exceeded) => {
                if let Exceeded::Now { retry_after_s, .. } = exceeded {
                    self.strangers.hold(site, retry_after_s);
                }
                self.exceeded(exceeded)
            }
        }
    }

    /// Lets whoever sent too much wait for the answer, before which nobody sends the next request: a flood is as fast as it is
    /// answered, and refusing takes nearly as much as what is refused.
    pub(crate) async fn slow_down(&self, problem: &Problem) {
        if problem.is_rate_limited() {
            self.delays.wait().await;
        }
    }

    /// Charges what it costs to read a body of so many bytes, whatever is in it. It is part of what the events in it cost.
    pub(crate) fn charge_read(&self, admitted: &Admitted, bytes: usize) {
        let events = bytes / EVENT_BYTES_MAX;
        if events > 1
            && let (Some(limits), Some(caller)) = (&self.limits, &admitted.caller)
        {
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            limits.owe(&caller.client, events - 1);
            caller.pays(events);
        }
    }

    /// Charges what a batch of so many events costs.
    ///
    /// # Errors
    /// 429, or 413 for more than can ever be sent at once: nothing of the batch may be worked on.
    pub(crate) fn charge(&self, admitted: &Admitted, events: usize) -> Result<(), Problem> {
        let (Some(limits), Some(caller)) = (&self.limits, &admitted.caller) else { return Ok(()) };
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let taken = limits.take_rest(&caller.client, caller.paid(), events);
        let standing = taken.map_err(|exceeded| self.exceeded(exceeded))?;
        standing.into_iter().for_each(|standing| caller.stands(standing));
        Ok(())
    }

    /// Whether this address is a trusted proxy's, behind which there are many clients.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.trust(address.to_canonical())
    }

    /// Tells a caller how it stands.
    pub(crate) fn tell(&self, admitted: &Admitted, response: &mut Response) {
        let standing = admitted.caller.as_ref().and_then(|caller| caller.standing());
        if let (Some(policies), Some(standing)) = (&self.policies, standing) {
            let headers = response.headers_mut();
            headers.insert(&RATE_LIMIT_POLICY, policies.clone());
            headers.insert(&RATE_LIMIT, standing.told());
        }
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        site: impl Fn() -> IpAddr,
    ) -> Result<Option<Arc<Identity>>, Problem> {
        if matches!(self.identities, Identities::Off) {
            return Ok(None);
        }
        let token = bearer(headers)?;
        let refused = |Untrusted(reason)| Problem::not_trusted(reason);
        let now = self.clock.now();
        let identity = match &self.identities {
            Identities::Off => return Ok(None),
            Identities::Keys(keys) => keys.identify(token, now).map_err(refused)?,
            Identities::Tokens(tokens) => match tokens.remembered(token, now) {
                Some(remembered) => remembered.map_err(refused)?,
                None => match self.limits.as_ref().zip(self.strangers.held(site())) {
                    Some((limits, retry_after_s)) => {
                        return Err(self.exceeded(limits.spent(retry_after_s)));
                    }
                    None => verified(tokens, token, now).await?,
                },
            },
        };
        Ok(Some(identity))
    }

    fn exceeded(&self, exceeded: Exceeded) -> Problem {
        match exceeded {
            Exceeded::Ever { policy, burst } => Problem::more_than_a_burst(policy.name(), burst),
            Exceeded::Now { policy, standings, retry_after_s } => {
                let policies =
                    self.policies.iter().map(|policies| (RATE_LIMIT_POLICY.clone(), policies.clone()));
                let fields = policies.chain([(RATE_LIMIT.clone(), Standing::all_told(&standings))]);
                Problem::rate_limited(policy, retry_after_s, fields)
            }
        }
    }
}

/// Whose token this is, of which that is not known yet.
async fn verified(tokens: &Tokens, token: &str, now: Timestamp) -> Result<Arc<Identity>, Problem> {
    let refused = |Untrusted(reason)| Problem::not_trusted(reason);
    match tokens.identify(token, now) {
        Ok(identity) => return Ok(identity),
        Err(Distrust::Token(untrusted)) => return Err(refused(untrusted)),
        Err(Distrust::KeyUnknown) => {}
    }
    tokens.issuer.look_again().await;
    tokens.issuer.ready().map_err(Problem::not_verifiable)?;
    tokens.identify(token, now).map_err(|distrust| match distrust {
        Distrust::Token(untrusted) => refused(untrusted),
        Distrust::KeyUnknown => Problem::not_trusted("the token is signed with a key that is not known"),
    })
}

/// The token of a request (RFC 6750).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = sent.next() else { return Err(Problem::not_identified()) };
    if sent.next().is_some() {
        return Err(Problem::not_trusted("there are several Authorization fields"));
    }
    let text = first.to_str().map_err(|_| Problem::not_trusted("the Authorization field is no text"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !scheme.eq_ignore_ascii_case("bearer") || !is_token {
        return Err(Problem::not_trusted("the Authorization field must be `Bearer` and a token"));
    }
    Ok(token)
}
