//! Coupon issues: lock the coupons, look at what stands, decide, write.
//!
//! The lock and the look are separate statements on purpose. A single one would decide on what was committed
//! when it began, which may be before the lock's former holder wrote: ranks would collide.

use std::collections::{HashMap, HashSet};

use floodgate_schemas::{CouponIssue, EventId, Timestamp};
use sqlx::Error;
use sqlx::postgres::PgBindIterExt;
use uuid::Uuid;

use super::session::Session;
use super::types::Time;
use crate::ApplyOutcome;
use crate::coupon::{Before, Decisions, Terms, decide};
use crate::dialect::Statements;

const LOCK: &str = "
SELECT coupon_id, stock, issued, opens_at, closes_at
FROM coupons WHERE coupon_id = ANY($1) ORDER BY coupon_id FOR UPDATE";

/// Which requests are decided, which of them as not open, and at which places of the arrays the user holds the coupon.
const LOOK: &str = "
SELECT
    (SELECT coalesce(array_agg(request_id), '{}') FROM coupon_requests WHERE request_id = ANY($1)),
    (SELECT coalesce(array_agg(request_id), '{}') FROM coupon_requests
        WHERE request_id = ANY($1) AND outcome = 'NOT_OPEN'),
    (SELECT coalesce(array_agg(place - 1), '{}')
        FROM unnest($2, $3) WITH ORDINALITY AS asked (coupon_id, user_id, place)
        JOIN coupon_issues USING (coupon_id, user_id))";

/// The decisions, and what follows from the granted ones, which are the second group of arrays. The rows of
/// the coupons are locked.
const WRITE: &str = "
WITH grants AS (
    INSERT INTO coupon_issues (coupon_id, user_id, request_id, rank, issued_at)
    SELECT unnest($6), unnest($7), unnest($8), unnest($9), $12
), counters AS (
    UPDATE coupons SET issued = now.issued
    FROM unnest($10, $11) AS now (coupon_id, issued)
    WHERE coupons.coupon_id = now.coupon_id
)
INSERT INTO coupon_requests (request_id, coupon_id, user_id, outcome, rank, decided_at)
SELECT unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), $12";

/// Decisions on requests that were not open before.
const CHANGE: &str = "
UPDATE coupon_requests SET outcome = now.outcome, rank = now.rank, decided_at = $4
FROM unnest($1, $2, $3) AS now (request_id, outcome, rank)
WHERE coupon_requests.request_id = now.request_id";

type Locked = (String, i32, i32, Option<Time>, Option<Time>);

impl Statements<Session> for CouponIssue {
    async fn run(
        connection: &mut Session,
        events: &[Self],
        now: Timestamp,
    ) -> Result<Vec<ApplyOutcome>, Error> {
        let locked = lock(connection, events).await?;
        let (decided, not_open, holding) = look(connection, events).await?;
        let coupons = locked.iter().map(|(coupon, stock, issued, opens_at, closes_at)| {
            let (opens_at, closes_at) = (opens_at.map(|time| time.0), closes_at.map(|time| time.0));
            (coupon.as_str(), Terms { stock: *stock, issued: *issued, opens_at, closes_at })
        });
        let holders = holding.into_iter().filter_map(|index| {
            let request = events.get(usize::try_from(index).ok()?)?;
            Some((request.coupon_id.as_str(), request.user_id.as_str()))
        });
        let before = Before {
            coupons: coupons.collect::<HashMap<_, _>>(),
            decided: decided.into_iter().map(EventId::from).collect(),
            not_open: not_open.into_iter().map(EventId::from).collect(),
            holders: holders.collect(),
        };
        let decisions = decide(events, before);
        if !decisions.decided.is_empty() {
            write(connection, &decisions, now).await?;
        }
        Ok(decisions.outcomes)
    }
}

async fn lock(connection: &mut Session, events: &[CouponIssue]) -> Result<Vec<Locked>, Error> {
    let coupons: HashSet<&str> = events.iter().map(|request| request.coupon_id.as_str()).collect();
    sqlx::query_as(LOCK).bind(coupons.into_iter().bind_iter()).fetch_all(connection).await
}

async fn look(
    connection: &mut Session,
    events: &[CouponIssue],
) -> Result<(Vec<Uuid>, Vec<Uuid>, Vec<i64>), Error> {
    sqlx::query_as(LOOK)
        .bind(events.iter().map(|request| request.event_id.as_uuid()).bind_iter())
        .bind(events.iter().map(|request| request.coupon_id.as_str()).bind_iter())
        .bind(events.iter().map(|request| request.user_id.as_str()).bind_iter())
        .fetch_one(connection)
        .await
}

async fn write(connection: &mut Session, decisions: &Decisions<'_>, now: Timestamp) -> Result<(), Error> {
    let (changed, fresh): (Vec<_>, Vec<_>) = decisions.decided.iter().partition(|decided| decided.again);
    let (decided, changed) = (|| fresh.iter(), || changed.iter());
    let grants = || decisions.grants();
    let issued = || decisions.issued.iter();
    sqlx::query(WRITE)
        .bind(decided().map(|d| d.request.event_id.as_uuid()).bind_iter())
        .bind(decided().map(|d| d.request.coupon_id.as_str()).bind_iter())
        .bind(decided().map(|d| d.request.user_id.as_str()).bind_iter())
        .bind(decided().map(|d| d.status.name()).bind_iter())
        .bind(decided().map(|d| d.rank).bind_iter())
        .bind(grants().map(|(request, _)| request.coupon_id.as_str()).bind_iter())
        .bind(grants().map(|(request, _)| request.user_id.as_str()).bind_iter())
        .bind(grants().map(|(request, _)| request.event_id.as_uuid()).bind_iter())
        .bind(grants().map(|(_, rank)| rank).bind_iter())
        .bind(issued().map(|(coupon, _)| *coupon).bind_iter())
        .bind(issued().map(|(_, count)| *count).bind_iter())
        .bind(Time(now))
        .execute(&mut *connection)
        .await?;
    if changed().len() > 0 {
        sqlx::query(CHANGE)
            .bind(changed().map(|d| d.request.event_id.as_uuid()).bind_iter())
            .bind(changed().map(|d| d.status.name()).bind_iter())
            .bind(changed().map(|d| d.rank).bind_iter())
            .bind(Time(now))
            .execute(connection)
            .await?;
    }
    Ok(())
}
