//! What keys are made of: how their parts are put together, and the choices that partition keys depend on.

use serde::{Deserialize, Serialize};

/// Separates the parts of a composed key. Ids hold no control characters, so no two keys collide.
pub(crate) const KEY_SEPARATOR: char = '\u{1f}';

/// The configured choices that partition keys depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keying {
    /// By what coupon issues are partitioned.
    pub coupon: CouponKey,
}

/// By what coupon issues are partitioned, hence what "first" means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CouponKey {
    /// By coupon: all requests for it stand in one line, strictly first come, first served.
    #[default]
    Coupon,
    /// By user: one coupon spreads over all partitions; the order holds within each.
    User,
}
