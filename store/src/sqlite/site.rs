//! What makes an SQLite database unfit, and whether it is still the one it was.

use floodgate_schemas::EventType;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Error};

use super::{SqliteStore, applied, blame, explain};
use crate::dialect::Dialect;
use crate::migrations::IDENTITY_SINCE;
use crate::transaction;
use crate::{BoxFuture, Pool, ReadError, Site};

impl Site for SqliteStore {
    fn pools(&self) -> Vec<Pool> {
        vec![self.writer.pool("batches"), self.readers.pool("requests")]
    }

    fn unfit<'a>(&'a self, _: &'a [EventType]) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        let write = async |connection: &mut SqliteConnection| {
            let tried = async {
                let mut transaction = connection.begin_with(SqliteConnection::BEGIN).await?;
                // a file that may only be read can be locked all the same: it is the first write that fails
                sqlx::raw_sql("CREATE TABLE floodgate_writes (something)").execute(&mut *transaction).await?;
                transaction.rollback().await
            };
            match tried.await {
                Ok(()) => Ok(Vec::new()),
                // whoever holds it writes to it
                Err(Error::Database(error)) if blame::is_busy(error.as_ref()) => Ok(Vec::new()),
                Err(Error::Database(error)) if blame::is_read_only(error.as_ref()) => {
                    Ok(vec![explain(&Error::Database(error))])
                }
                Err(error) => Err(error),
            }
        };
        Box::pin(async move {
            if !self.exists().await {
                return Ok(Vec::new());
            }
            transaction::request(&self.writer, self.request_timeout, write).await
        })
    }

    fn moved(&self) -> BoxFuture<'_, Result<Option<String>, ReadError>> {
        let look = async |connection: &mut SqliteConnection| {
            if applied(connection).await?.is_none_or(|version| version < IDENTITY_SINCE) {
                return Ok(None);
            }
            connection.place().await.map(Some)
        };
        Box::pin(async move {
            if !self.exists().await {
                return Ok(self.ground.moved(None));
            }
            let place = transaction::request(&self.readers, self.request_timeout, look).await?;
            Ok(self.ground.moved(place.as_ref()))
        })
    }
}
