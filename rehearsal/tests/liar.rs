//! Servers that lie, each in one way, are found out over HTTP; and one that does not, whatever trouble it has, is not accused.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "liar/server.rs"]
mod server;

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use floodgate_rehearsal::Shape;
use floodgate_rehearsal::client::{Asking, Client};
use floodgate_rehearsal::drive::Driving;
use floodgate_rehearsal::plan::{Kind, Plan};
use floodgate_rehearsal::rehearsal::{Rehearsal, RehearsalError};
use floodgate_rehearsal::report::{Check, Report, Verdict};
use floodgate_rehearsal::settle::Limits;
use floodgate_rehearsal::shape::Mix;

use self::server::{Lie, Server};

const SEED: u64 = 5;

const STOCK: u32 = 60;

/// 300 requests, of which most are for the coupon.
async fn report(lie: Lie) -> Report {
    let (shape, about) = shape();
    run(rehearsal(shape, &Server::start(lie, about).await)).await.unwrap()
}

async fn run(rehearsal: Rehearsal) -> Result<Report, RehearsalError> {
    tokio::task::spawn_blocking(move || rehearsal.run(&mut |_| {})).await.unwrap()
}

/// With the number of a request of somebody who asks once.
fn shape() -> (Shape, u32) {
    let shape = "title = \"any\"\nevery_s = 1.0\n[[stages]]\nseconds = 1.0\nusers = 300.0\n[retry]\ntries = 2\n\
                 [mix]\ncoupon = 0.6\ncoupon_again = 0.1\nexpectation = 0.1\nlike = 0.1\nhot = 0.1\n";
    let mut shape = Shape::parse(shape).unwrap();
    shape.coupon.stock = Some(STOCK);
    let plan = Plan::new(&shape, SEED, "summer".to_owned());
    let asks = |user| (0..300).filter(|number| plan.kind(*number) == Kind::Coupon { user }).count();
    let about = (40..).find(|user| asks(*user) == 1).unwrap();
    (shape, about)
}

fn rehearsal(shape: Shape, server: &Server) -> Rehearsal {
    Rehearsal {
        driving: Driving {
            urls: vec![format!("http://{}", server.address).parse().unwrap()],
            // each is certain to come after some
            asking: Asking { connections: 4, timeout: Duration::from_secs(10), token: None },
            threads: NonZeroU32::MIN,
            part: 0,
            parts: NonZeroU32::MIN,
            tries: shape.retry.tries,
            slow_readers: 0,
            seed: SEED,
        },
        shape,
        coupon: "summer".to_owned(),
        operators: None,
        limits: Limits {
            drain: Duration::from_secs(5),
            doubt: Duration::from_millis(200),
            ..Limits::default()
        },
        begins_unix_us: None,
        clock: Box::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64),
    }
}

