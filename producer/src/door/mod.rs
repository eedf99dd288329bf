//! The door of coupons: requests that need not be accepted to know what becomes of them.
//!
//! A request for a coupon that there is not, or of which every piece is given out, would be stored, read, decided and kept
//! like any other. Both can be told at once, if what is told is certain:
//!
//! * **There is no such coupon** is certain only at the moment somebody looks, since the next one may create it. So nothing
//!   is remembered of coupons that there are not: each request waits for a look that began after it came. Looks are shared
//!   (`lookups`), so a flood of them is a query at a time.
//! * **Every piece is given out** stays true: stocks never change and what is issued is never taken back, so a row that says
//!   `issued = stock` says so for ever. That row was committed together with all decisions that gave out a piece; a request
//!   that is not decided by then gets none, and one that is decided is found by a look that begins after the row was read.
//!   Whoever comes without a key comes for the first time.
//!
//! Whatever the door does not know it lets in: an instance that knows nothing, a database that is away or late, a batch of more
//! than can be looked up. What is let in is decided by the consumers, as without a door. Only where so many wait to be looked up
//! that there is no room, of all or of one client, are others told to come again.
//!
//! Another database may come to stand where this one was, an older copy say, in which pieces remain. So coupons that are
//! asked for are looked at again and again (`watch`), those that are sold out too, and what the last look says holds.

mod config;
mod lookups;
mod memory;
#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floodgate_observe::DoorMetrics;
use floodgate_schemas::{CouponId, CouponIssue, EventId};
use floodgate_store::Reads;

pub use self::config::DoorConfig;
use self::lookups::{Answer, Full, Lookups};
use self::memory::Memory;
use self::watch::Watch;
use crate::heavy::in_nobodys_way;
use crate::problem::Problem;

/// What this instance knows of coupons, and how it learns more.
pub(crate) struct Door {
    config: DoorConfig,
    memory: Memory,
    /// Whether each coupon that there is is sold out.
    coupons: Arc<Lookups<CouponId, bool>>,
    /// Which requests are decided.
    decisions: Arc<Lookups<EventId, ()>>,
    watch: Arc<Watch>,
}

impl Door {
    pub(crate) fn new(reads: &Arc<dyn Reads>, config: DoorConfig, metrics: &DoorMetrics) -> Self {
        let memory = Memory::new(config.remembered_max);
        let bounds = (Duration::from_millis(config.lookup_ms), config.lookups_max);
        let read = Arc::clone(reads);
        let coupons = move |ids| stands(Arc::clone(&read), ids);
        let read = Arc::clone(reads);
        let decisions = move |ids| decided(Arc::clone(&read), ids);
        Self {
            coupons: Lookups::new("coupon-lookups", coupons, bounds, metrics),
            decisions: Lookups::new("request-lookups", decisions, bounds, metrics),
            watch: Watch::new(Arc::clone(reads), memory.clone(), config, metrics),
            memory,
            config,
        }
    }

    /// What a request is told without waiting: that it may go on, or why not. `None`: somebody has to be asked.
    pub(crate) fn at_once(&self, request: &CouponIssue) -> Option<Result<(), Problem>> {
        if !self.config.is_on() {
            return Some(Ok(()));
        }
        let coupon = &request.coupon_id;
        match self.stand(coupon) {
            Stand::Remains => Some(Ok(())),
            Stand::Unknown | Stand::Missing | Stand::Crowded => {
                (!self.config.refuse_unknown).then_some(Ok(()))
            }
            Stand::SoldOut if request.event_id.is_from_key() => None,
            Stand::SoldOut => Some(Err(Problem::sold_out())),
        }
    }

    /// Whether a request without a key need not be read further: every piece is given out.
    pub(crate) fn is_sold_out(&self, coupon: &CouponId) -> bool {
        self.config.refuse_sold_out && self.stand(coupon) == Stand::SoldOut
    }

    /// What one request of a client is told, after somebody was asked.
    pub(crate) async fn ask_for_one(&self, request: &CouponIssue, client: u64) -> Result<(), Problem> {
        self.ask(&[request], client).await.pop().unwrap_or(Ok(()))
    }

    /// What each of the requests of a client is told, after somebody was asked.
    pub(crate) async fn ask(&self, requests: &[&CouponIssue], client: u64) -> Vec<Result<(), Problem>> {
        let count = requests.len();
        let mut stands = in_nobodys_way(count, || self.stands(requests));
        if self.config.refuse_unknown {
            self.look_up_unknown(requests, &mut stands, client).await;
        }
        // begins after it was known that nothing is left: whoever was given a piece is found
        let retries = in_nobodys_way(count, || retries(requests, &stands));
        // a retry may be a winner's
        let decided = self.decisions.ask(retries, client).await.ok().flatten();
        in_nobodys_way(count, || told(requests, &stands, decided.as_deref()))
    }

