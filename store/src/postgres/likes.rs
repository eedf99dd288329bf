//! Likes and their counters.
//!
//! A look without locks comes first and sorts the events by what stands on their rows. Where nothing stands a row is
//! inserted; where an older event stands the row is locked, compared again and updated; where the rank that stands is
//! at least ours nothing is done: a rank on a row only ever grows, so whatever happens to it, we have lost. A repeat of
//! what was applied before thus locks and writes nothing, and new rows need neither the second search of the index nor
//! the second record in the write-ahead log that `ON CONFLICT` costs each.
//!
//! Locks are taken in three steps, each in key order, the steps in the same order in every transaction: new
//! rows of `likes`, standing rows of `likes`, rows of `like_counts`. Whoever waits in one step waits for
//! somebody in the same or a later step, so nobody waits in a circle. The counters, where a popular target
//! makes everybody meet, come last and are held only until the commit.
//!
//! A row that another consumer inserts between the look and our insert (it took over the partition, or lost it and does
//! not know yet) is a unique violation: the batch is rolled back, and the next try finds the row.

use floodgate_schemas::{Like, Timestamp};
use sqlx::Error;
use sqlx::postgres::PgBindIterExt;

use super::session::Session;
use super::types::Time;
use crate::ApplyOutcome;
use crate::compaction::Compacted;
use crate::dialect::Statements;
use crate::like::{Change, movements};

/// How the standing rows compare with our events, by their places in the arrays; with or without locking them.
/// A row that changes while we wait for its lock is compared again as it then is.
macro_rules! compare {
    ($order_and_lock:literal) => {
        concat!(
            "
SELECT array_agg(place - 1), array_agg(liked), array_agg(is_older), array_agg(is_same) FROM (
    SELECT place, standing.liked,
        (standing.occurred_at, standing.event_id) < (event.occurred_at, event.event_id) AS is_older,
        standing.event_id = event.event_id AS is_same
    FROM (
        SELECT unnest($1) AS target_ocid, unnest($2) AS liker_account_id, unnest($3) AS occurred_at,
            unnest($4) AS event_id, generate_series(1, cardinality($4)::bigint) AS place
    ) AS event
    JOIN likes AS standing USING (target_ocid, liker_account_id)",
            $order_and_lock,
            ") AS compared"
        )
    };
}
const LOOK: &str = compare!("");
const LOCK: &str = compare!(" ORDER BY place FOR UPDATE OF standing");

/// Of rows that were not there.
const INSERT: &str = "
INSERT INTO likes (target_ocid, liker_account_id, liked, occurred_at, event_id)
SELECT unnest($1), unnest($2), unnest($3), unnest($4), unnest($5)";

/// Of locked rows.
pub(super) const UPDATE: &str = "
UPDATE likes AS standing
SET liked = newer.liked, occurred_at = newer.occurred_at, event_id = newer.event_id
FROM (
    SELECT unnest($1) AS target_ocid, unnest($2) AS liker_account_id, unnest($3) AS liked,
        unnest($4) AS occurred_at, unnest($5) AS event_id
) AS newer
WHERE standing.target_ocid = newer.target_ocid AND standing.liker_account_id = newer.liker_account_id";

/// Takes the rows in the order of the arrays, hence their locks in key order.
const COUNT: &str = "
INSERT INTO like_counts AS standing (target_ocid, count)
SELECT unnest($1), unnest($2)
ON CONFLICT (target_ocid) DO UPDATE SET count = standing.count + excluded.count";

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

impl Statements<Session> for Like {
    async fn run(
        connection: &mut Session,
        events: &[Self],
        _: Timestamp,
    ) -> Result<Vec<ApplyOutcome>, Error> {
        let mut batch = Compacted::new(events);
        let mut rows = vec![Row::New; batch.len()];
        let all: Vec<usize> = (0..batch.len()).collect();
        compare(connection, LOOK, &batch, &all, &mut rows).await?;
        let new = places(&rows, |row| row == Row::New);
        if !new.is_empty() {
            write(connection, INSERT, &batch, &new).await?;
        }
        let older = |rows: &[Row]| places(rows, |row| matches!(row, Row::Older { .. }));
        let seen_older = older(&rows);
        if !seen_older.is_empty() {
            compare(connection, LOCK, &batch, &seen_older, &mut rows).await?;
            write(connection, UPDATE, &batch, &older(&rows)).await?;
        }
        settle(&mut batch, &rows);
        count(connection, &batch, &rows).await?;
        Ok(batch.into_outcomes())
    }
}

/// The places of the wanted rows.
fn places(rows: &[Row], is_wanted: impl Fn(Row) -> bool) -> Vec<usize> {
    (0..rows.len()).filter(|place| is_wanted(rows[*place])).collect()
}

fn settle(batch: &mut Compacted<'_, Like>, rows: &[Row]) {
    for (place, row) in rows.iter().enumerate() {
        match row {
            Row::New | Row::Older { .. } => {}
            Row::Same => batch.settle(place, ApplyOutcome::Duplicate),
            Row::Newer => batch.settle(place, ApplyOutcome::Superseded),
        }
    }
}

/// Compares the rows at `places` by [`LOOK`] or [`LOCK`].
async fn compare(
    connection: &mut Session,
    sql: &'static str,
    batch: &Compacted<'_, Like>,
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

/// Runs [`INSERT`] or [`UPDATE`] with the events at `places`.
pub(super) async fn write(
    connection: &mut Session,
    sql: &'static str,
    batch: &Compacted<'_, Like>,
    places: &[usize],
) -> Result<(), Error> {
    let events = || places.iter().map(|place| batch.winner(*place));
    sqlx::query(sql)
        .bind(events().map(|like| like.target_ocid.as_str()).bind_iter())
        .bind(events().map(|like| like.liker_account_id.as_str()).bind_iter())
        .bind(events().map(Like::liked).bind_iter())
        .bind(events().map(|like| Time(like.occurred_at)).bind_iter())
        .bind(events().map(|like| like.event_id.as_uuid()).bind_iter())
        .execute(connection)
        .await?;
    Ok(())
}

async fn count(connection: &mut Session, batch: &Compacted<'_, Like>, rows: &[Row]) -> Result<(), Error> {
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
