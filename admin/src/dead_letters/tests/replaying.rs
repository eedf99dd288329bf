//! What goes back, and what is said of it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use floodgate_buffer::contract::PublishAs;
use floodgate_buffer::{NotTaken, Outcome, Receipt, Refused};

use super::*;

/// Refuses some records, and takes the others.
fn choosy(
    inner: Arc<dyn Publish>,
    refuse: impl Fn(&Record<'_>) -> Option<Refused> + Send + Sync,
) -> impl Publish {
    PublishAs::new(move |record: &Record<'_>, receipt| match refuse(record) {
        None => inner.offer(record, receipt),
        Some(reason) => Err(NotTaken { reason, receipt }),
    })
}

#[test]
fn a_replay_publishes_each_letter_once_with_its_original_bytes() {
    let world = World::new();
    let earlier: Vec<Header<'_>> = vec![
        (b"trace", Some(b"a\xff")),
        (b"floodgate-replay-of", Some(b"w.floodgate.like.v1/0/1")),
        (b"floodgate-replay-attempts", Some(b"1")),
    ];
    world.put(&Write { offset: 8, value: b"eight\xff", attempts: "2", headers: earlier, ..Write::default() });
    world.put(&Write { offset: 9, value: b"nine", key: b"k", ..Write::default() });
    world.put(&Write { offset: 9, value: b"nine", key: b"k", ..Write::default() });
    world.put(&Write { offset: 10, attempts: "5", ..Write::default() });
    let before = world.stands(Topic::DeadLetters);

    let planned = world.plan(&[]).counts();
    assert_eq!(planned, DeadLetterCounts { due: 2, capped: 1, ..DeadLetterCounts::default() });
    assert!(world.likes().is_empty(), "planning publishes nothing");

    let seen = AtomicU64::new(0);
    let replayed = world.plan(&[]).run(&*world.publisher(), |done| seen.store(done, Ordering::Relaxed));
    assert_eq!((replayed.unwrap().done, seen.into_inner()), (2, 2));
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (of, attempts) = ("floodgate-replay-of", "floodgate-replay-attempts");
    let wanted = [
        Stands {
            key: b"target\x1fliker".to_vec(),
            value: b"eight\xff".to_vec(),
            headers: vec![
                text("trace", "a\u{fffd}"),
                text(of, "w.floodgate.like.v1/0/8"),
                text(attempts, "2"),
            ],
        },
        Stands {
            key: b"k".to_vec(),
            value: b"nine".to_vec(),
            headers: vec![text(of, "w.floodgate.like.v1/0/9"), text(attempts, "1")],
        },
    ];
    assert_eq!(world.likes(), wanted);

    // the markers are copies with one more header
    let after = world.stands(Topic::DeadLetters);
    for (marker, letter) in after[4..].iter().zip(&before) {
        let (last, rest) = marker.headers.split_last().unwrap();
        assert_eq!((last.0.as_str(), rest), ("floodgate-dlq-replayed-at", &letter.headers[..]));
        assert_eq!((&marker.key, &marker.value), (&letter.key, &letter.value));
    }
    assert_eq!(after.len(), 6);
    assert_eq!(
        world.plan(&[]).counts(),
        DeadLetterCounts { capped: 1, replayed: 2, ..DeadLetterCounts::default() }
    );
    assert_eq!((world.replay(&[]), world.likes().len()), (0, 2));
}

#[test]
fn a_replay_takes_only_what_its_filter_means() {
    let world = World::new();
    world.put(&Write { offset: 1, reason: "not-avro", ..Write::default() });
    world.put(&Write { offset: 2, ..Write::default() });
    assert_eq!(world.replay(&[("reason", "bad-row")]), 1);
    assert_eq!(
        world.plan(&[("reason", "not-avro")]).counts(),
        DeadLetterCounts { due: 1, ..DeadLetterCounts::default() }
    );
    assert_eq!(world.survey(&[], 10).replayed, 1);
}

/// Its consumers, as old as it is, would only hold the partition.
#[test]
fn a_replay_leaves_alone_what_only_a_newer_build_can_read() {
    let world = World::new();
    let newer = b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08and its fields";
    world.put(&Write { offset: 1, value: newer, reason: "unknown-schema", ..Write::default() });
    world.put(&Write { offset: 2, ..Write::default() });
    assert_eq!(
        world.plan(&[]).counts(),
        DeadLetterCounts { due: 1, unknown: 1, ..DeadLetterCounts::default() }
    );
    assert_eq!((world.replay(&[]), world.likes().len()), (1, 1));
}