/// Which checks do not hold.
async fn found(lie: Lie) -> Vec<String> {
    let report = report(lie).await;
    assert_eq!(report.verdict, Verdict::Fail, "{:#?}", report.checks);
    let failed = report.checks.into_iter().filter(|check| check.verdict == Verdict::Fail);
    failed.map(|check| check.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_server_passes() {
    let report = report(Lie::None).await;
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.checks);
    assert_eq!((report.sent, report.issued), (300, u64::from(STOCK)));
    // it had its trouble
    assert!(report.refused > 5 && report.unknown > 10 && report.tries > 350, "{report:#?}");
    assert!(
        report.told_sold_out > 0
            && report.sold_out > 0
            && report.duplicates > 0
            && report.drain_seconds.is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_over_issue_is_found() {
    let found = found(Lie::OverIssue).await;
    assert!(found.contains(&"no piece is given out beyond the stock".to_owned()), "{found:?}");
    assert!(
        found.contains(&"the coupon itself counts the pieces that were given out".to_owned()),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_202_is_found() {
    assert_eq!(found(Lie::Lost).await, ["every 202 is decided"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_rank_is_found() {
    assert_eq!(found(Lie::DoubledRank).await, ["ranks are 1, 2, 3 and so on, one each"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfair_order_is_found() {
    let name = "nobody is served before somebody who was answered before they asked";
    assert_eq!(found(Lie::Unfair).await, [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_503_is_found() {
    assert_eq!(found(Lie::Stored503).await, ["nothing that was refused is stored"]);
}

/// What an earlier load left there would be taken for this one's.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_is_refused() {
    let (shape, about) = shape();
    let server = Server::start(Lie::None, about).await;
    run(rehearsal(shape.clone(), &server)).await.unwrap();
    let again = rehearsal(shape.clone(), &server);
    let mut shared = rehearsal(shape.clone(), &server);
    shared.driving.parts = NonZeroU32::new(2).unwrap();
    let mut another = rehearsal(shape.clone(), &server);
    another.coupon = "winter".to_owned();
    let mut likes = shape;
    likes.mix = Mix { hot: 1.0, ..Mix::default() };
    for (rehearsal, words) in [
        (again, "coupon summer was used before"),
        (shared, "coupon summer was used before"),
        (another, "/expectations says that this seed was used before"),
        (self::rehearsal(likes, &server), "says that this seed was used before"),
    ] {
        let Err(RehearsalError::Wrong(told)) = run(rehearsal).await else { panic!("{words}") };
        assert!(told.contains(words), "{told}");
    }
}

const LIKES: &str = "every like that was accepted is there";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_like_is_found() {
    assert_eq!(found(Lie::LostLike).await, [LIKES, "counters count every like once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_like_is_not_hidden_by_a_doubled_one() {
    assert_eq!(found(Lie::LostAndDoubledLike).await, [LIKES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_altered_expectations_are_found() {
    let (lost, altered) = tokio::join!(found(Lie::LostExpectation), found(Lie::AlteredExpectation));
    assert_eq!((&lost, lost[0].as_str()), (&altered, "expectations are as they were written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_rejection_is_found() {
    // its likes are counted, too
    let names = ["nothing that was refused is stored", "counters count every like once"];
    assert_eq!(found(Lie::StoredRejection).await, names);
}

/// Of nothing everything else holds.
#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_nothing_does_not_pass() {
    assert_eq!(found(Lie::Forbidden).await, ["something was accepted"]);
}

/// A key may be good for writing alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_reads_nothing_is_told_of_before() {
    let (shape, about) = shape();
    let server = Server::start(Lie::Unreadable, about).await;
    let Err(RehearsalError::Wrong(told)) = run(rehearsal(shape, &server)).await else { panic!() };
    assert!(told.contains("could not be read: 403") && told.contains("FLOODGATE_KEY"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_something_could_not_be_read_is_told() {
    let (shape, about) = shape();
    let server = Server::start(Lie::UnreadableDecisions, about).await;
    let mut rehearsal = rehearsal(shape, &server);
    rehearsal.limits =
        Limits { drain: Duration::from_secs(1), last_looks: Duration::from_secs(1), ..rehearsal.limits };
    let report = run(rehearsal).await.unwrap();
    assert_eq!(report.verdict, Verdict::Unknown, "{:#?}", report.checks);
    let decided = report.checks.iter().find(|check| check.name == "every 202 is decided").unwrap();
    assert!(
        decided.found.contains(" could not be read (/api/v6/coupon-requests/")
            && decided.found.ends_with(" answered 403)"),
        "{decided:?}"
    );
}

/// The check on the lag, of a shape that expects something of it.
async fn lag(lie: Lie) -> Check {
    let (mut shape, about) = shape();
    shape.expect.lag = Some(5000);
    let server = Server::start(lie, about).await;
    let mut rehearsal = rehearsal(shape, &server);
    let url = format!("http://{}", server.address).parse().unwrap();
    rehearsal.operators = Some(Client::new(&url, &rehearsal.driving.asking).unwrap());
    let report = run(rehearsal).await.unwrap();
    report.checks.into_iter().find(|check| check.name == "no group is far behind").unwrap()
}

/// It says of the load nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_lag_is_not_believed() {
    let (honest, stale) = tokio::join!(lag(Lie::None), lag(Lie::StaleLag));
    assert_eq!(honest.verdict, Verdict::Pass, "{honest:?}");
    assert_eq!(
        (stale.verdict, stale.found.as_str()),
        (Verdict::Unknown, "nobody said anything while the load ran")
    );
}

/// Who is expected to know it is asked before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_knows_the_lag_is_told_of_before() {
    let (mut shape, about) = shape();
    shape.expect.lag = Some(5000);
    let server = Server::start(Lie::None, about).await;
    let Err(RehearsalError::Wrong(told)) = run(rehearsal(shape.clone(), &server)).await else { panic!() };
    assert!(told.contains("--operators"), "{told}");
    let mut rehearsal = rehearsal(shape, &server);
    let nobody = "http://127.0.0.1:9".parse().unwrap();
    rehearsal.operators = Some(Client::new(&nobody, &rehearsal.driving.asking).unwrap());
    let Err(RehearsalError::Unready(told)) = run(rehearsal).await else { panic!() };
    assert!(told.contains("127.0.0.1:9") && told.contains("--operators"), "{told}");
}
