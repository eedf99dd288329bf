//! Who says who it is, and is not believed.
//!
//! Verifying a token takes thousands of times what looking one up does, and anybody can make tokens up. So an address that has used up
//! its share with what was not believed is not believed again before it has some: of its tokens only those are looked at that
//! were verified before, whoever sends them, since many may share an address.

use std::net::IpAddr;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

/// The addresses whose tokens are not verified for a while.
pub(super) struct Strangers(Cache<IpAddr, Instant>);

impl Strangers {
    /// So many of them at most, the newest.
    pub(super) fn new(max: u64) -> Self {
        Self(Cache::builder().max_capacity(max).eviction_policy(EvictionPolicy::lru()).build())
    }

    /// Nothing of this address is verified for so many seconds.
    pub(super) fn hold(&self, site: IpAddr, seconds: u32) {
        self.0.insert(site, Instant::now() + Duration::from_secs(seconds.into()));
    }

    /// For how many seconds nothing of this address is verified.
    pub(super) fn held(&self, site: IpAddr) -> Option<u32> {
        let left = self.0.get(&site)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX))
    }
}
