//! How much is let in, in virtual time.

use std::time::Duration;

use floodgate_observe::Metrics;
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admission::limits::Limits;

pub(super) fn client(number: usize) -> Client {
    Client::Subject(format!("client-{number}").into())
}

pub(super) fn limits(config: &RateLimitConfig) -> Limits {
    Limits::new(config, &Metrics::new().unwrap().http.clients).unwrap()
}

/// A body of so many events.
pub(super) fn likes(number: usize) -> String {
    let like = json!({"type": "like", "targetOcid": "a", "likerAccountId": "b", "action": "LIKE"});
    json!(vec![like; number]).to_string()
}

/// Lets all clients ask, turn by turn, for ten seconds, each more often than it may. Returns how often they were let in.
async fn flood(limits: &Limits, clients: usize, asks_per_s: u32) -> Vec<u64> {
    let clients: Vec<_> = (0..clients).map(client).collect();
    let mut let_in = vec![0; clients.len()];
    let (start, pause) = (Instant::now(), Duration::from_secs(1) / asks_per_s);
    while start.elapsed() < Duration::from_secs(10) {
        for (client, count) in clients.iter().zip(&mut let_in) {
            *count += u64::from(limits.take_one(client).is_ok());
        }
        advance(pause).await;
    }
    let_in
}

/// Each client's rate, whether it is alone or among many: what ten seconds bring and a burst, within two in a hundred. (With a burst
/// of one it would have to ask at the very moment.)
#[tokio::test(start_paused = true)]
async fn rates_are_kept_to() {
    for (clients, rate) in [(1, 1000), (2, 333), (200, 70)] {
        let config = RateLimitConfig { client_events_per_s: rate, client_burst_events: 5, ..unlimited() };
        let expected = f64::from(rate * 10 + 5);
        for let_in in flood(&limits(&config), clients, 3 * rate).await {
            let off = (let_in as f64 / expected - 1.0).abs();
            assert!(off < 0.02, "{clients} clients at {rate}: {let_in}, {off}");
        }
    }
    for clients in [1, 2, 200] {
        let config = RateLimitConfig { total_events_per_s: 500, total_burst_events: 5, ..unlimited() };
        let let_in: u64 = flood(&limits(&config), clients, 1500).await.iter().sum();
        assert!((let_in as f64 / 5005.0 - 1.0).abs() < 0.02, "{clients}: {let_in}");
    }
}

/// Who keeps to its rate is let in always, whatever another does.
#[tokio::test(start_paused = true)]
async fn a_flood_takes_nothing_from_another() {
    let limits = limits(&RateLimitConfig { client_events_per_s: 10, client_burst_events: 2, ..unlimited() });
    for _ in 0..100 {
        for _ in 0..50 {
            let _ = limits.take_one(&client(1));
        }
        assert!(limits.take_one(&client(2)).is_ok());
        advance(Duration::from_millis(100)).await;
    }
}

/// Who asks for more than its own share takes nothing of what all may send.
#[tokio::test(start_paused = true)]
async fn a_flood_takes_nothing_of_what_all_may_send() {
    let limit = RateLimitConfig {
        client_events_per_s: 1,
        client_burst_events: 10,
        total_events_per_s: 1,
        total_burst_events: 20,
        ..unlimited()
    };
    let limits = limits(&limit);
    let let_in = |of, times| (0..times).filter(|_| limits.take_one(&client(of)).is_ok()).count();
    assert_eq!(let_in(1, 1000), 10);
    assert_eq!(let_in(2, 1000), 10);
    assert_eq!(let_in(3, 1000), 0);
}

/// The window is told where it is one: seconds are whole there, and a burst of less than a second's worth, told as what a second
/// brings, would be a tenth of what is let in.
#[test]
fn policies_say_what_is_let_in() {
    for ((rate, burst), told) in [
        ((10, 100), "q=100;w=10;floodgate-events-per-s=10"),
        ((10, 0), "q=10;w=1;floodgate-events-per-s=10"),
        ((2000, 200), "q=200;floodgate-events-per-s=2000"),
        ((10, 15), "q=15;floodgate-events-per-s=10"),
        ((10_000_000, u32::MAX), "q=4294967295;floodgate-events-per-s=10000000"),
    ] {
        let of_client =
            RateLimitConfig { client_events_per_s: rate, client_burst_events: burst, ..unlimited() };
        assert_eq!(limits(&of_client).policies(), format!("\"client\";{told}"));
        let of_both = RateLimitConfig { total_events_per_s: rate, total_burst_events: burst, ..of_client };
        assert_eq!(limits(&of_both).policies(), format!("\"client\";{told}, \"total\";{told}"));
    }
}

