//! Where clients find what.

/// What the paths of all [`ROUTES`] begin with.
pub(crate) const API: &str = "/api/";

/// The paths of all routes but those of health, in the order in which the router has what answers them.
pub(crate) const ROUTES: [&str; 10] = [
    "/api/v6/expectations",
    "/api/v6/characters/{characterId}/expectations",
    "/api/v6/coupons",
    "/api/v6/coupons/{couponId}",
    "/api/v6/coupons/{couponId}/issues",
    "/api/v6/coupon-requests/{requestId}",
    "/api/v6/characters/{targetOcid}/likes",
    "/api/v6/characters/{targetOcid}/likes/{likerAccountId}",
    "/api/v6/events",
    "/api/v6/cloudevents",
];
