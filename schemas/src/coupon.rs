//! Coupon issues: one user asks for one coupon, first come, first served.

use std::hash::Hasher;

use serde_json::{Value, json};

use crate::datum::Datum;
use crate::fields;
use crate::key::{CouponKey, KEY_SEPARATOR, Keying};
use crate::record::record;
use crate::schema::{Codec, Schema};
use crate::{Accept, CouponId, Event, EventId, EventType, Fields, Invalid, Table, Timestamp, UserId};

/// A request for one coupon. Its [`event_id`](Self::event_id) is the request's id, under which the
/// decision is kept; the first decision on an id is final, but for NOT_OPEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponIssue {
    /// Names this event and the request.
    pub event_id: EventId,
    /// When the ingress took it; what a coupon's opening hours are compared with.
    pub accepted_at: Timestamp,
    /// The coupon.
    pub coupon_id: CouponId,
    /// Who asks.
    pub user_id: UserId,
}

fields! {
    CouponIssue {
        COUPON_ID: CouponId = "couponId", "The coupon.";
        USER_ID: UserId = "userId", "Who asks for it.";
    }
}

impl CouponIssue {
    /// What is sent where the path names the coupon.
    pub const BODY: Table<1> = Table::of([Self::USER_ID.row()]);

    /// Reads and checks a client's words.
    ///
    /// # Errors
    /// [`Invalid`] names the field at fault.
    pub fn from_fields<const N: usize>(fields: &Fields<'_, N>, accept: &Accept<'_>) -> Result<Self, Invalid> {
        let coupon_id = fields.get(&Self::COUPON_ID)?;
        Ok(Self::new(coupon_id, fields.get(&Self::USER_ID)?, accept))
    }

    /// A request by `user_id` for `coupon_id`.
    pub fn new(coupon_id: CouponId, user_id: UserId, accept: &Accept<'_>) -> Self {
        let event_id = accept.event_id(EventType::Coupon, || format!("{coupon_id}{KEY_SEPARATOR}{user_id}"));
        Self { event_id, accepted_at: accept.accepted_at, coupon_id, user_id }
    }

    /// The event as clients write it in a batch, with its id and the time of its acceptance.
    pub fn to_json(&self) -> Value {
        json!({
            "type": EventType::Coupon.name(), "eventId": self.event_id.to_string(),
            "acceptedAt": self.accepted_at.to_string(), "couponId": self.coupon_id.as_str(),
            "userId": self.user_id.as_str(),
        })
    }
}

record!(CouponIssue { event_id, accepted_at, coupon_id, user_id });

impl Event for CouponIssue {
    const TYPE: EventType = EventType::Coupon;

    fn codec() -> &'static Codec<Self> {
        static CODEC: Codec<CouponIssue> = Codec::of(&[Schema::new(
            0x7dfd_53cc_a5cf_a60c,
            include_str!("../avro/coupon_issue.avsc"),
            CouponIssue::read,
        )]);
        &CODEC
    }

    fn event_id(&self) -> EventId {
        self.event_id
    }

    fn accepted_at(&self) -> Timestamp {
        self.accepted_at
    }

    fn ranked_at(&self) -> Option<i64> {
        None
    }

    fn hash_words<H: Hasher>(&self, _: &mut H) {
        // coupon and user are the natural key, the others are ours
        let Self { event_id: _, accepted_at: _, coupon_id: _, user_id: _ } = self;
    }

    fn write_partition_key(&self, keying: Keying, key: &mut String) {
        key.push_str(match keying.coupon {
            CouponKey::Coupon => self.coupon_id.as_str(),
            CouponKey::User => self.user_id.as_str(),
        });
    }
}