    fn stands(&self, requests: &[&CouponIssue]) -> Vec<Stand> {
        requests.iter().map(|request| self.stand(&request.coupon_id)).collect()
    }

    /// Looks up the coupons of which nothing is known, and says how each of them stands if somebody answers.
    async fn look_up_unknown(&self, requests: &[&CouponIssue], stands: &mut [Stand], client: u64) {
        let unknown = in_nobodys_way(requests.len(), || unknown(requests, stands));
        let found = match self.coupons.ask(unknown, client).await {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(Full) => {
                let unknown = stands.iter_mut().filter(|stand| **stand == Stand::Unknown);
                return unknown.for_each(|stand| *stand = Stand::Crowded);
            }
        };
        in_nobodys_way(requests.len(), || self.learn(requests, stands, &found));
    }

    /// How those stand of which nothing was known.
    fn learn(&self, requests: &[&CouponIssue], stands: &mut [Stand], found: &HashMap<CouponId, bool>) {
        for (request, stand) in requests.iter().zip(stands) {
            if *stand != Stand::Unknown {
                continue;
            }
            let is_sold_out = found.get(&request.coupon_id).copied();
            *stand = match is_sold_out {
                None => Stand::Missing,
                Some(true) if self.config.refuse_sold_out => Stand::SoldOut,
                Some(_) => Stand::Remains,
            };
            if let Some(is_sold_out) = is_sold_out {
                self.memory.saw(&request.coupon_id, is_sold_out);
            }
        }
    }

    /// Somebody read this coupon's row, or wrote it.
    pub(crate) fn saw(&self, coupon: &CouponId, is_sold_out: bool) {
        if self.config.is_on() {
            self.memory.saw(coupon, is_sold_out);
        }
    }

    fn stand(&self, coupon: &CouponId) -> Stand {
        let DoorConfig { refuse_unknown, refuse_sold_out, .. } = self.config;
        let known = self.memory.get(coupon);
        // of one that is not known a look-up tells as much
        if refuse_sold_out && (known.is_some() || !refuse_unknown) {
            self.watch.note(coupon, known.as_deref());
        }
        match known {
            None => Stand::Unknown,
            Some(known) if refuse_sold_out && known.is_sold_out() => Stand::SoldOut,
            Some(_) => Stand::Remains,
        }
    }
}

/// What is known of a coupon, as far as the door is to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Nothing, not even whether there is one.
    Unknown,
    /// There was none when somebody looked, just now.
    Missing,
    /// Nothing, and so many ask that nobody looks.
    Crowded,
    /// There is one, and pieces may remain.
    Remains,
    SoldOut,
}

/// The coupons of which nothing is known.
fn unknown(requests: &[&CouponIssue], stands: &[Stand]) -> Vec<CouponId> {
    let unknown = requests.iter().zip(stands).filter(|(_, stand)| **stand == Stand::Unknown);
    unknown.map(|(request, _)| request.coupon_id.clone()).collect()
}

/// The requests that may have been decided before their coupon was sold out.
fn retries(requests: &[&CouponIssue], stands: &[Stand]) -> Vec<EventId> {
    let sold_out = requests.iter().zip(stands).filter(|(_, stand)| **stand == Stand::SoldOut);
    sold_out.map(|(request, _)| request.event_id).filter(|id| id.is_from_key()).collect()
}

/// What each request is told, where these are decided, or nobody knows.
fn told(
    requests: &[&CouponIssue],
    stands: &[Stand],
    decided: Option<&HashMap<EventId, ()>>,
) -> Vec<Result<(), Problem>> {
    let may_be_decided = |request: EventId| {
        request.is_from_key() && decided.is_none_or(|decided| decided.contains_key(&request))
    };
    let told = requests.iter().zip(stands).map(|(request, stand)| match stand {
        Stand::Missing => Err(Problem::unknown_coupon(&request.coupon_id)),
        Stand::Crowded => Err(Problem::busy()),
        Stand::SoldOut if !may_be_decided(request.event_id) => Err(Problem::sold_out()),
        Stand::Unknown | Stand::Remains | Stand::SoldOut => Ok(()),
    });
    told.collect()
}

/// Which of the coupons there are, and whether each is sold out.
fn stands(reads: Arc<dyn Reads>, coupons: Vec<CouponId>) -> Answer<CouponId, bool> {
    Box::pin(async move {
        let found = reads.coupons_named(&coupons).await?;
        Ok(found
            .into_iter()
            .map(|coupon| (coupon.terms.coupon_id.clone(), coupon.remaining() == 0))
            .collect())
    })
}

/// Which of the requests are decided.
fn decided(reads: Arc<dyn Reads>, requests: Vec<EventId>) -> Answer<EventId, ()> {
    Box::pin(async move {
        let found = reads.decisions(&requests).await?;
        Ok(found.into_iter().map(|decision| (decision.request_id, ())).collect())
    })
}
