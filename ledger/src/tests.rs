//! Checks of small logs in memory against a real database: classes, expired records, and going on after any death.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floodgate_buffer::contract::in_memory;
use floodgate_buffer::{
    BatchLimits, EventOrigin, GroupLag, Header, Offset, Outcome, Partition, Receipts, Record, Strategy,
    Topic, TopicNames,
};
use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::{at, coupon_issue, event_id, like};
use floodgate_schemas::{CouponIssue, Event, EventId, EventType, Keying, Like};
use floodgate_store::{Apply, Audit, Config, Repair, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::check::{Check, Limits};
use crate::dead_letters::DeadLetters;
use crate::doubt::expired_unread;
use crate::reapply::Mender;
use crate::report::{Report, Unchecked};
use crate::state::State;
use crate::{Reapplied, Tally, Verdict, VerifyError, Watch, begin};

/// A log in memory, a database in a file, and the folder that both states are in.
struct Bench {
    strategy: Arc<dyn Strategy>,
    store: Arc<dyn Store>,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            url: format!("sqlite://{}/bench.db", folder.path().display()),
            max_connections: 3,
            connect_timeout_ms: 5_000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 5_000,
            apply_timeout_ms: 15_000,
        };
        floodgate_store::migrate(&config).await.unwrap();
        Self { strategy: in_memory(1, 10_000, "x."), store: floodgate_store::open(&config).unwrap(), folder }
    }

    async fn put(&self, topic: Topic, key: &str, value: &[u8], headers: &[Header<'_>]) {
        let receipts = Receipts::new(1);
        let record = Record { topic, key: Some(key.as_bytes()), value: Some(value), headers };
        self.strategy.publisher().unwrap().offer(&record, receipts.receipt(0)).unwrap();
        receipts.all().await;
        assert_eq!(receipts.outcome(0), Outcome::Stored);
    }

    async fn publish<E: Event>(&self, events: &[E]) {
        for event in events {
            let (mut key, mut value) = (String::new(), Vec::new());
            event.write_partition_key(Keying::default(), &mut key);
            encode(event, &mut value);
            self.put(Topic::Events(E::TYPE), &key, &value, &[]).await;
        }
    }

    async fn dead_letter(&self, of: EventType, offset: i64) {
        let (topic, offset) = (self.strategy.topic_name(Topic::Events(of)), offset.to_string());
        // what was a dead letter once before keeps the headers it had then
        let headers = [("topic", "x.other"), ("topic", &topic), ("partition", "0"), ("offset", &offset)]
            .map(|(name, value)| (format!("floodgate-dlq-{name}"), value));
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        self.put(Topic::DeadLetters, "k", b"v", &headers).await;
    }

    /// The positions, with a committed offset as if another process had applied what is before it.
    fn lag(&self, of: EventType, committed: Option<i64>) -> GroupLag {
        let mut lag = self.strategy.lag(of).unwrap();
        lag.partitions[0].committed = committed.map(Offset);
        lag
    }

    fn state(&self) -> State {
        self.state_in(&self.folder.path().join("state"))
    }

    fn state_in(&self, folder: &Path) -> State {
        State::open(Some(folder), "this bench".to_owned()).unwrap()
    }

    async fn check<E: Event>(
        &self,
        state: &mut State,
        lag: &GroupLag,
        watch: &dyn Watch,
    ) -> Result<Report, VerifyError>
    where
        dyn Store: Audit<E> + Apply<E> + Repair<E>,
    {
        self.check_with::<E>(state, lag, watch, false, None).await
    }

    async fn check_with<E: Event>(
        &self,
        state: &mut State,
        lag: &GroupLag,
        watch: &dyn Watch,
        values: bool,
        mender: Option<&Mender<'_>>,
    ) -> Result<Report, VerifyError>
    where
        dyn Store: Audit<E> + Apply<E> + Repair<E>,
    {
        begin(state, at(0), std::slice::from_ref(lag))?;
        let letters = DeadLetters::read(&*self.strategy)?;
        let limits = Limits { chunk: 3, run: 5 };
        let (strategy, store) = (&*self.strategy, &*self.store);
        let check = Check { strategy, store, letters, watch, limits, values, mender };
        check.topic::<E>(state, 0, lag).await?;
        let mut report = Report::new(at(0));
        report.add(lag, &state.progress.types[0], &self.names());
        Ok(report.summed_up())
    }

    /// A check of likes in a folder of its own.
    async fn check_likes(&self, committed: i64, values: bool) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, lag) = (self.state_in(folder.path()), self.lag(EventType::Like, Some(committed)));
        self.check_with::<Like>(&mut state, &lag, &Nobody, values, None).await.unwrap()
    }

    async fn mend_likes(&self, committed: i64, values: bool, dry_run: bool) -> Reapplied {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, lag) = (self.state_in(folder.path()), self.lag(EventType::Like, Some(committed)));
        let mender = Mender::new(&*self.store, self.names(), dry_run, values);
        let report = self.check_with::<Like>(&mut state, &lag, &Nobody, values, Some(&mender)).await.unwrap();
        mender.ended(report)
    }

    fn names(&self) -> TopicNames {
        TopicNames::new(&*self.strategy)
    }
}

