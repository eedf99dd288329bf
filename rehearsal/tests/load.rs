//! The load through real sockets: nothing that the server does moves when requests are sent, and how long answers took is counted
//! from when they were due.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use floodgate_rehearsal::client::{Asking, Client};
use floodgate_rehearsal::drive::{Driving, Loaded, Meter, drive};
use floodgate_rehearsal::plan::Plan;
use floodgate_rehearsal::record::{Fate, Unanswered};
use floodgate_rehearsal::{Schedule, Shape};
use parking_lot::Mutex;

/// How often each key was sent, so far.
type Seen = Arc<Mutex<HashMap<String, u32>>>;

/// Answers by how often a key was sent, and how many keys there were before.
type Answers = fn(u32, usize) -> (Duration, StatusCode);

/// A server that answers so, and what it has seen.
fn server(answers: Answers) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let app = Router::new().fallback(answer).with_state((Arc::clone(&seen), answers));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    (address, seen)
}

async fn answer(State((seen, answers)): State<(Seen, Answers)>, headers: HeaderMap) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let (times, before) = {
        let mut seen = seen.lock();
        let before = seen.len();
        let times = seen.entry(key).or_default();
        *times += 1;
        (*times, before)
    };
    let (pause, status) = answers(times, before);
    tokio::time::sleep(pause).await;
    status.into_response()
}

fn at_once(status: StatusCode) -> (Duration, StatusCode) {
    (Duration::ZERO, status)
}

/// A second with so many requests.
fn shape(requests: u32, more: &str) -> Shape {
    let text = format!(
        "title = \"\"\nevery_s = 1.0\n[[stages]]\nseconds = 1.0\nusers = {requests}.0\n[mix]\ncoupon = 0.5\nlike = 0.5\n{more}"
    );
    Shape::parse(&text).unwrap()
}

fn driving(address: SocketAddr, connections: usize) -> Driving {
    Driving {
        urls: vec![format!("http://{address}").parse().unwrap()],
        asking: Asking { connections, timeout: Duration::from_secs(20), token: None },
        threads: NonZeroU32::new(2).unwrap(),
        part: 0,
        parts: NonZeroU32::MIN,
        tries: 3,
        slow_readers: 0,
        seed: 7,
    }
}

fn load(shape: &Shape, driving: &Driving) -> Loaded {
    let (plan, schedule) = (Plan::new(shape, 7, "c".to_owned()), Schedule::new(shape, 7).unwrap());
    drive(&plan, &schedule, driving, &Arc::new(Meter::new().unwrap()), Instant::now()).unwrap()
}

/// The first request holds the only connection. Those behind it were due meanwhile, and have waited.
#[test]
fn who_waits_for_others_is_counted() {
    let (address, _) = server(|_, before| {
        (if before == 0 { Duration::from_secs(2) } else { Duration::ZERO }, StatusCode::ACCEPTED)
    });
    let one = Driving { threads: NonZeroU32::MIN, ..driving(address, 1) };
    let loaded = load(&shape(100, ""), &one);
    assert_eq!(loaded.records.len(), 100);
    let held = loaded.records[0].answered_us;
    assert!(held >= 2_000_000);
    for record in &loaded.records {
        assert_eq!(record.fate, Fate::Accepted);
        assert!(record.answered_us >= held, "the connection is one: {record:?}");
        assert_eq!(record.latency_us(), record.answered_us - record.due_us);
    }
    // all were set going before any was answered, and nobody else was asked before
    assert!(loaded.slips.max() < held);
    assert!(loaded.records[1..].iter().all(|record| record.asked_us >= held), "{:?}", loaded.records);
}