/// A hundred thousand clients take no more room than a thousand, and the silent are forgotten first.
#[tokio::test(start_paused = true)]
async fn clients_are_bounded() {
    let config =
        RateLimitConfig { client_events_per_s: 1, client_burst_events: 1, clients_max: 1000, ..unlimited() };
    let known = Metrics::new().unwrap().http.clients;
    let limits = Limits::new(&config, &known).unwrap();
    let busy = client(0);
    assert!(limits.take_one(&busy).is_ok());
    for number in 1..100_000 {
        let _ = limits.take_one(&client(number));
        if number % 100 == 0 {
            assert!(limits.take_one(&busy).is_err(), "who asks again and again is not forgotten, {number}");
        }
    }
    let stop = CancellationToken::new();
    stop.cancel();
    limits.keep(&stop).await;
    assert_eq!(known.get(), 1000);
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_how_they_stand() {
    let limit = RateLimitConfig {
        client_events_per_s: 2,
        client_burst_events: 4,
        total_events_per_s: 100,
        ..unlimited()
    };
    let (world, _) = world(&auth(AuthMode::Off), &limit);
    let told = |answer: &Answer| {
        let header = |name| answer.header(name).unwrap_or_default().to_owned();
        (answer.told().0, header("ratelimit"), header("ratelimit-policy"), header("retry-after"))
    };
    let policy =
        "\"client\";q=4;w=2;floodgate-events-per-s=2, \"total\";q=100;w=1;floodgate-events-per-s=100";
    let policy = policy.to_owned();
    for (remaining, reset) in [(3, 1), (2, 1), (1, 2), (0, 2)] {
        let answer = world.ask("PUT", LIKE, &[], Body::empty()).await;
        let standing = format!("\"client\";r={remaining};t={reset}");
        assert_eq!(told(&answer), (202, standing, policy.clone(), String::new()));
    }
    let refused = world.ask("PUT", LIKE, &[], Body::empty()).await;
    assert_eq!(
        told(&refused),
        (429, "\"client\";r=0;t=1, \"total\";r=96;t=1".to_owned(), policy, "1".to_owned())
    );
    assert_eq!(refused.told(), (429, "rate-limited"));
    assert_eq!(refused.body["retryable"], true);
    assert_eq!(world.buffer.take().len(), 4);
    // health costs nothing
    assert_eq!(
        told(&world.ask("GET", "/readyz", &[], Body::empty()).await),
        (200, String::new(), String::new(), String::new())
    );
    advance(Duration::from_millis(500)).await;
    assert_eq!(world.ask("PUT", LIKE, &[], Body::empty()).await.told().0, 202);
}

/// Callers are limited by who they are, not by where they are; those who are not believed by where they are.
#[tokio::test(start_paused = true)]
async fn who_says_who_it_is_is_limited_by_that() {
    let limit = RateLimitConfig { client_events_per_s: 1, client_burst_events: 1, ..unlimited() };
    let keys =
        [("game", "key-1", &Scope::ALL[..]), ("game", "key-2", &Scope::ALL), ("shop", "key-3", &Scope::ALL)];
    let (world, _) = world(&with_keys(&keys, false), &limit);
    let mut told = Vec::new();
    for key in ["key-1", "key-2", "key-3", "guess-1", "guess-2", "guess-3"] {
        told.push(ask(&world, "PUT", LIKE, key, json!(null)).await.told().0);
    }
    assert_eq!(told, [202, 429, 202, 401, 429, 429]);
}

/// What all may send together is for those who are let in: strangers use up their own share.
#[tokio::test(start_paused = true)]
async fn strangers_take_nothing_of_what_all_may_send() {
    let keys = [("game", "key-1", &Scope::ALL[..])];
    let total = RateLimitConfig { total_events_per_s: 5, total_burst_events: 5, ..unlimited() };
    let (world, _) = world(&with_keys(&keys, false), &total);
    for _ in 0..100 {
        assert_eq!(ask(&world, "PUT", LIKE, "guess", json!(null)).await.told().0, 401);
    }
    let mut told = Vec::new();
    for _ in 0..6 {
        told.push(ask(&world, "PUT", LIKE, "key-1", json!(null)).await.told().0);
    }
    assert_eq!(told, [202, 202, 202, 202, 202, 429]);
}

/// Whoever sends too much waits for its answer; nobody else waits.
#[tokio::test(start_paused = true)]
async fn refusals_take_their_time() {
    let limit = RateLimitConfig {
        client_events_per_s: 1,
        client_burst_events: 4,
        refusal_delay_ms: 100,
        ..unlimited()
    };
    let (world, _) = world(&auth(AuthMode::Off), &limit);
    for (events, status) in [(2, 200), (4, 429), (1, 200), (1, 429), (1, 429)] {
        let asked = Instant::now();
        let answer = world.ask("POST", "/api/v6/events", &[JSON], likes(events)).await;
        let waited = asked.elapsed().as_millis();
        assert_eq!(answer.told().0, status);
        assert!(if status == 429 { (50..=151).contains(&waited) } else { waited == 0 }, "{waited} ms");
    }
}
