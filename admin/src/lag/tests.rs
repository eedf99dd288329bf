use std::time::Instant;

use floodgate_buffer::{Offset, Partition, PartitionLag, QueueLag};
use floodgate_observe::Metrics;
use floodgate_schemas::examples::{HandClock, at};
use prometheus::core::Collector;

use super::report::PartitionReport;
use super::*;

const GROUP: &str = "g.like";
const TOPIC: &str = "t.like";

/// A partition that holds 10..20, of which everything before `committed` is applied.
fn partition(number: i32, committed: Option<i64>) -> PartitionLag {
    PartitionLag {
        partition: Partition(number),
        start: Offset(10),
        end: Offset(20),
        readable: Offset(20),
        committed: committed.map(Offset),
        set_by_others: false,
        nothing_until: None,
        oldest_unapplied_ms: Some(at(0).as_micros() / 1000),
        member: None,
        word: None,
    }
}

fn reading(partitions: Vec<PartitionLag>) -> Reading {
    let lag = GroupLag {
        of: EventType::Like,
        group: GROUP.to_owned(),
        topic: TOPIC.to_owned(),
        members: Some(1),
        foreign_members: Vec::new(),
        partitions,
        unknown: Vec::new(),
        queue: None,
    };
    // five seconds after the oldest record
    Reading { as_of: at(5_000_000), at: Instant::now(), lag, hot_keys: Vec::new() }
}

/// What is told of a single reading.
fn told(reading: Reading) -> Group {
    let mut courses = Courses::default();
    let of = reading.of();
    courses.add(reading);
    Group::new(courses.latest(of).unwrap())
}

struct World {
    watch: Arc<LagWatch>,
    gauges: LagGauges,
    clock: Arc<HandClock>,
}

impl World {
    fn new() -> Self {
        let gauges = Metrics::new().unwrap().lag;
        let strategy = floodgate_buffer::contract::in_memory(1, 10, "w.");
        let clock = Arc::new(HandClock::new(at(0)));
        let told = Arc::clone(&clock) as _;
        Self { watch: LagWatch::new(strategy, Some(gauges.clone()), told), gauges, clock }
    }

    /// All values of one metric, by the last label.
    fn values(gauge: &impl Collector) -> Vec<(String, f64)> {
        let families = gauge.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let mut values: Vec<_> = metrics
            .map(|metric| {
                let partition = metric.get_label().iter().find(|label| label.name() == "partition");
                let value = metric.get_gauge().get_value() + metric.get_counter().get_value();
                (partition.map_or_else(String::new, |label| label.value().to_owned()), value)
            })
            .collect();
        values.sort_by(|one, other| one.0.cmp(&other.0));
        values
    }
}

fn of(values: &[(&str, f64)]) -> Vec<(String, f64)> {
    values.iter().map(|(partition, value)| ((*partition).to_owned(), *value)).collect()
}

/// What numbers nothing has no partitions: how much waits and how old it is stand at the group.
#[test]
fn a_queue_without_offsets_tells_how_much_waits() {
    let of_queue = |waiting, oldest_ms| {
        let mut reading = reading(Vec::new());
        reading.lag.queue = Some(QueueLag { waiting, oldest_ms });
        let group = told(reading);
        assert!(group.topics[0].partitions.is_empty());
        (group.status.name(), serde_json::to_value(group.queue).unwrap())
    };
    let oldest_ms = at(0).as_micros() / 1000;
    let behind = serde_json::json!({ "lag": 7, "lagSeconds": 5.0 });
    assert_eq!(of_queue(7, Some(oldest_ms)), ("LAGGING", behind));
    assert_eq!(of_queue(7, None), ("LAGGING", serde_json::json!({ "lag": 7, "lagSeconds": null })));
    assert_eq!(of_queue(0, None), ("OK", serde_json::json!({ "lag": 0, "lagSeconds": 0.0 })));
    assert!(!serde_json::to_string(&told(reading(Vec::new()))).unwrap().contains("queue"));

    let mut reading = reading(Vec::new());
    reading.lag.queue = Some(QueueLag { waiting: 7, oldest_ms: Some(oldest_ms) });
    let world = World::new();
    world.watch.keep(reading);
    let gauges = &world.gauges;
    let exported = [&gauges.records, &gauges.kafka_lag].map(World::values);
    assert_eq!(exported, [&[("", 7.0)], &[("", 7.0)]].map(|values| of(values)));
    assert_eq!(World::values(&gauges.seconds), of(&[("", 5.0)]));
}

