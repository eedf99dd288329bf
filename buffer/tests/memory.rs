//! The contract suite over the in-memory strategy.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{
    Batch, BatchLimits, Publish, Receipts, Record, Strategy, Subscription, Topic, contract,
};
use floodgate_schemas::EventType;
use tokio::time::timeout;

fn strategy(max_events: usize) -> Arc<dyn Strategy> {
    contract::in_memory(10, max_events, "")
}

floodgate_buffer::contract_suite!(strategy(100_000));

#[tokio::test]
async fn a_full_queue_refuses() {
    let strategy = strategy(100);
    let consumer = Arc::clone(&strategy);
    contract::a_full_queue_refuses(strategy, 100, async move || {
        let limits = BatchLimits {
            events: 50,
            bytes: 1 << 20,
            wait: std::time::Duration::ZERO,
            drain: std::time::Duration::ZERO,
        };
        let mut member = consumer.subscribe(EventType::Like, limits).unwrap();
        let batch = member.next().await.unwrap().unwrap();
        member.commit(batch);
    })
    .await;
}

const LONG: Duration = Duration::from_secs(60);

/// Two members that have nothing to do.
fn members(strategy: &dyn Strategy, limits: BatchLimits) -> [Box<dyn Subscription>; 2] {
    [(); 2].map(|()| strategy.subscribe(EventType::Like, limits).unwrap())
}

fn limits(events: usize, wait: Duration) -> BatchLimits {
    BatchLimits { events, bytes: 1 << 20, wait, drain: Duration::ZERO }
}

/// So many records into each of these partitions.
fn publish(publisher: &dyn Publish, partitions: impl Iterator<Item = usize>, each: usize) {
    for partition in partitions {
        let key = contract::key_of(partition, 10);
        for _ in 0..each {
            let topic = Topic::Events(EventType::Like);
            let record = Record { topic, key: Some(key.as_bytes()), value: Some(b"v"), headers: &[] };
            publisher.offer(&record, Receipts::new(1).receipt(0)).unwrap();
        }
    }
}

async fn next(member: &mut dyn Subscription) -> Batch {
    timeout(LONG, member.next()).await.unwrap().unwrap().unwrap()
}

/// What comes fits into one batch, again and again: nobody takes all of it while another sleeps.
#[tokio::test]
async fn members_share_what_one_could_take() {
    let strategy = strategy(1000);
    let publisher = strategy.publisher().unwrap();
    let [mut one, mut other] = members(&*strategy, limits(1000, Duration::from_millis(5)));
    for _ in 0..20 {
        publish(&*publisher, 0..10, 1);
        let (first, second) = tokio::join!(next(&mut *one), next(&mut *other));
        assert_eq!([first.len(), second.len()], [5, 5]);
        one.commit(first);
        other.commit(second);
    }
}

/// A member that has its share is still woken by what comes to it, also when its batch would wait for longer.
#[tokio::test]
async fn a_member_that_has_its_share_fills_its_batch_from_it() {
    let strategy = strategy(1000);
    let publisher = strategy.publisher().unwrap();
    let [mut one, mut other] = members(&*strategy, limits(20, LONG * 60));
    publish(&*publisher, 0..5, 1);
    let more = async {
        tokio::task::yield_now().await;
        publish(&*publisher, 0..5, 3);
        // these are the other one's
        publish(&*publisher, 5..10, 4);
    };
    let (first, second, ()) = tokio::join!(next(&mut *one), next(&mut *other), more);
    for batch in [&first, &second] {
        let first = batch.iter().next().unwrap().origin.partition.0;
        assert!(batch.iter().all(|received| (received.origin.partition.0 < 5) == (first < 5)));
    }
    assert_eq!([first.len(), second.len()], [20, 20]);
}

#[tokio::test]
async fn the_share_of_one_that_leaves_is_taken_at_once() {
    let strategy = strategy(1000);
    let publisher = strategy.publisher().unwrap();
    let [mut one, other] = members(&*strategy, limits(10, LONG * 60));
    publish(&*publisher, 0..10, 1);
    let leaves = async {
        tokio::task::yield_now().await;
        other.close().await.unwrap();
    };
    let (batch, ()) = tokio::join!(next(&mut *one), leaves);
    assert_eq!(batch.len(), 10);
}
