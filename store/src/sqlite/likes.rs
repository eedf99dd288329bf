//! Likes and their counters: look at what stands, then write what is newer and move the counters by it.

use floodgate_schemas::{EventId, Like, Timestamp};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};

use super::{event_id, json, place, time};
use crate::ApplyOutcome;
use crate::compaction::{Compacted, Ranked, loses_to};
use crate::dialect::Statements;
use crate::like::{Change, movements};

/// The rows that stand, by their place in the array.
pub(super) const STANDING: &str = "
SELECT key, liked, occurred_at, event_id
FROM json_each(?1)
JOIN likes ON target_ocid = value ->> 0 AND liker_account_id = value ->> 1";

const UPSERT: &str = "
INSERT INTO likes (target_ocid, liker_account_id, liked, occurred_at, event_id)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
FROM json_each(?1)
WHERE true
ON CONFLICT (target_ocid, liker_account_id) DO UPDATE SET
    liked = excluded.liked, occurred_at = excluded.occurred_at, event_id = excluded.event_id";

const COUNT: &str = "
INSERT INTO like_counts (target_ocid, count)
SELECT value ->> 0, value ->> 1
FROM json_each(?1)
WHERE true
ON CONFLICT (target_ocid) DO UPDATE SET count = count + excluded.count";

/// What stands on the row of the winner at `place`.
struct StandingRow {
    place: usize,
    liked: bool,
    rank: (Timestamp, EventId),
}

impl Statements<SqliteConnection> for Like {
    async fn run(
        connection: &mut SqliteConnection,
        events: &[Self],
        _: Timestamp,
    ) -> Result<Vec<ApplyOutcome>, Error> {
        let mut batch = Compacted::new(events);
        let mut is_newer = vec![true; batch.len()];
        let mut was_liked = vec![false; batch.len()];
        for standing in standing(connection, &batch).await? {
            let like = batch.winner(standing.place);
            was_liked[standing.place] = standing.liked;
            if like.rank() <= standing.rank {
                is_newer[standing.place] = false;
                batch.settle(standing.place, loses_to(standing.rank.1, like.event_id));
            }
        }
        let newer: Vec<usize> = (0..batch.len()).filter(|place| is_newer[*place]).collect();
        if !newer.is_empty() {
            upsert(connection, newer.iter().map(|place| batch.winner(*place))).await?;
            let changes = newer.iter().map(|place| {
                let like = batch.winner(*place);
                Change {
                    target: like.target_ocid.as_str(),
                    was_liked: was_liked[*place],
                    is_liked: like.liked(),
                }
            });
            count(connection, movements(changes)).await?;
        }
        Ok(batch.into_outcomes())
    }
}

async fn standing(
    connection: &mut SqliteConnection,
    batch: &Compacted<'_, Like>,
) -> Result<Vec<StandingRow>, Error> {
    let keys = json(batch.winners().map(Ranked::key))?;
    let rows = sqlx::query(STANDING).bind(keys).fetch_all(connection).await?;
    let standing = rows.iter().map(|row| {
        let rank = (time(row, 2)?, event_id(row, 3)?);
        Ok(StandingRow { place: place(row, 0)?, liked: row.try_get(1)?, rank })
    });
    standing.collect()
}

async fn upsert<'a>(
    connection: &mut SqliteConnection,
    likes: impl Iterator<Item = &'a Like>,
) -> Result<(), Error> {
    sqlx::query(UPSERT).bind(json(likes.map(columns))?).execute(connection).await?;
    Ok(())
}

async fn count(connection: &mut SqliteConnection, movements: Vec<(&str, i64)>) -> Result<(), Error> {
    if movements.is_empty() {
        return Ok(());
    }
    sqlx::query(COUNT).bind(json(movements)?).execute(connection).await?;
    Ok(())
}

/// What a row is made of, in the order of [`UPSERT`].
pub(super) fn columns(like: &Like) -> impl Serialize + '_ {
    let Like { target_ocid, liker_account_id, occurred_at, event_id, .. } = like;
    (target_ocid.as_str(), liker_account_id.as_str(), like.liked(), occurred_at, event_id)
}
