//! Expectation writes: one upsert that compares ranks, and a look at those it passed over.

use floodgate_schemas::{ExpectationWrite, Timestamp};
use sqlx::Error;
use sqlx::postgres::PgBindIterExt;

use super::session::Session;
use super::types::{Amount, Time};
use crate::ApplyOutcome;
use crate::compaction::{Compacted, Ranked};
use crate::dialect::Statements;

/// Takes the rows in the order of the arrays, hence their locks in key order. Answers with how many rows it
/// wrote and, only if it passed over some, with their keys.
const UPSERT: &str = "
WITH written AS (
    INSERT INTO expectations AS standing (
        character_id, preset_no, total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost,
        starforce_cost, version, calculated_at, event_id, updated_at)
    SELECT unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6), unnest($7), unnest($8),
        unnest($9), unnest($10), $11
    ON CONFLICT (character_id, preset_no) DO UPDATE SET
        total_expected_cost = excluded.total_expected_cost,
        black_cube_cost = excluded.black_cube_cost,
        red_cube_cost = excluded.red_cube_cost,
        additional_cube_cost = excluded.additional_cube_cost,
        starforce_cost = excluded.starforce_cost,
        version = excluded.version,
        calculated_at = excluded.calculated_at,
        event_id = excluded.event_id,
        updated_at = excluded.updated_at
    WHERE (excluded.version, excluded.event_id) > (standing.version, standing.event_id)
    RETURNING character_id, preset_no
), counted AS (SELECT count(*) AS rows FROM written)
SELECT rows,
    CASE WHEN rows < cardinality($1) THEN (SELECT array_agg(character_id) FROM written) END,
    CASE WHEN rows < cardinality($1) THEN (SELECT array_agg(preset_no) FROM written) END
FROM counted";

/// Which places of the arrays name the very event that stands on the row.
const STANDING: &str = "
SELECT coalesce(array_agg(place - 1), '{}')
FROM unnest($1, $2, $3) WITH ORDINALITY AS passed (character_id, preset_no, event_id, place)
JOIN expectations USING (character_id, preset_no, event_id)";

type Written = (i64, Option<Vec<i64>>, Option<Vec<i16>>);

impl Statements<Session> for ExpectationWrite {
    async fn run(
        connection: &mut Session,
        events: &[Self],
        now: Timestamp,
    ) -> Result<Vec<ApplyOutcome>, Error> {
        let mut batch = Compacted::new(events);
        let (rows, characters, presets) = upsert(connection, &batch, now).await?;
        if rows < batch.len() as i64 {
            let written = characters.unwrap_or_default().into_iter().zip(presets.unwrap_or_default());
            settle_passed_over(connection, &mut batch, written).await?;
        }
        Ok(batch.into_outcomes())
    }
}

async fn upsert(
    connection: &mut Session,
    batch: &Compacted<'_, ExpectationWrite>,
    now: Timestamp,
) -> Result<Written, Error> {
    let winners = || batch.winners();
    sqlx::query_as(UPSERT)
        .bind(winners().map(|e| e.character_id.get()).bind_iter())
        .bind(winners().map(|e| i16::from(e.preset_no.get())).bind_iter())
        .bind(winners().map(|e| Amount(e.total_expected_cost)).bind_iter())
        .bind(winners().map(|e| Amount(e.black_cube_cost)).bind_iter())
        .bind(winners().map(|e| Amount(e.red_cube_cost)).bind_iter())
        .bind(winners().map(|e| Amount(e.additional_cube_cost)).bind_iter())
        .bind(winners().map(|e| Amount(e.starforce_cost)).bind_iter())
        .bind(winners().map(|e| e.version).bind_iter())
        .bind(winners().map(|e| Time(e.calculated_at)).bind_iter())
        .bind(winners().map(|e| e.event_id.as_uuid()).bind_iter())
        .bind(Time(now))
        .fetch_one(connection)
        .await
}

/// Tells the events that the upsert passed over: either they stand there already, or a newer one does.
async fn settle_passed_over(
    connection: &mut Session,
    batch: &mut Compacted<'_, ExpectationWrite>,
    written: impl Iterator<Item = (i64, i16)>,
) -> Result<(), Error> {
    let mut is_written = vec![false; batch.len()];
    for key in written {
        if let Some(place) = batch.place_by(|event| event.key().cmp(&key)) {
            is_written[place] = true;
        }
    }
    let passed: Vec<usize> = (0..batch.len()).filter(|place| !is_written[*place]).collect();
    let events = || passed.iter().map(|place| batch.winner(*place));
    let standing: Vec<i64> = sqlx::query_scalar(STANDING)
        .bind(events().map(|e| e.character_id.get()).bind_iter())
        .bind(events().map(|e| i16::from(e.preset_no.get())).bind_iter())
        .bind(events().map(|e| e.event_id.as_uuid()).bind_iter())
        .fetch_one(connection)
        .await?;
    batch.settle_passed_over(&passed, standing);
    Ok(())
}
