//! The contract suite over the in-memory strategy.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use floodgate_buffer::{
    BatchLimits, BufferConfig, InMemoryConfig, KafkaConfig, Strategy, StrategyKind, TopicsConfig, contract,
    open,
};
use floodgate_schemas::EventType;

fn strategy(max_events: usize) -> Arc<dyn Strategy> {
    let unused = KafkaConfig {
        brokers: String::new(),
        linger_ms: 0,
        message_timeout_ms: 0,
        queue_max_events: 0,
        queue_max_bytes: 0,
        prefetch_max_kb: 0,
        session_timeout_ms: 0,
        max_poll_interval_ms: 0,
        commit_interval_ms: 0,
        client: toml::Table::new(),
    };
    let in_memory = InMemoryConfig { max_events, max_bytes: 1 << 20, dead_letters_max: 10 };
    let topics = TopicsConfig {
        partitions: 10,
        replication_factor: 1,
        prefix: String::new(),
        retention_hours: 1,
        dead_letter_retention_hours: 1,
    };
    open(&BufferConfig { strategy: StrategyKind::InMemory, in_memory, kafka: unused }, &topics).unwrap()
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
    bytes_arrive_unchanged
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
