//! The rank of one row, by primary key.

use floodgate_schemas::Timestamp;
use sqlx::Error;
use uuid::Uuid;

use super::PostgresStore;
use super::types::Time;
use crate::{BoxFuture, ReadError, Reset, RowKey, RowRank};

const EXPECTATION: &str =
    "SELECT version, event_id FROM expectations WHERE character_id = $1 AND preset_no = $2";

const LIKE: &str = "SELECT occurred_at, event_id FROM likes WHERE target_ocid = $1 AND liker_account_id = $2";

const LOWER_EXPECTATION: &str =
    "UPDATE expectations SET version = $3 WHERE character_id = $1 AND preset_no = $2 AND version > $4";

const LOWER_LIKE: &str = "
UPDATE likes SET occurred_at = $3 WHERE target_ocid = $1 AND liker_account_id = $2 AND occurred_at > $4";

impl Reset for PostgresStore {
    fn rank<'a>(&'a self, row: &'a RowKey) -> BoxFuture<'a, Result<Option<RowRank>, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let found: Option<(i64, Uuid)> = match row {
                RowKey::Expectation(character, preset) => {
                    let query = sqlx::query_as(EXPECTATION).bind(character.get());
                    query.bind(i16::from(preset.get())).fetch_optional(connection).await?
                }
                RowKey::Like(target, liker) => {
                    let query = sqlx::query_as(LIKE).bind(target.as_str()).bind(liker.as_str());
                    let found: Option<(Time, Uuid)> = query.fetch_optional(connection).await?;
                    found.map(|(Time(occurred_at), event_id)| (occurred_at.as_micros(), event_id))
                }
            };
            Ok(found.map(|(micros, event_id)| RowRank { micros, event_id: event_id.into() }))
        }))
    }

    fn lower<'a>(&'a self, row: &'a RowKey, above: i64) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let query = match row {
                RowKey::Expectation(character, preset) => {
                    let query = sqlx::query(LOWER_EXPECTATION).bind(character.get());
                    query.bind(i16::from(preset.get())).bind(row.lowest()).bind(above)
                }
                RowKey::Like(target, liker) => {
                    let time = |micros| {
                        Timestamp::from_micros(micros).map(Time).map_err(|e| Error::Encode(e.into()))
                    };
                    let query = sqlx::query(LOWER_LIKE).bind(target.as_str()).bind(liker.as_str());
                    query.bind(time(row.lowest())?).bind(time(above)?)
                }
            };
            Ok(query.execute(connection).await?.rows_affected() > 0)
        }))
    }
}
