//! Decisions, walked over by primary key.

use floodgate_schemas::{EventId, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{SqliteStore, event_id, json};
use crate::transaction;
use crate::{BoxFuture, Forget, Forgotten, ReadError};

const WALK: &str = "
SELECT request_id, outcome <> 'ISSUED' AND decided_at < ?3 FROM coupon_requests
WHERE request_id > ?1 ORDER BY request_id LIMIT ?2";

const DELETE: &str = "
DELETE FROM coupon_requests
WHERE request_id IN (SELECT value FROM json_each(?1)) AND outcome <> 'ISSUED' AND decided_at < ?2";

impl Forget for SqliteStore {
    fn forget_decisions(
        &self,
        behind: Option<EventId>,
        at_most: u32,
        before: Timestamp,
    ) -> BoxFuture<'_, Result<Forgotten, ReadError>> {
        Box::pin(async move {
            let walk = async move |connection: &mut SqliteConnection| {
                let behind = behind.map(|id| id.to_string()).unwrap_or_default();
                let walk = sqlx::query(WALK).bind(behind).bind(at_most).bind(before.as_micros());
                let rows = walk.fetch_all(connection).await?;
                rows.iter().map(|row| Ok((event_id(row, 0)?, row.try_get(1)?))).collect()
            };
            let found: Vec<(EventId, bool)> = self.read(walk).await?;
            let old: Vec<_> = found.iter().filter(|(_, is_old)| *is_old).map(|(id, _)| *id).collect();
            if old.is_empty() {
                return Ok(Forgotten::step(&found, at_most, 0));
            }
            let delete = async move |connection: &mut SqliteConnection| {
                let delete = sqlx::query(DELETE).bind(json(old)?).bind(before.as_micros());
                Ok(delete.execute(connection).await?.rows_affected())
            };
            let deleted = transaction::request(&self.writer, self.request_timeout, delete).await?;
            Ok(Forgotten::step(&found, at_most, deleted))
        })
    }
}