/// Each is sent again under its key while that can help, and not longer.
#[test]
fn another_try_is_the_same_request() {
    let (address, seen) = server(|times, before| match (before % 4, times) {
        (0, 1) => at_once(StatusCode::SERVICE_UNAVAILABLE),
        (1, 1) => at_once(StatusCode::GATEWAY_TIMEOUT),
        (2, 1) => at_once(StatusCode::UNPROCESSABLE_ENTITY),
        _ => at_once(StatusCode::ACCEPTED),
    });
    let loaded = load(&shape(40, ""), &driving(address, 16));
    let seen = seen.lock();
    assert_eq!(seen.len(), 40);
    let of = |fate: Fate| loaded.records.iter().filter(|record| record.fate == fate).count();
    assert_eq!((of(Fate::Accepted), of(Fate::Rejected(422))), (30, 10));
    let tries: u32 = seen.values().sum();
    assert_eq!(tries, 60);
    assert_eq!(tries, loaded.records.iter().map(|record| u32::from(record.tries)).sum::<u32>());
}

/// What may have been stored by a try stays so, whatever the next ones say.
#[test]
fn what_may_be_stored_stays_so() {
    let (address, _) = server(|times, _| {
        at_once(if times == 1 { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE })
    });
    let loaded = load(&shape(4, ""), &driving(address, 4));
    for record in &loaded.records {
        assert_eq!((record.fate, record.tries), (Fate::Unknown(Unanswered::Status(504)), 3));
        // after two pauses of half a second
        assert!(record.answered_us - record.asked_us >= 1_000_000, "{record:?}");
    }
}

/// Clients without patience send several at once.
#[test]
fn a_storm_has_one_key() {
    let (address, seen) = server(|_, _| at_once(StatusCode::ACCEPTED));
    let loaded = load(&shape(20, "[retry]\nstorm = 1.0\nstorm_times = 2"), &driving(address, 64));
    assert!(loaded.records.iter().all(|record| (record.tries, record.fate) == (3, Fate::Accepted)));
    let seen = seen.lock();
    assert_eq!((seen.len(), seen.values().sum::<u32>()), (20, 60));
}

/// Processes that share a load send each request once between them.
#[test]
fn parts_are_the_whole() {
    let (address, seen) = server(|_, _| at_once(StatusCode::ACCEPTED));
    let mut numbers = BTreeSet::new();
    for part in 0..3 {
        let one = Driving { part, parts: NonZeroU32::new(3).unwrap(), ..driving(address, 16) };
        for record in load(&shape(100, ""), &one).records {
            assert!(numbers.insert(record.number));
        }
    }
    assert_eq!(numbers.len(), 100);
    assert!(seen.lock().values().all(|times| *times == 1));
}

/// Nobody is there.
#[test]
fn without_a_server_every_request_has_its_line() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let loaded = load(&shape(10, ""), &Driving { tries: 1, ..driving(address, 4) });
    assert_eq!(loaded.records.len(), 10);
    assert!(loaded.records.iter().all(|record| record.fate == Fate::Unknown(Unanswered::Connection)));
}

/// A wait for a connection is no time of an answer.
#[tokio::test]
async fn an_answer_has_its_time_from_when_its_request_is_sent() {
    let (address, _) = server(|_, _| (Duration::from_secs(2), StatusCode::ACCEPTED));
    let asking = Asking { connections: 1, timeout: Duration::from_secs(3), token: None };
    let client = Client::new(&format!("http://{address}").parse().unwrap(), &asking).unwrap();
    let began = Instant::now();
    let ask = || client.exchange("POST", "/", Some("key"), "");
    let (one, other) = tokio::join!(ask(), ask());
    for exchange in [&one, &other] {
        assert!(matches!(&exchange.answer, Ok(answer) if answer.status == 202), "{exchange:?}");
    }
    assert!(began.elapsed() >= Duration::from_secs(4) && other.waited >= Duration::from_secs(2));
    assert!(other.sent >= one.sent.map(|sent| sent + Duration::from_secs(2)));
}

/// With one connection to a server that takes a moment for each, the wait is for the connection.
#[test]
fn a_wait_for_a_connection_is_no_time_of_the_server() {
    let (address, _) = server(|_, _| (Duration::from_millis(5), StatusCode::ACCEPTED));
    let one = Driving { threads: NonZeroU32::MIN, ..driving(address, 1) };
    let loaded = load(&shape(400, ""), &one);
    let [waited, took] = [loaded.waits, loaded.answers].map(|times| times.value_at_quantile(0.99));
    assert!(waited > 500_000 && took < waited / 2, "{waited} {took}");
}
