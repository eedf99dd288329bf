//! Reading a topic past all groups.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::client::ClientSettings;
use super::offsets::{Bound, bounds, partitions};
use super::{ASK_TIMEOUT, Names, native};
use crate::{Batch, Chunk, Log, LogError, Offset, Partition, Topic};

/// How long a partition may be silent, neither a record nor its end, before its broker counts as away.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What one chunk holds at most, in bytes, however large its records are; a single larger one is a chunk of its own.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// See the [module's documentation](self).
pub(super) struct KafkaLog {
    topic: Topic,
    name: String,
    consumer: BaseConsumer,
    /// Where the consumer reads on.
    position: Option<(Partition, Offset)>,
}

impl KafkaLog {
    pub(super) fn open(settings: &ClientSettings, names: &Names, topic: Topic) -> KafkaResult<Self> {
        let consumer = settings.reader(&names.prefix).create()?;
        Ok(Self { topic, name: names.topic(topic).to_owned(), consumer, position: None })
    }

    fn ask_bounds(&self) -> KafkaResult<Vec<(Partition, Range<Offset>)>> {
        let partitions = partitions(&self.consumer, &self.name)?;
        let starts = bounds(&self.consumer, &self.name, &partitions, Bound::Start)?;
        let ends = bounds(&self.consumer, &self.name, &partitions, Bound::End)?;
        let range = |partition: &Partition| {
            let start = starts.get(partition).copied().unwrap_or(Offset(0));
            (*partition, start..ends.get(partition).copied().unwrap_or(start))
        };
        Ok(partitions.iter().map(range).collect())
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

    fn fill(
        &mut self,
        partition: Partition,
        range: Range<Offset>,
        events: usize,
    ) -> Result<Chunk, KafkaError> {
        let mut chunk = Chunk { batch: Batch::new(self.topic), next: range.start };
        let mut heard = Instant::now();
        let mut looked_again = false;
        while chunk.next < range.end && chunk.batch.len() < events && chunk.batch.bytes() < CHUNK_BYTES_MAX {
            let message = match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition.0 => {
                    let again = std::mem::replace(&mut looked_again, true);
                    chunk.next = self.meet_end(partition, chunk.next..range.end, again)?;
                    continue;
                }
                // of an earlier position
                Some(Err(KafkaError::PartitionEOF(_))) => continue,
                Some(Err(error)) if is_final(&error) => return Err(error),
                // brokers that come and go
                Some(Err(_)) | None if heard.elapsed() < SILENCE_MAX => continue,
                Some(Err(error)) => return Err(error),
                None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)),
            };
            (heard, looked_again) = (Instant::now(), false);
            let offset = Offset(message.offset());
            // what was under way from an earlier position
            if message.partition() != partition.0 || offset < chunk.next {
                continue;
            }
            if offset >= range.end {
                // not this caller's: the next one has to read it again
                chunk.next = range.end;
                self.position = None;
                return Ok(chunk);
            }
            let (content, headers) = ((message.key(), message.payload()), native::headers(&message));
            let appended_at_ms = message.timestamp().to_millis().unwrap_or(0);
            chunk.batch.push(partition, offset, appended_at_ms, content, headers.into_iter());
            chunk.next = offset.next();
        }
        self.position = Some((partition, chunk.next));
        Ok(chunk)
    }

    /// The partition seems to end although some of the range is left. Returns where reading goes on.
    fn meet_end(
        &mut self,
        partition: Partition,
        left: Range<Offset>,
        looked_again: bool,
    ) -> KafkaResult<Offset> {
        if !looked_again {
            // of an earlier look, or of a log that has grown since: a second look, from here, tells
            self.position = None;
            self.go_to(partition, left.start)?;
            return Ok(left.start);
        }
        let (_, end) = self.consumer.fetch_watermarks(&self.name, partition.0, ASK_TIMEOUT)?;
        if end < left.end.0 {
            // a new leader that does not know yet how far its followers are
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetNotAvailable));
        }
        // offsets without records: all that there was has been passed
        Ok(left.end)
    }

    fn explain(&self, error: &KafkaError) -> LogError {
        LogError::Unavailable(match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => format!("topic {} is missing in Kafka; run `floodgate topics create`", self.name),
            _ => format!("topic {} cannot be read: {error}", self.name),
        })
    }
}

/// Errors that waiting does not heal.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AutoOffsetReset, OffsetOutOfRange, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
        UnknownTopicOrPartition,
    };
    let last = [
        AutoOffsetReset,
        OffsetOutOfRange,
        TopicAuthorizationFailed,
        UnknownPartition,
        UnknownTopic,
        UnknownTopicOrPartition,
    ];
    error.rdkafka_error_code().is_none_or(|code| last.contains(&code))
}

impl Log for KafkaLog {
    fn bounds(&mut self) -> Result<Vec<(Partition, Range<Offset>)>, LogError> {
        self.ask_bounds().map_err(|error| self.explain(&error))
    }

    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let from = range.start;
        let read = self.go_to(partition, from).and_then(|()| self.fill(partition, range, events));
        read.map_err(|error| {
            self.position = None;
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                    LogError::Gone(partition, from)
                }
                _ => self.explain(&error),
            }
        })
    }
}
