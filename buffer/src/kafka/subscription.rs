//! Starts a group member: a thread that owns the consumer.
//!
//! librdkafka runs rebalance callbacks inside `poll`, so one thread owns the consumer and never does
//! anything slow (see [`super::member`]). Pipeline and thread meet in [`crate::share`]: the thread *fills* a batch
//! while the pipeline *works* on the one before, which it took whole; given back, its offsets are *done* and
//! the thread commits them. At most these two batches are in memory, whatever the backlog.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use super::client::ClientSettings;
use super::member::Owner;
use crate::share::Share;
use crate::share::handle::Handle;
use crate::share::shared::Shared;
use crate::{BatchLimits, OpenError, SubscribeError, Topic};

pub(super) fn start(
    settings: &Arc<ClientSettings>,
    topic: Topic,
    name: String,
    group: &str,
    limits: BatchLimits,
) -> Result<Handle, OpenError> {
    let share = Share::new(topic, group, limits, ClientSettings::wait_here(&limits));
    let shared = Arc::new(Shared::new(share, limits));
    let owner = Owner::subscribe(settings, &shared, name, group)?;
    let (tell, ended) = oneshot::channel();
    let thread_shared = Arc::clone(&shared);
    thread::Builder::new()
        .name(format!("kafka-{group}"))
        .spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| owner.run())).unwrap_or_else(|_| {
                Err(SubscribeError("the consumer's thread met a bug and ended".to_owned()))
            });
            if let Err(error) = &ended {
                thread_shared.fail(error.to_string());
            }
            // nobody may be listening any more: the handle was dropped
            drop(tell.send(ended));
        })
        .map_err(|error| OpenError(format!("no thread for group {group}: {error}")))?;
    Ok(Handle::new(shared, ended))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use floodgate_schemas::EventType;
    use floodgate_testkit::{Kafka, KafkaOptions, wait};

    use super::*;
    use crate::kafka::testing;
    use crate::{Offset, Partition, Receipts, Record, Strategy, Subscription};

    /// A commit that is sent is also answered: without the answer one that failed would never be repeated.
    #[tokio::test(flavor = "multi_thread")]
    async fn commits_are_answered() {
        let broker = Kafka::start(KafkaOptions::default()).unwrap();
        let strategy = testing::strategy(broker.bootstrap());
        let topic = Topic::Events(EventType::Like);
        let receipts = Receipts::new(1);
        let record = Record { topic, key: None, value: Some(b"v"), headers: &[] };
        strategy.publisher().unwrap().offer(&record, receipts.receipt(0)).unwrap();

        let limits = BatchLimits { events: 1, bytes: 1, wait: Duration::ZERO, drain: Duration::from_secs(1) };
        let (name, group) = (strategy.names.topic(topic), strategy.names.group(EventType::Like));
        let mut member = start(&strategy.settings, topic, name.to_owned(), group, limits).unwrap();
        let batch = futures_executor::block_on(member.next()).unwrap().unwrap();
        member.commit(batch);
        let is_acknowledged = || {
            let acknowledged = member.shared.share.lock().acknowledged(Partition(0));
            acknowledged.filter(|up_to| *up_to == Offset(1)).map(drop)
        };
        wait::until("the commit's answer", Duration::from_secs(30), is_acknowledged).unwrap();
    }
}
