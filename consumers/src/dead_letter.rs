//! Dead letters: events that can never be applied, kept with their reasons.
//!
//! A dead letter is the original record, byte for byte, on the dead-letter topic, with headers that say where
//! it stood and why it is here. It is acknowledged before the offset of the original is committed; a crash in
//! between makes a second copy, never none. Readers therefore count distinct origins.
//!
//! A record that was replayed says how often it had failed before; if it fails again, its new dead letter says one
//! more. That is what keeps replays from going round for ever.

use std::sync::Arc;

use floodgate_buffer::{
    Batch, Header, Names, Outcome, Publish, Receipt, Receipts, Received, Record, Refused, Topic,
};
use floodgate_schemas::codec::DecodeError;
use floodgate_schemas::dead_letter::Heading;
use floodgate_schemas::{Clock, EventType};

use crate::metrics::PipelineMetrics;
use crate::patience::{GaveUp, Patience};

/// The longest message kept: it is for a person to read.
const MESSAGE_MAX_CHARS: usize = 1000;

/// One record that can never be applied.
pub(crate) struct DeadLetter {
    /// The record's number in its batch.
    pub(crate) record: usize,
    /// A short, stable word.
    pub(crate) reason: &'static str,
    /// What exactly is wrong.
    pub(crate) message: String,
}

impl DeadLetter {
    /// Of a record that is no event.
    pub(crate) fn undecodable((record, error): (usize, DecodeError)) -> Self {
        Self { record, reason: error.reason(), message: error.to_string() }
    }
}

/// Writes the dead letters of one group.
pub(crate) struct DeadLetterWriter {
    pub(crate) of: EventType,
    pub(crate) names: Names,
    pub(crate) publisher: Arc<dyn Publish>,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) patience: Patience,
    pub(crate) clock: Arc<dyn Clock>,
}

impl DeadLetterWriter {
    /// Publishes dead letters until every one is acknowledged: an offset passes them only then.
    pub(crate) async fn write(&self, batch: &Batch, letters: Vec<DeadLetter>) -> Result<(), GaveUp> {
        let mut backoff = self.patience.backoff();
        let mut waiting = letters;
        while !waiting.is_empty() {
            let mut again = Vec::new();
            for (letter, outcome) in self.publish(batch, waiting).await {
                match outcome {
                    Ok(()) => self.tell(batch, &letter),
                    Err(trouble) => {
                        if self.patience.troubled(trouble.clone()) {
                            let origin = batch.get(letter.record).map(|received| received.origin);
                            let group = self.patience.group();
                            let (partition, offset) = (
                                origin.map(|origin| origin.partition.0),
                                origin.map(|origin| origin.offset.0),
                            );
                            tracing::error!(
                                group,
                                partition,
                                offset,
                                "a dead letter is not published, its partition waits, trying again: {trouble}"
                            );
                        }
                        again.push(letter);
                    }
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                self.patience.pause(backoff.pause()).await?;
            }
        }
        Ok(())
    }

    async fn publish(
        &self,
        batch: &Batch,
        letters: Vec<DeadLetter>,
    ) -> Vec<(DeadLetter, Result<(), String>)> {
        let receipts = Receipts::new(letters.len());
        let mut offered = Vec::with_capacity(letters.len());
        for (index, letter) in letters.into_iter().enumerate() {
            let receipt = receipts.receipt(index);
            let refused = match batch.get(letter.record) {
                Some(received) => self.offer(&received, &letter, receipt).err(),
                None => None,
            };
            offered.push((letter, refused));
        }
        // the publisher reports every record in the end: acknowledged, failed or timed out
        receipts.all().await;
        let outcome_of = |(index, (letter, refused)): (usize, (DeadLetter, Option<String>))| {
            let outcome = match (refused, receipts.outcome(index)) {
                (Some(refused), _) => Err(refused),
                (None, Outcome::Stored) => Ok(()),
                (None, _) => Err(not_acknowledged(batch.get(letter.record).as_ref())),
            };
            (letter, outcome)
        };
        offered.into_iter().enumerate().map(outcome_of).collect()
    }

    fn offer(&self, received: &Received<'_>, letter: &DeadLetter, receipt: Receipt) -> Result<(), String> {
        let origin = received.origin;
        let message: String = letter.message.chars().take(MESSAGE_MAX_CHARS).collect();
        let heading = Heading {
            place: self.names.place(origin, received.log),
            group: self.names.group(self.of),
            reason: letter.reason,
            message: &message,
            failed_at: self.clock.now(),
        };
        let offered = heading.under(&received.headers, |headers| {
            let record = letter_of(received, headers);
            let offered = self.publisher.offer(&record, receipt);
            offered.map_err(|not_taken| (not_taken.reason, record.bytes()))
        });
        offered.map_err(|(refused, bytes)| match refused {
            Refused::TooLarge => too_large(bytes),
            refused => refused.to_string(),
        })
    }

    fn tell(&self, batch: &Batch, letter: &DeadLetter) {
        let group = self.names.group(self.of);
        self.metrics.dead_lettered(group, letter.reason);
        if let Some(received) = batch.get(letter.record) {
            let (partition, offset) = (received.origin.partition.0, received.origin.offset.0);
            tracing::error!(
                group,
                partition,
                offset,
                reason = letter.reason,
                detail = letter.message,
                "dead-lettered"
            );
        }
    }
}

fn letter_of<'r>(received: &Received<'r>, headers: &'r [Header<'r>]) -> Record<'r> {
    Record { topic: Topic::DeadLetters, key: received.key, value: received.value, headers }
}

/// Nothing is skipped: the partition waits until somebody makes room.
fn too_large(bytes: usize) -> String {
    format!(
        "a dead letter has {bytes} bytes, more than the strategy's message size limit: raise it (message.max.bytes) and \
         max.message.bytes of the dead-letter topic"
    )
}

fn not_acknowledged(record: Option<&Received<'_>>) -> String {
    let bytes = record.map_or(0, |record| letter_of(record, &record.headers).bytes());
    format!(
        "the dead-letter topic did not acknowledge a record of {bytes} bytes and its reasons: if it is there and takes \
         others, raise its max.message.bytes"
    )
}
