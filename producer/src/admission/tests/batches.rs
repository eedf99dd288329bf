//! What batches cost, and large bodies: all of it or nothing, and when what is refused fits.

use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::advance;

use super::limits::{client, likes, limits};
use super::*;
use crate::admission::limits::Limits;
use crate::admission::standing::{Policy, Standing};

/// A batch costs what it holds, is taken whole or not at all, and one beyond the burst never is.
#[tokio::test(start_paused = true)]
async fn a_batch_costs_its_events() {
    let limits =
        limits(&RateLimitConfig { client_events_per_s: 10, client_burst_events: 100, ..unlimited() });
    let one = client(1);
    let standing = limits.take_one(&one).unwrap().unwrap();
    assert_eq!((standing.remaining, standing.reset_s), (99, 1));
    let standing = limits.take_rest(&one, 1, 60).unwrap().unwrap();
    assert_eq!((standing.remaining, standing.reset_s), (40, 6));
    assert_eq!(limits.take_rest(&one, 1, 1), Ok(None), "it is paid");
    assert_eq!(limits.take_rest(&one, 1, 0), Ok(None));
    let refused = limits.take_rest(&one, 1, 50).unwrap_err();
    let standing = Standing { policy: Policy::Client, remaining: 40, reset_s: 1 };
    let told = Exceeded::Now { policy: Policy::Client, standings: [Some(standing), None], retry_after_s: 1 };
    assert_eq!(refused, told, "less than that would be let in");
    assert_eq!(
        limits.take_rest(&one, 1, 41).unwrap().unwrap().remaining,
        0,
        "nothing of what was refused was taken"
    );
    assert_eq!(limits.take_rest(&one, 1, 101), Err(Exceeded::Ever { policy: Policy::Client, burst: 100 }));
    assert_eq!(
        limits.take_rest(&one, 1, u32::MAX),
        Err(Exceeded::Ever { policy: Policy::Client, burst: 100 })
    );
    let Err(Exceeded::Now { retry_after_s, .. }) = limits.take_rest(&one, 1, 30) else { unreachable!() };
    assert_eq!(retry_after_s, 3);
    advance(Duration::from_secs(3)).await;
    assert!(limits.take_one(&one).is_ok() && limits.take_rest(&one, 1, 30).is_ok());
}

/// Sends a request as routes do: its head first, then a body of which reading costs as much as so many events, and then what it holds.
/// Returns, where it is refused, whether that was by its head, and what it is told to wait.
fn send(limits: &Limits, read: u32, events: u32) -> Result<(), (bool, Duration)> {
    let wait = |exceeded| match exceeded {
        Exceeded::Now { retry_after_s, .. } => Duration::from_secs(retry_after_s.into()),
        Exceeded::Ever { .. } => unreachable!("it fits"),
    };
    limits.take_one(&client(1)).map_err(|exceeded| (true, wait(exceeded)))?;
    limits.owe(&client(1), read - 1);
    limits.take_rest(&client(1), read, events).map(drop).map_err(|exceeded| (false, wait(exceeded)))
}

fn any_limit() -> impl Strategy<Value = RateLimitConfig> {
    let quota = || (prop_oneof![1u32..20, 1u32..2_000_000], prop_oneof![1u32..20, 1u32..1_000]);
    (quota(), prop_oneof![1 => Just((0, 0)), 1 => quota()], any::<bool>()).prop_map(
        |((rate, burst), (other_rate, other_burst), is_of_all)| {
            let (client, total) = ((rate, burst), (other_rate, other_burst));
            let (client, total) = if is_of_all { (total, client) } else { (client, total) };
            RateLimitConfig {
                client_events_per_s: client.0,
                client_burst_events: client.1,
                total_events_per_s: total.0,
                total_burst_events: total.1,
                ..unlimited()
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is alone and waits exactly as long as it is told is let in then: with the whole of what it sent, unless nobody knew yet
    /// how much that was.
    #[test]
    fn who_waits_as_long_as_it_is_told_is_let_in(
        config in any_limit(),
        course in prop::collection::vec((0u64..3_000_000_000, 0f64..1.0, prop_oneof![Just(0.0), 0f64..2.0]), 1..20),
    ) {
        let bursts = [config.client_burst_events, config.total_burst_events];
        let most = bursts.into_iter().filter(|burst| *burst > 0).min().unwrap_or(1);
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
            let limits = limits(&config);
            for (pause, part, read) in course {
                advance(Duration::from_nanos(pause)).await;
                let events = (part * f64::from(most)) as u32 + 1;
                let read = (read * f64::from(events)) as u32 + 1;
                let mut refusals = Vec::new();
                while let Err((is_by_head, wait)) = send(&limits, read, events) {
                    refusals.push(is_by_head);
                    prop_assert!(
                        matches!(refusals[..], [true] | [false] | [true, false]),
                        "{events} events, {read} for reading, {refusals:?}"
                    );
                    advance(wait).await;
                }
            }
            Ok(())
        })?;
    }
}

/// A batch that is refused is let in after the time that it is told, all of it, and not a second before.
#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_as_long_as_it_is_told_is_let_in() {
    for (rate, wait) in [(1, 21), (2, 11), (10, 3)] {
        let limit = RateLimitConfig { client_events_per_s: rate, client_burst_events: 100, ..unlimited() };
        let (world, _) = world(&auth(AuthMode::Off), &limit);
        let sent = async || world.ask("POST", "/api/v6/events", &[JSON], likes(60)).await;
        assert_eq!(sent().await.told().0, 200);
        let refused = sent().await;
        assert_eq!((refused.told().0, refused.header("retry-after")), (429, Some(&*wait.to_string())));
        let remaining = format!("\"client\";r=39;t={wait}");
        assert_eq!(refused.header("ratelimit"), Some(&*remaining), "what is left of it at once");
        advance(Duration::from_secs(wait)).await;
        assert_eq!(sent().await.told().0, 200, "at {rate} a second");
    }
}

