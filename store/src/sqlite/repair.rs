//! Rows that carry an event and not its values.

use floodgate_schemas::{CouponIssue, ExpectationWrite, Like, Timestamp};
use sqlx::Error;
use sqlx::sqlite::SqliteConnection;

use super::expectations::columns;
use super::{SqliteStore, json};
use crate::compaction::Compacted;
use crate::dialect::{Lookup, Repairs};
use crate::transaction;
use crate::{ApplyError, BoxFuture, Repair};

const SET_EXPECTATIONS: &str = "
UPDATE expectations
SET total_expected_cost = event.value ->> 2, black_cube_cost = event.value ->> 3, red_cube_cost = event.value ->> 4,
    additional_cube_cost = event.value ->> 5, starforce_cost = event.value ->> 6, version = event.value ->> 7,
    calculated_at = event.value ->> 8, updated_at = ?2
FROM json_each(?1) AS event
WHERE character_id = event.value ->> 0 AND preset_no = event.value ->> 1 AND event_id = event.value ->> 9";

const SET_LIKES: &str = "
UPDATE likes SET liked = event.value ->> 2, occurred_at = event.value ->> 3
FROM json_each(?1) AS event
WHERE target_ocid = event.value ->> 0 AND liker_account_id = event.value ->> 1 AND event_id = event.value ->> 4";

const RECOUNT: &str = "
INSERT INTO like_counts (target_ocid, count)
SELECT asked.value, (SELECT count(*) FROM likes WHERE target_ocid = asked.value AND liked)
FROM json_each(?1) AS asked
WHERE true
ON CONFLICT (target_ocid) DO UPDATE SET count = excluded.count";

const SET_REQUESTS: &str = "
UPDATE coupon_requests SET coupon_id = event.value ->> 1, user_id = event.value ->> 2
FROM json_each(?1) AS event
WHERE request_id = event.value ->> 0";

impl Repairs<SqliteConnection> for ExpectationWrite {
    async fn repair(
        connection: &mut SqliteConnection,
        events: &[Self],
        now: Timestamp,
    ) -> Result<u64, Error> {
        let batch = Compacted::new(events);
        let rows = json(batch.winners().map(columns))?;
        let set = sqlx::query(SET_EXPECTATIONS).bind(rows).bind(now.as_micros()).execute(connection).await?;
        Ok(set.rows_affected())
    }
}

impl Repairs<SqliteConnection> for Like {
    async fn repair(connection: &mut SqliteConnection, events: &[Self], _: Timestamp) -> Result<u64, Error> {
        let batch = Compacted::new(events);
        let rows = json(batch.winners().map(super::likes::columns))?;
        let set = sqlx::query(SET_LIKES).bind(rows).execute(&mut *connection).await?.rows_affected();
        if set > 0 {
            // sorted by key, hence by target
            let mut targets: Vec<&str> = batch.winners().map(|like| like.target_ocid.as_str()).collect();
            targets.dedup();
            sqlx::query(RECOUNT).bind(json(targets)?).execute(connection).await?;
        }
        Ok(set)
    }
}

impl Repairs<SqliteConnection> for CouponIssue {
    async fn repair(connection: &mut SqliteConnection, events: &[Self], _: Timestamp) -> Result<u64, Error> {
        let rows = json(
            events
                .iter()
                .map(|request| (request.event_id, request.coupon_id.as_str(), request.user_id.as_str())),
        )?;
        Ok(sqlx::query(SET_REQUESTS).bind(rows).execute(connection).await?.rows_affected())
    }
}

impl<E: Repairs<SqliteConnection> + Lookup<SqliteConnection>> Repair<E> for SqliteStore {
    fn repair<'a>(&'a self, events: &'a [E], now: Timestamp) -> BoxFuture<'a, Result<u64, ApplyError>> {
        Box::pin(transaction::repair((&self.writer, &self.ground), self.apply_timeout, events, now))
    }
}
