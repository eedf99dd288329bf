//! How much clients may send.
//!
//! A limit is a rate and a burst: who has sent nothing for a while may send a burst at once, and from then on as much as the
//! rate brings. That is kept as one number for each client, the time at which what it has sent would have been sent at the
//! rate alone (the *generic cell rate algorithm*; the library is `governor`), so that no window has an edge at which twice the
//! limit fits. Numbers are changed by compare-and-swap, so all threads share one limit and none waits for another.
//!
//! What is counted is events. A request costs at least one, whatever it asks for, which is taken before anything of it is
//! worked on; a batch costs what it holds, and the rest of that is taken once its events are counted. It is taken whole or
//! refused whole. What the limit of all clients refuses has cost its client one event, which is not given back: who asks again and
//! again has no more from that than others. What its own limit refuses has cost the others nothing.
//!
//! Reading a large body is work, whatever is in it and whether it is let in. So a client pays for each few kilobytes as for an event, on credit: what
//! that takes more than is there it waits for later. It is part of what a batch costs, and adds nothing to that unless somebody made events
//! larger than they have to be.
//!
//! Who is silent long enough to have its whole burst again is as good as new, and forgotten. Where more clients come than are
//! told apart the one that was silent for longest is forgotten before: it has its burst again then.

use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prometheus::IntGauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::RateLimitConfig;
use super::standing::{Exceeded, Policy, Standing};

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

/// The limits of an instance.
pub(crate) struct Limits {
    clock: Monotonic,
    client: Option<Limit<Clients>>,
    total: Option<Limit<Everybody>>,
}

struct Limit<S: StateStore<Key = Client>> {
    policy: Policy,
    limiter: RateLimiter<Client, S, Monotonic, StateInformationMiddleware>,
    /// What the limiter has, which it shows to nobody.
    state: S,
    /// From when on time is counted there.
    start: Duration,
    rate: NonZeroU32,
    burst: NonZeroU32,
    /// What the rate takes for one event.
    event_nanos: u64,
}

/// So many events are not there.
struct Short;

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

/// What all clients have sent: one number, whoever asks.
#[derive(Clone, Default)]
struct Everybody(Share);

impl StateStore for Everybody {
    type Key = Client;

