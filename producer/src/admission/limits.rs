//! How much clients may send.
//!
//! A limit is a rate and a burst: who has sent nothing for a while may send a burst at once, and from then on as much as the
//! rate brings. That is kept as one number for each client, the time at which what it has sent would have been sent at the
//! rate alone (the *generic cell rate algorithm*; the library is `governor`), so that no window has an edge at which twice the
//! limit fits. Numbers are changed by compare-and-swap, so all threads share one limit and none waits for another.
//!
//! What is counted is events. A request costs at least one, whatever it asks for, which is taken before anything of it is
//! worked on; a batch costs what it holds, and the rest of that is taken once its events are counted. It is taken whole or
//! refused whole. What the limit of all clients refuses has cost its client the same: who floods has no more from that.
//!
//! Who is silent long enough to have its whole burst again is as good as new, and forgotten. Where more clients come than are
//! told apart the one that was silent for longest is forgotten before: it has its burst again then.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use governor::clock::Clock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prometheus::IntGauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::RateLimitConfig;

/// How often those who have been silent are forgotten.
const FORGET: Duration = Duration::from_secs(1);

/// Whom a limit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Whose key stands in the configuration: what it has sent is kept with it, and nobody has to look for that.
    Key(Share),
    /// Who shows to be somebody otherwise.
    Subject(Arc<str>),
    /// Anybody else, by address.
    Site(IpAddr),
}

/// What a client has sent. One is itself alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share(Arc<InMemoryState>);

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Share {}

impl Hash for Share {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// A client.
    Client,
    /// All of this instance.
    Total,
}

/// How a client stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whose limit this is.
    pub(crate) policy: Policy,
    /// Events it may still send at once.
    pub(crate) remaining: u32,
    /// When it has its whole burst again, in seconds from now.
    pub(crate) reset_s: u32,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It may be when so many seconds have passed.
    Now { standing: Standing, retry_after_s: u32 },
    /// It never can be: so many events are the most that fit.
    Ever { policy: Policy, burst: u32 },
}

/// The limits of an instance.
pub(crate) struct Limits {
    clock: Monotonic,
    clients: Option<Clients>,
    client: Option<Limit<Client, Clients>>,
    total: Option<Limit<NotKeyed, InMemoryState>>,
}

struct Limit<K, S: StateStore<Key = K>> {
    limiter: RateLimiter<K, S, Monotonic, StateInformationMiddleware>,
    rate: NonZeroU32,
    burst: NonZeroU32,
}

/// Tokio's time, which tests pause, from when the limits were made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Monotonic(Instant);

impl Monotonic {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// One number for each client that was not silent for long, of those who are not in the configuration.
#[derive(Clone)]
struct Clients {
    shares: Cache<Client, Share>,
    /// How many there are.
    known: IntGauge,
}

impl StateStore for Clients {
    type Key = Client;

    fn measure_and_replace<T, F, E>(&self, client: &Client, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let unkeyed = &NotKeyed::NonKey;
        match client {
            Client::Key(share) => share.0.measure_and_replace(unkeyed, f),
            _ => self.shares.get_with_by_ref(client, Share::default).0.measure_and_replace(unkeyed, f),
        }
    }
}

impl Limits {
    /// `None` where nothing is limited.
    pub(crate) fn new(config: &RateLimitConfig, known: &IntGauge) -> Option<Self> {
        let clock = Monotonic::new();
        let of_client = quota(config.client_events_per_s, config.client_burst_events);
        let clients = of_client.map(|quota| Clients::new(quota, config.clients_max, known.clone()));
        let client = of_client.zip(clients.clone()).map(|(quota, clients)| Limit::new(quota, clients, clock));
        let total = quota(config.total_events_per_s, config.total_burst_events)
            .map(|quota| Limit::new(quota, InMemoryState::default(), clock));
        (client.is_some() || total.is_some()).then_some(Self { clock, clients, client, total })
    }

    /// Takes one event of a client's share, and of all clients'.
    pub(crate) fn take_one(&self, client: &Client) -> Result<Option<Standing>, Exceeded> {
        self.take(client, NonZeroU32::MIN)
    }

    /// Takes one event of a client's share alone.
    pub(crate) fn take_of_stranger(&self, client: &Client) -> Result<(), Exceeded> {
        self.take_of_client(client, NonZeroU32::MIN).map(drop)
    }

    /// Why a client that has nothing left is not let in for so many seconds.
    pub(crate) fn spent(&self, retry_after_s: u32) -> Exceeded {
        let policy = Policy::Client;
        let reset_s = self.client.as_ref().map_or(retry_after_s, |limit| limit.left(policy, 0).reset_s);
        Exceeded::Now { standing: Standing { policy, remaining: 0, reset_s }, retry_after_s }
    }

