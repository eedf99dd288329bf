//! Where clients find what.

/// What the paths of all [`ROUTES`] begin with.
pub(crate) const API: &str = "/api/";

pub(crate) const EXPECTATIONS: &str = "/api/v6/expectations";
pub(crate) const CHARACTER: &str = "/api/v6/characters/{characterId}/expectations";
pub(crate) const COUPONS: &str = "/api/v6/coupons";
pub(crate) const COUPON: &str = "/api/v6/coupons/{couponId}";
pub(crate) const ISSUES: &str = "/api/v6/coupons/{couponId}/issues";
pub(crate) const REQUEST: &str = "/api/v6/coupon-requests/{requestId}";
pub(crate) const LIKES: &str = "/api/v6/characters/{targetOcid}/likes";
pub(crate) const LIKE: &str = "/api/v6/characters/{targetOcid}/likes/{likerAccountId}";
pub(crate) const EVENTS: &str = "/api/v6/events";
pub(crate) const CLOUD_EVENTS: &str = "/api/v6/cloudevents";

/// The paths of all operations that work with events.
pub(crate) const ROUTES: [&str; 10] =
    [EXPECTATIONS, CHARACTER, COUPONS, COUPON, ISSUES, REQUEST, LIKES, LIKE, EVENTS, CLOUD_EVENTS];

pub(crate) const HEALTHZ: &str = "/healthz";
pub(crate) const READYZ: &str = "/readyz";

/// The paths of all that ask how the process is.
pub(crate) const PROBES: [&str; 2] = [HEALTHZ, READYZ];

pub(crate) const DOCUMENT: &str = "/openapi.json";
pub(crate) const DOCS: &str = "/docs";
pub(crate) const DOCS_FILE: &str = "/docs/{file}";
