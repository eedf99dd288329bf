//! Rows that carry an event and not its values: locked in the order of every other transaction, then set.

use floodgate_schemas::{CouponIssue, ExpectationWrite, Like, Timestamp};
use sqlx::Error;
use sqlx::postgres::PgBindIterExt;

use super::PostgresStore;
use super::likes::{UPDATE, write};
use super::session::Session;
use super::types::{Amount, Time};
use crate::compaction::Compacted;
use crate::dialect::{Lookup, Repairs};
use crate::transaction;
use crate::{ApplyError, BoxFuture, Repair};

/// The places of the rows that carry the very event, locked in key order.
const LOCK_EXPECTATIONS: &str = "
SELECT place - 1 FROM (
    SELECT unnest($1) AS character_id, unnest($2) AS preset_no, unnest($3) AS event_id,
        generate_series(1, cardinality($3)::bigint) AS place
) AS event
JOIN expectations AS standing USING (character_id, preset_no, event_id)
ORDER BY place FOR UPDATE OF standing";

/// The same for likes.
const LOCK_LIKES: &str = "
SELECT place - 1 FROM (
    SELECT unnest($1) AS target_ocid, unnest($2) AS liker_account_id, unnest($3) AS event_id,
        generate_series(1, cardinality($3)::bigint) AS place
) AS event
JOIN likes AS standing USING (target_ocid, liker_account_id, event_id)
ORDER BY place FOR UPDATE OF standing";

/// Of locked rows.
const SET_EXPECTATIONS: &str = "
UPDATE expectations AS standing
SET version = event.version, total_expected_cost = event.total, black_cube_cost = event.black_cube,
    red_cube_cost = event.red_cube, additional_cube_cost = event.additional_cube,
    starforce_cost = event.starforce, calculated_at = event.calculated_at, updated_at = $11
FROM (
    SELECT unnest($1) AS character_id, unnest($2) AS preset_no, unnest($3) AS event_id, unnest($4) AS version,
        unnest($5) AS total, unnest($6) AS black_cube, unnest($7) AS red_cube, unnest($8) AS additional_cube,
        unnest($9) AS starforce, unnest($10) AS calculated_at
) AS event
WHERE standing.character_id = event.character_id AND standing.preset_no = event.preset_no
    AND standing.event_id = event.event_id";

/// Locks counters in key order, and makes those that are not there.
const LOCK_COUNTERS: &str = "
INSERT INTO like_counts AS standing (target_ocid, count)
SELECT unnest($1), 0
ON CONFLICT (target_ocid) DO UPDATE SET count = standing.count";

/// Of locked counters. A statement of its own: it sees all that the locks' former holders counted.
const RECOUNT: &str = "
UPDATE like_counts AS counter SET count = recounted.count
FROM (
    SELECT target_ocid, count(*) FILTER (WHERE liked) AS count
    FROM unnest($1) AS asked (target_ocid) JOIN likes USING (target_ocid) GROUP BY target_ocid
) AS recounted
WHERE counter.target_ocid = recounted.target_ocid AND counter.count <> recounted.count";

/// A decision is written once and never locked by anybody else.
const SET_REQUESTS: &str = "
UPDATE coupon_requests AS standing SET coupon_id = event.coupon_id, user_id = event.user_id
FROM (SELECT unnest($1) AS request_id, unnest($2) AS coupon_id, unnest($3) AS user_id) AS event
WHERE standing.request_id = event.request_id";

impl Repairs<Session> for ExpectationWrite {
    async fn repair(connection: &mut Session, events: &[Self], now: Timestamp) -> Result<u64, Error> {
        let batch = Compacted::new(events);
        let winners = || batch.winners();
        sqlx::query(LOCK_EXPECTATIONS)
            .bind(winners().map(|e| e.character_id.get()).bind_iter())
            .bind(winners().map(|e| i16::from(e.preset_no.get())).bind_iter())
            .bind(winners().map(|e| e.event_id.as_uuid()).bind_iter())
            .execute(&mut *connection)
            .await?;
        let set = sqlx::query(SET_EXPECTATIONS)
            .bind(winners().map(|e| e.character_id.get()).bind_iter())
            .bind(winners().map(|e| i16::from(e.preset_no.get())).bind_iter())
            .bind(winners().map(|e| e.event_id.as_uuid()).bind_iter())
            .bind(winners().map(|e| e.version).bind_iter())
            .bind(winners().map(|e| Amount(e.total_expected_cost)).bind_iter())
            .bind(winners().map(|e| Amount(e.black_cube_cost)).bind_iter())
            .bind(winners().map(|e| Amount(e.red_cube_cost)).bind_iter())
            .bind(winners().map(|e| Amount(e.additional_cube_cost)).bind_iter())
            .bind(winners().map(|e| Amount(e.starforce_cost)).bind_iter())
            .bind(winners().map(|e| Time(e.calculated_at)).bind_iter())
            .bind(Time(now))
            .execute(connection)
            .await?;
        Ok(set.rows_affected())
    }
}

impl Repairs<Session> for Like {
    async fn repair(connection: &mut Session, events: &[Self], _: Timestamp) -> Result<u64, Error> {
        let batch = Compacted::new(events);
        let winners = || batch.winners();
        let places: Vec<i64> = sqlx::query_scalar(LOCK_LIKES)
            .bind(winners().map(|like| like.target_ocid.as_str()).bind_iter())
            .bind(winners().map(|like| like.liker_account_id.as_str()).bind_iter())
            .bind(winners().map(|like| like.event_id.as_uuid()).bind_iter())
            .fetch_all(&mut *connection)
            .await?;
        let places: Vec<usize> = places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect();
        if places.is_empty() {
            return Ok(0);
        }
        write(connection, UPDATE, &batch, &places).await?;
        // sorted by key, hence by target
        let mut targets: Vec<&str> =
            places.iter().map(|place| batch.winner(*place).target_ocid.as_str()).collect();
        targets.dedup();
        for sql in [LOCK_COUNTERS, RECOUNT] {
            sqlx::query(sql).bind(targets.iter().copied().bind_iter()).execute(&mut *connection).await?;
        }
        Ok(places.len() as u64)
    }
}

impl Repairs<Session> for CouponIssue {
    async fn repair(connection: &mut Session, events: &[Self], _: Timestamp) -> Result<u64, Error> {
        let set = sqlx::query(SET_REQUESTS)
            .bind(events.iter().map(|request| request.event_id.as_uuid()).bind_iter())
            .bind(events.iter().map(|request| request.coupon_id.as_str()).bind_iter())
            .bind(events.iter().map(|request| request.user_id.as_str()).bind_iter())
            .execute(connection)
            .await?;
        Ok(set.rows_affected())
    }
}

impl<E: Repairs<Session> + Lookup<Session>> Repair<E> for PostgresStore {
    fn repair<'a>(&'a self, events: &'a [E], now: Timestamp) -> BoxFuture<'a, Result<u64, ApplyError>> {
        Box::pin(transaction::repair((&self.batches, &self.ground), self.apply_timeout, events, now))
    }
}
