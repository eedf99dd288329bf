//! Likes and their counters.
//!
//! Locks are taken in three steps, each in key order, the steps in the same order in every transaction: new
//! rows of `likes`, standing rows of `likes`, rows of `like_counts`. Whoever waits in one step waits for
//! somebody in the same or a later step, so nobody waits in a circle. The counters, where a popular target
//! makes everybody meet, come last and are held only until the commit.
//!
//! A rank on a row only ever grows. So a row whose standing rank is at least ours needs no lock: whatever
//! happens to it, we have lost. A look without locks sorts those out first, so that a repeat of what was
//! applied before locks and writes nothing; the others are locked and compared again.

use floodgate_schemas::{Like, Timestamp};
use sqlx::Error;
use sqlx::postgres::{PgBindIterExt, PgConnection};

use super::types::Time;
use crate::Outcome;
use crate::batch::{Batch, Ranked};
use crate::like::{Change, movements};
use crate::transaction::Statements;

/// Answers with how many rows are new and, only if some stood there before, with the keys of the new ones.
const INSERT: &str = "
WITH inserted AS (
    INSERT INTO likes (target_ocid, liker_account_id, liked, occurred_at, event_id)
    SELECT * FROM unnest($1, $2, $3, $4, $5)
    ON CONFLICT (target_ocid, liker_account_id) DO NOTHING
    RETURNING target_ocid, liker_account_id
), counted AS (SELECT count(*) AS rows FROM inserted)
SELECT rows,
    CASE WHEN rows < cardinality($1) THEN (SELECT array_agg(target_ocid) FROM inserted) END,
    CASE WHEN rows < cardinality($1) THEN (SELECT array_agg(liker_account_id) FROM inserted) END
FROM counted";

/// How the standing rows compare with our events, by their places in the arrays; with or without locking them.
/// A row that changes while we wait for its lock is compared again as it then is.
macro_rules! compare {
    ($lock:literal) => {
        concat!(
            "
SELECT array_agg(place - 1), array_agg(liked), array_agg(is_older), array_agg(is_same) FROM (
    SELECT place, standing.liked,
        (standing.occurred_at, standing.event_id) < (event.occurred_at, event.event_id) AS is_older,
        standing.event_id = event.event_id AS is_same
    FROM unnest($1, $2, $3, $4) WITH ORDINALITY
        AS event (target_ocid, liker_account_id, occurred_at, event_id, place)
    JOIN likes AS standing USING (target_ocid, liker_account_id)
    ORDER BY place ",
            $lock,
            ") AS compared"
        )
    };
}
const LOOK: &str = compare!("");
const LOCK: &str = compare!("FOR UPDATE OF standing");

/// Of locked rows.
const UPDATE: &str = "
UPDATE likes AS standing
SET liked = newer.liked, occurred_at = newer.occurred_at, event_id = newer.event_id
FROM unnest($1, $2, $3, $4, $5) AS newer (target_ocid, liker_account_id, liked, occurred_at, event_id)
WHERE standing.target_ocid = newer.target_ocid AND standing.liker_account_id = newer.liker_account_id";

/// Takes the rows in the order of the arrays, hence their locks in key order.
const COUNT: &str = "
INSERT INTO like_counts AS standing (target_ocid, count)
SELECT * FROM unnest($1, $2)
ON CONFLICT (target_ocid) DO UPDATE SET count = standing.count + excluded.count";

type Inserted = (i64, Option<Vec<String>>, Option<Vec<String>>);

type Compared = (Option<Vec<i64>>, Option<Vec<bool>>, Option<Vec<bool>>, Option<Vec<bool>>);

/// What stood on the row of one winner before the batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Nothing: it is new.
    New,
    /// An older event, which left this state.
    Older { was_liked: bool },
    /// The very event.
    Same,
    /// A newer event.
    Newer,
}

impl Statements<PgConnection> for Like {
    async fn run(
        connection: &mut PgConnection,
        events: &[Self],
        _: Timestamp,
    ) -> Result<Vec<Outcome>, Error> {
        let mut batch = Batch::new(events);
        let mut rows = insert(connection, &batch).await?;
        let stood_there = places(&rows, |row| row != Row::New);
        if !stood_there.is_empty() {
            compare(connection, LOOK, &batch, &stood_there, &mut rows).await?;
            let older = places(&rows, |row| matches!(row, Row::Older { .. }));
            if !older.is_empty() {
                compare(connection, LOCK, &batch, &older, &mut rows).await?;
                update(connection, &batch, &rows).await?;
            }
            settle(&mut batch, &rows);
        }
        count(connection, &batch, &rows).await?;
        Ok(batch.into_outcomes())
    }
}

