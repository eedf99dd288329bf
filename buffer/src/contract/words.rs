//! What members say of themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use floodgate_schemas::EventType;

use crate::{BatchLimits, Partition, PartitionLag, Publish, Receipts, Record, Strategy, Topic, Word};

/// No step of a healthy strategy takes this long, first rebalances on a busy machine included.
const DEADLINE: Duration = Duration::from_secs(60);

const OF: EventType = EventType::Like;

const LIMITS: BatchLimits = BatchLimits {
    events: 100,
    bytes: 1 << 20,
    wait: Duration::from_millis(20),
    drain: Duration::from_secs(5),
};

/// Publishes one record as soon as records are taken.
async fn publish(publisher: &dyn Publish) {
    let until = Instant::now() + DEADLINE;
    let (receipts, topic) = (Receipts::new(1), Topic::Events(OF));
    let record = Record { topic, key: Some(b"key"), value: Some(b"value"), headers: &[] };
    while let Err(error) = publisher.ready() {
        assert!(Instant::now() < until, "not ready: {error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    publisher.offer(&record, receipts.receipt(0)).unwrap();
}

/// What is told of a partition, once it is as it should be.
async fn told(strategy: &Arc<dyn Strategy>, partition: Partition, is_so: impl Fn(&PartitionLag) -> bool) {
    let until = Instant::now() + DEADLINE;
    loop {
        let strategy = Arc::clone(strategy);
        let lag = tokio::task::spawn_blocking(move || strategy.lag(OF)).await.unwrap();
        let found =
            lag.ok().and_then(|lag| lag.partitions.into_iter().find(|lag| lag.partition == partition));
        if found.as_ref().is_some_and(&is_so) {
            return;
        }
        assert!(Instant::now() < until, "not what it should be: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a member leaves beside its position is told to whoever reads the lag, though it commits nothing; it changes, stays while
/// commits come, and is gone when it is taken back.
pub async fn what_a_member_says_is_told(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    publish(&*publisher).await;
    let mut member = strategy.subscribe(OF, LIMITS).unwrap();
    tokio::time::timeout(DEADLINE, member.joined()).await.unwrap().unwrap();
    let batch = tokio::time::timeout(DEADLINE, member.next()).await.unwrap().unwrap().unwrap();
    let partition = batch.get(0).unwrap().origin.partition;
    told(&strategy, partition, |lag| lag.lag() == 1 && lag.word.is_none()).await;

    let held = Word::held("too many bad records: \u{1f}용사");
    member.leave_word(partition, Some(&held));
    told(&strategy, partition, |lag| lag.lag() == 1 && lag.word.as_ref() == Some(&held)).await;
    let trouble = Word::trouble("the database is away");
    member.leave_word(partition, Some(&trouble));
    told(&strategy, partition, |lag| lag.word.as_ref() == Some(&trouble)).await;
    member.commit(batch);
    told(&strategy, partition, |lag| lag.lag() == 0 && lag.word.as_ref() == Some(&trouble)).await;
    member.leave_word(partition, None);
    told(&strategy, partition, |lag| lag.lag() == 0 && lag.word.is_none()).await;

    // of a partition that is another's nothing is said, and nothing breaks
    member.leave_word(Partition(1_000_000), Some(&held));
    tokio::time::timeout(DEADLINE, member.close()).await.unwrap().unwrap();
}
