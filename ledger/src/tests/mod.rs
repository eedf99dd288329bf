//! Checks of small logs in memory against a real database: classes, expired records, and going on after any death.

mod mending;
mod resetting;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floodgate_buffer::contract::in_memory;
use floodgate_buffer::{
    BatchLimits, GroupLag, Header, LogId, Names, Offset, Outcome, Partition, Receipts, Record, Strategy,
    Topic,
};
use floodgate_schemas::LikeAction::{Like as On, Unlike as Off};
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::{at, coupon_issue, event_id, like};
use floodgate_schemas::{Clock, Codecs, CouponIssue, Event, EventId, EventType, Keying, Like, SystemClock};
use floodgate_store::{Apply, Audit, Config, Pooler, Repair, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::check::{Check, Limits};
use crate::doubt::expired_unread;
use crate::kept::DecisionsKept;
use crate::letter_index::LetterIndex;
use crate::reapply::Mender;
use crate::report::Report;
use crate::state::{State, begin};
use crate::{OffsetRange, Tally, Verdict, VerifyError, Watch};

/// A log in memory, a database in a file, and the folder that both states are in.
struct Bench {
    strategy: Arc<dyn Strategy>,
    store: Arc<dyn Store>,
    folder: TempDir,
    /// The log in memory dates its records by the system's.
    clock: Arc<dyn Clock>,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            url: format!("sqlite://{}/bench.db", folder.path().display()).into(),
            pooler: Pooler::None,
            max_connections: 3,
            connect_timeout_ms: 5_000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 5_000,
            apply_timeout_ms: 15_000,
        };
        floodgate_store::migrate(&config).await.unwrap();
        Self {
            strategy: in_memory(1, 10_000, "x."),
            store: floodgate_store::open(&config).unwrap(),
            folder,
            clock: Arc::new(SystemClock),
        }
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
        self.dead_letter_of(of, offset, None).await;
    }

    async fn dead_letter_of(&self, of: EventType, offset: i64, log: Option<&str>) {
        let (topic, offset) = (self.strategy.names().events(of), offset.to_string());
        // what was a dead letter once before keeps the headers it had then
        let place = [("topic", "x.other"), ("topic", topic), ("partition", "0"), ("offset", &offset)];
        let headers = place.into_iter().chain(log.map(|log| ("log", log)));
        let headers: Vec<_> = headers.map(|(name, value)| (format!("floodgate-dlq-{name}"), value)).collect();
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
        let letters = LetterIndex::read(&*self.strategy)?;
        let limits = Limits { chunk: 3, run: 5 };
        let (strategy, store) = (&*self.strategy, &*self.store);
        let codecs = &Codecs::builtin();
        let (clock, kept) = (&*self.clock, DecisionsKept::default());
        let check = Check { strategy, store, letters, watch, codecs, limits, kept, clock, values, mender };
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

    fn names(&self) -> Names {
        self.strategy.names().clone()
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

/// A topic that was made anew has other records at the same offsets: the letters of the former one account for none of them.
#[tokio::test]
async fn letters_of_a_log_that_is_gone_account_for_nothing() {
    let bench = Bench::new().await;
    (bench.put(Topic::Events(EventType::Like), "k", b"no event", &[])).await;
    bench.dead_letter_of(EventType::Like, 0, Some("the former")).await;
    let report = bench.check_likes(1, false).await;
    assert_eq!((report.types[0].unreadable.missing, report.types[0].unreadable.dead_lettered), (1, 0));
    let log =
        bench.strategy.logs().unwrap().open(Topic::Events(EventType::Like)).unwrap().bounds().unwrap().log;
    bench.dead_letter_of(EventType::Like, 0, log.as_ref().map(LogId::as_str)).await;
    let report = bench.check_likes(1, false).await;
    assert_eq!((report.types[0].unreadable.missing, report.types[0].unreadable.dead_lettered), (0, 1));
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

/// A newer build may have applied what this one cannot read: no violation, but a note.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_newer_build_can_read_is_in_flight_or_unchecked() {
    let bench = Bench::new().await;
    for key in ["committed", "dead", "waiting"] {
        bench.put(Topic::Events(EventType::Like), key, b"\xc3\x01newer builds", &[]).await;
    }
    bench.dead_letter(EventType::Like, 1).await;
    let lag = bench.lag(EventType::Like, Some(2));
    let report = bench.check::<Like>(&mut bench.state(), &lag, &Nobody).await.unwrap();
    let no_events = &report.types[0].unreadable;
    assert_eq!((no_events.unknown_schema, no_events.dead_lettered, no_events.in_flight), (1, 1, 1));
    assert_eq!((no_events.missing, report.violations), (0, 0));
    assert!(report.notes.iter().any(|note| note.contains("newest consumers")), "{:?}", report.notes);
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
    let unchecked = [OffsetRange { partition: 0, from_offset: 0, until_offset: 4 }];

    // one record was not read when the check began, and was gone when it came there
    let report = bench.check::<Like>(&mut bench.state(), &before, &Nobody).await.unwrap();
    assert_eq!(report.types[0].unchecked, unchecked);
    assert_eq!((report.types[0].records, report.verdict), (6, Verdict::CannotTell), "{report:?}");
    let doubt = &report.cannot_tell[0];
    let last = OffsetRange { partition: 0, from_offset: 3, until_offset: 4 };
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
    (shorter.partitions[0].end, shorter.partitions[0].readable) = (Offset(2), Offset(2));
    let refused = begin(&mut bench.state(), at(0), std::slice::from_ref(&shorter));
    assert!(matches!(refused, Err(VerifyError::State(_))), "{refused:?}");
    // so is one of other partitions, or of more or fewer of them
    let mut other = longer;
    other.partitions[0].partition = Partition(3);
    let refused = begin(&mut bench.state(), at(0), std::slice::from_ref(&other));
    assert!(matches!(refused, Err(VerifyError::State(_))), "{refused:?}");
    let mut state = bench.state_in(&bench.folder.path().join("other"));
    begin(&mut state, at(0), std::slice::from_ref(&other)).unwrap();
    assert_eq!(state.progress.types[0][0].partition, 3);
    begin(&mut state, at(0), std::slice::from_ref(&other)).unwrap();
    let mut more = other.clone();
    more.partitions.push(other.partitions[0].clone());
    for others in [&[][..], &[other.clone(), other], &[more]] {
        let refused = begin(&mut state, at(0), others);
        assert!(matches!(refused, Err(VerifyError::State(_))), "{refused:?}");
    }
}
