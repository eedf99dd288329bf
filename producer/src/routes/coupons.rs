//! Coupons: creating them, asking for one, and what was decided.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_schemas::{CouponId, CouponIssue, EventId, Fields, Invalid, InvalidKind, Timestamp, UserId};
use floodgate_store::{Coupon, CouponCreated, Decision, NewCoupon};
use serde::Serialize;
use uuid::Uuid;

use super::answers::{json, told_where};
use crate::accepted::Accepted;
use crate::admission::Admitted;
use crate::extract::{Json, NoQuery, Params, Write, param};
use crate::follow::Followed;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// `POST /api/v6/coupons`
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    Json(body): Json,
) -> Result<Response, Problem> {
    let coupon = new_coupon(&body)?;
    let created = ingress.reads.create_coupon(&coupon).await.map_err(Problem::coupon_not_created)?;
    ingress.door.saw(&coupon.coupon_id, created == CouponCreated::Created && coupon.stock.get() == 0);
    match created {
        CouponCreated::Created => Ok(json(StatusCode::CREATED, &Terms::from(&coupon))),
        CouponCreated::SameExists => Ok(json(StatusCode::OK, &Terms::from(&coupon))),
        CouponCreated::DifferentExists => Err(Problem::coupon_exists(coupon.coupon_id.as_str())),
    }
}

fn new_coupon(body: &[u8]) -> Result<NewCoupon, Invalid> {
    let fields = Fields::parse(&["couponId", "stock", "opensAt", "closesAt"], body)?;
    let time = |name| fields.optional(name).map(|field| field.time()).transpose();
    let coupon = NewCoupon {
        coupon_id: fields.required("couponId")?.id()?,
        stock: fields.required("stock")?.number()?,
        opens_at: time("opensAt")?,
        closes_at: time("closesAt")?,
    };
    match (coupon.opens_at, coupon.closes_at) {
        (Some(opens), Some(closes)) if closes <= opens => {
            Err(Invalid::field(InvalidKind::Value, "closesAt", "must be later than opensAt"))
        }
        _ => Ok(coupon),
    }
}

/// The coupon that a path names.
pub(super) struct OfCoupon(CouponId);

impl FromRequestParts<Arc<Ingress>> for OfCoupon {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        let Params(coupon) = Params::<String>::from_request_parts(parts, ingress).await?;
        param("couponId", coupon).map(Self)
    }
}

/// `GET /api/v6/coupons/{couponId}`
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    OfCoupon(coupon): OfCoupon,
) -> Result<Response, Problem> {
    match ingress.reads.coupon(&coupon).await? {
        Some(found) => {
            ingress.door.saw(&coupon, found.remaining() == 0);
            Ok(json(StatusCode::OK, &CouponBody::from(&found)))
        }
        None => Err(Problem::not_found(format!("there is no coupon {coupon}"))),
    }
}

/// The coupon that a request asks for. Whoever comes too late for it is told so before the body is read.
pub(super) struct AskedFor(CouponId);

impl FromRequestParts<Arc<Ingress>> for AskedFor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ingress: &Arc<Ingress>) -> Result<Self, Problem> {
        let OfCoupon(coupon) = OfCoupon::from_request_parts(parts, ingress).await?;
        // with a key it may be one that was decided, which only its user tells
        match !parts.headers.contains_key("idempotency-key") && ingress.door.is_sold_out(&coupon) {
            true => Err(Problem::sold_out()),
            false => Ok(Self(coupon)),
        }
    }
}