#[test]
fn a_groups_status_is_of_its_members_and_of_what_waits() {
    let status = |members, committed, unknown: &[i32]| {
        let mut reading = reading(vec![partition(1, committed)]);
        reading.lag.members = members;
        reading.lag.unknown =
            unknown.iter().map(|number| (Partition(*number), "no leader".to_owned())).collect();
        let group = told(reading);
        let partitions: Vec<_> = group.topics[0].partitions.iter().map(|of| of.partition).collect();
        (group.status.name(), partitions)
    };
    assert_eq!(status(Some(1), Some(20), &[]), ("OK", vec![1]));
    assert_eq!(status(None, Some(20), &[]), ("OK", vec![1]));
    assert_eq!(status(Some(1), Some(19), &[]), ("LAGGING", vec![1]));
    assert_eq!(status(Some(0), Some(20), &[]), ("EMPTY", vec![1]));
    assert_eq!(status(Some(1), Some(20), &[2, 0]), ("UNKNOWN", vec![0, 1, 2]));
    assert_eq!(status(Some(1), None, &[0]), ("LAGGING", vec![0, 1]));
    let unknown = PartitionReport::unknown(3, "no leader");
    assert_eq!((unknown.lag, unknown.unknown.as_deref()), (None, Some("no leader")));
}

/// The oldest reading dates the report; groups that were never read are told all the same.
#[test]
fn a_report_is_as_old_as_its_oldest_reading() {
    let world = World::new();
    assert_eq!(world.watch.latest().as_of, None);
    assert_eq!(World::values(&world.gauges.as_of), [], "absent, and not 0");
    world.watch.keep(reading(vec![partition(0, Some(12))]));
    let mut older = reading(vec![partition(0, Some(12))]);
    (older.as_of, older.lag.of) = (at(1), EventType::Coupon);
    world.watch.keep(older);
    let report = world.watch.latest();
    assert_eq!(report.as_of, Some(at(1).to_string()));
    let told: Vec<_> =
        report.groups.iter().map(|group| (group.status.name(), group.as_of.is_some())).collect();
    assert_eq!(told, [("UNKNOWN", false), ("LAGGING", true), ("LAGGING", true)]);
    assert_eq!((&*report.groups[0].group, report.groups[0].topics.len()), ("w.floodgate.expectation", 1));
    assert_eq!(world.gauges.as_of.with_label_values::<&str>(&[]).get(), at(1).as_micros() as f64 / 1e6);
}

#[test]
fn what_is_known_is_exported_and_what_is_not_any_more_is_taken_back() {
    let world = World::new();
    let gauges = &world.gauges;
    let mut first = reading(vec![partition(0, Some(12)), partition(1, None), partition(2, Some(20))]);
    first.lag.foreign_members = vec!["other".to_owned(), "another".to_owned()];
    first.lag.partitions[0].readable = Offset(17);
    world.watch.keep(first);
    let lags = of(&[("0", 8.0), ("1", 10.0), ("2", 0.0)]);
    assert_eq!((World::values(&gauges.records), World::values(&gauges.kafka_lag)), (lags.clone(), lags));
    assert_eq!(World::values(&gauges.seconds), of(&[("0", 5.0), ("1", 5.0), ("2", 0.0)]));
    assert_eq!(World::values(&gauges.unreadable), of(&[("0", 3.0), ("1", 0.0), ("2", 0.0)]));
    assert_eq!(World::values(&gauges.missing), of(&[("0", 0.0), ("1", 0.0), ("2", 0.0)]));
    assert_eq!(World::values(&gauges.kafka_group_offset), of(&[("0", 12.0), ("2", 20.0)]));
    assert_eq!(World::values(&gauges.kafka_end_offset), of(&[("0", 20.0), ("1", 20.0), ("2", 20.0)]));
    assert_eq!(World::values(&gauges.foreign_members), of(&[("", 2.0)]));

    // one partition is not known any more, one has no age, and one lost its commit
    let mut second = reading(vec![partition(0, None), partition(1, Some(7))]);
    second.lag.partitions[0].oldest_unapplied_ms = None;
    second.lag.unknown = vec![(Partition(2), "no leader".to_owned())];
    world.watch.keep(second);
    let lags = of(&[("0", 10.0), ("1", 10.0)]);
    assert_eq!((World::values(&gauges.records), World::values(&gauges.kafka_lag)), (lags.clone(), lags));
    assert_eq!(World::values(&gauges.seconds), of(&[("1", 5.0)]));
    assert_eq!(World::values(&gauges.missing), of(&[("0", 0.0), ("1", 3.0)]));
    assert_eq!(World::values(&gauges.kafka_group_offset), of(&[("1", 7.0)]));
    assert_eq!(World::values(&gauges.kafka_end_offset), of(&[("0", 20.0), ("1", 20.0)]));
    assert_eq!(World::values(&gauges.foreign_members), of(&[("", 0.0)]));
}

