//! Reading a topic past its group: what waits in its lists.

use std::ops::Range;
use std::sync::Arc;

use ::redis::{Connection, ConnectionLike as _, Value};

use super::element;
use super::link::{answer, is_unknown_script};
use super::scripts::{Call, SCRIPTS, list, numbers, texts};
use super::settings::Settings;
use crate::{Batch, Chunk, Log, LogBounds, LogError, LogId, Offset, Partition, Topic};

/// How much is read at a time at most; how large letters are nobody counts.
const READ_MAX: usize = 2000;
const LETTERS_MAX: usize = 100;
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// See the [module's documentation](self).
pub(super) struct RedisLog {
    settings: Arc<Settings>,
    topic: Topic,
    connection: Option<Connection>,
}

/// Calls scripts one after the other, waiting for each.
pub(super) fn call(connection: &mut Connection, call: &Call) -> Result<Value, String> {
    match ask(connection, &call.command(false)) {
        unknown if is_unknown_script(&unknown) => ask(connection, &call.command(true)),
        answer => answer,
    }
}

fn ask(connection: &mut Connection, command: &::redis::Cmd) -> Result<Value, String> {
    match connection.req_command(command) {
        Ok(value) => answer(value),
        Err(error) => Err(error.to_string()),
    }
}

/// Which log a topic is, where it has a name already.
pub(super) fn log_of(
    settings: &Settings,
    topic: Topic,
    connection: &mut Connection,
) -> Result<Option<LogId>, String> {
    let answers = settings.known(topic).each_ref().map(|command| ask(connection, command));
    settings.log_found(topic, &answers)
}

impl RedisLog {
    pub(super) fn new(settings: &Arc<Settings>, topic: Topic) -> Self {
        Self { settings: Arc::clone(settings), topic, connection: None }
    }

    fn with<T>(
        &mut self,
        read: impl FnOnce(&Settings, Topic, &mut Connection) -> Result<T, String>,
    ) -> Result<T, LogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.settings.connect().map_err(LogError::Unavailable)?,
        };
        let told = read(&self.settings, self.topic, &mut connection);
        // after an error whatever comes on it belongs to nobody
        if told.is_ok() {
            self.connection = Some(connection);
        }
        told.map_err(LogError::Unavailable)
    }
}

impl Log for RedisLog {
    fn bounds(&mut self) -> Result<LogBounds, LogError> {
        self.with(|settings, topic, connection| {
            let log = log_of(settings, topic, connection)?;
            let mut known = Vec::new();
            for partition in settings.partitions(topic) {
                let keys = settings.keys(topic);
                let look = Call::new(&SCRIPTS.look, [keys.list(partition), keys.meta(partition)]);
                let answer = call(connection, &look)?;
                let [base, there] = numbers(&answer).ok_or("an answer that makes no sense")?;
                known.push((partition, Offset(base)..Offset(base + there)));
            }
            Ok(LogBounds { log, known, unknown: Vec::new() })
        })
    }

    fn is_compacted(&mut self) -> Result<bool, LogError> {
        Ok(false)
    }

    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let (base, log, answer) = self.with(|settings, topic, connection| {
            let keys = settings.keys(topic);
            let log = log_of(settings, topic, connection)?;
            let peek = Call::new(&SCRIPTS.peek, [keys.list(partition), keys.meta(partition)])
                .with(range.start)
                .with(events.min(if topic == Topic::DeadLetters { LETTERS_MAX } else { READ_MAX }))
                .with(CHUNK_BYTES_MAX);
            let answer = call(connection, &peek)?;
            let [base] = numbers(&answer).ok_or("an answer that makes no sense")?;
            Ok((Offset(base), log, answer))
        })?;
        if range.start < base {
            return Err(LogError::Gone(partition, range.start));
        }
        let mut batch = Batch::new(self.topic);
        batch.set_log(log);
        let mut next = range.start;
        for record in list(&answer, 2).into_iter().flat_map(texts) {
            if next >= range.end {
                break;
            }
            let Some(read) = element::read(record) else {
                // what is sound before it is told first
                if batch.is_empty() {
                    return Err(LogError::Damaged(
                        partition,
                        next,
                        "it is no record of floodgate".to_owned(),
                    ));
                }
                break;
            };
            batch.push(
                partition,
                next,
                read.appended_at_ms,
                (read.key, read.value),
                read.headers.into_iter(),
            );
            next = next.next();
        }
        // nothing is left of it
        let next = if batch.is_empty() { range.end } else { next };
        Ok(Chunk { batch, next })
    }
}