/// Looks on.
struct Nobody;

impl Watch for Nobody {
    fn begins(&self, _: &str, _: u64) {}
    fn goes_on(&self, _: u64) {}
}

/// Says when so many offsets are done.
struct Alarm {
    left: AtomicU64,
    rings: Notify,
}

impl Watch for Alarm {
    fn begins(&self, _: &str, _: u64) {}
    fn goes_on(&self, offsets: u64) {
        let left = self.left.load(Ordering::SeqCst);
        self.left.store(left.saturating_sub(offsets), Ordering::SeqCst);
        if left <= offsets {
            self.rings.notify_one();
        }
    }
}

/// Fourteen records of nine events, and three that are none: of every class some, copies of different fates, the first
/// ten before the group's committed offset.
async fn mixed(bench: &Bench) {
    let applied = [like(1, "t", "a", On, 1), like(2, "t", "a", Off, 2), like(3, "t", "b", On, 1)];
    bench.store.apply(&applied, at(0)).await.unwrap();
    let [first, second, third] = applied;
    let lost = like(4, "t", "lost", On, 1);
    let lost_later = like(5, "t", "b", On, 9);
    let dead = like(6, "t", "dead", On, 1);
    let waiting = like(7, "t", "waiting", On, 1);
    let again = [like(8, "t", "again", On, 1), like(9, "t", "repeated", On, 1)];
    bench.publish(&[second.clone(), first, third, lost.clone()]).await; // 0..4
    bench.publish(&[dead.clone(), second]).await; // 4..6
    bench.put(Topic::Events(EventType::Like), "no", b"event", &[]).await; // 6
    bench.put(Topic::Events(EventType::Like), "nor", b"this", &[]).await; // 7
    bench.publish(&[lost_later, again[1].clone()]).await; // 8..10
    bench.publish(&[waiting, lost, again[0].clone(), dead]).await; // 10..14
    bench.put(Topic::Events(EventType::Like), "later", b"none", &[]).await; // 14
    bench.publish(&[again[1].clone(), again[0].clone()]).await; // 15..17
    for offset in [4, 6, 15, 4] {
        bench.dead_letter(EventType::Like, offset).await;
    }
}

