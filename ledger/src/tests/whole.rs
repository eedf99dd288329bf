//! The commands as a whole, over a log that is said to lie outside of this process.

use std::ops::Range;
use std::time::Duration;

use floodgate_buffer::{
    Absent, BoxFuture, Chunk, EventOrigin, Lag, LagError, Log, LogBounds, LogError, Logs, Names, NotTaken,
    OpenError, Publish, Reach, Receipt, Spill, Subscription, Topics, Waiting,
};
use floodgate_schemas::examples::HandClock;
use parking_lot::Mutex;

use super::*;
use crate::kept::DecisionsKept;
use crate::{Search, Sought, Verification};

/// The log in memory as if others saw it, too, with what a cluster may say of it.
#[derive(Clone)]
pub(super) struct Shared {
    inner: Arc<dyn Strategy>,
    /// Where the group of the likes is; the others have read everything.
    committed: Option<i64>,
    /// Where it is when it is asked for the second time.
    committed_later: Option<i64>,
    asked: Arc<AtomicU64>,
    members: Option<usize>,
    /// From here on an open transaction hides the records.
    readable: Option<i64>,
    /// From here on offsets hold no record.
    empty_from: Option<i64>,
    /// Every other offset holds no record.
    has_gaps: bool,
    is_compacted: Result<bool, String>,
    unknown: Vec<(Partition, String)>,
}

impl Strategy for Shared {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn place(&self) -> String {
        "elsewhere".to_owned()
    }

    fn promise(&self) -> String {
        self.inner.promise()
    }

    fn reach(&self) -> Reach {
        Reach { is_shared: true, outlives_process: true, is_readable_from_outside: true }
    }

    fn names(&self) -> &Names {
        self.inner.names()
    }

    fn reports_within(&self) -> Option<Duration> {
        self.inner.reports_within()
    }

    fn publisher_with(&self, _: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError> {
        Ok(Arc::new(StaysOpen(self.inner.publisher()?)))
    }

    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError> {
        self.inner.subscribe(of, limits)
    }

    fn logs(&self) -> Result<&dyn Logs, Absent> {
        Ok(self)
    }

    fn topics(&self) -> Result<&dyn Topics, Absent> {
        self.inner.topics()
    }
}

impl Lag for Shared {
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError> {
        let mut lag = self.inner.lag(of)?;
        lag.members = self.members;
        lag.unknown.clone_from(&self.unknown);
        let bounds = &mut lag.partitions[0];
        bounds.committed = Some(bounds.end);
        if of == EventType::Like {
            let is_first = self.asked.fetch_add(1, Ordering::SeqCst) == 0;
            bounds.committed = if is_first { self.committed } else { self.committed_later }.map(Offset);
            bounds.readable = self.readable.map_or(bounds.end, Offset);
        }
        Ok(lag)
    }
}

impl Logs for Shared {
    fn open(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError> {
        let empty_from = self.empty_from.filter(|_| topic == Topic::Events(EventType::Like)).map(Offset);
        let inner = self.inner.logs().unwrap().open(topic)?;
        let is_compacted = self.is_compacted.clone();
        Ok(Box::new(SharedLog { inner, empty_from, has_gaps: self.has_gaps, is_compacted }))
    }
}

/// Each process has a publisher of its own: closing one closes no other.
struct StaysOpen(Arc<dyn Publish>);

impl Publish for StaysOpen {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        self.0.offer(record, receipt)
    }

    fn ready(&self) -> Result<(), String> {
        self.0.ready()
    }

    fn waiting(&self) -> Waiting {
        self.0.waiting()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

struct SharedLog {
    inner: Box<dyn Log>,
    empty_from: Option<Offset>,
    has_gaps: bool,
    is_compacted: Result<bool, String>,
}

impl Log for SharedLog {
    fn is_compacted(&mut self) -> Result<bool, LogError> {
        self.is_compacted.clone().map_err(LogError::Unavailable)
    }

    fn bounds(&mut self) -> Result<LogBounds, LogError> {
        self.inner.bounds()
    }

    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let events = if self.has_gaps { 2 } else { events };
        let mut chunk = self.inner.read(partition, range, events)?;
        if self.has_gaps {
            chunk.batch.keep_first(partition, 1);
        }
        if let Some(empty_from) = self.empty_from {
            chunk.batch.keep_before(partition, empty_from);
        }
        Ok(chunk)
    }
}

/// Notes what it is told.
#[derive(Default)]
struct Notebook(Mutex<Vec<(String, u64, u64)>>);

impl Watch for Notebook {
    fn begins(&self, what: &str, offsets: u64) {
        self.0.lock().push((what.to_owned(), offsets, 0));
    }