/// Reading a body costs, also where it is refused or means nothing; of a batch of as many events as its bytes can be it is a part.
#[tokio::test(start_paused = true)]
async fn reading_a_large_body_is_paid_for() {
    let limit = RateLimitConfig { client_events_per_s: 10, client_burst_events: 100, ..unlimited() };
    let (world, _) = world(&auth(AuthMode::Off), &limit);
    let left = |answer: &Answer| answer.header("ratelimit").unwrap().to_owned();
    let sent = async |body: String| world.ask("POST", "/api/v6/events", &[JSON], body).await;
    // events as wide as any are no more than events
    let wide = |events: usize| {
        let id = "\\ud83d\\ude00".repeat(128);
        let event = format!(
            r#"{{"type":"like","targetOcid":"{id}","likerAccountId":"{id}","action":"LIKE","occurredAt":"{}","idempotencyKey":"{}"}}"#,
            "2026-01-01T00:00:00.000000Z",
            "\\u0041".repeat(128),
        );
        format!("[{}]", vec![event; events].join(","))
    };
    let told = sent(wide(20)).await;
    assert_eq!((told.told().0, &*left(&told)), (200, "\"client\";r=80;t=2"));
    // nothing, in so many bytes
    let blank = |kib: usize| " ".repeat(kib << 10);
    assert_eq!(sent(blank(80)).await.told().0, 400);
    let told = sent(blank(0)).await;
    assert_eq!((told.told().0, &*left(&told)), (400, "\"client\";r=59;t=5"));
    // nor is it free where it becomes too large, which is seen when it has
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    std::io::Write::write_all(&mut bomb, blank(100).as_bytes()).unwrap();
    let gzip = [JSON, ("content-encoding", "gzip")];
    let told = world.ask("POST", "/api/v6/events", &gzip, bomb.finish().unwrap()).await;
    assert_eq!(told.told().0, 413);
    let told = sent(blank(0)).await;
    assert_eq!((told.told().0, &*left(&told)), (400, "\"client\";r=34;t=7"));
    // on credit, for which all wait that comes later
    for _ in 0..2 {
        assert_eq!(sent(blank(96)).await.told().0, 400);
    }
    let refused = sent(blank(0)).await;
    assert_eq!((refused.told().0, refused.header("retry-after")), (429, Some("2")));
    advance(Duration::from_secs(2)).await;
    assert_eq!(sent(blank(0)).await.told().0, 400);
}

