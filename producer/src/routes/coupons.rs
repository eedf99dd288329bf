//! Coupons: creating them, asking for one, and what was decided.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_schemas::{
    CouponId, CouponIssue, Described, EventId, Fields, Invalid, InvalidKind, Timestamp, UserId, fields,
};
use floodgate_store::{Coupon, CouponCreated, Decision, DecisionStatus, NewCoupon, Stock};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answers::{self, Prepared, Template, any_id, told_where};
use crate::accepted::Accepted;
use crate::admission::Admitted;
use crate::described::{Shown, answer};
use crate::extract::{IDEMPOTENCY_KEY, Json, NoQuery, Only, Params, Write, param};
use crate::follow::Followed;
use crate::ingress::Ingress;
use crate::problem::Problem;

/// `POST /api/v6/coupons`
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    _: NoQuery,
    admitted: Admitted,
    Only(Json(body)): Only<Json>,
) -> Result<Response, Problem> {
    let coupon = ingress.heavy.read(&admitted.holder, body.len(), || new_coupon(&body)).await??;
    let created = ingress.reads.create_coupon(&coupon).await.map_err(Problem::coupon_not_created)?;
    ingress.door.saw(&coupon.coupon_id, created == CouponCreated::Created && coupon.stock.get() == 0);
    match created {
        CouponCreated::Created => Ok(answers::json(StatusCode::CREATED, &CouponTerms::from(coupon))),
        CouponCreated::SameExists => Ok(answers::json(StatusCode::OK, &CouponTerms::from(coupon))),
        CouponCreated::DifferentExists => Err(Problem::coupon_exists(coupon.coupon_id.as_str())),
    }
}

/// What a coupon is created with.
pub(super) struct Creation;

fields! {
    Creation {
        COUPON_ID: CouponId = "couponId", "The coupon.";
        STOCK: Stock = "stock", "How many there are.";
        OPENS_AT: Option<Timestamp> = "opensAt", "Requests accepted before are decided NOT_OPEN; without it, open from the start.";
        CLOSES_AT: Option<Timestamp> = "closesAt",
            "Requests accepted then or later are decided NOT_OPEN; later than opensAt. Without it, it never closes.";
    }
}

