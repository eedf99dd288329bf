//! Delivery reports.
//!
//! librdkafka announces delivery reports by a byte in a pipe, which wakes a task of the runtime as a request's arrival does;
//! it completes the receipts in each report and wakes their requests afterwards, which then run where it ran, or on their own
//! thread (see [`crate::wake`]). A thread that waited for reports would add a change of threads to the way of every answer.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::time::MissedTickBehavior;

use super::generation::Generation;
use super::publisher::{Counts, KafkaPublisher};
use crate::wake::Wakes;

/// How often producers are asked whether one met a fatal error, or they are needed no longer.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often an event is taken from every producer before other tasks get their turn.
const ROUNDS_AT_ONCE: usize = 16;

/// Completes receipts until the producers are retired and hold nothing more.
pub(super) async fn deliver_until_retired(
    generation: Arc<Generation>,
    announcements: Receiver,
    counts: Arc<Counts>,
    publisher: Weak<KafkaPublisher>,
) {
    let mut wakes = Wakes::default();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll_fn(|context| {
            // first, so that what comes after the last poll is announced anew
            while let Poll::Ready(Ok(())) = announcements.poll_read_ready(context) {
                // an empty pipe is no longer ready
                let _ = announcements.try_read(&mut [0; 64]);
            }
            let is_empty = (0..ROUNDS_AT_ONCE).any(|_| {
                let met_event = generation.poll(|report| {
                    if let Some(error) = report.error {
                        tracing::debug!(%error, outcome = ?report.outcome, "a record was not acknowledged");
                    }
                    counts.release(report.in_flight.bytes);
                    if let Some(wake) = report.in_flight.receipt.complete(report.outcome) {
                        wakes.add(wake);
                    }
                });
                // after the whole event: a request with many records is woken once, and none runs in between
                wakes.wake_all();
                !met_event
            });
            if !is_empty {
                context.waker().wake_by_ref();
            }
            look.poll_tick(context).map(drop)
        })
        .await;
        if generation.retired.load(Ordering::Acquire) {
            if generation.unreported() == 0 {
                break;
            }
            continue;
        }
        let Some(publisher) = publisher.upgrade() else {
            generation.retired.store(true, Ordering::Release);
            continue;
        };
        // asked again until new producers are there
        if let Some(reason) = generation.fatal_error() {
            // librdkafka waits for its threads here too; what went wrong is told there, and this is tried again
            let broken = Arc::clone(&generation);
            let _ = tokio::task::spawn_blocking(move || publisher.replace(&broken, &reason)).await;
        }
    }
    // librdkafka waits for its threads to end
    drop(tokio::task::spawn_blocking(move || drop(generation)));
}
