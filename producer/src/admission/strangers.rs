//! Who says who it is, and is not believed.
//!
//! Verifying a token takes a thousand times what looking one up does, and anybody can make tokens up. So of an address that has used
//! up its share with what was not believed only those tokens are good that were verified before, for as long as it takes until it has
//! some of its share again. But many may share an address, and one of them must not keep the others' new tokens out: as long as the
//! process verifies little for such addresses, it goes on to.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::limits::Monotonic;
use super::standing::seconds;

/// Tokens of all such addresses that are verified a second: a tenth of a core, at the hundred microseconds that the dearest takes.
const VERIFIED_PER_S: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// The addresses whose tokens are not verified for a while.
pub(super) struct Strangers {
    until: Cache<IpAddr, Instant>,
    budget: RateLimiter<NotKeyed, InMemoryState, Monotonic, StateInformationMiddleware>,
}

impl Strangers {
    /// So many of them at most, the newest.
    pub(super) fn new(max: u64) -> Self {
        let until = Cache::builder().max_capacity(max).eviction_policy(EvictionPolicy::lru()).build();
        let budget =
            RateLimiter::new(Quota::per_second(VERIFIED_PER_S), InMemoryState::default(), Monotonic::new());
        Self { until, budget }
    }

    /// Nothing of this address is verified for so many seconds, if much else is.
    pub(super) fn hold(&self, site: IpAddr, seconds: u32) {
        self.until.insert(site, Instant::now() + Duration::from_secs(seconds.into()));
    }

    /// For how many seconds a token of this address is not verified; `None` where it is to be now.
    pub(super) fn held(&self, site: IpAddr) -> Option<u32> {
        let left = self.until.get(&site)?.saturating_duration_since(Instant::now());
        if left.is_zero() || self.budget.check().is_ok() {
            return None;
        }
        Some(seconds(left))
    }
}
