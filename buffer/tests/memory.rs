//! The contract suite over the in-memory strategy.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use floodgate_buffer::{BatchLimits, Strategy, contract};
use floodgate_schemas::EventType;

fn strategy(max_events: usize) -> Arc<dyn Strategy> {
    contract::in_memory(10, max_events, "")
}

macro_rules! contract {
    ($($name:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            contract::$name(strategy(100_000)).await;
        }
    )*};
}

contract!(
    records_arrive_in_key_order,
    batches_keep_their_limits,
    uncommitted_records_come_again,
    members_share_and_take_over,
    a_stopped_member_ends,
    a_closed_publisher_is_empty_and_refuses,
    bytes_arrive_unchanged,
    a_topic_is_read_past_its_group,
    a_held_partition_comes_again,
    a_partition_that_comes_back_is_read
);

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
