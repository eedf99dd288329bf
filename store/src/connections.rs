//! Keeps database connections, under the two rules that a pool made for general use does not have.
//!
//! * **A connection comes back only in a known state.** A [`Lease`] that is dropped (a deadline passed, the
//!   caller went away, the statement failed) drops its connection with it: the socket is closed on the spot,
//!   without a word to a server that may not answer, and the server rolls back. Only [`Lease::give_back`],
//!   called after a finished transaction, keeps it.
//! * **Waiting is bounded and says why.** Connecting has its own timeout, so that a server that accepts and
//!   then stays silent does not hold a caller; a refused connection is reported at once, not retried unseen.
//!
//! A database that is a file may be renamed, removed or replaced while it is open: what is written to it then is lost. So a
//! connection is handed out only if the file in its place is still the one it opened.
//!
//! There is no round trip for testing a connection that was in use moments ago; one that was idle for
//! [`IDLE_UNTESTED`] is tested, since firewalls and restarts may have cut it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::Pool;
use crate::dialect::{Dialect, FileId};

/// For how long a connection may lie idle and still be used without a test.
const IDLE_UNTESTED: Duration = Duration::from_secs(2);

/// Connections of one kind, at most a fixed number at a time. Opening it touches no network.
pub(crate) struct Connections<C: Dialect> {
    options: C::Options,
    connect_timeout: Duration,
    /// Of a database that is a file.
    path: Option<PathBuf>,
    max: usize,
    /// One permit per connection that may be out on lease.
    permits: Semaphore,
    /// Who waits for one.
    waiting: AtomicUsize,
    /// The one used last is on top.
    idle: Mutex<Vec<Idle<C>>>,
}

struct Idle<C> {
    connection: C,
    file: Option<FileId>,
    since: Instant,
}

impl<C: Dialect> Connections<C> {
    pub(crate) fn new(options: C::Options, max: u32, connect_timeout: Duration) -> Self {
        let permits = Semaphore::new(max as usize);
        let (max, waiting) = (max as usize, AtomicUsize::new(0));
        Self { options, connect_timeout, path: None, max, permits, waiting, idle: Mutex::new(Vec::new()) }
    }

    /// To a database that is this file.
    pub(crate) fn in_file(self, path: PathBuf) -> Self {
        Self { path: Some(path), ..self }
    }

    /// The file that lies where the database should; `None` if there is none, or the database is no file.
    fn file(&self) -> Option<FileId> {
        Some(FileId::of(&std::fs::metadata(self.path.as_ref()?).ok()?))
    }

    /// Whether the file that a connection opened still lies where it lay.
    pub(crate) fn is_at(&self, file: Option<FileId>) -> bool {
        self.path.is_none() || self.file() == file
    }

    /// A connection, once one is free. The wait for a free one has no bound of its own: callers have a
    /// deadline for all they do.
    ///
    /// # Errors
    /// The database cannot be reached within the connect timeout, or refuses us.
    pub(crate) async fn lease(&self) -> Result<Lease<'_, C>, Error> {
        let waits = Waits::new(&self.waiting);
        let permit = self.permits.acquire().await.map_err(|_| Error::PoolClosed)?;
        drop(waits);
        let file = self.file();
        let connection = match self.tested_idle(file).await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if !self.is_at(file) {
            return Err(Error::Io(std::io::Error::other(
                "the database's file was replaced while it was opened",
            )));
        }
        Ok(Lease { connection, file, home: self, permit })
    }

    /// How many there are now.
    pub(crate) fn pool(&self, name: &'static str) -> Pool {
        Pool {
            name,
            max: self.max,
            in_use: self.max.saturating_sub(self.permits.available_permits()),
            idle: self.idle.lock().len(),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    async fn tested_idle(&self, wanted: Option<FileId>) -> Option<C> {
        let Idle { mut connection, file, since } = self.idle.lock().pop()?;
        if file != wanted {
            // nor do the others lead to the file that lies there now
            self.forget_idle();
            return None;
        }
        if since.elapsed() < IDLE_UNTESTED {
            return Some(connection);
        }
        if let Ok(Ok(())) = timeout(self.connect_timeout, connection.ping()).await {
            return Some(connection);
        }
        // the others have lain there longer still
        self.forget_idle();
        None
    }

    async fn connect(&self) -> Result<C, Error> {
        match timeout(self.connect_timeout, C::connect(&self.options)).await {
            Ok(connected) => connected,
            Err(_) => {
                let reason = format!("no connection within {} ms", self.connect_timeout.as_millis());
                Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, reason)))
            }
        }
    }

    /// Drops the connections nobody uses: the server they lead to is gone.
    pub(crate) fn forget_idle(&self) {
        self.idle.lock().clear();
    }
}

/// Somebody who waits, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection in use. Dropping it closes the connection hard; see the module's documentation.
pub(crate) struct Lease<'a, C: Dialect> {
    pub(crate) connection: C,
    /// What it has open, of a database that is a file.
    pub(crate) file: Option<FileId>,
    home: &'a Connections<C>,
    permit: SemaphorePermit<'a>,
}

impl<C: Dialect> Lease<'_, C> {
    /// Keeps the connection for the next caller. No transaction may be open on it.
    pub(crate) fn give_back(self) {
        let Lease { connection, file, home, permit } = self;
        home.idle.lock().push(Idle { connection, file, since: Instant::now() });
        drop(permit);
    }
}