pub(super) fn new_coupon(body: &[u8]) -> Result<NewCoupon, Invalid> {
    let fields = Fields::parse(&Creation::FIELDS, body)?;
    let coupon = NewCoupon {
        coupon_id: fields.get(&Creation::COUPON_ID)?,
        stock: fields.get(&Creation::STOCK)?,
        opens_at: fields.get(&Creation::OPENS_AT)?,
        closes_at: fields.get(&Creation::CLOSES_AT)?,
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
        param(&CouponIssue::COUPON_ID, coupon).map(Self)
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
            Ok(answers::json(StatusCode::OK, &CouponState::from(found)))
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
        match !parts.headers.contains_key(&IDEMPOTENCY_KEY) && ingress.door.is_sold_out(&coupon) {
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
    let check = async || -> Result<CouponIssue, Problem> {
        let Write { path: AskedFor(coupon), key, body: Json(body) } = write?;
        let read = || Fields::parse(&CouponIssue::BODY, &body)?.get(&CouponIssue::USER_ID);
        let user = ingress.heavy.read(&admitted.holder, body.len(), read).await??;
        admitted.may_write_for(user.as_str(), CouponIssue::USER_ID.name())?;
        Ok(CouponIssue::new(coupon, user, &ingress.accept(key.as_ref())))
    };
    let issue = ingress.publish(check().await, followed, &admitted).await?;
    let Accepted { event_id: request_id, stored_in } = issue;
    static PREPARED: Prepared = Prepared::new(|| Template::of(&CouponRequest::pending(any_id())));
    let pending = PREPARED.accepted(request_id);
    Ok(told_where((decided_at(request_id), pending).into_response(), stored_in))
}

/// Where the decision on a request will be.
pub(super) fn decided_at(request_id: EventId) -> [(HeaderName, String); 1] {
    [(LOCATION, format!("/api/v6/coupon-requests/{request_id}"))]
}

/// `GET /api/v6/coupon-requests/{requestId}?waitMs=0..30000`
pub(super) async fn decision(
    State(ingress): State<Arc<Ingress>>,
    admitted: Admitted,
    WaitMs(wait): WaitMs,
    Params(request): Params<String>,
) -> Result<Response, Problem> {
    let uuid = Uuid::try_parse(&request)
        .map_err(|_| Problem::invalid_request("requestId", "requestId is not a UUID"))?;
    let request_id = EventId::from(uuid);
    let decision = if wait.is_zero() {
        ingress.reads.decisions(&[request_id]).await?.pop().map(Arc::new)
    } else {
        ingress.waiting.decision(&admitted.holder, request_id, wait).await?
    };
    let status = match decision {
        Some(decision) => CouponRequest::from(&*decision),
        None => CouponRequest::pending(request_id),
    };
    Ok(answers::json(StatusCode::OK, &status))
}

/// The longest that a client may wait.
pub(super) const WAIT_MS_MAX: u64 = 30_000;

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

answer! {
    /// What a coupon was created with.
    pub(super) struct CouponTerms {
        coupon_id: Shown<CouponId> = "couponId", "The coupon.";
        stock: Stock = "stock", "How many there are in all.";
        opens_at: Option<Shown<Timestamp>> = "opensAt", "Requests accepted before are decided NOT_OPEN; null: open from the start.";
        closes_at: Option<Shown<Timestamp>> = "closesAt", "Requests accepted then or later are decided NOT_OPEN; null: never closes.";
    }
}

impl From<NewCoupon> for CouponTerms {
    fn from(coupon: NewCoupon) -> Self {
        Self {
            coupon_id: Shown(coupon.coupon_id),
            stock: coupon.stock,
            opens_at: coupon.opens_at.map(Shown),
            closes_at: coupon.closes_at.map(Shown),
        }
    }
}

answer! {
    /// How a coupon stands.
    pub(super) struct CouponState {
        coupon_id: Shown<CouponId> = "couponId", "The coupon.";
        stock: Stock = "stock", "How many there are in all.";
        opens_at: Option<Shown<Timestamp>> = "opensAt", "Requests accepted before are decided NOT_OPEN; null: open from the start.";
        closes_at: Option<Shown<Timestamp>> = "closesAt", "Requests accepted then or later are decided NOT_OPEN; null: never closes.";
        issued: Stock = "issued", "How many are given out.";
        remaining: i32 = "remaining", "How many are left.";
    }
}

impl From<Coupon> for CouponState {
    fn from(coupon: Coupon) -> Self {
        let (issued, remaining) = (coupon.issued, coupon.remaining());
        let CouponTerms { coupon_id, stock, opens_at, closes_at } = coupon.terms.into();
        Self { coupon_id, stock, opens_at, closes_at, issued, remaining }
    }
}

answer! {
    /// What became of a request for a coupon.
    pub(super) struct CouponRequest {
        request_id: EventId = "requestId", "The request, named by its event.";
        status: RequestStatus = "status", "What was decided, or PENDING.";
    } sometimes {
        coupon_id: Shown<CouponId> = "couponId", "Once decided: the coupon.";
        user_id: Shown<UserId> = "userId", "Once decided: who asked.";
        rank: i32 = "rank", "Once issued: the place among those who got one, from 1.";
        decided_at: Shown<Timestamp> = "decidedAt", "Once decided: when.";
    }
}

impl CouponRequest {
    fn pending(request_id: EventId) -> Self {
        let status = RequestStatus(None);
        Self { request_id, status, coupon_id: None, user_id: None, rank: None, decided_at: None }
    }
}

impl From<&Decision> for CouponRequest {
    fn from(decision: &Decision) -> Self {
        Self {
            request_id: decision.request_id,
            status: RequestStatus(Some(decision.status)),
            coupon_id: Some(Shown(decision.coupon_id.clone())),
            user_id: Some(Shown(decision.user_id.clone())),
            rank: decision.rank,
            decided_at: Some(Shown(decision.decided_at)),
        }
    }
}

/// The decision, once there is one.
pub(super) struct RequestStatus(Option<DecisionStatus>);

impl RequestStatus {
    const PENDING: &str = "PENDING";
}

impl Serialize for RequestStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.map_or(Self::PENDING, DecisionStatus::name))
    }
}

impl Described for RequestStatus {
    fn schema() -> Value {
        let names = [Self::PENDING].into_iter().chain(DecisionStatus::ALL.map(DecisionStatus::name));
        json!({ "type": "string", "enum": names.collect::<Vec<_>>() })
    }
}
