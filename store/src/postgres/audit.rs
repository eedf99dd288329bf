//! Where events stand, by primary key, and the recount, on a connection of its own.

use floodgate_schemas::{CouponIssue, ExpectationWrite, Like};
use sqlx::Error;
use sqlx::postgres::{PgBindIterExt, PgConnection};

use super::types::Time;
use super::{PostgresStore, RECOUNT_TIMEOUT};
use crate::recount::{CHECKS, Found};
use crate::transaction::{self, Lookup};
use crate::{Audit, BoxFuture, Discrepancies, ReadError, Recount, Standing};

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

type Compared = (Vec<i64>, Vec<bool>);

impl Lookup<PgConnection> for ExpectationWrite {
    async fn look_up(connection: &mut PgConnection, events: &[Self]) -> Result<Vec<Standing>, Error> {
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

impl Lookup<PgConnection> for Like {
    async fn look_up(connection: &mut PgConnection, events: &[Self]) -> Result<Vec<Standing>, Error> {
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

impl Lookup<PgConnection> for CouponIssue {
    async fn look_up(connection: &mut PgConnection, events: &[Self]) -> Result<Vec<Standing>, Error> {
        let decided: Vec<i64> = sqlx::query_scalar(REQUESTS)
            .bind(events.iter().map(|request| request.event_id.as_uuid()).bind_iter())
            .fetch_one(connection)
            .await?;
        Ok(settled(events.len(), decided.into_iter().map(|place| (place, Standing::Decided))))
    }
}

fn by_rank(events: usize, (places, is_same): Compared) -> Vec<Standing> {
    let standing = |is_same| if is_same { Standing::Current } else { Standing::Superseded };
    settled(events, places.into_iter().zip(is_same.into_iter().map(standing)))
}

/// One standing per event; whatever was not found is absent.
fn settled(events: usize, found: impl Iterator<Item = (i64, Standing)>) -> Vec<Standing> {
    let mut standings = vec![Standing::Absent; events];
    for (place, standing) in found {
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| standings.get_mut(place)) {
            *slot = standing;
        }
    }
    standings
}

impl<E: Lookup<PgConnection>> Audit<E> for PostgresStore {
    fn standing<'a>(&'a self, events: &'a [E]) -> BoxFuture<'a, Result<Vec<Standing>, ReadError>> {
        Box::pin(transaction::look_up(&self.batches, self.request_timeout, events))
    }
}

impl Recount for PostgresStore {
    fn discrepancies(&self, at_most: usize) -> BoxFuture<'_, Result<Discrepancies, ReadError>> {
        let count = async move |connection: &mut PgConnection| {
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
