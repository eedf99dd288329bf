//! How many instructions an event costs in the codec and on its way through the ingress, against what was recorded:
//! a guard that sees a slow-down without measuring time, so that it can fail on a busy machine only if it should.
//!
//! `cargo bench --bench instructions`; with `-- --record` it writes down what it finds. Needs valgrind, whose callgrind
//! counts. Every case runs with so many events and with twice as many: the difference is the events' alone, without
//! start and end. The ingress is the real one, on a loopback socket, with a publisher that acknowledges at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/requests.rs"]
mod requests;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floodgate_buffer::{BoxFuture, NotTaken, Outcome, Publish, Receipt, Record, Waiting};
use floodgate_observe::Metrics;
use floodgate_producer::{
    Admission, AuthConfig, DoorConfig, Handed, HttpConfig, Ingress, RateLimitConfig, Server, key_hash,
};
use floodgate_schemas::codec::{Codecs, encode, schema_of};
use floodgate_schemas::examples::{coupon_issue, expectation, like};
use floodgate_schemas::{
    Encoder, Event, EventType, ExpectationWrite, Incompatible, Keying, LikeAction, Mixed, SchemaIds, Schemas,
    SystemChance, SystemClock,
};
use floodgate_traces::{OtelConfig, Span, Surroundings, Tracer};
use memchr::memmem::Finder;
use requests::{EXPECTATION, LIKE, accept};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Above its record by more than this share a case fails: other processors take other ways through the C library.
const TOLERANCE: f64 = 0.08;
const RECORD: &str = "benches/instructions.tsv";
const EVENTS: u64 = 300;
const BODY_EVENTS: u64 = 100;

