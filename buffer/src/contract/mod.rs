//! What every strategy must do, as plain functions over a fresh [`Strategy`]: tests run all of them for each.
//!
//! Functions panic when the contract is broken, and wait with a deadline, never for a guessed time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod doubles;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::EventType;
use tokio::time::timeout;

use crate::murmur2::murmur2_partition;
use crate::{Batch, BatchLimits, Outcome, Publish, Receipts, Record, Refused, Strategy, Subscription, Topic};
pub use doubles::{PublishAs, given, in_memory, opened, opened_with_fallback};
pub use words::what_a_member_says_is_told;

/// A test for each function here that takes a fresh strategy alone, which `$strategy` makes. What needs to be arranged, such as
/// [`contract::a_full_queue_refuses`](a_full_queue_refuses), is called by hand.
#[macro_export]
macro_rules! contract_suite {
    ($strategy:expr) => {
        $crate::contract_suite!($strategy => records_arrive_in_key_order, batches_keep_their_limits,
            uncommitted_records_come_again, members_share_and_take_over, a_stopped_member_ends,
            a_closed_publisher_is_empty_and_refuses, bytes_arrive_unchanged, a_topic_is_read_past_its_group,
            a_held_partition_comes_again, a_partition_that_comes_back_is_read, what_a_member_says_is_told);
    };
    ($strategy:expr => $($name:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::contract::$name($strategy).await;
        }
    )*};
}

/// No step of a healthy strategy takes this long, first rebalances on a busy machine included.
const DEADLINE: Duration = Duration::from_secs(60);

const OF: EventType = EventType::Like;
const TOPIC: Topic = Topic::Events(OF);

fn limits() -> BatchLimits {
    BatchLimits {
        events: 100,
        bytes: 1 << 20,
        wait: Duration::from_millis(20),
        drain: Duration::from_secs(5),
    }
}

fn record<'a>(key: &'a str, value: &'a str) -> Record<'a> {
    Record { topic: TOPIC, key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &[] }
}

/// Waits until the publisher takes events, then publishes `count` records over `keys` keys; each value is
/// `key:number`, counting up per key.
pub async fn publish(publisher: &dyn Publish, keys: usize, count: usize) {
    ready(publisher).await;
    let receipts = Receipts::new(count);
    for index in 0..count {
        let (key, value) = (format!("key-{}", index % keys), format!("{}:{}", index % keys, index / keys));
        publisher.offer(&record(&key, &value), receipts.receipt(index)).expect("room for all records");
    }
    timeout(DEADLINE, receipts.all()).await.expect("every record is reported");
    for index in 0..count {
        assert_eq!(receipts.outcome(index), Outcome::Stored, "record {index}");
    }
}

async fn ready(publisher: &dyn Publish) {
    let waiting = async {
        while publisher.ready().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("the publisher becomes ready");
}

async fn next(subscription: &mut dyn Subscription) -> Batch {
    let batch = timeout(DEADLINE, subscription.next()).await.expect("a batch comes");
    batch.expect("the member is healthy").expect("the subscription is not stopped")
}

/// Everything this member gets until `count` records came, committed batch by batch.
pub async fn drain(subscription: &mut dyn Subscription, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let batch = next(subscription).await;
        values.extend(values_of(&batch));
        subscription.commit(batch);
    }
    values
}

/// A key that leads to this partition of so many.
pub fn key_of(partition: usize, partitions: usize) -> String {
    let mut keys = (0..).map(|number| format!("key-{number}"));
    let leads_there = |key: &String| murmur2_partition(key.as_bytes(), partitions) == partition;
    keys.find(leads_there).expect("a hash reaches every partition")
}

/// The records' values, as text.
pub fn values_of(batch: &Batch) -> Vec<String> {
    batch.iter().map(|r| String::from_utf8(r.value.expect("a value").to_vec()).unwrap()).collect()
}

/// Fails unless every key's numbers run from 0 without a gap and in order, and all `count` records are there.
pub fn assert_complete_in_key_order(values: &[String], keys: usize, count: usize) {
    let mut next: HashMap<&str, usize> = HashMap::new();
    for value in values {
        let (key, number) = value.split_once(':').unwrap();
        let expected = next.entry(key).or_default();
        assert_eq!(number.parse::<usize>().unwrap(), *expected, "key {key} is out of order");
        *expected += 1;
    }
    assert_eq!((values.len(), next.len()), (count, keys));
}

