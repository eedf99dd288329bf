//! The `[coupon]` section.

use floodgate_buffer::TopicsConfig;
use floodgate_ledger::DecisionsKept;
use floodgate_producer::{DoorConfig, HttpConfig};
use floodgate_schemas::CouponKey;
use serde::Deserialize;

/// How much longer than configured a record may stay in the log: brokers delete whole files, and take up to a week to
/// finish one.
const LINGERS_HOURS: u64 = 8 * 24;

/// `[coupon]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CouponConfig {
    pub(crate) partition_key: CouponKey,
    refuse_unknown: bool,
    refuse_sold_out: bool,
    lookup_ms: u64,
    lookups_max: usize,
    remembered_max: u64,
    watch_ms: u64,
    pub(crate) decisions_retention_days: u32,
}

impl CouponConfig {
    /// What is asked before a request is accepted.
    pub(crate) fn door(&self) -> DoorConfig {
        let Self {
            refuse_unknown, refuse_sold_out, lookup_ms, lookups_max, remembered_max, watch_ms, ..
        } = *self;
        DoorConfig { refuse_unknown, refuse_sold_out, lookup_ms, lookups_max, remembered_max, watch_ms }
    }

    /// How long decisions are to be found.
    pub(crate) fn decisions_kept(&self) -> DecisionsKept {
        DecisionsKept { days: self.decisions_retention_days }
    }

    /// What is wrong with it.
    pub(crate) fn problems(&self, http: &HttpConfig, topics: &TopicsConfig) -> Vec<String> {
        let rules = [
            (
                (1..=http.request_deadline_ms / 4).contains(&self.lookup_ms),
                "coupon.lookup_ms must be at least 1, and at most a quarter of http.request_deadline_ms: a request may wait \
                 for two look-ups before its event is offered",
            ),
            (self.lookups_max >= 1, "coupon.lookups_max must be at least 1"),
            (self.remembered_max >= 1, "coupon.remembered_max must be at least 1"),
            ((10..=60_000).contains(&self.watch_ms), "coupon.watch_ms must be between 10 and 60000"),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned());
        broken.chain(self.kept_too_short(topics)).collect()
    }

    /// A request that comes again from the log, or from the dead letters, must find its decision.
    fn kept_too_short(&self, topics: &TopicsConfig) -> Option<String> {
        let longest = topics.retention_hours.max(topics.dead_letter_retention_hours);
        let least = longest.saturating_add(LINGERS_HOURS).div_ceil(24);
        let days = u64::from(self.decisions_retention_days);
        (days != 0 && days < least).then(|| {
            format!(
                "coupon.decisions_retention_days must be 0 (keep) or at least {least}: records stay in the log and among the \
                 dead letters for topics.retention_hours and topics.dead_letter_retention_hours, and up to {LINGERS_HOURS} \
                 hours longer until the broker deletes them; a request that is read again without its decision would be \
                 decided anew"
            )
        })
    }
}