/// How a group stands is exported, and how many members it should have; since a reading failed neither is known.
#[test]
fn the_verdict_is_exported_and_taken_back() {
    let world = World::new();
    let mut behind = reading(vec![partition(0, Some(12)), partition(1, Some(20))]);
    behind.lag.members = Some(4);
    world.watch.keep(behind);
    let status = |name| world.gauges.status.with_label_values(&[GROUP, name]).get();
    let all = || floodgate_lag::Status::ALL.map(|of| status(of.name())).iter().sum::<i64>();
    assert_eq!((status("LAGGING"), all()), (1, 1));
    let gauges = [&world.gauges.members, &world.gauges.desired_consumers].map(World::values);
    assert_eq!(
        gauges,
        [&[("", 4.0)], &[("", 1.0)]].map(|values| of(values)),
        "one partition has work for one"
    );
    assert_eq!(World::values(&world.gauges.seconds_to_catch_up), of(&[]), "one reading tells no rates");

    world.watch.fail(EventType::Like, &LagError("no broker answers".to_owned()));
    assert_eq!((status("UNKNOWN"), all()), (1, 1));
    let report = world.watch.latest();
    let group = report.groups.iter().find(|group| group.group == GROUP).unwrap();
    assert!(
        group.reason.starts_with("not read since: no broker answers; then it was LAGGING, "),
        "{}",
        group.reason
    );
    assert_eq!(group.topics[0].partitions[0].lag, Some(8), "the last values stay");
    let caught_up = reading(vec![partition(0, Some(20)), partition(1, Some(20))]);
    world.watch.keep(caught_up);
    assert_eq!((status("OK"), all()), (1, 1));
    assert_eq!(World::values(&world.gauges.seconds_to_catch_up), of(&[("", 0.0)]));
}

/// Nobody of ours moves an offset back, and nobody of ours goes on without marking it.
#[test]
fn offsets_that_others_move_are_counted() {
    let world = World::new();
    let move_to = |number: usize, committed, set_by_others| {
        let mut moved = reading(vec![partition(0, Some(15)), partition(1, Some(15))]);
        let place: &mut PartitionLag = &mut moved.lag.partitions[number];
        (place.committed, place.set_by_others) = (committed, set_by_others);
        world.watch.keep(reading(vec![partition(0, Some(15)), partition(1, Some(15))]));
        world.watch.keep(moved);
        let told = (World::values(&world.gauges.rewinds), World::values(&world.gauges.skips));
        assert_eq!((told.0.len(), told.1.len()), (2, 2), "at 0 from the start");
        world.gauges.rewinds.reset();
        world.gauges.skips.reset();
        // back to where it was, unnoticed
        *world.watch.courses.lock() = Default::default();
        told
    };
    let none = || of(&[("0", 0.0), ("1", 0.0)]);
    let once = |partition| of(&["0", "1"].map(|number| (number, f64::from(number == partition))));
    assert_eq!(move_to(1, Some(Offset(16)), false), (none(), none()), "it goes on");
    assert_eq!(move_to(1, Some(Offset(15)), true), (none(), none()), "it stays where it is");
    assert_eq!(move_to(1, Some(Offset(16)), true), (none(), once("1")));
    assert_eq!(move_to(0, Some(Offset(14)), false), (once("0"), none()));
    assert_eq!(move_to(0, Some(Offset(14)), true), (once("0"), none()));
    assert_eq!(move_to(1, None, false), (once("1"), none()), "it is gone");
}

/// A group that was never read has a status, so that whoever waits for one is told; and a cause that all groups share is news once.
#[test]
fn a_group_that_was_never_read_is_unknown() {
    let world = World::new();
    let group = world.watch.strategy.names().group(EventType::Like).to_owned();
    let status = |name| world.gauges.status.with_label_values(&[group.as_str(), name]).get();
    let all = || floodgate_lag::Status::ALL.map(|of| status(of.name())).iter().sum::<i64>();
    let reason = || world.watch.latest().groups[EventType::Like as usize].reason.clone();
    world.watch.know_nothing();
    assert_eq!((status("UNKNOWN"), all(), reason()), (1, 1, "not read yet".to_owned()));
    world.watch.fail(EventType::Like, &LagError("no broker answers".to_owned()));
    assert_eq!((status("UNKNOWN"), all(), reason()), (1, 1, "not read yet: no broker answers".to_owned()));

    let mut courses = Courses::default();
    assert!(courses.fail(EventType::Like, "away", at(0)));
    assert!(!courses.fail(EventType::Like, "away", at(1)) && !courses.fail(EventType::Coupon, "away", at(1)));
    assert!(courses.fail(EventType::Expectation, "no such topic", at(1)), "another cause");
    courses.add(reading(vec![partition(0, None)]));
    assert!(!courses.fail(EventType::Like, "away", at(2)), "it is away for others still");
}

/// Positions are read again and again until the end; the groups do not wait for each other.
#[tokio::test]
async fn positions_are_read_until_the_end() {
    let world = World::new();
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&world.watch).run(Duration::from_millis(1), stop.clone()));
    let read_after = async |after: Option<String>| {
        loop {
            let report = world.watch.latest();
            let is_read = report.groups.iter().all(|group| group.as_of.is_some() && group.as_of > after);
            if is_read {
                return report.as_of;
            }
            tokio::task::yield_now().await;
        }
    };
    let twice = async {
        let first = read_after(None).await;
        world.clock.set(at(1));
        read_after(first).await
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), twice).await.is_ok());
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), running).await.unwrap().unwrap();
}