fn assert_mixed(report: &Report) {
    let of = &report.types[0];
    assert_eq!((of.records, of.events), (17, 9));
    let wanted =
        Tally { current: 2, superseded: 1, dead_lettered: 1, in_flight: 2, missing: 3, ..Tally::default() };
    assert_eq!(of.tally, wanted);
    let no_events = &of.unreadable;
    assert_eq!((no_events.dead_lettered, no_events.missing, no_events.in_flight), (1, 1, 1));
    let missing = |offset: i64, id: Option<u64>, key: &str| {
        (offset, format!("x.floodgate.like.v1/0/{offset}"), id.map(event_id), Some(key.to_owned()))
    };
    let named = report.missing.iter().map(|missing| {
        let record = &missing.record;
        (record.offset, record.origin.to_string(), record.event_id, record.key.clone())
    });
    let named: Vec<(i64, String, Option<EventId>, Option<String>)> = named.collect();
    assert_eq!(
        named,
        [
            missing(3, Some(4), "t\u{1f}lost"),
            missing(7, None, "nor"),
            missing(8, Some(5), "t\u{1f}b"),
            // a later copy was dead-lettered; this one was passed over all the same
            missing(9, Some(9), "t\u{1f}repeated"),
        ]
    );
    assert_eq!((report.violations, report.verdict, report.balanced), (4, Verdict::Violations, false));
    let told = report.missing[0].to_string();
    assert!(
        told.contains("key t\\x1flost, is missing; mend: `floodgate reapply x.floodgate.like.v1/0/3`"),
        "{told}"
    );
    assert!(report.missing[1].mend.contains("offset of group x.floodgate.like in partition 0 back to 7"));
    assert!(report.notes.is_empty() && of.unchecked.is_empty(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_of_one_class() {
    let bench = Bench::new().await;
    mixed(&bench).await;
    let report =
        bench.check::<Like>(&mut bench.state(), &bench.lag(EventType::Like, Some(10)), &Nobody).await;
    assert_mixed(&report.unwrap());
    // what nobody ever committed is in flight
    let other = bench.folder.path().join("other");
    let lag = bench.lag(EventType::Like, None);
    let report = bench.check::<Like>(&mut bench.state_in(&other), &lag, &Nobody).await.unwrap();
    assert_eq!(
        (report.types[0].tally.in_flight, report.types[0].unreadable.in_flight, report.violations),
        (4, 2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_request_is_done_whatever_was_decided() {
    let bench = Bench::new().await;
    let requests = [coupon_issue(1, "none", "ann"), coupon_issue(2, "none", "ben")];
    bench.publish::<CouponIssue>(&requests).await;
    bench.store.apply(&requests[..1], at(0)).await.unwrap();
    let lag = bench.lag(EventType::Coupon, Some(2));
    let report = bench.check::<CouponIssue>(&mut bench.state(), &lag, &Nobody).await.unwrap();
    assert_eq!(report.types[0].tally, Tally { decided: 1, missing: 1, ..Tally::default() });
}

/// Records that are gone when the check begins, and records that go while it is under way.
#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_unchecked() {
    let bench = Bench::new().await;
    let likes: Vec<Like> = (0..10).map(|n| like(n, "t", &format!("l{n}"), On, 1)).collect();
    bench.publish(&likes).await;
    let before = bench.lag(EventType::Like, Some(3));
    let limits = BatchLimits {
        events: 4,
        bytes: 1 << 20,
        wait: std::time::Duration::ZERO,
        drain: std::time::Duration::ZERO,
    };
    let mut member = bench.strategy.subscribe(EventType::Like, limits).unwrap();
    let batch = member.next().await.unwrap().unwrap();
    assert_eq!(batch.len(), 4);
    member.commit(batch);
    member.close().await.unwrap();
    let unchecked = [Unchecked { partition: 0, from_offset: 0, until_offset: 4 }];

    // one record was not read when the check began, and was gone when it came there
    let report = bench.check::<Like>(&mut bench.state(), &before, &Nobody).await.unwrap();
    assert_eq!(report.types[0].unchecked, unchecked);
    assert_eq!((report.types[0].records, report.verdict), (6, Verdict::CannotTell), "{report:?}");
    let doubt = &report.cannot_tell[0];
    let last = Unchecked { partition: 0, from_offset: 3, until_offset: 4 };
    assert_eq!((doubt.kind, doubt.range, report.cannot_tell.len()), ("expiredWhileChecked", Some(last), 1));
    // what lies before the committed offset was applied before it expired
    assert_eq!(bench.check_likes(4, false).await.verdict, Verdict::Balanced);
    // without one nobody knows
    let lag = bench.lag(EventType::Like, None);
    let mut state = bench.state_in(&bench.folder.path().join("none"));
    let report = bench.check::<Like>(&mut state, &lag, &Nobody).await.unwrap();
    assert_eq!((report.verdict, report.cannot_tell[0].kind), (Verdict::CannotTell, "expiredWithoutCommit"));

    // and what a group had not read that comes back to it is lost
    let lag = bench.lag(EventType::Like, Some(3));
    let mut state = bench.state_in(&bench.folder.path().join("other"));
    begin(&mut state, at(0), std::slice::from_ref(&lag)).unwrap();
    state.progress.types[0][0].lost = expired_unread(&lag.partitions[0], &lag.partitions[0]);
    let report = bench.check::<Like>(&mut state, &lag, &Nobody).await.unwrap();
    assert_eq!(report.types[0].unchecked, unchecked);
    assert_eq!((report.violations, report.lost[0].records, report.lost[0].range), (1, 1, last), "{report:?}");
    assert!(report.cannot_tell.is_empty(), "{report:?}");
    let told = report.lost[0].to_string();
    assert!(told.contains("partition 0 offset 3: expired before the group x.floodgate.like read"), "{told}");
}

/// Dead letters that have expired may be those of what is missing, which then is no violation that anybody could know of.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_a_dead_letter_is_no_violation() {
    let bench = Bench::new().await;
    bench.publish(&[like(1, "t", "a", On, 1)]).await;
    bench.put(Topic::Events(EventType::Like), "k", b"no event", &[]).await;
    assert_eq!(bench.check_likes(2, false).await.violations, 2);
    // this strategy keeps ten
    for offset in 100..111 {
        bench.dead_letter(EventType::Like, offset).await;
    }
    let report = bench.check_likes(2, false).await;
    assert_eq!((report.verdict, report.violations), (Verdict::CannotTell, 0), "{report:?}");
    assert_eq!((report.types[0].tally.cannot_tell, report.types[0].unreadable.cannot_tell), (1, 1));
    let told: Vec<_> = report.cannot_tell.iter().map(|doubt| (doubt.kind, doubt.event_id)).collect();
    assert_eq!(told, [("deadLetterExpired", Some(event_id(1))), ("deadLetterExpired", None)]);
}

/// A row that carries an event with other values is a violation where values are compared, unless one of the event's
/// copies has these values; what is set or brought back is balanced, and doing it again changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_set_and_what_is_missing_brought_back() {
    let bench = Bench::new().await;
    let wrong = [like(1, "t", "a", Off, 1), like(2, "t", "b", Off, 1), like(3, "t", "c", On, 3)];
    bench.store.apply(&wrong, at(0)).await.unwrap();
    bench.publish(&[like(1, "t", "a", On, 1), like(2, "t", "b", On, 1), like(4, "t", "lost", On, 1)]).await; // 0..3
    bench.publish(&[like(2, "t", "b", Off, 1), like(3, "t", "c", On, 2), like(5, "t", "lost", Off, 2)]).await; // 3..6
    bench.publish(&[like(6, "t", "coming", On, 1)]).await;
    let report = bench.check_likes(6, false).await;
    let tally = report.types[0].tally;
    assert_eq!((tally.current, tally.superseded, tally.missing, tally.in_flight), (2, 1, 2, 1), "{report:?}");
    let report = bench.check_likes(6, true).await;
    let tally = report.types[0].tally;
    // the copy of the third that the row carries has another time
    assert_eq!((tally.current, tally.differing, tally.missing, tally.in_flight), (1, 2, 2, 1), "{report:?}");
    assert_eq!(report.violations, 4);
    let told: Vec<_> = report.differences.iter().map(ToString::to_string).collect();
    let first = "key t\\x1fa, differs: liked is false and should be true; mend: `floodgate reapply --values x.floodgate.like.v1/0/0`";
    assert!(told[0].ends_with(first), "{told:?}");
    assert!(told[1].contains("occurred_at is 2026-11-21T10:00:00.000003Z and should be 2026-"), "{told:?}");

    let looked = bench.mend_likes(6, true, true).await;
    assert_eq!(looked.outcomes, [("wouldApply", 2), ("wouldSet", 2)].into());
    assert_eq!(bench.check_likes(6, true).await.violations, 4, "a dry run did something");
    let mended = bench.mend_likes(6, false, false).await;
    // of two events on one row the later stands
    assert_eq!(mended.outcomes, [("applied", 1), ("superseded", 1)].into());
    let mended = bench.mend_likes(6, true, false).await;
    assert_eq!((mended.outcomes, mended.left_count), ([("set", 2)].into(), 0));
    let report = bench.check_likes(6, true).await;
    assert_eq!((report.verdict, report.types[0].tally.in_flight), (Verdict::Balanced, 1), "{report:?}");
    assert_eq!(bench.store.discrepancies(10).await.unwrap().total, 0);
    assert_eq!(bench.mend_likes(6, true, false).await.events(), 0);
}

/// Records are named one by one: what cannot be brought back is left, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn named_records_are_brought_back_or_left() {
    let bench = Bench::new().await;
    mixed(&bench).await;
    let lags = [bench.lag(EventType::Like, Some(10))];
    let reapply = async |offsets: &[i64], values, dry_run| {
        let mender = Mender::new(&*bench.store, bench.names(), dry_run, values);
        let origin = |offset: &i64| EventOrigin {
            of: EventType::Like,
            partition: Partition(i32::from(*offset > 1000)),
            offset: Offset(*offset),
        };
        let origins: Vec<_> = offsets.iter().map(origin).collect();
        mender.bring_back_named(&bench.strategy, &lags, &origins).await.unwrap();
        mender.ended(Report::new(at(0)))
    };
    // current, superseded, dead-lettered and missing ones, in any order; one is no event, others are not to be had
    let all = [9, 0, 3, 7, 1, 4, 10, 17, 1001];
    let looked = reapply(&all, false, true).await;
    assert_eq!(looked.outcomes, [("current", 1), ("superseded", 1), ("wouldApply", 3)].into());
    let done = reapply(&all, false, false).await;
    assert_eq!(done.outcomes, [("applied", 3), ("duplicate", 1), ("superseded", 1)].into());
    let left: Vec<_> = done.left.iter().map(|left| (&*left.origin, &*left.reason)).collect();
    let (places, reasons): (Vec<_>, Vec<_>) = left.into_iter().unzip();
    let like = |place: &str| format!("x.floodgate.like.v1/{place}");
    assert_eq!(places, ["0/10", "0/17", "1/1001", "0/7"].map(like));
    for (reason, wanted) in
        reasons.iter().zip(["on its way", "no such record yet", "no such partition", "no event"])
    {
        assert!(reason.contains(wanted), "{reason}");
    }
    let again = reapply(&[9, 3, 4], false, false).await;
    assert_eq!((again.outcomes, again.left_count), ([("duplicate", 3)].into(), 0));
    // what a row carries with other values is set only when that is asked for
    let other = like_of_the_first();
    bench.store.repair(&[other], at(0)).await.unwrap();
    let left = reapply(&[0], false, false).await;
    assert!(left.left_count == 1 && left.left[0].reason.contains("--values"), "{left:?}");
    assert_eq!(reapply(&[0], true, false).await.outcomes, [("set", 1)].into());
    assert_eq!(reapply(&[0], true, false).await.outcomes, [("duplicate", 1)].into());
}

/// The event that stands at offset 0 of what [`mixed`] makes, liking and not taking back.
fn like_of_the_first() -> Like {
    like(2, "t", "a", On, 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_late_are_decided_by_the_stock_of_now() {
    let bench = Bench::new().await;
    bench.publish::<CouponIssue>(&[coupon_issue(1, "none", "ann")]).await;
    let lag = bench.lag(EventType::Coupon, Some(1));
    let mender = Mender::new(&*bench.store, bench.names(), false, false);
    let report =
        bench.check_with::<CouponIssue>(&mut bench.state(), &lag, &Nobody, false, Some(&mender)).await;
    let done = mender.ended(report.unwrap());
    assert_eq!(done.outcomes, [("UNKNOWN_COUPON", 1)].into());
    assert!(done.notes[0].contains("stock there is now"), "{done:?}");
}

/// Killed after any number of records and taken up again, as often as it takes: the report is the same.
#[test]
fn a_check_that_dies_goes_on_where_it_was() {
    let preparing = Runtime::new().unwrap();
    let bench = preparing.block_on(Bench::new());
    preparing.block_on(mixed(&bench));
    let lag = bench.lag(EventType::Like, Some(10));
    for dies_after in 1..=17 {
        let folder = bench.folder.path().join(format!("dies-after-{dies_after}"));
        let (mut attempts, mut begins_at) = (0, Vec::new());
        let report = loop {
            attempts += 1;
            let mut state = bench.state_in(&folder);
            begins_at.extend(state.progress.types.first().map(|partitions| partitions[0].next));
            let alarm = Alarm {
                left: AtomicU64::new(if attempts < 4 { dies_after } else { 1000 }),
                rings: Notify::new(),
            };
            // a runtime of its own: when it is dropped, whatever it was writing is written
            let runtime = Runtime::new().unwrap();
            let ended = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = alarm.rings.notified() => None,
                    report = bench.check::<Like>(&mut state, &lag, &alarm) => Some(report.unwrap()),
                }
            });
            if let Some(report) = ended {
                break report;
            }
        };
        assert!(attempts > 1 || dies_after > 12, "nothing died after {dies_after}");
        // what was put aside is not read again
        assert!(!(10..=12).contains(&dies_after) || begins_at[0] >= 6, "{dies_after}: {begins_at:?}");
        assert_mixed(&report);
    }
}

/// Ends stay where they were; a log that is shorter than it was is another.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_keeps_its_ends() {
    let bench = Bench::new().await;
    let likes: Vec<Like> = (0..4).map(|n| like(n, "t", &format!("l{n}"), On, 1)).collect();
    bench.publish(&likes[..3]).await;
    let lag = bench.lag(EventType::Like, None);
    begin(&mut bench.state(), at(0), std::slice::from_ref(&lag)).unwrap();
    bench.publish(&likes[3..]).await;
    let longer = bench.lag(EventType::Like, None);
    let report = bench.check::<Like>(&mut bench.state(), &longer, &Nobody).await.unwrap();
    assert_eq!((report.types[0].events, report.types[0].tally.in_flight), (3, 3));
    let mut shorter = lag;
    shorter.partitions[0].end = Offset(2);
    let refused = begin(&mut bench.state(), at(0), std::slice::from_ref(&shorter));
    assert!(matches!(refused, Err(VerifyError::State(_))), "{refused:?}");
}