    /// Forgets who has been silent, every second until `stop`, and says how many clients are left.
    pub(crate) async fn keep(&self, stop: &CancellationToken) {
        loop {
            self.clients.iter().for_each(Clients::forget);
            tokio::select! {
                () = tokio::time::sleep(FORGET) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes what a batch of so many events costs beyond the one that its request has cost.
    pub(crate) fn take_rest(&self, client: &Client, events: usize) -> Result<Option<Standing>, Exceeded> {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let Some(rest) = NonZeroU32::new(events.saturating_sub(1)) else { return Ok(None) };
        // what never fits costs nobody anything
        self.client.iter().try_for_each(|limit| limit.if_ever(Policy::Client, events))?;
        self.total.iter().try_for_each(|limit| limit.if_ever(Policy::Total, events))?;
        self.take(client, rest)
    }

    fn take_of_client(&self, client: &Client, events: NonZeroU32) -> Result<Option<Standing>, Exceeded> {
        let Some(limit) = &self.client else { return Ok(None) };
        let decided = limit.limiter.check_key_n(client, events).map_err(drop);
        limit.standing(Policy::Client, events, decided, self.clock).map(Some)
    }

    fn take(&self, client: &Client, events: NonZeroU32) -> Result<Option<Standing>, Exceeded> {
        let mut standing = self.take_of_client(client, events)?;
        if let Some(limit) = &self.total {
            let decided = limit.limiter.check_n(events).map_err(drop);
            let of_all = limit.standing(Policy::Total, events, decided, self.clock)?;
            standing = standing.or(Some(of_all));
        }
        Ok(standing)
    }

    /// What clients are told of the limits, as the values of `RateLimit-Policy`: by name its quota, and the seconds in which that
    /// is there again.
    pub(crate) fn policies(&self) -> String {
        let client = self.client.as_ref().map(|limit| (Policy::Client, limit.rate, limit.burst));
        let total = self.total.as_ref().map(|limit| (Policy::Total, limit.rate, limit.burst));
        let told = |(policy, rate, burst): (Policy, NonZeroU32, NonZeroU32)| {
            format!("\"{}\";q={burst};w={}", policy.name(), burst.get().div_ceil(rate.get()))
        };
        let all: Vec<_> = [client, total].into_iter().flatten().map(told).collect();
        all.join(", ")
    }
}

impl Clients {
    fn new((rate, burst): (NonZeroU32, NonZeroU32), max: u64, known: IntGauge) -> Self {
        // who has been silent for so long has its whole burst again
        let full = Duration::from_secs(u64::from(burst.get() / rate.get()) + 2);
        let shares = Cache::builder().max_capacity(max).time_to_idle(full);
        Self { shares: shares.eviction_policy(EvictionPolicy::lru()).build(), known }
    }

    fn forget(&self) {
        self.shares.run_pending_tasks();
        self.known.set(i64::try_from(self.shares.entry_count()).unwrap_or(i64::MAX));
    }
}

impl Standing {
    /// The value of `RateLimit`. Every answer has one, so it is put together without the machinery of `format!`.
    pub(crate) fn told(self) -> HeaderValue {
        let (mut remaining, mut reset_s) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (remaining, reset_s) = (remaining.format(self.remaining), reset_s.format(self.reset_s));
        let told = ["\"", self.policy.name(), "\";r=", remaining, ";t=", reset_s].concat();
        HeaderValue::try_from(told).unwrap_or(HeaderValue::from_static("?"))
    }
}

impl Policy {
    /// Its name in answers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Total => "total",
        }
    }
}

/// Rate and burst, where there is a limit.
fn quota(rate: u32, burst: u32) -> Option<(NonZeroU32, NonZeroU32)> {
    let rate = NonZeroU32::new(rate)?;
    Some((rate, NonZeroU32::new(burst).unwrap_or(rate)))
}

type Decided = Result<Result<StateSnapshot, NotUntil<Duration>>, ()>;

impl<K, S: StateStore<Key = K>> Limit<K, S> {
    fn new((rate, burst): (NonZeroU32, NonZeroU32), state: S, clock: Monotonic) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self { limiter: RateLimiter::new(quota, state, clock), rate, burst }
    }

    /// # Errors
    /// So many events can never be sent at once.
    fn if_ever(&self, policy: Policy, events: u32) -> Result<(), Exceeded> {
        let burst = self.burst.get();
        if events <= burst { Ok(()) } else { Err(Exceeded::Ever { policy, burst }) }
    }

    /// How somebody stands who asked for so many events, by what was decided.
    fn standing(
        &self,
        policy: Policy,
        events: NonZeroU32,
        decided: Decided,
        clock: Monotonic,
    ) -> Result<Standing, Exceeded> {
        match decided {
            Ok(Ok(state)) => Ok(self.left(policy, state.remaining_burst_capacity())),
            Ok(Err(until)) => {
                let wait = until.wait_time_from(clock.now());
                let retry_after_s = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
                // so many of the events are not there yet
                let missing = (wait.as_nanos() * u128::from(self.rate.get())).div_ceil(1_000_000_000);
                let missing = u32::try_from(missing).unwrap_or(u32::MAX);
                let standing = self.left(policy, events.get().saturating_sub(missing));
                Err(Exceeded::Now { standing, retry_after_s })
            }
            Err(()) => Err(Exceeded::Ever { policy, burst: self.burst.get() }),
        }
    }

    /// How somebody stands who may still send so many events at once.
    fn left(&self, policy: Policy, remaining: u32) -> Standing {
        let reset_s = self.burst.get().saturating_sub(remaining).div_ceil(self.rate.get());
        Standing { policy, remaining, reset_s }
    }
}
