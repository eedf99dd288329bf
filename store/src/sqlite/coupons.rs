//! Coupon issues: look at what stands, decide, write. The write lock stands in for the locks on coupons.

use std::collections::{HashMap, HashSet};

use floodgate_schemas::{CouponIssue, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use super::{event_id, json, place};
use crate::ApplyOutcome;
use crate::coupon::{Before, Decisions, Terms, decide};
use crate::dialect::Statements;

const COUPONS: &str = "
SELECT coupon_id, stock, issued, opens_at, closes_at
FROM coupons WHERE coupon_id IN (SELECT value FROM json_each(?1))";

pub(super) const DECIDED: &str = "
SELECT request_id FROM coupon_requests WHERE request_id IN (SELECT value FROM json_each(?1))";

const NOT_OPEN: &str = "
SELECT request_id FROM coupon_requests
WHERE request_id IN (SELECT value FROM json_each(?1)) AND outcome = 'NOT_OPEN'";

/// At which places of the array the user holds the coupon.
const HOLDING: &str = "
SELECT key
FROM json_each(?1)
JOIN coupon_issues ON coupon_id = value ->> 0 AND user_id = value ->> 1";

const GRANT: &str = "
INSERT INTO coupon_issues (coupon_id, user_id, request_id, rank, issued_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ?2 FROM json_each(?1)";

const COUNT: &str = "
UPDATE coupons SET issued = now.value ->> 1
FROM json_each(?1) AS now
WHERE coupon_id = now.value ->> 0";

const DECIDE: &str = "
INSERT INTO coupon_requests (request_id, coupon_id, user_id, outcome, rank, decided_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 FROM json_each(?1)";

/// Decisions on requests that were not open before.
const CHANGE: &str = "
UPDATE coupon_requests SET outcome = now.value ->> 1, rank = now.value ->> 2, decided_at = ?2
FROM json_each(?1) AS now
WHERE request_id = now.value ->> 0";

impl Statements<SqliteConnection> for CouponIssue {
    async fn run(
        connection: &mut SqliteConnection,
        events: &[Self],
        now: Timestamp,
    ) -> Result<Vec<ApplyOutcome>, Error> {
        let decisions = decide(events, before(connection, events).await?);
        if !decisions.decided.is_empty() {
            write(connection, &decisions, now).await?;
        }
        Ok(decisions.outcomes)
    }
}

async fn before<'a>(
    connection: &mut SqliteConnection,
    events: &'a [CouponIssue],
) -> Result<Before<'a>, Error> {
    let ids: HashSet<&str> = events.iter().map(|request| request.coupon_id.as_str()).collect();
    let rows = sqlx::query(COUPONS).bind(json(&ids)?).fetch_all(&mut *connection).await?;
    let mut coupons = HashMap::with_capacity(rows.len());
    for row in &rows {
        let id =
            ids.get(row.try_get::<&str, _>(0)?).ok_or_else(|| Error::decode("a coupon nobody asked for"))?;
        coupons.insert(*id, terms(row)?);
    }

    let requests = json(events.iter().map(|request| request.event_id))?;
    let decided = sqlx::query(DECIDED).bind(&requests).fetch_all(&mut *connection).await?;
    let decided: HashSet<_> = decided.iter().map(|row| event_id(row, 0)).collect::<Result<_, _>>()?;
    let mut not_open = HashSet::new();
    if !decided.is_empty() {
        let rows = sqlx::query(NOT_OPEN).bind(&requests).fetch_all(&mut *connection).await?;
        not_open = rows.iter().map(|row| event_id(row, 0)).collect::<Result<_, _>>()?;
    }

    let asked = events.iter().map(|request| (request.coupon_id.as_str(), request.user_id.as_str()));
    let holding = sqlx::query(HOLDING).bind(json(asked)?).fetch_all(connection).await?;
    let holders = holding.iter().map(|row| {
        let request = events.get(place(row, 0)?).ok_or_else(|| Error::decode("a place beyond the batch"))?;
        Ok((request.coupon_id.as_str(), request.user_id.as_str()))
    });
    Ok(Before { coupons, decided, not_open, holders: holders.collect::<Result<_, Error>>()? })
}

fn terms(row: &SqliteRow) -> Result<Terms, Error> {
    let time = |column| -> Result<Option<Timestamp>, Error> {
        row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros).transpose().map_err(Error::decode)
    };
    Ok(Terms { stock: row.try_get(1)?, issued: row.try_get(2)?, opens_at: time(3)?, closes_at: time(4)? })
}

async fn write(
    connection: &mut SqliteConnection,
    decisions: &Decisions<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let now = now.as_micros();
    if !decisions.issued.is_empty() {
        let grants = decisions.grants().map(|(request, rank)| {
            (request.coupon_id.as_str(), request.user_id.as_str(), request.event_id, rank)
        });
        sqlx::query(GRANT).bind(json(grants)?).bind(now).execute(&mut *connection).await?;
        sqlx::query(COUNT).bind(json(&decisions.issued)?).execute(&mut *connection).await?;
    }
    let (changed, fresh): (Vec<_>, Vec<_>) = decisions.decided.iter().partition(|decided| decided.again);
    let fresh = json(fresh.iter().map(|decided| {
        let request = decided.request;
        let (coupon, user) = (request.coupon_id.as_str(), request.user_id.as_str());
        (request.event_id, coupon, user, decided.status.name(), decided.rank)
    }))?;
    sqlx::query(DECIDE).bind(fresh).bind(now).execute(&mut *connection).await?;
    if !changed.is_empty() {
        let changed = json(changed.iter().map(|d| (d.request.event_id, d.status.name(), d.rank)))?;
        sqlx::query(CHANGE).bind(changed).bind(now).execute(connection).await?;
    }
    Ok(())
}