/// `POST /api/v6/coupons/{couponId}/issues`
pub(super) async fn issue(
    State(ingress): State<Arc<Ingress>>,
    followed: Followed,
    admitted: Admitted,
    write: Result<Write<AskedFor, Json>, Problem>,
) -> Result<Response, Problem> {
    let check = || -> Result<CouponIssue, Problem> {
        let Write { path: AskedFor(coupon), key, body: Json(body) } = write?;
        let user: UserId = Fields::parse(&["userId"], &body)?.required("userId")?.id()?;
        admitted.may_write_for(user.as_str(), "userId")?;
        Ok(CouponIssue::new(coupon, user, &ingress.accept(key.as_ref())))
    };
    let Accepted { event_id: request_id, stored_in } = ingress.publish(check(), followed).await?;
    let pending = json(StatusCode::ACCEPTED, &Status::pending(request_id));
    Ok(told_where((decided_at(request_id), pending).into_response(), stored_in))
}

/// Where the decision on a request will be.
pub(super) fn decided_at(request_id: EventId) -> [(HeaderName, String); 1] {
    [(LOCATION, format!("/api/v6/coupon-requests/{request_id}"))]
}

/// `GET /api/v6/coupon-requests/{requestId}?waitMs=0..30000`
pub(super) async fn decision(
    State(ingress): State<Arc<Ingress>>,
    WaitMs(wait): WaitMs,
    Params(request): Params<String>,
) -> Result<Response, Problem> {
    let uuid = Uuid::try_parse(&request)
        .map_err(|_| Problem::invalid_request("requestId", "requestId is not a UUID"))?;
    let request_id = EventId::from(uuid);
    let decision = if wait.is_zero() {
        ingress.reads.decisions(&[request_id]).await?.pop().map(Arc::new)
    } else {
        ingress.waiting.decision(request_id, wait).await?
    };
    let status = match decision {
        Some(decision) => Status::from(&*decision),
        None => Status::pending(request_id),
    };
    Ok(json(StatusCode::OK, &status))
}

/// The longest that a client may wait.
const WAIT_MS_MAX: u64 = 30_000;

/// The query parameter `waitMs`, the only one here; 0 without it.
pub(super) struct WaitMs(Duration);

impl<S: Sync> FromRequestParts<S> for WaitMs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        if query.is_empty() {
            return Ok(Self(Duration::ZERO));
        }
        let (name, value) = query.split_once('=').unwrap_or((query, ""));
        if name != "waitMs" {
            return Err(Problem::invalid_request(name, "the only query parameter here is waitMs"));
        }
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(millis) if digits && millis <= WAIT_MS_MAX => Ok(Self(Duration::from_millis(millis))),
            _ => {
                let detail = format!("waitMs is a whole number from 0 to {WAIT_MS_MAX}, given once");
                Err(Problem::invalid_request("waitMs", detail))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Terms<'a> {
    coupon_id: &'a str,
    stock: i32,
    opens_at: Option<String>,
    closes_at: Option<String>,
}

impl<'a> From<&'a NewCoupon> for Terms<'a> {
    fn from(coupon: &'a NewCoupon) -> Self {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            coupon_id: coupon.coupon_id.as_str(),
            stock: coupon.stock.get(),
            opens_at: text(coupon.opens_at),
            closes_at: text(coupon.closes_at),
        }
    }
}

#[derive(Serialize)]
struct CouponBody<'a> {
    #[serde(flatten)]
    terms: Terms<'a>,
    issued: i32,
    remaining: i32,
}

impl<'a> From<&'a Coupon> for CouponBody<'a> {
    fn from(coupon: &'a Coupon) -> Self {
        Self { terms: Terms::from(&coupon.terms), issued: coupon.issued.get(), remaining: coupon.remaining() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    request_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<String>,
}

impl Status {
    fn pending(request_id: EventId) -> Self {
        Self {
            request_id: request_id.to_string(),
            status: "PENDING",
            coupon_id: None,
            user_id: None,
            rank: None,
            decided_at: None,
        }
    }
}

impl From<&Decision> for Status {
    fn from(decision: &Decision) -> Self {
        Self {
            request_id: decision.request_id.to_string(),
            status: decision.status.name(),
            coupon_id: Some(decision.coupon_id.to_string()),
            user_id: Some(decision.user_id.to_string()),
            rank: decision.rank,
            decided_at: Some(decision.decided_at.to_string()),
        }
    }
}
