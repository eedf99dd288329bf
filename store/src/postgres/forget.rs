//! Decisions, walked over by primary key.

use floodgate_schemas::{EventId, Timestamp};
use sqlx::postgres::PgBindIterExt;
use uuid::Uuid;

use super::PostgresStore;
use super::session::Session;
use super::types::Time;
use crate::{BoxFuture, Forget, Forgotten, ReadError};

const WALK: &str = "
SELECT request_id, outcome <> 'ISSUED' AND decided_at < $3 FROM coupon_requests
WHERE request_id > $1 ORDER BY request_id LIMIT $2";

const DELETE: &str = "
DELETE FROM coupon_requests
WHERE request_id = ANY($1) AND outcome <> 'ISSUED' AND decided_at < $2";

impl Forget for PostgresStore {
    fn forget_decisions(
        &self,
        behind: Option<EventId>,
        at_most: u32,
        before: Timestamp,
    ) -> BoxFuture<'_, Result<Forgotten, ReadError>> {
        Box::pin(self.request(async move |connection: &mut Session| {
            let behind = behind.map_or(Uuid::nil(), EventId::as_uuid);
            let walk = sqlx::query_as(WALK).bind(behind).bind(i64::from(at_most)).bind(Time(before));
            let found: Vec<(Uuid, bool)> = walk.fetch_all(&mut *connection).await?;
            let found: Vec<_> = found.into_iter().map(|(id, is_old)| (EventId::from(id), is_old)).collect();
            let old = || found.iter().filter(|(_, is_old)| *is_old).map(|(id, _)| id.as_uuid());
            let deleted = match old().next() {
                None => 0,
                Some(_) => {
                    let delete = sqlx::query(DELETE).bind(old().bind_iter()).bind(Time(before));
                    delete.execute(connection).await?.rows_affected()
                }
            };
            Ok(Forgotten::step(&found, at_most, deleted))
        }))
    }
}
