//! Partitions that are held, and what becomes of them.

use super::*;

#[tokio::test]
async fn a_partition_of_bad_rows_is_held_until_they_are_good() {
    let world = World::new();
    let likers: Vec<String> = (0..300).map(|n| format!("bad-{n:03}")).collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    let stop = CancellationToken::new();
    let mended = async {
        until(|| world.health.ready().is_err_and(|trouble| trouble.contains("partition 0"))).await;
        // tried again and again, a few records at a time
        let tries = world.database.refused.load(Ordering::Relaxed);
        until(|| world.database.refused.load(Ordering::Relaxed) > tries + 200).await;
        assert!(world.reasons().is_empty(), "held, and yet dead-lettered");
        world.database.is_mended.store(true, Ordering::Relaxed);
        until(|| world.health.ready().is_ok() && world.database.applied.lock().len() == 300).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), mended);
    assert_eq!(*world.database.applied.lock(), likers, "in order, each once");
    assert!(world.reasons().is_empty());
}

/// The search for bad rows ends when enough are found to hold the partition, wherever in the batch they begin; the other
/// partitions of the batch are applied, once and in order.
#[tokio::test]
async fn a_storm_is_seen_before_the_search_is_dear() {
    let mut world = World::with_partitions(2);
    world.config.batch_max_events = 10_000;
    world.config.dead_letter_storm_min = 100;
    // nothing is tried again before the end
    world.config.retry_max_ms = 600_000;
    let keys = [0, 1].map(|partition| floodgate_buffer::contract::key_of(partition, 2));
    let good: Vec<String> = (0..2000).map(|n| format!("good-{n:04}")).collect();
    let bad: Vec<String> = (0..3000).map(|n| format!("bad-{n:04}")).collect();
    // good ones of the partition that turns bad, then all of the bad ones, and among them those of the other partition
    let (first, others) = good.split_at(1000);
    first.iter().for_each(|liker| world.publish_like(&keys[0], liker));
    for (number, liker) in bad.iter().enumerate() {
        world.publish_like(&keys[0], liker);
        if let Some(other) = others.get(number) {
            world.publish_like(&keys[1], other);
        }
    }
    let stop = CancellationToken::new();
    let looked = async {
        until(|| world.health.ready().is_err_and(|trouble| trouble.contains("partition 0"))).await;
        until(|| world.strategy.publisher().unwrap().waiting().events == 4000).await;
        let (refused, applied) =
            (world.database.refused.load(Ordering::Relaxed), world.database.transactions.lock().len());
        assert!(refused + applied < 700, "{refused} transactions were rolled back, {applied} committed");
        assert!(world.reasons().is_empty(), "held, and yet dead-lettered");
        let applied = world.database.applied.lock().clone();
        assert_eq!(
            applied.iter().filter(|liker| others.contains(liker)).collect::<Vec<_>>(),
            others.iter().collect::<Vec<_>>()
        );
        world.database.is_mended.store(true, Ordering::Relaxed);
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), looked);
    let applied = world.database.applied.lock();
    let bad_ones: Vec<_> = applied.iter().filter(|liker| liker.starts_with("bad")).cloned().collect();
    assert_eq!(bad_ones, bad, "in order, each once");
    assert!(world.reasons().is_empty());
}

/// A record of a newer build is waited for: what stands before it is done, nothing behind it is, and others go on.
#[tokio::test]
async fn a_partition_waits_in_front_of_what_only_a_newer_build_can_read() {
    let world = World::with_partitions(2);
    let keys = [0, 1].map(|partition| floodgate_buffer::contract::key_of(partition, 2));
    let newer = b"\xc3\x01\x08\x07\x06\x05\x04\x03\x02\x01and its fields";
    ["a1", "a2"].iter().for_each(|liker| world.publish_like(&keys[0], liker));
    world.publish_under(keys[0].as_bytes(), b"garbage", &[]);
    world.publish_under(keys[0].as_bytes(), newer, &[]);
    world.publish_under(keys[0].as_bytes(), b"more garbage", &[]);
    world.publish_like(&keys[0], "a3");
    ["b1", "b2", "b3"].iter().for_each(|liker| world.publish_like(&keys[1], liker));
    let stop = CancellationToken::new();
    let held = async {
        let told = "held at offset 3, written with an unknown schema, fingerprint 0102030405060708";
        until(|| world.health.ready().is_err_and(|trouble| trouble.contains(told))).await;
        // what it waits for, and what stands behind that
        until(|| world.strategy.publisher().unwrap().waiting().events == 3).await;
        let transactions = world.database.transactions.lock().len();
        world.publish_like(&keys[1], "b4");
        until(|| world.strategy.publisher().unwrap().waiting().events == 3).await;
        let mut applied = world.database.applied.lock().clone();
        applied.sort();
        assert_eq!(applied, ["a1", "a2", "b1", "b2", "b3", "b4"]);
        assert_eq!(world.database.transactions.lock().len(), transactions + 1, "nothing is applied again");
        assert_eq!(world.reasons(), ["not-avro"], "only what nobody will ever read");
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), held);
    // the process ends, and with it what only it holds
    assert_eq!(world.reasons(), ["not-avro", "unknown-schema", "not-avro"]);
    assert!(world.database.applied.lock().contains(&"a3".to_owned()));
}

/// What only this process holds is not left behind for being bad.
#[tokio::test]
async fn a_held_partition_is_dead_lettered_when_its_process_ends() {
    let world = World::new();
    let likers: Vec<String> = (0..300).map(|n| format!("bad-{n:03}")).collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    let stop = CancellationToken::new();
    let stopped = async {
        until(|| world.health.ready().is_err_and(|trouble| trouble.contains("partition 0"))).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), stopped);
    assert_eq!(world.reasons(), vec!["bad-row"; 300]);
}

/// Whoever looks at the lag is told what a member tries in vain, as long as it does.
#[tokio::test]
async fn what_is_tried_in_vain_is_told_beside_the_position() {
    let world = World::new();
    world.publish_likes(&["a", "b"]);
    let away = || ApplyError::Retry("the database is away".to_owned());
    world.database.planned.lock().extend(std::iter::repeat_with(away).take(100_000));
    let word = || world.strategy.lag(EventType::Like).unwrap().partitions[0].word.clone();
    let stop = CancellationToken::new();
    let looked = async {
        until(|| word() == Some(Word::trouble("the database is away"))).await;
        world.database.planned.lock().clear();
        until(|| world.database.applied.lock().len() == 2 && word().is_none()).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), looked);
}

/// So is why a partition is held.
#[tokio::test]
async fn why_a_partition_is_held_is_told_beside_the_position() {
    let world = World::new();
    let likers: Vec<String> = (0..300).map(|n| format!("bad-{n:03}")).collect();
    world.publish_likes(&likers.iter().map(String::as_str).collect::<Vec<_>>());
    let word = || world.strategy.lag(EventType::Like).unwrap().partitions[0].word.clone();
    let stop = CancellationToken::new();
    let looked = async {
        until(|| word().is_some_and(|word| word.is_held && word.why.contains("dead_letter_share_max"))).await;
        world.database.is_mended.store(true, Ordering::Relaxed);
        until(|| world.database.applied.lock().len() == 300 && word().is_none()).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), looked);
}
