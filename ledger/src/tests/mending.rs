//! What is missing is brought back, and what differs is set.

use floodgate_buffer::EventOrigin;

use super::*;
use crate::Reapplied;

impl Bench {
    async fn mend_likes(&self, committed: i64, values: bool, dry_run: bool) -> Reapplied {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, lag) = (self.state_in(folder.path()), self.lag(EventType::Like, Some(committed)));
        let mender =
            Mender::new(&*self.store, self.names(), &*self.clock, Codecs::builtin(), dry_run, values);
        let report = self.check_with::<Like>(&mut state, &lag, &Nobody, values, Some(&mender)).await.unwrap();
        mender.ended(report)
    }
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
        let mender =
            Mender::new(&*bench.store, bench.names(), &*bench.clock, Codecs::builtin(), dry_run, values);
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
    let mender = Mender::new(&*bench.store, bench.names(), &*bench.clock, Codecs::builtin(), false, false);
    let report =
        bench.check_with::<CouponIssue>(&mut bench.state(), &lag, &Nobody, false, Some(&mender)).await;
    let done = mender.ended(report.unwrap());
    assert_eq!(done.outcomes, [("UNKNOWN_COUPON", 1)].into());
    assert!(done.notes[0].contains("stock there is now"), "{done:?}");
}
