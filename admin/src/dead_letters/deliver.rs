//! Publishing a few records, with patience, until it is known what became of each.

use std::time::{Duration, Instant};

use floodgate_buffer::{Outcome, Publish, Receipts, Record, Refused};

/// Between tries of what was not acknowledged.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Between looks at whether the publisher is ready.
const READY_PAUSE: Duration = Duration::from_millis(50);

/// A record was not stored, as far as is known.
pub(super) enum Undelivered {
    /// Trying again does not help.
    TooLarge,
    /// Nor did it for as long as there was patience.
    NotAcknowledged(String),
}

/// Publishes. Blocks on the network.
pub(super) struct Delivery<'p> {
    pub(super) publisher: &'p dyn Publish,
    /// How long the publisher may take to become ready, and then every call.
    pub(super) patience: Duration,
}

impl Delivery<'_> {
    /// Waits until the publisher can store records, or says why it cannot.
    pub(super) fn wait_ready(&self) -> Result<(), String> {
        let until = Instant::now() + self.patience;
        loop {
            match self.publisher.ready() {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() >= until => return Err(reason),
                Err(_) => std::thread::sleep(READY_PAUSE),
            }
        }
    }

    /// Tries until every record is stored, or can never be, or patience is at its end.
    pub(super) fn deliver(&self, records: &[Record<'_>]) -> Vec<Result<(), Undelivered>> {
        let until = Instant::now() + self.patience;
        let mut outcomes: Vec<_> = records.iter().map(|_| Ok(())).collect();
        let mut waiting: Vec<usize> = (0..records.len()).collect();
        loop {
            let receipts = Receipts::new(waiting.len());
            let offers = waiting.iter().enumerate();
            let offers = offers.map(|(n, index)| self.publisher.offer(&records[*index], receipts.receipt(n)));
            // a receipt that came back is dropped here, or it would be waited for
            let refused: Vec<Option<Refused>> =
                offers.map(|offered| offered.err().map(Refused::from)).collect();
            futures_executor::block_on(receipts.all());
            for (n, (index, refused)) in waiting.iter().zip(refused).enumerate() {
                outcomes[*index] = delivered(refused, receipts.outcome(n), || self.unacknowledged());
            }
            waiting.retain(|index| matches!(outcomes[*index], Err(Undelivered::NotAcknowledged(_))));
            if waiting.is_empty() || Instant::now() >= until {
                return outcomes;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Why the strategy does not acknowledge, as far as it says.
    fn unacknowledged(&self) -> String {
        self.publisher.ready().err().unwrap_or_else(|| "records are not acknowledged".to_owned())
    }
}

fn delivered(
    refused: Option<Refused>,
    outcome: Outcome,
    why: impl Fn() -> String,
) -> Result<(), Undelivered> {
    match (refused, outcome) {
        (Some(Refused::TooLarge), _) => Err(Undelivered::TooLarge),
        (Some(refused), _) => Err(Undelivered::NotAcknowledged(refused.to_string())),
        (None, outcome) if outcome.is_stored() => Ok(()),
        (None, _) => Err(Undelivered::NotAcknowledged(why())),
    }
}
