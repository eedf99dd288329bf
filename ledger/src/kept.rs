//! How long decisions on coupon requests are kept.

use floodgate_schemas::{Event, EventType, Timestamp};

/// Days for which decisions are kept that gave nothing; 0: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecisionsKept {
    /// As configured (`coupon.decisions_retention_days`).
    pub days: u32,
}

const MICROS_A_DAY: i64 = 24 * 3_600_000_000;

impl DecisionsKept {
    /// Whether the decision on this event, if it is a coupon request, may have been deleted by now: it was made after the
    /// event was accepted. Clocks of several processes are believed to a day.
    pub(crate) fn may_lack<E: Event>(self, event: &E, now: Timestamp) -> bool {
        let days = i64::from(self.days);
        let kept_from = now.saturating_add_micros(-(days - 1) * MICROS_A_DAY);
        days > 0 && E::TYPE == EventType::Coupon && event.accepted_at() < kept_from
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::LikeAction::Like;
    use floodgate_schemas::examples::{at, coupon_issue, like};

    use super::*;

    #[test]
    fn only_old_requests_may_lack_their_decisions() {
        let request = coupon_issue(1, "c", "u");
        let lacks =
            |days, now_days: i64| DecisionsKept { days }.may_lack(&request, at(now_days * MICROS_A_DAY + 1));
        // accepted at 0, and a day is added for clocks that differ
        assert_eq!([lacks(40, 38), lacks(40, 39), lacks(40, 400), lacks(0, 400)], [false, true, true, false]);
        assert!(!DecisionsKept { days: 40 }.may_lack(&like(1, "t", "l", Like, 0), at(400 * MICROS_A_DAY)));
    }
}