/// What all use up together costs none of them its own share, and it is told when both fit.
#[tokio::test(start_paused = true)]
async fn what_the_total_refuses_does_not_cost_the_client_its_share() {
    let limit = RateLimitConfig {
        client_events_per_s: 10,
        client_burst_events: 100,
        total_events_per_s: 100,
        total_burst_events: 1000,
        ..unlimited()
    };
    let limits = limits(&limit);
    let others = |events: usize| {
        for number in 0..events {
            assert!(limits.take_one(&client(100 + number)).is_ok());
        }
    };
    others(990);
    assert_eq!(limits.take_one(&client(1)).unwrap().unwrap().remaining, 99);
    // one for its head, and all the others are there still
    let refused = limits.take_rest(&client(1), 1, 100).unwrap_err();
    let standing = |policy, remaining, reset_s| Some(Standing { policy, remaining, reset_s });
    let standings = [standing(Policy::Client, 99, 1), standing(Policy::Total, 9, 1)];
    assert_eq!(refused, Exceeded::Now { policy: Policy::Total, standings, retry_after_s: 1 });
    advance(Duration::from_secs(1)).await;
    assert_eq!(limits.take_one(&client(1)).unwrap().unwrap().remaining, 99);
    assert_eq!(limits.take_rest(&client(1), 1, 100).unwrap().unwrap().remaining, 0);
    // the later of both is told, whichever refuses
    let refused = limits.take_one(&client(1)).unwrap_err();
    assert!(matches!(refused, Exceeded::Now { policy: Policy::Client, retry_after_s: 1, .. }), "{refused:?}");
    advance(Duration::from_secs(5)).await;
    others(500);
    assert!(limits.take_one(&client(1)).is_ok());
    let refused = limits.take_rest(&client(1), 1, 60).unwrap_err();
    assert!(matches!(refused, Exceeded::Now { policy: Policy::Client, retry_after_s: 2, .. }), "{refused:?}");
}

/// What is given back while others take of the same share is neither lost nor counted twice.
#[test]
fn what_is_given_back_is_exact_among_threads() {
    const BATCH: u32 = 10;
    let limit = RateLimitConfig {
        client_events_per_s: 1,
        client_burst_events: 1_000_000,
        total_events_per_s: 1,
        total_burst_events: 100_000,
        ..unlimited()
    };
    let limits = limits(&limit);
    let send = || {
        let batches = (0..10_000).map(|_| match limits.take_one(&client(1)) {
            Ok(_) if limits.take_rest(&client(1), 1, BATCH).is_ok() => BATCH as usize,
            _ => 1,
        });
        batches.sum::<usize>()
    };
    let cost: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let left = limits.take_one(&client(1)).unwrap_err();
    let Exceeded::Now { standings: [Some(of_client), Some(of_all)], .. } = left else { unreachable!() };
    assert!(cost > 100_000, "some are refused, {cost}");
    let off = (f64::from(1_000_000 - of_client.remaining) / (cost + 1) as f64 - 1.0).abs();
    assert!(of_all.remaining == 0 && off < 0.02, "{cost} are {of_client:?}, {of_all:?}");
}

/// A batch that is refused is refused whole, with its request's answer; one that never fits says so.
#[tokio::test(start_paused = true)]
async fn batches_are_refused_whole() {
    let limit = RateLimitConfig { client_events_per_s: 10, client_burst_events: 10, ..unlimited() };
    let (world, _) = world(&auth(AuthMode::Off), &limit);
    let never = world.ask("POST", "/api/v6/events", &[JSON], likes(11)).await;
    assert_eq!((never.told(), &never.body["retryable"]), ((413, "too-many-events"), &json!(false)));
    let taken = world.ask("POST", "/api/v6/events", &[JSON], likes(8)).await;
    assert_eq!((taken.told().0, taken.header("ratelimit")), (200, Some("\"client\";r=1;t=1")));
    let refused = world.ask("POST", "/api/v6/events", &[JSON], likes(300)).await;
    assert_eq!(refused.told(), (413, "too-many-events"), "also one that is worked on elsewhere");
    advance(Duration::from_millis(200)).await;
    let refused = world.ask("POST", "/api/v6/events", &[JSON], likes(5)).await;
    assert_eq!((refused.told(), refused.header("retry-after")), ((429, "rate-limited"), Some("1")));
    assert_eq!(refused.header("ratelimit"), Some("\"client\";r=0;t=1"), "what was read before is paid for");
    assert_eq!(world.buffer.take().len(), 8);
}

/// A batch that never fits costs no more than its request, whichever limit it does not fit.
#[tokio::test(start_paused = true)]
async fn what_never_fits_costs_nothing() {
    let config = RateLimitConfig {
        client_events_per_s: 1,
        client_burst_events: 100,
        total_events_per_s: 1,
        total_burst_events: 50,
        ..unlimited()
    };
    let limits = limits(&config);
    assert_eq!(limits.take_one(&client(1)).unwrap().unwrap().remaining, 99);
    let never = Err(Exceeded::Ever { policy: Policy::Total, burst: 50 });
    assert_eq!(limits.take_rest(&client(1), 1, 60), never);
    assert_eq!(limits.take_one(&client(1)).unwrap().unwrap().remaining, 98);
}
