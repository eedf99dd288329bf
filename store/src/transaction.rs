//! Runs one batch as one transaction, or one read, within its deadline, and sorts what went wrong by what
//! the caller can do about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use floodgate_schemas::Timestamp;
use floodgate_schemas::text::in_one_line;
use sqlx::Error;
use tokio::time::timeout;

use crate::audit::differences;
use crate::connections::Connections;
use crate::dialect::{Blame, Dialect, Failure, Lookup, Place, Repairs, Statements};
use crate::ground::Ground;
use crate::{ApplyError, ApplyOutcome, Difference, EventStatus, ReadError};

/// Applies a batch: all of it, or nothing.
pub(crate) async fn apply<C: Dialect, E: Statements<C> + Lookup<C>>(
    (connections, ground): (&Connections<C>, &Ground),
    within: Duration,
    events: &[E],
    now: Timestamp,
) -> Result<Vec<ApplyOutcome>, ApplyError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let work = async |connection: &mut C, place: &Place| {
        ground.check::<C, E>(connection, place).await?;
        Ok(E::run(connection, events, now).await?)
    };
    let (outcomes, place) = write(connections, within, work).await?;
    ground.applied(events, &outcomes, place);
    Ok(outcomes)
}

/// Sets rows right: all of them, or none.
pub(crate) async fn repair<C: Dialect, E: Repairs<C> + Lookup<C>>(
    (connections, ground): (&Connections<C>, &Ground),
    within: Duration,
    events: &[E],
    now: Timestamp,
) -> Result<u64, ApplyError> {
    if events.is_empty() {
        return Ok(0);
    }
    let work = async |connection: &mut C, place: &Place| {
        ground.check::<C, E>(connection, place).await?;
        Ok(E::repair(connection, events, now).await?)
    };
    let (changed, _) = write(connections, within, work).await?;
    Ok(changed)
}

/// A transaction that writes, within its deadline.
async fn write<C: Dialect, T>(
    connections: &Connections<C>,
    within: Duration,
    work: impl AsyncFnOnce(&mut C, &Place) -> Result<T, Failure>,
) -> Result<(T, Place), ApplyError> {
    let has_begun = AtomicBool::new(false);
    match timeout(within, transaction(connections, work, &has_begun)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure::Moved(reason))) => Err(ApplyError::Retry(reason)),
        Ok(Err(Failure::Database(error))) => {
            let (blame, reason) = explain::<C>(&error);
            if is_lost::<C>(&error) {
                connections.forget_idle();
            }
            Err(match blame {
                Blame::Row => ApplyError::BadRow(reason),
                Blame::Slowness(_) => ApplyError::TooSlow(reason),
                Blame::Elsewhere(_) => ApplyError::Retry(reason),
            })
        }
        Err(_) => {
            connections.forget_idle();
            let within = within.as_millis();
            Err(match has_begun.load(Ordering::Relaxed) {
                true => {
                    ApplyError::TooSlow(format!("the database did not finish the batch within {within} ms"))
                }
                false => ApplyError::Retry(format!(
                    "no connection to the database was free within {within} ms: consumers may need a larger [store] \
                     max_connections"
                )),
            })
        }
    }
}

async fn transaction<C: Dialect, T>(
    connections: &Connections<C>,
    work: impl AsyncFnOnce(&mut C, &Place) -> Result<T, Failure>,
    has_begun: &AtomicBool,
) -> Result<(T, Place), Failure> {
    let mut lease = connections.lease().await?;
    let file = lease.file;
    let in_place = || match connections.is_at(file) {
        true => Ok(()),
        false => Err(Failure::Moved(FILE_MOVED.to_owned())),
    };
    has_begun.store(true, Ordering::Relaxed);
    let connection = &mut lease.connection;
    connection.begin().await?;
    let place = connection.place().await?.of_file(file);
    match work(connection, &place).await {
        Ok(done) => {
            in_place()?;
            connection.commit().await?;
            // or it was committed to a file that nobody finds again
            in_place()?;
            lease.give_back();
            Ok((done, place))
        }
        Err(error) => {
            // After a bad row the caller searches for it, statement by statement, on this connection. After
            // anything else the connection itself is not trusted any more: it closes here.
            if let Failure::Database(error) = &error
                && explain::<C>(error).0 == Blame::Row
            {
                connection.roll_back().await?;
                lease.give_back();
            }
            Err(error)
        }
    }
}

