//! Where events stand, by primary key, and the recount, in a snapshot of its own.

use std::collections::HashSet;

use floodgate_schemas::{CouponIssue, EventId, ExpectationWrite, Like};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};

use super::{RECOUNT_TIMEOUT, SqliteStore, coupons, event_id, expectations, json, likes, place, time};
use crate::batch::Ranked;
use crate::recount::{CHECKS, Found};
use crate::transaction::{self, Lookup};
use crate::{Audit, BoxFuture, Discrepancies, ReadError, Recount, Standing};

impl Lookup<SqliteConnection> for ExpectationWrite {
    async fn look_up(connection: &mut SqliteConnection, events: &[Self]) -> Result<Vec<Standing>, Error> {
        let keys = json(events.iter().map(Ranked::key))?;
        let rows = sqlx::query(expectations::STANDING).bind(keys).fetch_all(connection).await?;
        let found = rows.iter().map(|row| Ok((place(row, 0)?, (row.try_get(1)?, event_id(row, 2)?))));
        settled(events, found)
    }
}

impl Lookup<SqliteConnection> for Like {
    async fn look_up(connection: &mut SqliteConnection, events: &[Self]) -> Result<Vec<Standing>, Error> {
        let keys = json(events.iter().map(Ranked::key))?;
        let rows = sqlx::query(likes::STANDING).bind(keys).fetch_all(connection).await?;
        let found = rows.iter().map(|row| Ok((place(row, 0)?, (time(row, 2)?, event_id(row, 3)?))));
        settled(events, found)
    }
}

impl Lookup<SqliteConnection> for CouponIssue {
    async fn look_up(connection: &mut SqliteConnection, events: &[Self]) -> Result<Vec<Standing>, Error> {
        let requests = json(events.iter().map(|request| request.event_id))?;
        let decided = sqlx::query(coupons::DECIDED).bind(requests).fetch_all(connection).await?;
        let decided: HashSet<EventId> =
            decided.iter().map(|row| event_id(row, 0)).collect::<Result<_, _>>()?;
        let standing = |request: &CouponIssue| match decided.contains(&request.event_id) {
            true => Standing::Decided,
            false => Standing::Absent,
        };
        Ok(events.iter().map(standing).collect())
    }
}

/// One standing per event, by the ranks that were found; an event without a row is absent.
fn settled<E: Ranked>(
    events: &[E],
    found: impl Iterator<Item = Result<(usize, E::Rank), Error>>,
) -> Result<Vec<Standing>, Error> {
    let mut standings = vec![Standing::Absent; events.len()];
    for row in found {
        let (place, rank) = row?;
        if let (Some(slot), Some(event)) = (standings.get_mut(place), events.get(place)) {
            *slot = Standing::of(&rank, &event.rank());
        }
    }
    Ok(standings)
}

impl<E: Lookup<SqliteConnection>> Audit<E> for SqliteStore {
    fn standing<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<Standing>, ReadError>> {
        Box::pin(transaction::look_up(&self.readers, self.request_timeout, events))
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
