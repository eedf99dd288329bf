//! Where events stand and what their rows say, by primary key, and the recount, on a connection of its own.

use floodgate_schemas::{CouponIssue, ExpectationWrite, Like};
use sqlx::Error;
use sqlx::postgres::PgBindIterExt;

use super::session::Session;
use super::types::{Amount, Time};
use super::{PostgresStore, RECOUNT_TIMEOUT};
use crate::dialect::Lookup;
use crate::recount::{Check, Found, STANDARD};
use crate::transaction;
use crate::{Audit, BoxFuture, Difference, Discrepancies, EventStatus, ReadError, Recount};

/// What a recount asks.
const CHECKS: [Check; 7] = STANDARD.checks();

/// Of the rows whose rank is not lesser: their places in the arrays, and whether it is the same.
const EXPECTATIONS: &str = "
SELECT coalesce(array_agg(place - 1), '{}'), coalesce(array_agg(is_same), '{}') FROM (
    SELECT place, (standing.version, standing.event_id) = (event.version, event.event_id) AS is_same
    FROM unnest($1, $2, $3, $4) WITH ORDINALITY
        AS event (character_id, preset_no, version, event_id, place)
    JOIN expectations AS standing USING (character_id, preset_no)
    WHERE (standing.version, standing.event_id) >= (event.version, event.event_id)
) AS compared";

/// The same for likes.
const LIKES: &str = "
SELECT coalesce(array_agg(place - 1), '{}'), coalesce(array_agg(is_same), '{}') FROM (
    SELECT place, (standing.occurred_at, standing.event_id) = (event.occurred_at, event.event_id) AS is_same
    FROM unnest($1, $2, $3, $4) WITH ORDINALITY
        AS event (target_ocid, liker_account_id, occurred_at, event_id, place)
    JOIN likes AS standing USING (target_ocid, liker_account_id)
    WHERE (standing.occurred_at, standing.event_id) >= (event.occurred_at, event.event_id)
) AS compared";

/// The places of the requests that are decided.
const REQUESTS: &str = "
SELECT coalesce(array_agg(place - 1), '{}')
FROM unnest($1) WITH ORDINALITY AS asked (request_id, place)
JOIN coupon_requests USING (request_id)";

/// A time as events write it; one that is no time of ours as the server writes it.
macro_rules! time {
    ($column:literal) => {
        concat!(
            "coalesce(to_char(",
            $column,
            " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), ",
            $column,
            "::text)"
        )
    };
}

/// Of the rows that carry the very event and say something else: its place in the arrays, and the row's values.
const EXPECTATION_VALUES: &str = concat!(
    "
SELECT place - 1, ARRAY[standing.version::text, standing.total_expected_cost::text, standing.black_cube_cost::text,
    standing.red_cube_cost::text, standing.additional_cube_cost::text, standing.starforce_cost::text, ",
    time!("standing.calculated_at"),
    "]
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) WITH ORDINALITY
    AS event (character_id, preset_no, event_id, version, total, black_cube, red_cube, additional_cube, starforce,
        calculated_at, place)
JOIN expectations AS standing USING (character_id, preset_no, event_id)
WHERE (standing.version, standing.total_expected_cost, standing.black_cube_cost, standing.red_cube_cost,
        standing.additional_cube_cost, standing.starforce_cost, standing.calculated_at)
    IS DISTINCT FROM (event.version, event.total, event.black_cube, event.red_cube, event.additional_cube,
        event.starforce, event.calculated_at)"
);

