//! The rank of one row, by primary key.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{SqliteStore, event_id};
use crate::transaction;
use crate::{BoxFuture, ReadError, Reset, RowKey, RowRank};

const EXPECTATION: &str =
    "SELECT version, event_id FROM expectations WHERE character_id = ?1 AND preset_no = ?2";

const LIKE: &str = "SELECT occurred_at, event_id FROM likes WHERE target_ocid = ?1 AND liker_account_id = ?2";

const LOWER_EXPECTATION: &str =
    "UPDATE expectations SET version = ?3 WHERE character_id = ?1 AND preset_no = ?2 AND version > ?4";

const LOWER_LIKE: &str = "
UPDATE likes SET occurred_at = ?3 WHERE target_ocid = ?1 AND liker_account_id = ?2 AND occurred_at > ?4";

impl Reset for SqliteStore {
    fn rank<'a>(&'a self, row: &'a RowKey) -> BoxFuture<'a, Result<Option<RowRank>, ReadError>> {
        Box::pin(self.read(async move |connection| {
            let query = match row {
                RowKey::Expectation(character, preset) => {
                    sqlx::query(EXPECTATION).bind(character.get()).bind(i64::from(preset.get()))
                }
                RowKey::Like(target, liker) => sqlx::query(LIKE).bind(target.as_str()).bind(liker.as_str()),
            };
            let found = query.fetch_optional(connection).await?;
            let rank = found.map(|row| Ok(RowRank { micros: row.try_get(0)?, event_id: event_id(&row, 1)? }));
            rank.transpose()
        }))
    }

    fn lower<'a>(&'a self, row: &'a RowKey, above: i64) -> BoxFuture<'a, Result<bool, ReadError>> {
        let lower = async move |connection: &mut SqliteConnection| {
            let query = match row {
                RowKey::Expectation(character, preset) => {
                    sqlx::query(LOWER_EXPECTATION).bind(character.get()).bind(i64::from(preset.get()))
                }
                RowKey::Like(target, liker) => {
                    sqlx::query(LOWER_LIKE).bind(target.as_str()).bind(liker.as_str())
                }
            };
            Ok(query.bind(row.lowest()).bind(above).execute(connection).await?.rows_affected() > 0)
        };
        Box::pin(transaction::request(&self.writer, self.request_timeout, lower))
    }
}