    fn goes_on(&self, offsets: u64) {
        self.0.lock().last_mut().unwrap().2 += offsets;
    }
}

impl Bench {
    pub(super) fn shared(&self, committed: Option<i64>) -> Shared {
        Shared {
            inner: Arc::clone(&self.strategy),
            committed,
            committed_later: committed,
            asked: Arc::default(),
            members: Some(1),
            readable: None,
            empty_from: None,
            has_gaps: false,
            is_compacted: Ok(false),
            unknown: Vec::new(),
        }
    }

    fn verification<'a>(&self, strategy: &Shared, values: bool, watch: &'a dyn Watch) -> Verification<'a> {
        Verification {
            strategy: Arc::new(strategy.clone()),
            store: Arc::clone(&self.store),
            store_name: "the bench".to_owned(),
            state: None,
            values,
            watch,
            clock: Arc::clone(&self.clock),
            codecs: Codecs::builtin(),
            kept: DecisionsKept::default(),
        }
    }

    pub(super) async fn report(&self, strategy: &Shared) -> Report {
        self.verification(strategy, false, &Nobody).run().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_at_every_type_and_says_how_far_it_is() {
    let bench = Bench::new().await;
    mixed(&bench).await;
    let notebook = Notebook::default();
    let strategy = bench.shared(Some(10));
    let clock = Arc::new(HandClock::new(at(5)));
    let verification = Verification { clock, ..bench.verification(&strategy, true, &notebook) };
    let report = verification.run().await.unwrap();
    assert_eq!(report.as_of, at(5).to_string());
    assert!(report.events_checked && report.values_compared);
    let types: Vec<_> = report.types.iter().map(|of| (of.of, of.records)).collect();
    assert_eq!(types, [("expectation", 0), ("coupon", 0), ("like", 17)]);
    assert_mixed(&Report { types: report.types[2..].to_vec(), ..report });
    let told = std::mem::take(&mut *notebook.0.lock());
    let told: Vec<_> = told.iter().map(|(what, offsets, done)| (&**what, *offsets, *done)).collect();
    assert_eq!(
        told,
        [
            ("dead letters", 0, 0),
            ("x.floodgate.expectation.v1", 0, 0),
            ("x.floodgate.coupon.v1", 0, 0),
            ("x.floodgate.like.v1", 17, 17),
            ("counters and coupons", 0, 0)
        ]
    );
    // one that goes on says what is left
    let lag = bench.lag(EventType::Like, Some(10));
    let mut state = bench.state();
    begin(&mut state, at(0), std::slice::from_ref(&lag)).unwrap();
    state.progress.types[0][0].next = 12;
    bench.check::<Like>(&mut state, &lag, &notebook).await.unwrap();
    assert_eq!(*notebook.0.lock(), [("x.floodgate.like.v1".to_owned(), 5, 5)]);
}

/// What lies inside the running process is not looked at; the database is.
#[tokio::test(flavor = "multi_thread")]
async fn events_in_another_process_are_unchecked_and_said_to_be() {
    let bench = Bench::new().await;
    mixed(&bench).await;
    let shared = bench.verification(&bench.shared(None), true, &Nobody);
    let verification = Verification { strategy: Arc::clone(&bench.strategy), ..shared };
    let report = verification.run().await.unwrap();
    assert_eq!((report.events_checked, report.values_compared, report.types.len()), (false, false, 0));
    assert!(report.balanced && report.notes[0].contains("in-memory strategy keeps events"), "{report:?}");
}

/// A state is of one log, one database, and one kind of check.
#[tokio::test(flavor = "multi_thread")]
async fn another_check_is_told_from_this_one() {
    let bench = Bench::new().await;
    let strategy = bench.shared(None);
    let of = |values| bench.verification(&strategy, values, &Nobody).identity();
    let this = "in-memory at elsewhere with x.floodgate.expectation.v1, x.floodgate.coupon.v1, x.floodgate.like.v1 and the bench";
    assert_eq!([of(false), of(true)], [this.to_owned(), format!("{this}, comparing values")]);
}

/// Before the group could read it some of the log expired; what it had read by the second look is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_expired_unread_is_lost_unless_the_group_was_there_before() {
    let bench = Bench::new().await;
    let likes: Vec<Like> = (0..6).map(|n| like(n, "t", &format!("l{n}"), On, 1)).collect();
    bench.store.apply(&likes, at(0)).await.unwrap();
    bench.publish(&likes).await;
    let limits = BatchLimits { events: 4, bytes: 1 << 20, wait: Duration::ZERO, drain: Duration::ZERO };
    let mut member = bench.strategy.subscribe(EventType::Like, limits).unwrap();
    let batch = member.next().await.unwrap().unwrap();
    member.commit(batch);
    member.close().await.unwrap();

    let report = bench.report(&bench.shared(Some(1))).await;
    let lost: Vec<_> =
        report.lost.iter().map(|lost| (lost.kind, lost.range.from_offset, lost.records)).collect();
    assert_eq!((lost, report.violations), (vec![("expiredUnread", 1, 3)], 3), "{report:?}");
    let report = bench.report(&Shared { committed_later: Some(3), ..bench.shared(Some(1)) }).await;
    assert_eq!((report.lost[0].records, report.violations), (1, 1), "{report:?}");
    let strategy = bench.shared(Some(4));
    let report = bench.report(&strategy).await;
    assert_eq!((report.verdict, report.lost.len()), (Verdict::Balanced, 0), "{report:?}");
    assert_eq!(strategy.asked.load(Ordering::SeqCst), 1, "nothing is behind, and it was asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_without_a_record_have_a_reason_or_are_in_doubt() {
    let bench = Bench::new().await;
    let likes: Vec<Like> = (0..5).map(|n| like(n, "t", &format!("l{n}"), On, 1)).collect();
    bench.store.apply(&likes, at(0)).await.unwrap();
    bench.publish(&likes).await;
    let with = |is_compacted| Shared { empty_from: Some(3), is_compacted, ..bench.shared(Some(5)) };
    let note = "2 offsets of x.floodgate.like.v1 hold no record";
    let range = OffsetRange { partition: 0, from_offset: 3, until_offset: 5 };

    let report = bench.report(&with(Ok(false))).await;
    assert_eq!(report.notes, [format!("{note}: transactions ended or were aborted there")]);
    assert_eq!((report.verdict, report.types[2].records), (Verdict::Balanced, 3), "{report:?}");
    let report = bench.report(&with(Ok(true))).await;
    assert_eq!(report.notes, [format!("{note}; its cleanup.policy is compact")]);
    assert_eq!((report.lost[0].kind, report.lost[0].range, report.violations), ("compacted", range, 2));
    let told = report.lost[0].to_string();
    assert!(told.contains("partition 0 offsets 3 to 4: removed by compaction"), "{told}");
    let report = bench.report(&with(Err("not allowed".to_owned()))).await;
    assert_eq!((report.notes, report.verdict), (vec![note.to_owned()], Verdict::CannotTell));
    assert_eq!(
        (report.cannot_tell[0].kind, report.cannot_tell[0].range),
        ("offsetsWithoutRecord", Some(range))
    );
    assert!(report.cannot_tell[0].detail.ends_with("not allowed"), "{:?}", report.cannot_tell);
    let report = bench.report(&bench.shared(Some(5))).await;
    assert_eq!(report.notes, Vec::<String>::new());
}

/// Stretches without a record are told one by one, a limited number of them, and all offsets are counted.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_gaps_as_may_be_are_told_one_by_one() {
    let bench = Bench::new().await;
    let likes: Vec<Like> = (0..202).map(|n| like(n, "t", &format!("l{n}"), On, 1)).collect();
    bench.store.apply(&likes, at(0)).await.unwrap();
    bench.publish(&likes).await;
    let strategy = Shared { has_gaps: true, is_compacted: Ok(true), ..bench.shared(Some(202)) };
    let report = bench.report(&strategy).await;
    assert_eq!((report.lost.len(), report.types[2].records), (100, 101));
    assert!(report.lost.iter().all(|lost| lost.records == 1) && report.lost[99].range.from_offset == 199);
    assert_eq!(
        report.notes,
        ["101 offsets of x.floodgate.like.v1 hold no record; its cleanup.policy is compact"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_yet_or_was_not_told_is_said() {
    let bench = Bench::new().await;
    let likes: Vec<Like> = (0..5).map(|n| like(n, "t", &format!("l{n}"), On, 1)).collect();
    bench.store.apply(&likes, at(0)).await.unwrap();
    bench.publish(&likes).await;
    let unknown = vec![(Partition(3), "no leader".to_owned())];
    let report = bench.report(&Shared { readable: Some(3), unknown, ..bench.shared(Some(3)) }).await;
    assert_eq!(report.types[2].records, 3);
    assert!(
        report.notes.len() == 1 && report.notes[0].contains("partition 0 offsets 3 to 4: in flight"),
        "{report:?}"
    );
    let doubts: Vec<_> = report.cannot_tell.iter().map(|doubt| doubt.kind).collect();
    assert_eq!(doubts, ["partitionUnknown"; 3], "of each type");
    assert!(report.cannot_tell[0].to_string().contains("partition 3: unchecked"), "{:?}", report.cannot_tell);
}

/// A group that never committed, and rows that somebody else brought: events and records that wait are both in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_never_committed_is_doubted_when_something_waits() {
    let bench = Bench::new().await;
    bench.store.apply(&[like(1, "t", "a", On, 1)], at(0)).await.unwrap();
    bench.publish(&[like(1, "t", "a", On, 1)]).await;
    let never = || Shared { members: Some(0), ..bench.shared(None) };
    assert_eq!(bench.report(&never()).await.verdict, Verdict::Balanced, "nothing waits");
    bench.put(Topic::Events(EventType::Like), "k", b"no event", &[]).await;
    let report = bench.report(&never()).await;
    let doubts: Vec<_> = report.cannot_tell.iter().map(|doubt| (doubt.kind, doubt.count)).collect();
    assert_eq!(doubts, [("groupNeverCommitted", 1)], "{report:?}");
    bench.publish(&[like(2, "t", "b", On, 1)]).await;
    assert_eq!(bench.report(&never()).await.cannot_tell[0].count, 2);
    assert_eq!(
        bench.report(&bench.shared(None)).await.verdict,
        Verdict::Balanced,
        "its members are on their way"
    );
}

/// A row with a later time than its event's hides the events between: they come to light, and back, in the next round.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_row_hid_is_brought_back_after_it() {
    let bench = Bench::new().await;
    bench.store.apply(&[like(1, "t", "a", On, 30)], at(0)).await.unwrap();
    bench.publish(&[like(1, "t", "a", On, 10), like(2, "t", "a", Off, 20)]).await;
    let reapply = async |values, dry_run| {
        let strategy = bench.shared(Some(2));
        let done = bench.verification(&strategy, values, &Nobody).reapply_missing(dry_run).await.unwrap();
        assert_eq!(done.dry_run, dry_run);
        (done.outcomes, strategy.asked.load(Ordering::SeqCst))
    };
    assert_eq!(reapply(true, true).await, ([("wouldSet", 1)].into(), 1));
    assert_eq!(reapply(false, false).await, ([].into(), 1), "once is enough where nothing is set");
    assert_eq!(reapply(true, false).await, ([("set", 1), ("applied", 1)].into(), 2));
    let strategy = bench.shared(Some(2));
    assert_eq!(bench.verification(&strategy, true, &Nobody).run().await.unwrap().verdict, Verdict::Balanced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_record_is_brought_back_once_its_group_has_read_it() {
    let bench = Bench::new().await;
    bench.publish(&[like(1, "t", "a", On, 1), like(2, "t", "b", On, 1)]).await;
    let verification = bench.verification(&bench.shared(Some(1)), false, &Nobody);
    let origins = [0, 1].map(|offset| EventOrigin {
        of: EventType::Like,
        partition: Partition(0),
        offset: Offset(offset),
    });
    let done = verification.reapply(&origins, false).await.unwrap();
    assert_eq!((done.outcomes, done.left_count), ([("applied", 1)].into(), 1));
    assert!(done.left[0].reason.contains("on its way"), "{:?}", done.left);
}

/// The decisions of old requests may be deleted, and those of new ones may not.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_not_missing() {
    let bench = Bench::new().await;
    let days = |days: i64| at(days * 24 * 3_600_000_000);
    let ask = |number, accepted_at| CouponIssue { accepted_at, ..coupon_issue(number, "none", "ann") };
    let requests = [ask(1, days(0)), ask(2, days(0)), ask(3, days(40))];
    bench.publish::<CouponIssue>(&requests).await;
    bench.store.apply(&requests[..1], days(0)).await.unwrap();
    let report = async |kept: DecisionsKept| {
        let strategy = bench.shared(Some(3));
        let clock = Arc::new(HandClock::new(days(60)));
        let verification = Verification { clock, kept, ..bench.verification(&strategy, false, &Nobody) };
        let tally = verification.run().await.unwrap().types[1].tally;
        let again = verification.reapply_missing(true).await.unwrap().outcomes;
        (tally.decided, tally.forgotten, tally.missing, again.get("wouldDecide").copied())
    };
    assert_eq!(report(DecisionsKept { days: 0 }).await, (1, 0, 2, Some(2)));
    assert_eq!(report(DecisionsKept { days: 38 }).await, (1, 1, 1, Some(1)));
    let states = async |kept: DecisionsKept| {
        let (strategy, clock) = (Arc::new(bench.shared(Some(3))), Arc::new(HandClock::new(days(60))));
        let (store, codecs) = (Arc::clone(&bench.store), Codecs::builtin());
        let search = Search { strategy, store, codecs, kept, clock };
        let found =
            search.run(&Sought::Key(EventType::Coupon, b"none".to_vec()), |_| {}).await.unwrap().found;
        found.iter().map(|found| (found.state, found.meaning.contains("long ago"))).collect::<Vec<_>>()
    };
    let kept = [("decided", false), ("missing", false), ("missing", false)];
    assert_eq!(states(DecisionsKept { days: 0 }).await, kept);
    let forgotten = [("decided", false), ("decided", true), ("missing", false)];
    assert_eq!(states(DecisionsKept { days: 38 }).await, forgotten);
}