/// Ended between a batch and its markers: the batch comes again, and nothing is missing.
#[test]
fn what_was_published_and_not_marked_is_published_again() {
    let world = World::new();
    world.put(&Write { offset: 1, ..Write::default() });
    world.put(&Write { offset: 2, ..Write::default() });
    let no_markers = |record: &Record<'_>| (record.topic == Topic::DeadLetters).then_some(Refused::Full);
    let publisher = choosy(world.publisher(), no_markers);
    let ended = world.plan(&[]).run(&publisher, |_| {}).unwrap_err();
    assert_eq!((ended.done, world.likes().len()), (0, 2));
    assert!(ended.to_string().contains("the queue is full"), "{ended}");
    assert_eq!((world.replay(&[]), world.likes().len()), (2, 4));
    assert_eq!((world.replay(&[]), world.likes().len()), (0, 4));
}

#[test]
fn what_is_refused_for_a_while_is_tried_again() {
    let world = World::new();
    world.put(&Write { offset: 1, ..Write::default() });
    world.put(&Write { offset: 2, value: b"later", ..Write::default() });
    let offers = AtomicU64::new(0);
    let at_first = |record: &Record<'_>| {
        let first = record.value == Some(b"later") && offers.fetch_add(1, Ordering::Relaxed) == 0;
        first.then(|| Refused::Unavailable("in a moment".to_owned()))
    };
    let publisher = choosy(world.publisher(), at_first);
    let patience = Duration::from_secs(30);
    let plan = SettlePlan {
        filter: Filter::default(),
        deed: REPLAY,
        rate: None,
        patience,
        limits: ScanLimits::NONE,
    };
    let replayed = Settle::plan(&world.topic, plan).unwrap().run(&publisher, |_| {}).unwrap();
    assert_eq!((replayed.done, replayed.failed.count, world.likes().len()), (2, 0, 2));
}

/// One letter that can never go back does not keep the others, and is told.
#[test]
fn what_is_too_large_is_told_and_left() {
    let world = World::new();
    world.put(&Write { offset: 1, value: b"large", ..Write::default() });
    world.put(&Write { offset: 2, ..Write::default() });
    let large = |record: &Record<'_>| (record.value == Some(b"large")).then_some(Refused::TooLarge);
    let publisher = choosy(world.publisher(), large);
    let replayed = world.plan(&[]).run(&publisher, |_| {}).unwrap();
    assert_eq!((replayed.done, replayed.failed.count), (1, 1));
    let first = replayed.failed.first.unwrap();
    assert!(first.starts_with("w.floodgate.like.v1/0/1 was not published"), "{first}");
    assert_eq!(world.plan(&[]).counts().due, 1);
}

#[test]
fn a_publisher_that_never_becomes_ready_is_told() {
    let world = World::new();
    world.put(&Write::default());
    let publisher = world.publisher();
    futures_executor::block_on(publisher.close(Duration::ZERO));
    let ended = world.plan(&[]).run(&*publisher, |_| {}).unwrap_err();
    assert_eq!((ended.done, ended.reason.as_str()), (0, "shutting down"));
    assert!(world.likes().is_empty());
}

#[test]
fn a_rate_is_kept() {
    let world = World::new();
    (0..3).for_each(|offset| world.put(&Write { offset, ..Write::default() }));
    let began = Instant::now();
    let patience = Duration::from_secs(5);
    let plan = SettlePlan {
        filter: Filter::default(),
        deed: REPLAY,
        rate: NonZeroU32::new(10),
        patience,
        limits: ScanLimits::NONE,
    };
    let replayed = Settle::plan(&world.topic, plan).unwrap().run(&*world.publisher(), |_| {}).unwrap();
    assert_eq!(replayed.done, 3);
    assert!(began.elapsed() >= Duration::from_millis(200), "three records in {:?}", began.elapsed());
}

/// In memory only ten letters are kept here: the oldest go while others read.
#[test]
fn letters_that_expire_while_they_are_read_are_passed_over() {
    let world = World::new();
    (0..8).for_each(|offset| world.put(&Write { offset, ..Write::default() }));
    let mut replay = world.plan(&[]);
    assert_eq!(replay.counts().due, 8);
    (8..13).for_each(|offset| world.put(&Write { offset, ..Write::default() }));
    let replayed = replay.run(&*world.publisher(), |_| {}).unwrap();
    assert_eq!((replayed.done, world.likes().len()), (5, 5));
}

#[test]
fn outcomes_other_than_stored_are_no_success() {
    let not_stored = PublishAs::new(|_: &Record<'_>, receipt: Receipt| {
        receipt.complete(Outcome::NotStored).into_iter().for_each(floodgate_buffer::Wake::wake);
        Ok(())
    });
    let world = World::new();
    world.put(&Write::default());
    let ended = world.plan(&[]).run(&not_stored, |_| {}).unwrap_err();
    assert!(ended.to_string().contains("0 dead letters were replayed"), "{ended}");
    assert_eq!(world.survey(&[], 1).replayed, 0);
}
