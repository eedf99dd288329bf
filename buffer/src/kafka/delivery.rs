//! Delivery reports.
//!
//! librdkafka announces delivery reports by a byte in a pipe, which wakes a task of the runtime as a request's arrival does;
//! it completes the receipts in each report and wakes their requests afterwards, which then run where it ran, or on a thread
//! that has nothing to do. A thread that waited for reports would add a change of threads to the way of every answer.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use tokio::net::unix::pipe::Receiver;
use tokio::time::MissedTickBehavior;

use super::generation::Generation;
use super::health::{Deliveries, Seen};
#[cfg(test)]
use super::planted::{Part, Planted};
use crate::counts::Counts;
use crate::{Outcome, Spill, Wake};

/// How often producers are asked whether one met a fatal error, or they are needed no longer.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often an event is taken from every producer before other tasks get their turn.
const ROUNDS_AT_ONCE: usize = 16;

/// Requests that are to be woken together.
#[derive(Default)]
struct Wakes(Vec<Wake>);

impl Wakes {
    fn wake_all(&mut self) {
        self.0.drain(..).for_each(Wake::wake);
    }
}

// a panic among the reports must not leave those asleep that were answered before it
impl Drop for Wakes {
    fn drop(&mut self) {
        self.wake_all();
    }
}

/// The reports of one generation, until its producers are retired and hold nothing more.
pub(super) struct Delivery {
    pub(super) generation: Arc<Generation>,
    pub(super) announcements: Receiver,
    pub(super) counts: Arc<Counts>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) spill: Arc<dyn Spill>,
    pub(super) replacing: Weak<dyn Replace>,
    #[cfg(test)]
    pub(super) planted: Arc<Planted>,
}

/// Makes new producers when one can never send again.
pub(super) trait Replace: Send + Sync {
    /// Whether producers may be made anew, which the cluster is not asked for all the time.
    fn may_replace(&self) -> bool;

    /// Replaces producers one of which can never send again, for this reason.
    fn replace(self: Arc<Self>, broken: &Arc<Generation>, code: RDKafkaErrorCode, reason: &str);
}

/// Whether an error says that the record itself is never taken.
const fn is_of_the_record(error: RDKafkaErrorCode) -> bool {
    matches!(
        error,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidMessage
    )
}

impl Delivery {
    /// Completes receipts.
    pub(super) async fn work_until_retired(&self) {
        let mut wakes = Wakes::default();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            poll_fn(|context| {
                // first, so that what comes after the last poll is announced anew
                while let Poll::Ready(Ok(())) = self.announcements.poll_read_ready(context) {
                    // an empty pipe is no longer ready
                    let _ = self.announcements.try_read(&mut [0; 64]);
                }
                let is_empty = (0..ROUNDS_AT_ONCE).any(|_| !self.complete_one(&mut wakes));
                if !is_empty {
                    context.waker().wake_by_ref();
                }
                look.poll_tick(context).map(drop)
            })
            .await;
            if self.is_over().await {
                break;
            }
        }
    }

    /// Works off one event of each producer. Returns whether there was any.
    fn complete_one(&self, wakes: &mut Wakes) -> bool {
        let mut seen = Seen::default();
        let met_event = self.generation.poll(|topic, report| {
            if let Some(error) = report.error {
                tracing::debug!(%error, outcome = ?report.outcome, "a record was not acknowledged");
            }
            seen.add(report.outcome == Outcome::Stored, report.error);
            self.counts.release(report.in_flight.bytes);
            #[cfg(test)]
            self.planted.meet(Part::Delivery);
            let wake = match report.outcome {
                // no other place mends what is the record's own fault
                Outcome::NotStored if !report.error.is_some_and(is_of_the_record) => {
                    report.give_back(topic, |record, in_flight| self.spill.spill(record, in_flight.receipt))
                }
                outcome => report.in_flight.receipt.complete(outcome),
            };
            wakes.0.extend(wake);
        });
        // after the whole event: a request with many records is woken once, and none runs in between
        wakes.wake_all();
        if met_event {
            self.deliveries.note(&seen);
        }
        met_event
    }

    /// Has producers replaced that can never send again. Returns whether the retired ones hold nothing more.
    async fn is_over(&self) -> bool {
        let generation = &self.generation;
        if generation.retired.load(Ordering::Acquire) {
            return generation.unreported() == 0;
        }
        let Some(replacing) = self.replacing.upgrade() else {
            generation.retired.store(true, Ordering::Release);
            return false;
        };
        // asked again until new producers are there
        if let Some((code, reason)) = generation.fatal_error()
            && replacing.may_replace()
        {
            // librdkafka waits for its threads here too; what went wrong is told there, and this is tried again
            let broken = Arc::clone(generation);
            let _ = tokio::task::spawn_blocking(move || replacing.replace(&broken, code, &reason)).await;
        }
        false
    }
}