/// The same for likes.
const LIKE_VALUES: &str = concat!(
    "
SELECT place - 1, ARRAY[standing.liked::text, ",
    time!("standing.occurred_at"),
    "]
FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
    AS event (target_ocid, liker_account_id, event_id, liked, occurred_at, place)
JOIN likes AS standing USING (target_ocid, liker_account_id, event_id)
WHERE (standing.liked, standing.occurred_at) IS DISTINCT FROM (event.liked, event.occurred_at)"
);

/// The same for decisions on requests.
const REQUEST_VALUES: &str = "
SELECT place - 1, ARRAY[standing.coupon_id, standing.user_id]
FROM unnest($1, $2, $3) WITH ORDINALITY AS event (request_id, coupon_id, user_id, place)
JOIN coupon_requests AS standing USING (request_id)
WHERE (standing.coupon_id, standing.user_id) IS DISTINCT FROM (event.coupon_id, event.user_id)";

type Compared = (Vec<i64>, Vec<bool>);
/// Places, and the values found.
type Values = Vec<(usize, Vec<String>)>;

impl Lookup<Session> for ExpectationWrite {
    const HAS_ROWS: &'static str = "SELECT EXISTS (SELECT FROM expectations)";

    async fn look_closer(connection: &mut Session, events: &[Self]) -> Result<Values, Error> {
        let found = sqlx::query_as(EXPECTATION_VALUES)
            .bind(events.iter().map(|e| e.character_id.get()).bind_iter())
            .bind(events.iter().map(|e| i16::from(e.preset_no.get())).bind_iter())
            .bind(events.iter().map(|e| e.event_id.as_uuid()).bind_iter())
            .bind(events.iter().map(|e| e.version).bind_iter())
            .bind(events.iter().map(|e| Amount(e.total_expected_cost)).bind_iter())
            .bind(events.iter().map(|e| Amount(e.black_cube_cost)).bind_iter())
            .bind(events.iter().map(|e| Amount(e.red_cube_cost)).bind_iter())
            .bind(events.iter().map(|e| Amount(e.additional_cube_cost)).bind_iter())
            .bind(events.iter().map(|e| Amount(e.starforce_cost)).bind_iter())
            .bind(events.iter().map(|e| Time(e.calculated_at)).bind_iter())
            .fetch_all(connection)
            .await?;
        Ok(placed(found))
    }

    async fn look_up(connection: &mut Session, events: &[Self]) -> Result<Vec<EventStatus>, Error> {
        let compared = sqlx::query_as(EXPECTATIONS)
            .bind(events.iter().map(|e| e.character_id.get()).bind_iter())
            .bind(events.iter().map(|e| i16::from(e.preset_no.get())).bind_iter())
            .bind(events.iter().map(|e| e.version).bind_iter())
            .bind(events.iter().map(|e| e.event_id.as_uuid()).bind_iter())
            .fetch_one(connection)
            .await?;
        Ok(by_rank(events.len(), compared))
    }
}

impl Lookup<Session> for Like {
    const HAS_ROWS: &'static str = "SELECT EXISTS (SELECT FROM likes)";

    async fn look_closer(connection: &mut Session, events: &[Self]) -> Result<Values, Error> {
        let found = sqlx::query_as(LIKE_VALUES)
            .bind(events.iter().map(|like| like.target_ocid.as_str()).bind_iter())
            .bind(events.iter().map(|like| like.liker_account_id.as_str()).bind_iter())
            .bind(events.iter().map(|like| like.event_id.as_uuid()).bind_iter())
            .bind(events.iter().map(Like::liked).bind_iter())
            .bind(events.iter().map(|like| Time(like.occurred_at)).bind_iter())
            .fetch_all(connection)
            .await?;
        Ok(placed(found))
    }

    async fn look_up(connection: &mut Session, events: &[Self]) -> Result<Vec<EventStatus>, Error> {
        let compared = sqlx::query_as(LIKES)
            .bind(events.iter().map(|like| like.target_ocid.as_str()).bind_iter())
            .bind(events.iter().map(|like| like.liker_account_id.as_str()).bind_iter())
            .bind(events.iter().map(|like| Time(like.occurred_at)).bind_iter())
            .bind(events.iter().map(|like| like.event_id.as_uuid()).bind_iter())
            .fetch_one(connection)
            .await?;
        Ok(by_rank(events.len(), compared))
    }
}

impl Lookup<Session> for CouponIssue {
    const HAS_ROWS: &'static str = "SELECT EXISTS (SELECT FROM coupon_requests)";

    async fn look_closer(connection: &mut Session, events: &[Self]) -> Result<Values, Error> {
        let found = sqlx::query_as(REQUEST_VALUES)
            .bind(events.iter().map(|request| request.event_id.as_uuid()).bind_iter())
            .bind(events.iter().map(|request| request.coupon_id.as_str()).bind_iter())
            .bind(events.iter().map(|request| request.user_id.as_str()).bind_iter())
            .fetch_all(connection)
            .await?;
        Ok(placed(found))
    }

    async fn look_up(connection: &mut Session, events: &[Self]) -> Result<Vec<EventStatus>, Error> {
        let decided: Vec<i64> = sqlx::query_scalar(REQUESTS)
            .bind(events.iter().map(|request| request.event_id.as_uuid()).bind_iter())
            .fetch_one(connection)
            .await?;
        Ok(settled(events.len(), decided.into_iter().map(|place| (place, EventStatus::Decided))))
    }
}

fn placed(found: Vec<(i64, Vec<String>)>) -> Values {
    found.into_iter().filter_map(|(place, values)| Some((usize::try_from(place).ok()?, values))).collect()
}

fn by_rank(events: usize, (places, is_same): Compared) -> Vec<EventStatus> {
    let status = |is_same| if is_same { EventStatus::Current } else { EventStatus::Superseded };
    settled(events, places.into_iter().zip(is_same.into_iter().map(status)))
}

/// One status per event; whatever was not found is absent.
fn settled(events: usize, found: impl Iterator<Item = (i64, EventStatus)>) -> Vec<EventStatus> {
    let mut statuses = vec![EventStatus::Absent; events];
    for (place, status) in found {
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| statuses.get_mut(place)) {
            *slot = status;
        }
    }
    statuses
}

impl<E: Lookup<Session>> Audit<E> for PostgresStore {
    fn statuses<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<EventStatus>, ReadError>> {
        Box::pin(transaction::look_up(&self.batches, self.request_timeout, events))
    }

    fn differences<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<Difference>, ReadError>> {
        Box::pin(transaction::look_closer(&self.batches, self.request_timeout, events))
    }

    fn has_rows(&self) -> BoxFuture<'_, Result<bool, ReadError>> {
        let look =
            async |connection: &mut Session| sqlx::query_scalar(E::HAS_ROWS).fetch_one(connection).await;
        Box::pin(transaction::request(&self.requests, self.request_timeout, look))
    }
}

impl Recount for PostgresStore {
    fn discrepancies(&self, at_most: usize) -> BoxFuture<'_, Result<Discrepancies, ReadError>> {
        let count = async move |connection: &mut Session| {
            let mut found = Discrepancies::default();
            for check in &CHECKS {
                let query = sqlx::query_as::<_, Found>(check.sql).bind(found.room(at_most));
                found.note(check, query.fetch_all(&mut *connection).await?, at_most);
            }
            Ok(found)
        };
        Box::pin(transaction::request(&self.recounts, RECOUNT_TIMEOUT, count))
    }
}
