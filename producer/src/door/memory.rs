//! What is remembered of coupons.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use floodgate_schemas::CouponId;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Coupons that there are: those asked for last.
#[derive(Clone)]
pub(super) struct Memory(Cache<CouponId, Arc<Known>>);

/// A coupon that there is.
#[derive(Default)]
pub(super) struct Known {
    is_sold_out: AtomicBool,
    /// Whether the next look is at this one, too.
    pub(super) is_wanted: AtomicBool,
}

impl Known {
    pub(super) fn is_sold_out(&self) -> bool {
        self.is_sold_out.load(Ordering::Acquire)
    }
}

impl Memory {
    pub(super) fn new(max: u64) -> Self {
        Self(Cache::builder().max_capacity(max).eviction_policy(EvictionPolicy::lru()).build())
    }

    pub(super) fn get(&self, coupon: &CouponId) -> Option<Arc<Known>> {
        self.0.get(coupon)
    }

    /// There is this one. Whether it is sold out is taken over only where nothing was known: of several who read it nobody
    /// can say who read last.
    pub(super) fn saw(&self, coupon: &CouponId, is_sold_out: bool) {
        self.known(coupon, is_sold_out);
    }

    /// What the look after all others says: is there none any more, another database stands here.
    pub(super) fn looked(&self, coupon: &CouponId, is_sold_out: Option<bool>) {
        match is_sold_out {
            Some(is_sold_out) => {
                self.known(coupon, is_sold_out).is_sold_out.store(is_sold_out, Ordering::Release);
            }
            None => self.0.invalidate(coupon),
        }
    }

    fn known(&self, coupon: &CouponId, is_sold_out: bool) -> Arc<Known> {
        let known = || Arc::new(Known { is_sold_out: AtomicBool::new(is_sold_out), ..Known::default() });
        self.0.entry_by_ref(coupon).or_insert_with(known).into_value()
    }
}
