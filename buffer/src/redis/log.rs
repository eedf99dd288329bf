//! Reading a topic past its group: what waits in its lists.

use std::ops::Range;
use std::sync::Arc;

use super::element;
use super::reader::{Looked, Reader};
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
    reader: Reader,
}

impl RedisLog {
    pub(super) fn new(settings: &Arc<Settings>, topic: Topic) -> Self {
        Self { settings: Arc::clone(settings), topic, reader: Reader::new(settings) }
    }

    fn log_bounds(&mut self) -> Result<LogBounds, String> {
        let log = self.reader.log_of(self.topic)?.unwrap_or_default();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (partition, looked) in self.reader.look(self.topic) {
            match looked {
                Ok(Looked { records, .. }) => known.push((partition, records)),
                Err(reason) => unknown.push((partition, reason)),
            }
        }
        match unknown.first() {
            Some((_, reason)) if known.is_empty() => Err(reason.clone()),
            _ => Ok(LogBounds { log, known, unknown }),
        }
    }

    /// Which log it is, the offset of the list's head, and what was read from an offset on.
    fn peek(
        &mut self,
        partition: Partition,
        from: Offset,
        events: usize,
    ) -> Result<(Option<LogId>, Offset, ::redis::Value), String> {
        let topic = self.topic;
        let keys = self.settings.keys(topic);
        let peek = Call::new(&SCRIPTS.peek, [keys.list(partition), keys.meta(partition)])
            .with(from)
            .with(events.min(if topic == Topic::DeadLetters { LETTERS_MAX } else { READ_MAX }))
            .with(CHUNK_BYTES_MAX);
        let log = self.reader.log_of(topic)??;
        let answer = self.reader.call_one(peek)?;
        let [base] = numbers(&answer).ok_or_else(Reader::nonsense)?;
        Ok((log, Offset(base), answer))
    }
}

impl Log for RedisLog {
    fn bounds(&mut self) -> Result<LogBounds, LogError> {
        self.log_bounds().map_err(LogError::Unavailable)
    }

    fn is_compacted(&mut self) -> Result<bool, LogError> {
        Ok(false)
    }

    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let peeked = self.peek(partition, range.start, events);
        let (log, base, answer) = peeked.map_err(LogError::Unavailable)?;
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