type Case = (&'static str, fn(u64));

const CASES: [Case; 19] = [
    ("encode an expectation", |events| encodes(events, &expectation(1, 2, 3, 4))),
    ("encode a coupon issue", |events| encodes(events, &coupon_issue(1, "coupon", "user-1"))),
    ("encode a like", |events| encodes(events, &like(1, "target-1", "liker-1", LikeAction::Like, 1))),
    ("encode a like, with a registry", |events| {
        encodes_with(events, &like(1, "target-1", "liker-1", LikeAction::Like, 1), &numbered());
    }),
    ("decode an expectation", |events| decodes(events, &expectation(1, 2, 3, 4))),
    ("decode a coupon issue", |events| decodes(events, &coupon_issue(1, "coupon", "user-1"))),
    ("decode a like", |events| decodes(events, &like(1, "target-1", "liker-1", LikeAction::Like, 1))),
    ("decode a like, with a registry", |events| {
        decodes_numbered(events, &like(1, "target-1", "liker-1", LikeAction::Like, 1));
    }),
    ("decode an expectation, a field added", |events| decodes_added(events, &expectation(1, 2, 3, 4))),
    ("decode a like, a field added", |events| {
        decodes_added(events, &like(1, "target-1", "liker-1", LikeAction::Like, 1));
    }),
    ("read and check an expectation", |events| {
        for _ in 0..events {
            black_box(ExpectationWrite::from_json(black_box(EXPECTATION.as_bytes()), &accept(None)).unwrap());
        }
    }),
    ("read and check a like of many", |events| {
        for _ in 0..events {
            black_box(Mixed::from_json(black_box(LIKE.as_bytes()), accept).unwrap());
        }
    }),
    ("a single write over HTTP", |events| {
        over_http(events, "/api/v6/expectations", EXPECTATION);
    }),
    ("a single write, one in 100 followed", |events| followed(events, 100)),
    ("a single write, followed", |events| followed(events, 1)),
    ("a single write, keys and limits on", |events| guarded(events, 10_000_000, "202")),
    ("a single write, over its limit", |events| guarded(events, 1, "429")),
    ("a coupon issue over HTTP", |events| {
        over_http(events, "/api/v6/coupons/summer/issues", r#"{"userId":"user-123456"}"#);
    }),
    ("one of a hundred events over HTTP", |events| {
        let body = format!("[{}]", [LIKE; BODY_EVENTS as usize].join(","));
        over_http(events / BODY_EVENTS, "/api/v6/events", &body);
    }),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["run", case, events, ..] = args[..] {
        let (_, run) = CASES.iter().find(|(name, _)| *name == case).expect("a case");
        run(events.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    // `cargo test --all-targets` runs this file too
    if !args.contains(&"--bench") {
        println!("instructions: not counted; run cargo bench --bench instructions");
        return ExitCode::SUCCESS;
    }
    match compare(args.contains(&"--record")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no case costs more than was recorded.
fn compare(record: bool) -> Result<bool> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD);
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let recorded: BTreeMap<&str, u64> = recorded
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(c, n)| Some((c, n.parse().ok()?)))
        .collect();
    let (mut found, mut holds) = (String::new(), true);
    println!("{:<36} {:>12} {:>10} {:>8}", "instructions an event", "recorded", "now", "");
    for (case, _) in CASES {
        let now = count(case, 2 * EVENTS)?.saturating_sub(count(case, EVENTS)?) / EVENTS;
        found += &format!("{case}\t{now}\n");
        let Some(before) = recorded.get(case) else {
            println!("{case:<36} {:>12} {now:>10}", "not yet");
            holds = false;
            continue;
        };
        let change = now as f64 / *before as f64 - 1.0;
        println!("{case:<36} {before:>12} {now:>10} {:>+7.1}%", change * 100.0);
        holds &= change <= TOLERANCE;
    }
    if record {
        std::fs::write(&path, found)?;
        println!("recorded in {RECORD}");
        return Ok(true);
    }
    if !holds {
        eprintln!(
            "instructions: an event costs over {:.0} % more than recorded in {RECORD}; if that is worth it, record it:\n  \
             cargo bench --bench instructions -- --record",
            TOLERANCE * 100.0
        );
    }
    Ok(holds)
}

/// Instructions of a whole run of this program.
fn count(case: &str, events: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let output = command.args(["run", case, &events.to_string()]).output();
    let output = output.context("valgrind is missing; ./scripts/setup installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{case}: {said}");
    let counted = said.lines().find_map(|line| line.split_once("Collected :")).context("no count")?;
    Ok(counted.1.trim().parse()?)
}

fn encodes<E: Event>(events: u64, event: &E) {
    encodes_with(events, event, &Encoder::single_object());
}

fn encodes_with<E: Event>(events: u64, event: &E, encoder: &Encoder) {
    let (mut key, mut value) = (String::new(), Vec::new());
    for _ in 0..events {
        key.clear();
        value.clear();
        black_box(event).write_partition_key(Keying::default(), &mut key);
        encoder.encode(event, &mut value).unwrap();
        black_box((&key, &value));
    }
}

/// Writes with number 1.
fn numbered() -> Encoder {
    let ids = Arc::new(SchemaIds::default());
    for of in EventType::ALL {
        ids.set(of, 1).unwrap();
    }
    Encoder::registered(ids)
}

fn decodes<E: Event>(events: u64, event: &E) {
    let mut value = Vec::new();
    encode(event, &mut value);
    for _ in 0..events {
        black_box(Codecs::builtin().decode::<E>(black_box(&value)).unwrap());
    }
}

/// Of a writer with our schema, by a registry.
fn decodes_numbered<E: Event>(events: u64, event: &E) {
    let mut value = Vec::new();
    numbered().encode(event, &mut value).unwrap();
    decodes_learnt(events, event, &value, schema_of(E::TYPE));
}

/// Of a writer with one more field, in the middle of ours.
fn decodes_added<E: Event>(events: u64, event: &E) {
    let mut value = Vec::new();
    encode(event, &mut value);
    // behind the event's id: a text of its own
    let (id, rest) = value[10..].split_at(37);
    let value = [&[0, 0, 0, 0, 1][..], id, b"\x0aapp-2", rest].concat();
    let before = r#"{"name": "acceptedAt""#;
    let added = format!(r#"{{"name": "device", "type": "string"}}, {before}"#);
    decodes_learnt(events, event, &value, &schema_of(E::TYPE).replace(before, &added));
}

fn decodes_learnt<E: Event>(events: u64, event: &E, value: &[u8], schema: &str) {
    let codecs = Codecs::with(Arc::new(One(schema.into())));
    let ready = codecs.prepare(std::iter::once(value));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ready);
    assert_eq!(codecs.decode::<E>(value).unwrap().event_id(), event.event_id());
    for _ in 0..events {
        black_box(codecs.decode::<E>(black_box(value)).unwrap());
    }
}

/// Knows one schema.
#[derive(Debug)]
struct One(Arc<str>);

impl Schemas for One {
    fn text(&self, _: u32) -> floodgate_schemas::BoxFuture<'_, Option<Arc<str>>> {
        Box::pin(std::future::ready(Some(Arc::clone(&self.0))))
    }

    fn seen(&self, _: u32, _: Option<EventType>, why: Option<&Incompatible>) {
        assert_eq!(why, None);
    }
}

/// Acknowledges everything at once.
struct AtOnce;

impl Publish for AtOnce {
    fn offer(&self, record: &Record<'_>, receipt: Receipt) -> Result<(), NotTaken> {
        black_box(record);
        if let Some(wake) = receipt.complete(Outcome::Stored) {
            wake.wake();
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async { 0 })
    }
}

/// Follows requests that say so, and none by chance, of which it is asked all the same.
fn traced() -> (Tracer, tokio::sync::mpsc::Receiver<Span>) {
    let table: toml::Table = include_str!("../src/default.toml").parse().unwrap();
    let mut otel: OtelConfig = table["otel"].clone().try_into().unwrap();
    otel.sample_ratio = 0.0;
    let around = Surroundings { messaging: "none", database: "none", destinations: Vec::new() };
    let metrics = Metrics::new().unwrap().traces;
    Tracer::new(&otel, around, metrics, Arc::new(SystemClock), Arc::new(SystemChance))
}

/// Single writes of which one in so many is followed.
fn followed(events: u64, one_in: u64) {
    let (tracer, spans) = traced();
    let field = |number| if number % one_in == 0 { TRACED } else { "" };
    exchange(events, "/api/v6/expectations", EXPECTATION, (tracer, None), field, "202");
    drop(spans);
}

const TRACED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

/// Single writes with a key, of which so many a second may come.
fn guarded(events: u64, events_per_s: u32, status: &str) {
    let sha256 = key_hash("key-of-a-game");
    let key = format!("id = \"game\"\nsha256 = \"{sha256}\"\nscopes = [\"expectation:write\"]");
    let mut table: toml::Table = include_str!("../src/default.toml").parse().unwrap();
    table["auth"]["mode"] = "keys".into();
    table["auth"]["keys"] = vec![key.parse::<toml::Table>().unwrap()].into();
    table["rate_limit"]["client_events_per_s"] = i64::from(events_per_s).into();
    table["rate_limit"]["refusal_delay_ms"] = 0.into();
    let (auth, limit): (AuthConfig, RateLimitConfig) =
        (table["auth"].clone().try_into().unwrap(), table["rate_limit"].clone().try_into().unwrap());
    let admission = (auth, limit);
    let field = |_| "authorization: Bearer key-of-a-game\r\n";
    exchange(events, "/api/v6/expectations", EXPECTATION, (Tracer::off(), Some(admission)), field, status);
}

fn over_http(requests: u64, path: &str, body: &str) {
    exchange(requests, path, body, (Tracer::off(), None), |_| "", "20");
}

/// What requests have to pass besides.
type Around = (Tracer, Option<(AuthConfig, RateLimitConfig)>);

/// So many requests, one after the other, on one connection, each with a header field of its own. They are answered with this status,
/// or taken: one a second passes every limit.
fn exchange(
    requests: u64,
    path: &str,
    body: &str,
    around: Around,
    field: impl Fn(u64) -> &'static str,
    status: &str,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let length = body.len();
    let request = |field: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{field}\r\n{body}"
        )
    };
    let (first, wanted) = (request(field(0)), format!("HTTP/1.1 {status}"));
    let other = request(field(1));
    runtime.block_on(async {
        let address = serve(around);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut answer, whole) = (vec![0; 64 * 1024], Whole::new());
        for number in 0..requests {
            let request = if field(number) == field(0) { &first } else { &other };
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut filled = 0;
            while !whole.is(&answer[..filled]) {
                let read = stream.read(&mut answer[filled..]).await.unwrap();
                assert!(read > 0, "closed before the answer was whole");
                filled += read;
            }
            let told = &answer[..filled];
            let is_right =
                [&*wanted, "HTTP/1.1 202"].iter().any(|status| told.starts_with(status.as_bytes()));
            assert!(is_right, "{}", String::from_utf8_lossy(told));
        }
    });
}

