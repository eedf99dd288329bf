//! What of `[coupon]` is the door's.

/// What the door refuses, and what it may ask for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorConfig {
    /// Requests for coupons that there are not.
    pub refuse_unknown: bool,
    /// Requests for coupons of which every piece is given out, unless they are decided.
    pub refuse_sold_out: bool,
    /// How long a request waits for a look-up before it is accepted without.
    pub lookup_ms: u64,
    /// Coupons, and requests, that wait to be looked up at most; what is more is accepted without.
    pub lookups_max: usize,
    /// Coupons that are remembered.
    pub remembered_max: u64,
    /// How often coupons that are asked for are looked at, to learn that they are sold out.
    pub watch_ms: u64,
}

impl DoorConfig {
    /// Lets everybody in.
    pub const OPEN: Self = Self {
        refuse_unknown: false,
        refuse_sold_out: false,
        lookup_ms: 250,
        lookups_max: 100,
        remembered_max: 100,
        watch_ms: 500,
    };

    /// Whether anybody is refused.
    pub(crate) const fn is_on(&self) -> bool {
        self.refuse_unknown || self.refuse_sold_out
    }
}
