//! Reading a topic past all groups.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::cause::{Asking, explain_to};
use super::client::ClientSettings;
use super::native::ask::Bound;
use super::native::poll::{Events, Polled};
use super::offsets::{bounds, topic_facts};
use super::topics::is_compacted;
use super::trouble::is_damage;
use crate::{Batch, Chunk, Log, LogBounds, LogError, LogId, Names, Offset, Partition, Topic};

/// How long a partition may be silent, neither a record nor its end, before its broker counts as away.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What one chunk holds at most, in bytes, however large its records are; a single larger one is a chunk of its own.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// See the [module's documentation](self).
pub(super) struct KafkaLog {
    topic: Topic,
    name: String,
    // the queue before the client it belongs to
    events: Events,
    consumer: BaseConsumer<Asking>,
    /// Where the consumer reads on.
    position: Option<(Partition, Offset)>,
    /// Which log it was when its bounds were asked for last.
    log: Option<LogId>,
    settings: Arc<ClientSettings>,
}

impl KafkaLog {
    pub(super) fn open(settings: &Arc<ClientSettings>, names: &Names, topic: Topic) -> KafkaResult<Self> {
        let context = Asking::without_group(&settings.kafka.brokers);
        let consumer: BaseConsumer<Asking> =
            settings.reader(&names.prefixed("floodgate.reader")).create_with_context(context)?;
        let events = Events::of(&consumer)?;
        let (name, settings) = (names.topic(topic).to_owned(), Arc::clone(settings));
        Ok(Self { topic, name, events, consumer, position: None, log: None, settings })
    }

    /// What lies behind a transaction that is still open cannot be read, and is not within the bounds.
    fn ask_bounds(&self) -> Result<LogBounds, LogError> {
        let asked = topic_facts(&self.consumer, &self.name).and_then(|facts| {
            let bounds = bounds(&self.consumer, &self.name, &facts, [Bound::Start, Bound::Stable])?;
            Ok((facts, bounds))
        });
        let (facts, [mut starts, mut ends]) = asked.map_err(|error| self.explain(&error))?;
        let mut found = LogBounds { log: facts.id.clone(), ..LogBounds::default() };
        let mut first = None;
        for (partition, leader) in &facts.partitions {
            let missing = || Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition));
            let start = starts.remove(partition).unwrap_or_else(missing);
            let end = ends.remove(partition).unwrap_or_else(missing);
            match start.and_then(|start| Ok(start..end?.max(start))) {
                Ok(range) => found.known.push((*partition, range)),
                Err(error) => {
                    let why = self.consumer.context().explain_partition(*leader, &error);
                    found.unknown.push((*partition, why));
                    first.get_or_insert(error);
                }
            }
        }
        match first.filter(|_| found.known.is_empty()) {
            Some(error) => Err(self.explain(&error)),
            None => {
                self.consumer.context().answered();
                Ok(found)
            }
        }
    }

    fn go_to(&mut self, partition: Partition, from: Offset) -> KafkaResult<()> {
        if self.position != Some((partition, from)) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.name, partition.0, rdkafka::Offset::Offset(from.0))?;
            self.consumer.assign(&list)?;
            self.position = Some((partition, from));
        }
        Ok(())
    }

    fn fill(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let mut chunk = Chunk { batch: Batch::new(self.topic), next: range.start };
        chunk.batch.set_log(self.log.clone());
        let mut heard = Instant::now();
        while chunk.next < range.end && chunk.batch.len() < events && chunk.batch.bytes() < CHUNK_BYTES_MAX {
            let record = match self.events.poll(&self.consumer, Duration::from_millis(100)) {
                Some(Polled::Record(record)) => record,
                Some(Polled::End(ended, offset)) if ended == partition && offset >= chunk.next => {
                    // up to there no offset has a record
                    chunk.next = offset.min(range.end);
                    heard = Instant::now();
                    continue;
                }
                // of an earlier position
                Some(Polled::Served | Polled::End(..)) => continue,
                Some(Polled::Trouble(trouble)) => {
                    let is_here = trouble.at.is_some_and(|(place, _)| place == partition);
                    if is_here && is_damage(trouble.code) {
                        if !chunk.batch.is_empty() {
                            // first what comes before it; the next call meets it again
                            self.position = None;
                            return Ok(chunk);
                        }
                        let offset = trouble.at.and_then(|(_, offset)| offset).unwrap_or(chunk.next);
                        return Err(LogError::Damaged(partition, offset.max(chunk.next), trouble.reason));
                    }
                    let error = KafkaError::MessageConsumption(trouble.code);
                    match trouble.code {
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange if is_here => {
                            return Err(LogError::Gone(partition, range.start));
                        }
                        _ if is_final(&error) || heard.elapsed() > SILENCE_MAX => {
                            return Err(self.explain(&error));
                        }
                        // brokers that come and go
                        _ => continue,
                    }
                }
                None if heard.elapsed() < SILENCE_MAX => continue,
                None => {
                    return Err(
                        self.explain(&KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
                    );
                }
            };
            heard = Instant::now();
            let offset = record.offset();
            // what was under way from an earlier position
            if record.partition() != partition || offset < chunk.next {
                continue;
            }
            if offset >= range.end {
                // not this caller's: the next one has to read it again
                chunk.next = range.end;
                self.position = None;
                return Ok(chunk);
            }
            let (content, headers) = ((record.key(), record.value()), record.headers().iter().copied());
            chunk.batch.push(partition, offset, record.appended_at_ms(), content, headers);
            chunk.next = offset.next();
        }
        self.position = Some((partition, chunk.next));
        Ok(chunk)
    }

    fn explain(&self, error: &KafkaError) -> LogError {
        LogError::Unavailable(match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => format!("topic {} is missing in Kafka; run `floodgate topics create`", self.name),
            _ => format!(
                "topic {} cannot be read: {}",
                self.name,
                explain_to(&self.consumer, &self.events, error)
            ),
        })
    }
}

/// Errors that waiting does not heal.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
    };
    let last = [TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition];
    error.rdkafka_error_code().is_none_or(|code| last.contains(&code))
}

impl Log for KafkaLog {
    fn bounds(&mut self) -> Result<LogBounds, LogError> {
        let bounds = self.ask_bounds()?;
        self.log.clone_from(&bounds.log);
        Ok(bounds)
    }

    fn is_compacted(&mut self) -> Result<bool, LogError> {
        let compacted = is_compacted(&self.settings, &self.name);
        compacted.map_err(|error| LogError::Unavailable(error.to_string()))
    }

    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let read = match self.go_to(partition, range.start) {
            Ok(()) => self.fill(partition, range, events),
            Err(error) => Err(self.explain(&error)),
        };
        read.inspect_err(|_| self.position = None)
    }
}