/// Finds out whether an answer is whole, by what costs next to nothing: it is the client's.
struct Whole {
    end: Finder<'static>,
    length: Finder<'static>,
}

impl Whole {
    fn new() -> Self {
        Self { end: Finder::new("\r\n\r\n"), length: Finder::new("content-length: ") }
    }

    fn is(&self, answer: &[u8]) -> bool {
        let Some(end) = self.end.find(answer) else { return false };
        let (head, body) = answer.split_at(end + self.end.needle().len());
        let length = &head[self.length.find(head).unwrap() + self.length.needle().len()..];
        let digits = length.iter().take_while(|byte| byte.is_ascii_digit());
        body.len() == digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    }
}

fn serve((tracer, guard): Around) -> SocketAddr {
    let table: toml::Table = include_str!("../src/default.toml").parse().unwrap();
    let mut http: HttpConfig = table["http"].clone().try_into().unwrap();
    http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut store: floodgate_store::Config = table["store"].clone().try_into().unwrap();
    // never read: writes do not touch the database
    store.url = "sqlite:///dev/null".into();
    let store = floodgate_store::open(&store).unwrap();
    let (clock, chance) = (Arc::new(SystemClock), Arc::new(SystemChance));
    let metrics = Metrics::new().unwrap();
    let admission = match guard {
        Some((auth, limit)) => {
            Admission::open(&auth, &limit, &metrics.http, Arc::clone(&clock) as _).unwrap()
        }
        None => Admission::off(Arc::clone(&clock) as _),
    };
    let (encoder, door) = (Encoder::single_object(), DoorConfig::OPEN);
    let handed = Handed { clock, chance, encoder, tracer, admission, door };
    let ingress = Ingress::new(&http, Keying::default(), Arc::new(AtOnce), store, &metrics, handed);
    let server = Server::bind(&http, &ingress).unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.run(tokio_util::sync::CancellationToken::new(), Duration::ZERO));
    address
}
