//! Expectation writes: look at the ranks that stand, then upsert what is newer.

use floodgate_schemas::{EventId, ExpectationWrite, Timestamp};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};

use super::{event_id, json, place};
use crate::ApplyOutcome;
use crate::compaction::{Compacted, Ranked, loses_to};
use crate::dialect::Statements;

/// The ranks that stand, by their place in the array.
pub(super) const STANDING: &str = "
SELECT key, version, event_id
FROM json_each(?1)
JOIN expectations ON character_id = value ->> 0 AND preset_no = value ->> 1";

const UPSERT: &str = "
INSERT INTO expectations (
    character_id, preset_no, total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost,
    starforce_cost, version, calculated_at, event_id, updated_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, ?2
FROM json_each(?1)
WHERE true
ON CONFLICT (character_id, preset_no) DO UPDATE SET
    total_expected_cost = excluded.total_expected_cost,
    black_cube_cost = excluded.black_cube_cost,
    red_cube_cost = excluded.red_cube_cost,
    additional_cube_cost = excluded.additional_cube_cost,
    starforce_cost = excluded.starforce_cost,
    version = excluded.version,
    calculated_at = excluded.calculated_at,
    event_id = excluded.event_id,
    updated_at = excluded.updated_at";

impl Statements<SqliteConnection> for ExpectationWrite {
    async fn run(
        connection: &mut SqliteConnection,
        events: &[Self],
        now: Timestamp,
    ) -> Result<Vec<ApplyOutcome>, Error> {
        let mut batch = Compacted::new(events);
        let mut is_newer = vec![true; batch.len()];
        for (place, version, event_id) in standing(connection, &batch).await? {
            let event = batch.winner(place);
            if event.rank() <= (version, event_id) {
                is_newer[place] = false;
                batch.settle(place, loses_to(event_id, event.event_id));
            }
        }
        let newer: Vec<&ExpectationWrite> = batch
            .winners()
            .zip(&is_newer)
            .filter(|(_, is_newer)| **is_newer)
            .map(|(event, _)| event)
            .collect();
        if !newer.is_empty() {
            upsert(connection, &newer, now).await?;
        }
        Ok(batch.into_outcomes())
    }
}

async fn standing(
    connection: &mut SqliteConnection,
    batch: &Compacted<'_, ExpectationWrite>,
) -> Result<Vec<(usize, i64, EventId)>, Error> {
    let keys = json(batch.winners().map(Ranked::key))?;
    let rows = sqlx::query(STANDING).bind(keys).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((place(row, 0)?, row.try_get(1)?, event_id(row, 2)?))).collect()
}

async fn upsert(
    connection: &mut SqliteConnection,
    events: &[&ExpectationWrite],
    now: Timestamp,
) -> Result<(), Error> {
    let rows = json(events.iter().map(|event| columns(event)))?;
    sqlx::query(UPSERT).bind(rows).bind(now.as_micros()).execute(connection).await?;
    Ok(())
}

/// What a row is made of, in the order of [`UPSERT`].
pub(super) fn columns(event: &ExpectationWrite) -> impl Serialize {
    (
        event.character_id,
        event.preset_no,
        event.total_expected_cost.to_string(),
        event.black_cube_cost.to_string(),
        event.red_cube_cost.to_string(),
        event.additional_cube_cost.to_string(),
        event.starforce_cost.to_string(),
        event.version,
        event.calculated_at,
        event.event_id,
    )
}
