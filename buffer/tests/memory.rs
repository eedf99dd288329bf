//! The contract suite over the in-memory strategy.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use floodgate_buffer::{BatchLimits, Strategy, contract};
use floodgate_schemas::EventType;

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
