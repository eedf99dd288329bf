//! Dead letters: events that can never be applied, kept with their reasons.
//!
//! A dead letter is the original record, byte for byte, on the dead-letter topic, with headers that say where
//! it stood and why it is here. It is acknowledged before the offset of the original is committed; a crash in
//! between makes a second copy, never none. Readers therefore count distinct origins.

use std::borrow::Cow;

use floodgate_buffer::{Batch, Header, Outcome, Receipts, Received, Record, Topic};
use floodgate_schemas::{Event, Timestamp};

use crate::backoff::Backoff;
use crate::pipeline::{GaveUp, Pipeline};

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

impl<E: Event> Pipeline<E> {
    /// Publishes dead letters until every one is acknowledged: an offset passes them only then.
    pub(crate) async fn dead_letter(&self, batch: &Batch, letters: Vec<DeadLetter>) -> Result<(), GaveUp> {
        let mut backoff = Backoff::new(&self.config);
        let mut waiting = letters;
        while !waiting.is_empty() {
            let mut again = Vec::new();
            for (letter, outcome) in self.publish(batch, waiting).await {
                match outcome {
                    Ok(()) => self.tell(batch, &letter),
                    Err(trouble) => {
                        if self.health.troubled(trouble.clone()) {
                            tracing::error!(of = %E::TYPE, "dead letters not published, the partition waits: {trouble}");
                        }
                        again.push(letter);
                    }
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                self.pause(backoff.pause()).await?;
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
        let judge = |(index, (letter, refused)): (usize, (DeadLetter, Option<String>))| {
            let outcome = match (refused, receipts.outcome(index)) {
                (Some(refused), _) => Err(refused),
                (None, Outcome::Stored) => Ok(()),
                (None, _) => Err("the dead-letter topic did not acknowledge".to_owned()),
            };
            (letter, outcome)
        };
        offered.into_iter().enumerate().map(judge).collect()
    }

    fn offer(
        &self,
        received: &Received<'_>,
        letter: &DeadLetter,
        receipt: floodgate_buffer::Receipt,
    ) -> Result<(), String> {
        let origin = received.origin;
        let message: String = letter.message.chars().take(MESSAGE_MAX_CHARS).collect();
        let facts = [
            ("floodgate-dlq-topic", Cow::from(self.strategy.topic_name(origin.topic))),
            ("floodgate-dlq-partition", origin.partition.to_string().into()),
            ("floodgate-dlq-offset", origin.offset.to_string().into()),
            ("floodgate-dlq-group", self.strategy.group_name(E::TYPE).into()),
            ("floodgate-dlq-reason", letter.reason.into()),
            ("floodgate-dlq-message", message.into()),
            ("floodgate-dlq-attempts", "1".into()),
            ("floodgate-dlq-failed-at", Timestamp::now().to_string().into()),
        ];
        let added = facts.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let headers: Vec<Header<'_>> = received.headers.iter().copied().chain(added).collect();
        let record =
            Record { topic: Topic::DeadLetters, key: received.key, value: received.value, headers: &headers };
        self.publisher.offer(&record, receipt).map_err(|refused| refused.to_string())
    }

    fn tell(&self, batch: &Batch, letter: &DeadLetter) {
        let group = self.strategy.group_name(E::TYPE);
        self.metrics.dead_lettered(&group, letter.reason);
        if let Some(received) = batch.get(letter.record) {
            let (partition, offset) = (received.origin.partition, received.origin.offset);
            tracing::error!(%group, %partition, %offset, reason = letter.reason, message = letter.message, "dead-lettered");
        }
    }
}