/// Of a database that is a file.
const FILE_MOVED: &str = "the database's file was renamed, removed or replaced: nothing more is applied to the one that is \
                          still open";

/// Where each of the events stands.
pub(crate) async fn look_up<C: Dialect, E: Lookup<C>>(
    connections: &Connections<C>,
    within: Duration,
    events: &[E],
) -> Result<Vec<EventStatus>, ReadError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    request(connections, within, async |connection: &mut C| E::look_up(connection, events).await).await
}

/// Which values are not the events'.
pub(crate) async fn look_closer<C: Dialect, E: Lookup<C>>(
    connections: &Connections<C>,
    within: Duration,
    events: &[E],
) -> Result<Vec<Difference>, ReadError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let found =
        request(connections, within, async |connection: &mut C| E::look_closer(connection, events).await);
    Ok(differences(events, found.await?))
}

/// A read, or any other single statement, within its deadline.
pub(crate) async fn request<C: Dialect, T>(
    connections: &Connections<C>,
    within: Duration,
    query: impl AsyncFnOnce(&mut C) -> Result<T, Error>,
) -> Result<T, ReadError> {
    let asked = AtomicBool::new(false);
    let work = async {
        let mut lease = connections.lease().await?;
        asked.store(true, Ordering::Relaxed);
        let connection = &mut lease.connection;
        let is_lent = connection.is_lent();
        if is_lent {
            connection.begin().await?;
        }
        let answer = query(&mut *connection).await?;
        if is_lent {
            connection.commit().await?;
        }
        lease.give_back();
        Ok(answer)
    };
    match timeout(within, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            if is_lost::<C>(&error) {
                connections.forget_idle();
            }
            Err(match error {
                Error::ColumnDecode { .. } | Error::Decode(_) => ReadError::Unreadable(error.to_string()),
                // an error of the database itself is an answer: the statement changed nothing
                error if is_lost::<C>(&error) && asked.load(Ordering::Relaxed) => {
                    ReadError::Unanswered(explain::<C>(&error).1)
                }
                error => ReadError::Unavailable(explain::<C>(&error).1),
            })
        }
        Err(_) => {
            connections.forget_idle();
            let reason = format!("the database did not answer within {} ms", within.as_millis());
            Err(match asked.load(Ordering::Relaxed) {
                true => ReadError::Unanswered(reason),
                false => ReadError::Unavailable(reason),
            })
        }
    }
}

/// Whose fault it is, and a sentence about it for operators. Holds no values of rows: those may be personal.
pub(crate) fn explain<C: Dialect>(error: &Error) -> (Blame, String) {
    let error = match error {
        Error::Database(error) => error,
        // says what to change
        Error::Configuration(unfit) => return (Blame::Elsewhere(None), unfit.to_string()),
        error => {
            let help = C::help(error).map(|help| format!(": {help}")).unwrap_or_default();
            return (
                Blame::Elsewhere(None),
                format!("the database cannot be used: {}{help}", in_one_line(error)),
            );
        }
    };
    let blame = C::blame(error.as_ref());
    let code = C::code(error.as_ref());
    let mut reason = format!("{} ({code})", in_one_line(error.message()));
    if let Blame::Elsewhere(Some(help)) | Blame::Slowness(help) = blame {
        reason = format!("{reason}: {help}");
    }
    (blame, reason)
}

/// Whether the connection is gone, and with it probably all others to the same server.
fn is_lost<C: Dialect>(error: &Error) -> bool {
    match error {
        Error::Database(error) => C::is_lost(error.as_ref()),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => true,
        _ => false,
    }
}
