//! What makes an SQLite database unfit, and whether it is still the one it was.

use std::path::{Path, PathBuf};

use floodgate_schemas::EventType;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Error};
use tokio::fs::OpenOptions;

use super::{BEGIN, SqliteStore, applied, blame, explain};
use crate::dialect::Dialect;
use crate::migrations::IDENTITY_SINCE;
use crate::transaction;
use crate::{BoxFuture, Pool, ReadError, Site};

/// Why a file could not be made here.
async fn no_folder(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // what may be made there only trying tells; several may try at once
    let trial = folder.join(format!(".floodgate-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&trial).await;
    match made {
        Ok(_) => {
            let _ = tokio::fs::remove_file(&trial).await;
            None
        }
        Err(error) => Some(format!(
            "there is no file {}, and none can be made in the folder {}: {error}",
            path.display(),
            folder.display()
        )),
    }
}

/// What SQLite's file and those beside it are called, behind the file's name.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

impl Site for SqliteStore {
    fn private_files(&self) -> Vec<PathBuf> {
        let named = |end: &&str| {
            let mut name = self.path.clone().into_os_string();
            name.push(end);
            name.into()
        };
        FILES.iter().map(named).collect()
    }

    fn pools(&self) -> Vec<Pool> {
        vec![self.writer.pool("batches"), self.readers.pool("requests")]
    }

    fn unfit<'a>(&'a self, _: &'a [EventType]) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        let write = async |connection: &mut SqliteConnection| {
            let tried = async {
                let mut transaction = connection.begin_with(BEGIN).await?;
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
                return Ok(no_folder(&self.path).await.into_iter().collect());
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
