//! Where events stand and what their rows say, by primary key, and the recount, in a snapshot of its own.

use std::collections::HashSet;

use floodgate_schemas::{CouponIssue, Event, EventId, ExpectationWrite, Like, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use super::{RECOUNT_TIMEOUT, SqliteStore, coupons, event_id, expectations, json, likes, place, time};
use crate::compaction::Ranked;
use crate::dialect::Lookup;
use crate::recount::{Check, Found, STANDARD};
use crate::transaction;
use crate::{Audit, BoxFuture, Difference, Discrepancies, EventStatus, ReadError, Recount};

/// What a recount asks.
const CHECKS: [Check; 7] = STANDARD.checks();

/// The values of the rows that carry the very event, by its place in the array, times last.
const EXPECTATION_VALUES: &str = "
SELECT key, CAST(version AS TEXT), total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost,
    starforce_cost, calculated_at
FROM json_each(?1)
JOIN expectations ON character_id = value ->> 0 AND preset_no = value ->> 1 AND event_id = value ->> 2";

/// The same for likes.
const LIKE_VALUES: &str = "
SELECT key, iif(liked, 'true', 'false'), occurred_at
FROM json_each(?1)
JOIN likes ON target_ocid = value ->> 0 AND liker_account_id = value ->> 1 AND event_id = value ->> 2";

/// The same for decisions on requests, without a time.
const REQUEST_VALUES: &str = "
SELECT key, coupon_id, user_id
FROM json_each(?1)
JOIN coupon_requests ON request_id = value";

/// Places, and the values found.
type Values = Vec<(usize, Vec<String>)>;

/// So many texts behind the place, and then a time if there is one.
fn values(rows: &[SqliteRow], texts: usize, has_time: bool) -> Result<Values, Error> {
    let values = |row: &SqliteRow| {
        let mut found: Vec<String> = (1..=texts).map(|n| row.try_get(n)).collect::<Result<_, _>>()?;
        if has_time {
            let micros: i64 = row.try_get(texts + 1)?;
            // what is no time of ours is told as it stands
            found.push(Timestamp::from_micros(micros).map_or(micros.to_string(), |time| time.to_string()));
        }
        Ok((place(row, 0)?, found))
    };
    rows.iter().map(values).collect()
}

impl Lookup<SqliteConnection> for ExpectationWrite {
    const HAS_ROWS: &'static str = "SELECT EXISTS (SELECT 1 FROM expectations)";

    async fn look_closer(connection: &mut SqliteConnection, events: &[Self]) -> Result<Values, Error> {
        let keys = json(events.iter().map(|event| (event.character_id, event.preset_no, event.event_id)))?;
        let rows = sqlx::query(EXPECTATION_VALUES).bind(keys).fetch_all(connection).await?;
        values(&rows, 6, true)
    }

    async fn look_up(connection: &mut SqliteConnection, events: &[Self]) -> Result<Vec<EventStatus>, Error> {
        let keys = json(events.iter().map(Ranked::key))?;
        let rows = sqlx::query(expectations::STANDING).bind(keys).fetch_all(connection).await?;
        let found = rows.iter().map(|row| Ok((place(row, 0)?, (row.try_get(1)?, event_id(row, 2)?))));
        settled(events, found)
    }
}

impl Lookup<SqliteConnection> for Like {
    const HAS_ROWS: &'static str = "SELECT EXISTS (SELECT 1 FROM likes)";

    async fn look_closer(connection: &mut SqliteConnection, events: &[Self]) -> Result<Values, Error> {
        let keys = json(
            events
                .iter()
                .map(|like| (like.target_ocid.as_str(), like.liker_account_id.as_str(), like.event_id)),
        )?;
        let rows = sqlx::query(LIKE_VALUES).bind(keys).fetch_all(connection).await?;
        values(&rows, 1, true)
    }

    async fn look_up(connection: &mut SqliteConnection, events: &[Self]) -> Result<Vec<EventStatus>, Error> {
        let keys = json(events.iter().map(Ranked::key))?;
        let rows = sqlx::query(likes::STANDING).bind(keys).fetch_all(connection).await?;
        let found = rows.iter().map(|row| Ok((place(row, 0)?, (time(row, 2)?, event_id(row, 3)?))));
        settled(events, found)
    }
}

impl Lookup<SqliteConnection> for CouponIssue {
    const HAS_ROWS: &'static str = "SELECT EXISTS (SELECT 1 FROM coupon_requests)";

    async fn look_closer(connection: &mut SqliteConnection, events: &[Self]) -> Result<Values, Error> {
        let requests = json(events.iter().map(Event::event_id))?;
        let rows = sqlx::query(REQUEST_VALUES).bind(requests).fetch_all(connection).await?;
        values(&rows, 2, false)
    }

    async fn look_up(connection: &mut SqliteConnection, events: &[Self]) -> Result<Vec<EventStatus>, Error> {
        let requests = json(events.iter().map(|request| request.event_id))?;
        let decided = sqlx::query(coupons::DECIDED).bind(requests).fetch_all(connection).await?;
        let decided: HashSet<EventId> =
            decided.iter().map(|row| event_id(row, 0)).collect::<Result<_, _>>()?;
        let status = |request: &CouponIssue| match decided.contains(&request.event_id) {
            true => EventStatus::Decided,
            false => EventStatus::Absent,
        };
        Ok(events.iter().map(status).collect())
    }
}

/// One status per event, by the ranks that were found; an event without a row is absent.
fn settled<E: Ranked>(
    events: &[E],
    found: impl Iterator<Item = Result<(usize, E::Rank), Error>>,
) -> Result<Vec<EventStatus>, Error> {
    let mut statuses = vec![EventStatus::Absent; events.len()];
    for row in found {
        let (place, rank) = row?;
        if let (Some(slot), Some(event)) = (statuses.get_mut(place), events.get(place)) {
            *slot = EventStatus::of(&rank, &event.rank());
        }
    }
    Ok(statuses)
}

impl<E: Lookup<SqliteConnection>> Audit<E> for SqliteStore {
    fn statuses<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<EventStatus>, ReadError>> {
        Box::pin(transaction::look_up(&self.readers, self.request_timeout, events))
    }

    fn differences<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<Difference>, ReadError>> {
        Box::pin(transaction::look_closer(&self.readers, self.request_timeout, events))
    }

    fn has_rows(&self) -> BoxFuture<'_, Result<bool, ReadError>> {
        let look = async |connection: &mut SqliteConnection| {
            sqlx::query_scalar(E::HAS_ROWS).fetch_one(connection).await
        };
        Box::pin(transaction::request(&self.readers, self.request_timeout, look))
    }
}

impl Recount for SqliteStore {
    fn discrepancies(&self, at_most: usize) -> BoxFuture<'_, Result<Discrepancies, ReadError>> {
        let count = async move |connection: &mut SqliteConnection| {
            let mut found = Discrepancies::default();
            for check in &CHECKS {
                let query = sqlx::query_as::<_, Found>(check.sql).bind(found.room(at_most));
                found.note(check, query.fetch_all(&mut *connection).await?, at_most);
            }
            Ok(found)
        };
        Box::pin(transaction::request(&self.readers, RECOUNT_TIMEOUT, count))
    }
}