    fn measure_and_replace<T, F, E>(&self, _: &Client, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.0.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl Limits {
    /// `None` where nothing is limited.
    pub(crate) fn new(config: &RateLimitConfig, known: &IntGauge) -> Option<Self> {
        let clock = Monotonic::new();
        let client = quota(config.client_events_per_s, config.client_burst_events).map(|quota| {
            let clients = Clients::new(quota, config.clients_max, known.clone());
            Limit::new(Policy::Client, quota, clients, clock)
        });
        let total = quota(config.total_events_per_s, config.total_burst_events)
            .map(|quota| Limit::new(Policy::Total, quota, Everybody::default(), clock));
        (client.is_some() || total.is_some()).then_some(Self { clock, client, total })
    }

    /// Takes one event of a client's share, and of all clients'.
    pub(crate) fn take_one(&self, client: &Client) -> Result<Option<Standing>, Exceeded> {
        self.take(client, [1, 1], NonZeroU32::MIN)
    }

    /// Takes one event of a client's share alone.
    pub(crate) fn take_of_stranger(&self, client: &Client) -> Result<(), Exceeded> {
        let Some(limit) = &self.client else { return Ok(()) };
        let told = |Short| Exceeded::for_so_long([Some(limit.look(client, 1, self.clock)), None]);
        limit.take(client, 1, self.clock).map(drop).map_err(told)
    }

    /// Why a client that has nothing left is not let in for so many seconds.
    pub(crate) fn spent(&self, retry_after_s: u32) -> Exceeded {
        let standing = self.client.as_ref().map(|limit| limit.left(0));
        let wait = Duration::from_secs(retry_after_s.into());
        Exceeded::for_so_long([standing.map(|standing| (standing, wait)), None])
    }

    /// Forgets who has been silent, every second until `stop`, and says how many clients are left.
    pub(crate) async fn keep(&self, stop: &CancellationToken) {
        loop {
            self.client.iter().for_each(|limit| limit.state.forget());
            tokio::select! {
                () = tokio::time::sleep(FORGET) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes what a batch of so many events costs beyond what its request has `paid`.
    pub(crate) fn take_rest(
        &self,
        client: &Client,
        paid: u32,
        events: u32,
    ) -> Result<Option<Standing>, Exceeded> {
        let Some(whole) = NonZeroU32::new(events).filter(|events| events.get() > 1) else { return Ok(None) };
        // what never fits costs nobody anything
        self.client.iter().try_for_each(|limit| limit.if_ever(events))?;
        self.total.iter().try_for_each(|limit| limit.if_ever(events))?;
        self.take(client, [events.saturating_sub(paid), events - 1], whole)
    }

    /// Takes so many events of a client's share alone, whether they are there or not.
    pub(crate) fn owe(&self, client: &Client, events: u32) {
        self.client.iter().for_each(|limit| limit.owe(client, events, self.clock));
    }

    /// Takes what is due, of the client's share and of all clients', of a request that costs so much as a whole, from its first event on:
    /// so much it costs when it is sent again.
    fn take(
        &self,
        client: &Client,
        [due, due_of_all]: [u32; 2],
        whole: NonZeroU32,
    ) -> Result<Option<Standing>, Exceeded> {
        let told = |Short| self.exceeded(client, whole);
        let of_client = self.client.as_ref().map(|limit| limit.take(client, due, self.clock));
        let of_client = of_client.transpose().map_err(told)?;
        let of_all = self.total.as_ref().map(|limit| limit.take(client, due_of_all, self.clock)).transpose();
        let of_all = of_all.map_err(|short| {
            let rest = due.min(whole.get() - 1);
            self.client.iter().for_each(|limit| limit.give_back(client, rest));
            told(short)
        })?;
        Ok(of_client.or(of_all))
    }

    /// What a client is told of a request that does not fit now.
    fn exceeded(&self, client: &Client, whole: NonZeroU32) -> Exceeded {
        let of_client = self.client.as_ref().map(|limit| limit.look(client, whole.get(), self.clock));
        let of_all = self.total.as_ref().map(|limit| limit.look(client, whole.get(), self.clock));
        Exceeded::for_so_long([of_client, of_all])
    }

    /// What clients are told of the limits, as the value of `RateLimit-Policy`.
    pub(crate) fn policies(&self) -> String {
        let client = self.client.as_ref().map(Limit::policy);
        let total = self.total.as_ref().map(Limit::policy);
        [client, total].into_iter().flatten().collect::<Vec<_>>().join(", ")
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

/// Rate and burst, where there is a limit.
fn quota(rate: u32, burst: u32) -> Option<(NonZeroU32, NonZeroU32)> {
    let rate = NonZeroU32::new(rate)?;
    Some((rate, NonZeroU32::new(burst).unwrap_or(rate)))
}

impl<S: StateStore<Key = Client> + Clone> Limit<S> {
    fn new(policy: Policy, (rate, burst): (NonZeroU32, NonZeroU32), state: S, clock: Monotonic) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        let event_nanos = quota.replenish_interval().as_nanos() as u64;
        let limiter = RateLimiter::new(quota, state.clone(), clock);
        // if anything, later than the limiter's own: nobody is told too early a time
        let start = clock.now();
        Self { policy, limiter, state, start, rate, burst, event_nanos }
    }

    /// By its name its quota, the seconds in which that is there again, where they are whole ones, and how many events come in each:
    /// there is no word for our unit (`qu`) among those of the draft.
    fn policy(&self) -> String {
        let (name, rate, burst) = (self.policy.name(), self.rate.get(), self.burst.get());
        let window = if burst.is_multiple_of(rate) { format!(";w={}", burst / rate) } else { String::new() };
        format!("\"{name}\";q={burst}{window};floodgate-events-per-s={rate}")
    }

    /// # Errors
    /// So many events can never be sent at once.
    fn if_ever(&self, events: u32) -> Result<(), Exceeded> {
        let (policy, burst) = (self.policy, self.burst.get());
        if events <= burst { Ok(()) } else { Err(Exceeded::Ever { policy, burst }) }
    }

    /// Takes so many events of somebody's share, all or none.
    fn take(&self, client: &Client, events: u32, clock: Monotonic) -> Result<Standing, Short> {
        let Some(events) = NonZeroU32::new(events) else { return Ok(self.look(client, 0, clock).0) };
        match self.limiter.check_key_n(client, events) {
            Ok(Ok(state)) => Ok(self.left(state.remaining_burst_capacity())),
            Ok(Err(_)) | Err(_) => Err(Short),
        }
    }

    /// Gives so many events back.
    fn give_back(&self, client: &Client, events: u32) {
        if events > 0 {
            let nanos = Nanos::new(u64::from(events) * self.event_nanos);
            let earlier =
                |due: Option<Nanos>| Ok::<_, Infallible>(((), due.unwrap_or_default().saturating_sub(nanos)));
            let Ok(()) = self.state.measure_and_replace(client, earlier);
        }
    }

    /// Takes so many events, also if they are not there.
    fn owe(&self, client: &Client, events: u32, clock: Monotonic) {
        let (now, nanos) = (self.now(clock), u64::from(events) * self.event_nanos);
        let later = |due: Option<Nanos>| {
            let due = due.unwrap_or_default().max(now).as_u64();
            Ok::<_, Infallible>(((), Nanos::new(due.saturating_add(nanos))))
        };
        let Ok(()) = self.state.measure_and_replace(client, later);
    }

    /// As the limiter counts it.
    fn now(&self, clock: Monotonic) -> Nanos {
        clock.now().saturating_sub(self.start).into()
    }

    /// How somebody stands, and how long it is until so many events are there.
    fn look(&self, client: &Client, events: u32, clock: Monotonic) -> (Standing, Duration) {
        // who fails changes nothing
        let read = |due: Option<Nanos>| Err::<((), Nanos), _>(due.unwrap_or_default());
        let due = self.state.measure_and_replace(client, read).err().unwrap_or_default();
        let ahead = due.saturating_sub(self.now(clock)).as_u64();
        let (one, burst) = (self.event_nanos, u64::from(self.burst.get()) * self.event_nanos);
        let remaining = u32::try_from(burst.saturating_sub(ahead) / one).unwrap_or(u32::MAX);
        let wait = (ahead + u64::from(events) * one).saturating_sub(burst);
        (self.left(remaining), Duration::from_nanos(wait))
    }

    /// How somebody stands who may still send so many events at once.
    fn left(&self, remaining: u32) -> Standing {
        let reset_s = self.burst.get().saturating_sub(remaining).div_ceil(self.rate.get());
        Standing { policy: self.policy, remaining, reset_s }
    }
}