/// The places of the wanted rows.
fn places(rows: &[Row], is_wanted: impl Fn(Row) -> bool) -> Vec<usize> {
    (0..rows.len()).filter(|place| is_wanted(rows[*place])).collect()
}

fn settle(batch: &mut Batch<'_, Like>, rows: &[Row]) {
    for (place, row) in rows.iter().enumerate() {
        match row {
            Row::New | Row::Older { .. } => {}
            Row::Same => batch.settle(place, Outcome::Duplicate),
            Row::Newer => batch.settle(place, Outcome::Superseded),
        }
    }
}

/// Inserts the new rows. All others count as [`Row::Newer`] until compared.
async fn insert(connection: &mut PgConnection, batch: &Batch<'_, Like>) -> Result<Vec<Row>, Error> {
    let winners = || batch.winners();
    let (rows, targets, likers): Inserted = sqlx::query_as(INSERT)
        .bind(winners().map(|like| like.target_ocid.as_str()).bind_iter())
        .bind(winners().map(|like| like.liker_account_id.as_str()).bind_iter())
        .bind(winners().map(Like::liked).bind_iter())
        .bind(winners().map(|like| Time(like.occurred_at)).bind_iter())
        .bind(winners().map(|like| like.event_id.as_uuid()).bind_iter())
        .fetch_one(connection)
        .await?;
    if rows == batch.len() as i64 {
        return Ok(vec![Row::New; batch.len()]);
    }
    let mut found = vec![Row::Newer; batch.len()];
    for (target, liker) in targets.unwrap_or_default().iter().zip(&likers.unwrap_or_default()) {
        if let Some(place) = batch.place_by(|like| like.key().cmp(&(target, liker))) {
            found[place] = Row::New;
        }
    }
    Ok(found)
}

/// Compares the rows at `places` by [`LOOK`] or [`LOCK`].
async fn compare(
    connection: &mut PgConnection,
    sql: &'static str,
    batch: &Batch<'_, Like>,
    places: &[usize],
    rows: &mut [Row],
) -> Result<(), Error> {
    let events = || places.iter().map(|place| batch.winner(*place));
    let (indexes, liked, is_older, is_same): Compared = sqlx::query_as(sql)
        .bind(events().map(|like| like.target_ocid.as_str()).bind_iter())
        .bind(events().map(|like| like.liker_account_id.as_str()).bind_iter())
        .bind(events().map(|like| Time(like.occurred_at)).bind_iter())
        .bind(events().map(|like| like.event_id.as_uuid()).bind_iter())
        .fetch_one(connection)
        .await?;
    let states = liked.unwrap_or_default().into_iter().zip(is_older.unwrap_or_default());
    let states = states.zip(is_same.unwrap_or_default());
    for (index, ((was_liked, is_older), is_same)) in indexes.unwrap_or_default().into_iter().zip(states) {
        if let Some(place) = usize::try_from(index).ok().and_then(|index| places.get(index)) {
            rows[*place] = match (is_older, is_same) {
                (true, _) => Row::Older { was_liked },
                (false, true) => Row::Same,
                (false, false) => Row::Newer,
            };
        }
    }
    Ok(())
}

/// Updates the rows that are older. They are locked.
async fn update(connection: &mut PgConnection, batch: &Batch<'_, Like>, rows: &[Row]) -> Result<(), Error> {
    let older = places(rows, |row| matches!(row, Row::Older { .. }));
    let events = || older.iter().map(|place| batch.winner(*place));
    sqlx::query(UPDATE)
        .bind(events().map(|like| like.target_ocid.as_str()).bind_iter())
        .bind(events().map(|like| like.liker_account_id.as_str()).bind_iter())
        .bind(events().map(Like::liked).bind_iter())
        .bind(events().map(|like| Time(like.occurred_at)).bind_iter())
        .bind(events().map(|like| like.event_id.as_uuid()).bind_iter())
        .execute(connection)
        .await?;
    Ok(())
}

async fn count(connection: &mut PgConnection, batch: &Batch<'_, Like>, rows: &[Row]) -> Result<(), Error> {
    let changes = rows.iter().zip(batch.winners()).filter_map(|(row, like)| {
        let was_liked = match *row {
            Row::New => false,
            Row::Older { was_liked } => was_liked,
            Row::Same | Row::Newer => return None,
        };
        Some(Change { target: like.target_ocid.as_str(), was_liked, is_liked: like.liked() })
    });
    let movements = movements(changes);
    if movements.is_empty() {
        return Ok(());
    }
    sqlx::query(COUNT)
        .bind(movements.iter().map(|(target, _)| *target).bind_iter())
        .bind(movements.iter().map(|(_, by)| *by).bind_iter())
        .execute(connection)
        .await?;
    Ok(())
}