async fn lag_becomes(strategy: &Arc<dyn Strategy>, wanted: u64) {
    let waiting = async {
        loop {
            let strategy = Arc::clone(strategy);
            let group = tokio::task::spawn_blocking(move || strategy.lag(OF)).await.unwrap();
            let lag = group.ok().map(|group| group.waiting());
            if lag == Some(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("lag never became {wanted}"));
}

/// What is not applied is there for whoever opens the strategy later, if it says that its records outlive the process. Each call
/// of `open` leads to the same place.
pub async fn records_outlive_the_strategy(open: impl Fn() -> Arc<dyn Strategy>) {
    let first = open();
    assert!(first.reach().outlives_process);
    publish(&*first.publisher().unwrap(), 7, 100).await;
    let mut member = first.subscribe(OF, limits()).unwrap();
    let batch = next(&mut *member).await;
    let applied = batch.len();
    member.commit(batch);
    member.close().await.unwrap();
    let publisher = first.publisher().unwrap();
    assert_eq!(publisher.close(DEADLINE).await, 0);
    drop((publisher, first));
    let again = open();
    lag_becomes(&again, (100 - applied) as u64).await;
    let mut member = again.subscribe(OF, limits()).unwrap();
    assert_eq!(drain(&mut *member, 100 - applied).await.len(), 100 - applied);
    member.close().await.unwrap();
    lag_becomes(&again, 0).await;
}

/// All records arrive, those of one key in order, with their origins counting up per partition.
pub async fn records_arrive_in_key_order(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    publish(&*publisher, 7, 1000).await;
    lag_becomes(&strategy, 1000).await;
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let (mut values, mut offsets) = (Vec::new(), HashMap::new());
    while values.len() < 1000 {
        let batch = next(&mut *member).await;
        for received in batch.iter() {
            assert_eq!(received.origin.topic, TOPIC);
            assert!(received.appended_at_ms > 1_600_000_000_000, "a time of appending");
            let next = offsets.entry(received.origin.partition).or_insert(received.origin.offset);
            assert!(received.origin.offset >= *next, "offsets count up");
            *next = received.origin.offset.next();
        }
        values.extend(values_of(&batch));
        member.commit(batch);
    }
    assert_complete_in_key_order(&values, 7, 1000);
    member.close().await.unwrap();
    lag_becomes(&strategy, 0).await;
}

/// Batches hold at most what the limits say, and a full one does not wait.
pub async fn batches_keep_their_limits(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    publish(&*publisher, 3, 120).await;
    let patient = BatchLimits { events: 50, wait: DEADLINE * 10, ..limits() };
    let mut member = strategy.subscribe(OF, patient).unwrap();
    for _ in 0..2 {
        let batch = next(&mut *member).await;
        assert_eq!(batch.len(), 50);
        member.commit(batch);
    }
    drop(member);

    let tiny = BatchLimits { bytes: 1, ..limits() };
    let mut member = strategy.subscribe(OF, tiny).unwrap();
    for _ in 0..20 {
        let batch = next(&mut *member).await;
        assert_eq!(batch.len(), 1, "a record larger than the limit is a batch of its own");
        member.commit(batch);
    }
    member.close().await.unwrap();
}

/// What was not given back comes again, what was does not.
pub async fn uncommitted_records_come_again(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    publish(&*publisher, 1, 100).await;
    let by_ten = BatchLimits { events: 10, ..limits() };
    let mut member = strategy.subscribe(OF, by_ten).unwrap();
    let done = drain(&mut *member, 30).await;
    let not_given_back = next(&mut *member).await;
    assert_eq!(values_of(&not_given_back)[0], "0:30");
    member.close().await.unwrap();

    let mut member = strategy.subscribe(OF, by_ten).unwrap();
    let again = drain(&mut *member, 70).await;
    let all = [done, again].concat();
    assert_complete_in_key_order(&all, 1, 100);
    member.close().await.unwrap();
}

/// Members share the partitions; when one leaves, the others take over, and nothing is lost or reordered.
pub async fn members_share_and_take_over(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    let mut members = [(); 3].map(|()| strategy.subscribe(OF, limits()).unwrap());
    publish(&*publisher, 40, 2000).await;
    let mut values = Vec::new();
    let collect = async {
        // members take turns; each waits only a moment, as partitions may be with the others
        while values.len() < 1000 {
            for member in &mut members {
                if let Ok(batch) = timeout(Duration::from_millis(50), member.next()).await {
                    let batch = batch.unwrap().unwrap();
                    values.extend(values_of(&batch));
                    member.commit(batch);
                }
            }
        }
    };
    timeout(DEADLINE, collect).await.expect("members get their shares");
    let [first, second, mut last] = members;
    first.close().await.unwrap();
    second.close().await.unwrap();
    let remaining = 2000 - values.len();
    values.extend(drain(&mut *last, remaining).await);
    assert_complete_in_key_order(&values, 40, 2000);
    last.close().await.unwrap();
    lag_becomes(&strategy, 0).await;
}

/// A stopped member hands out nothing that others could take, then says so; what it gives back still counts.
pub async fn a_stopped_member_ends(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    publish(&*publisher, 1, 50).await;
    let mut member = strategy.subscribe(OF, BatchLimits { events: 10, ..limits() }).unwrap();
    let in_work = next(&mut *member).await;
    member.stop();
    let mut handed_out = in_work.len();
    let outlives_process = strategy.reach().outlives_process;
    member.commit(in_work);
    while let Some(batch) = timeout(DEADLINE, member.next()).await.expect("an end").unwrap() {
        assert!(!outlives_process, "another process could take these records");
        handed_out += batch.len();
        member.commit(batch);
    }
    assert_eq!(handed_out, if outlives_process { 10 } else { 50 });
    member.close().await.unwrap();
    lag_becomes(&strategy, 50 - handed_out as u64).await;
}

/// A full queue refuses at once, what it refused never appears, and room comes back. The strategy is
/// configured to hold `max_events`, and to acknowledge none before `relieve` is called.
pub async fn a_full_queue_refuses(
    strategy: Arc<dyn Strategy>,
    max_events: usize,
    relieve: impl AsyncFnOnce(),
) {
    let publisher = strategy.publisher().unwrap();
    let receipts = Receipts::new(max_events + 10);
    for index in 0..max_events {
        publisher.offer(&record("0", "0:0"), receipts.receipt(index)).expect("room up to the cap");
    }
    for index in max_events..max_events + 10 {
        let refused = publisher.offer(&record("0", "refused"), receipts.receipt(index));
        assert_eq!(refused.map_err(Refused::from), Err(Refused::Full));
    }
    assert_eq!(publisher.waiting().events, max_events);
    relieve().await;
    let room = async {
        loop {
            let receipts = Receipts::new(1);
            if publisher.offer(&record("0", "0:0"), receipts.receipt(0)).is_ok() {
                return receipts.all().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, room).await.expect("room comes back");
}

/// A closed publisher has every record acknowledged and takes no more.
pub async fn a_closed_publisher_is_empty_and_refuses(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    ready(&*publisher).await;
    let receipts = Receipts::new(500);
    for index in 0..500 {
        publisher.offer(&record("k", "0:0"), receipts.receipt(index)).unwrap();
    }
    assert_eq!(publisher.close(DEADLINE).await, 0);
    timeout(DEADLINE, receipts.all()).await.unwrap();
    assert!((0..500).all(|index| receipts.outcome(index) == Outcome::Stored));
    // whoever is refused may offer the record elsewhere, and completes the receipt that comes back
    let receipts = Receipts::new(1);
    let late = publisher.offer(&record("k", "late"), receipts.receipt(0)).unwrap_err();
    assert_eq!(late.reason, Refused::Closed);
    assert!(late.receipt.complete(Outcome::NotStored).is_none() && receipts.outcome(0) == Outcome::NotStored);
    assert!(publisher.ready().is_err());
    lag_becomes(&strategy, 500).await;
}

/// Keys, values and headers arrive byte for byte, empty and absent ones told apart.
pub async fn bytes_arrive_unchanged(strategy: Arc<dyn Strategy>) {
    let publisher = strategy.publisher().unwrap();
    ready(&*publisher).await;
    let odd: &[u8] = b"\x00\xff\xfe not utf-8";
    let headers: &[crate::Header<'_>] = &[(b"one", Some(odd)), (b"two", None), (b"one", Some(b""))];
    let sent = [
        Record { topic: TOPIC, key: Some(odd), value: Some(odd), headers },
        Record { topic: TOPIC, key: Some(odd), value: None, headers: &[] },
        Record { topic: TOPIC, key: Some(odd), value: Some(b""), headers: &[(b"h", Some(b"v"))] },
        Record { topic: TOPIC, key: None, value: Some(odd), headers: &[] },
    ];
    let receipts = Receipts::new(sent.len());
    for (index, record) in sent.iter().enumerate() {
        publisher.offer(record, receipts.receipt(index)).unwrap();
    }
    timeout(DEADLINE, receipts.all()).await.unwrap();
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let mut keyed = 0;
    let mut unkeyed = 0;
    while keyed + unkeyed < sent.len() {
        let batch = next(&mut *member).await;
        for received in batch.iter() {
            let expected = if received.key.is_some() { &sent[keyed] } else { &sent[3] };
            assert_eq!((received.key, received.value), (expected.key, expected.value));
            assert_eq!(received.headers, expected.headers);
            *(if received.key.is_some() { &mut keyed } else { &mut unkeyed }) += 1;
        }
        member.commit(batch);
    }
    member.close().await.unwrap();
}

/// A topic can be read past its group, in parts of any size, as often as one likes, up to any offset.
pub async fn a_topic_is_read_past_its_group(strategy: Arc<dyn Strategy>) {
    const COUNT: usize = 500;
    publish(&*strategy.publisher().unwrap(), 20, COUNT).await;
    let read = move || {
        let mut log = strategy.logs().unwrap().open(TOPIC).unwrap();
        let bounds = log.bounds().unwrap();
        assert_eq!(
            bounds.known.iter().map(|(_, range)| range.end.0 - range.start.0).sum::<i64>(),
            COUNT as i64
        );
        for (events, again) in [(7, false), (COUNT, true), (1, false)] {
            let mut values = Vec::new();
            for (partition, range) in &bounds.known {
                let mut next = range.start;
                while next < range.end {
                    let chunk = log.read(*partition, next..range.end, events).unwrap();
                    assert!(chunk.batch.len() <= events && chunk.next > next);
                    assert_eq!(chunk.batch.log(), bounds.log.as_ref());
                    for received in chunk.batch.iter() {
                        assert!((next..chunk.next).contains(&received.origin.offset));
                        assert_eq!((received.origin.topic, received.origin.partition), (TOPIC, *partition));
                        values.push(String::from_utf8_lossy(received.value.unwrap()).into_owned());
                    }
                    next = chunk.next;
                }
                if again && range.start < range.end {
                    let first = log.read(*partition, range.start..range.start.next(), events).unwrap();
                    assert_eq!((first.batch.len(), first.next), (1, range.start.next()));
                }
            }
            assert_complete_in_key_order(&values, 20, COUNT);
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap();
}

/// A held partition delivers nothing for its time, and then everything again that was not committed; others go on.
pub async fn a_held_partition_comes_again(strategy: Arc<dyn Strategy>) {
    const COUNT: usize = 1000;
    publish(&*strategy.publisher().unwrap(), 20, COUNT).await;
    let mut member = strategy.subscribe(OF, limits()).unwrap();
    let (mut values, mut held, mut holds) = (Vec::new(), None, 0);
    while values.len() < COUNT {
        let mut batch = next(&mut *member).await;
        let first = batch.iter().next().map(|received| received.origin.partition).unwrap();
        // the first partition that comes is held a few times, its records are then neither done nor lost
        let partition = *held.get_or_insert(first);
        if holds < 3 && batch.iter().any(|received| received.origin.partition == partition) {
            holds += 1;
            member.hold(partition, Duration::from_millis(300));
            batch.retain_partitions(|other| other != partition);
        }
        values.extend(values_of(&batch));
        member.commit(batch);
    }
    assert_eq!(holds, 3);
    assert_complete_in_key_order(&values, 20, COUNT);
    member.close().await.unwrap();
    lag_becomes(&strategy, 0).await;
}

/// A partition that a busy member gave to another one is read again when it comes back.
pub async fn a_partition_that_comes_back_is_read(strategy: Arc<dyn Strategy>) {
    const COUNT: usize = 1000;
    publish(&*strategy.publisher().unwrap(), 20, COUNT).await;
    // nobody takes its second batch: it stops reading
    let few = BatchLimits { events: 5, ..limits() };
    let mut stays = strategy.subscribe(OF, few).unwrap();
    let batch = next(&mut *stays).await;
    let mut values = values_of(&batch);
    stays.commit(batch);
    let mut comes = strategy.subscribe(OF, limits()).unwrap();
    next(&mut *comes).await;
    comes.close().await.unwrap();
    // what the other one took and did not commit comes again as well
    while values.len() < COUNT {
        let batch = next(&mut *stays).await;
        values.extend(values_of(&batch));
        stays.commit(batch);
    }
    assert_complete_in_key_order(&values, 20, COUNT);
    stays.close().await.unwrap();
}
