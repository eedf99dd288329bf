//! What single steps cost: the codec, reading and checking JSON, ids from idempotency keys, reducing a batch to an event per
//! row, a batch in the database, and what a pooler before it costs.
//!
//! `cargo bench --bench micro`, or with `-- NAME` some of it. Times of one machine, for whoever changes such a step; what
//! is held against records is `instructions.rs`, what is promised is in `ratios/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/database.rs"]
mod database;
#[path = "support/requests.rs"]
mod requests;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use database::config;
use divan::Bencher;
use divan::counter::ItemsCount;
use floodgate_buffer::{Batch, BatchLimits, Header, Receipts, Record, Topic, murmur2_partition};
use floodgate_schemas::codec::{Codecs, encode};
use floodgate_schemas::examples::{at, coupon_issue, expectation, like};
use floodgate_schemas::{
    Event, EventId, EventType, ExpectationWrite, IdempotencyKey, Keying, Like, LikeAction, Mixed, TargetOcid,
};
use floodgate_store::contract::{rows_of_expectations, rows_of_likes};
use floodgate_store::{Apply, Config, Pooler, Store};
use floodgate_testkit::{PgBouncer, Postgres, PostgresOptions, ScratchDir};
use floodgate_traces::TRACEPARENT;
use requests::{EXPECTATION, LIKE, accept};

const BATCHES: [usize; 4] = [10, 100, 1000, 10_000];

fn main() {
    // `cargo test --all-targets` runs this file too
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("micro: not measured; run cargo bench --bench micro");
        return;
    }
    divan::main();
}

fn encodes(bencher: Bencher<'_, '_>, event: &impl Event) {
    let mut bytes = Vec::new();
    bencher.bench_local(|| {
        bytes.clear();
        encode(black_box(event), &mut bytes);
        bytes.len()
    });
}

fn decodes<E: Event>(bencher: Bencher<'_, '_>, event: &E) {
    let mut bytes = Vec::new();
    encode(event, &mut bytes);
    bencher.bench_local(|| Codecs::builtin().decode::<E>(black_box(&bytes)).unwrap());
}

#[divan::bench_group]
mod codec {
    use super::*;

    #[divan::bench]
    fn encode_expectation(bencher: Bencher<'_, '_>) {
        encodes(bencher, &expectation(1, 2, 3, 4));
    }

    #[divan::bench]
    fn encode_coupon_issue(bencher: Bencher<'_, '_>) {
        encodes(bencher, &coupon_issue(1, "coupon", "user-1"));
    }

    #[divan::bench]
    fn encode_like(bencher: Bencher<'_, '_>) {
        encodes(bencher, &like(1, "target-1", "liker-1", LikeAction::Like, 1));
    }

    #[divan::bench]
    fn decode_expectation(bencher: Bencher<'_, '_>) {
        decodes(bencher, &expectation(1, 2, 3, 4));
    }

    #[divan::bench]
    fn decode_coupon_issue(bencher: Bencher<'_, '_>) {
        decodes(bencher, &coupon_issue(1, "coupon", "user-1"));
    }

    #[divan::bench]
    fn decode_like(bencher: Bencher<'_, '_>) {
        decodes(bencher, &like(1, "target-1", "liker-1", LikeAction::Like, 1));
    }
}

#[divan::bench_group]
mod ingress {
    use super::*;

    #[divan::bench]
    fn read_and_check_expectation() -> ExpectationWrite {
        ExpectationWrite::from_json(black_box(EXPECTATION.as_bytes()), &accept(None)).unwrap()
    }

    #[divan::bench]
    fn read_and_check_like_of_many() -> Mixed {
        Mixed::from_json(black_box(LIKE.as_bytes()), accept).unwrap()
    }

    #[divan::bench]
    fn id_from_idempotency_key() -> EventId {
        let key = IdempotencyKey::new(black_box("order-4711-of-2026")).unwrap();
        EventId::from_idempotency_key(EventType::Like, black_box("target-1/liker-1"), &key)
    }

    #[divan::bench]
    fn partition_key(bencher: Bencher<'_, '_>) {
        let event = like(1, "target-1", "liker-1", LikeAction::Like, 1);
        let mut key = String::new();
        bencher.bench_local(|| {
            key.clear();
            black_box(&event).write_partition_key(Keying::default(), &mut key);
            key.len()
        });
    }

    #[divan::bench]
    fn partition_of_key() -> usize {
        murmur2_partition(black_box("target-1\u{1f}liker-1".as_bytes()), black_box(10))
    }
}

/// A batch as a consumer gets it, of which one record in 100 is of a followed request.
fn batch_of(records: usize) -> Batch {
    let strategy = floodgate_buffer::contract::in_memory(1, records, "");
    let traceparent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let followed: [Header<'_>; 1] = [(TRACEPARENT.as_bytes(), Some(traceparent))];
    let (mut value, receipts) = (Vec::new(), Receipts::new(records));
    encode(&like(1, "target-1", "liker-1", LikeAction::Like, 1), &mut value);
    let publisher = strategy.publisher().unwrap();
    for number in 0..records {
        let headers = if number % 100 == 0 { &followed[..] } else { &[] };
        let topic = Topic::Events(EventType::Like);
        let record = Record { topic, key: Some(b"key"), value: Some(&value), headers };
        publisher.offer(&record, receipts.receipt(number)).unwrap();
    }
    let limits = BatchLimits {
        events: records,
        bytes: usize::MAX,
        wait: Duration::from_secs(1),
        drain: Duration::from_secs(1),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut member = strategy.subscribe(EventType::Like, limits).unwrap();
        member.next().await.unwrap().unwrap()
    })
}

/// What a process that traces does with every batch, whether anything in it is followed or not.
#[divan::bench(args = BATCHES)]
fn look_for_followed_events(bencher: Bencher<'_, '_>, records: usize) {
    let batch = batch_of(records);
    assert_eq!(batch.len(), records);
    let bencher = bencher.counter(ItemsCount::new(records));
    bencher.bench_local(|| black_box(&batch).header(TRACEPARENT.as_bytes()).count());
}

fn reduces<E: Event>(
    bencher: Bencher<'_, '_>,
    events: usize,
    event: impl Fn(u64) -> E,
    rows: impl Fn(&[E]) -> usize,
) {
    let events: Vec<E> = (0..events as u64).map(event).collect();
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| rows(black_box(&events)));
}

#[divan::bench_group]
mod reduce {
    use super::*;

    #[divan::bench(args = BATCHES)]
    fn likes_of_as_many_rows(bencher: Bencher<'_, '_>, events: usize) {
        reduces(bencher, events, new_like, rows_of_likes);
    }

    #[divan::bench(args = BATCHES)]
    fn likes_of_one_row(bencher: Bencher<'_, '_>, events: usize) {
        reduces(bencher, events, like_of_one_row, rows_of_likes);
    }

    #[divan::bench(args = BATCHES)]
    fn expectations_of_as_many_rows(bencher: Bencher<'_, '_>, events: usize) {
        reduces(bencher, events, new_expectation, rows_of_expectations);
    }
}

/// Databases with our tables, one of each kind.
struct Databases {
    runtime: tokio::runtime::Runtime,
    postgres: Arc<dyn Store>,
    /// The same, with nothing kept in sessions.
    lent: Arc<dyn Store>,
    /// And by way of PgBouncer.
    pooled: Arc<dyn Store>,
    sqlite: Arc<dyn Store>,
    _pooler: PgBouncer,
    _server: Postgres,
    _folder: ScratchDir,
}

fn databases() -> &'static Databases {
    static DATABASES: OnceLock<Databases> = OnceLock::new();
    DATABASES.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let folder = ScratchDir::new("micro").unwrap();
        let pooler = PgBouncer::start(&server, &[]).unwrap();
        let open = |url: String, pooler: Pooler| {
            let config = Config { pooler, ..config(url, 4) };
            runtime.block_on(floodgate_store::migrate(&config)).unwrap();
            floodgate_store::open(&config).unwrap()
        };
        let database = || server.create_database().unwrap();
        let postgres = open(database(), Pooler::None);
        let lent = open(database(), Pooler::Transaction);
        let pooled = open(pooler.url(&database()), Pooler::Transaction);
        let sqlite = format!("sqlite://{}", folder.path().join("micro.db").display());
        let sqlite = open(sqlite, Pooler::None);
        Databases {
            runtime,
            postgres,
            lent,
            pooled,
            sqlite,
            _pooler: pooler,
            _server: server,
            _folder: folder,
        }
    })
}

fn applies<E: Event>(bencher: Bencher<'_, '_>, store: &Arc<dyn Store>, batch: usize, event: impl Fn(u64) -> E)
where
    dyn Store: Apply<E>,
{
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let fresh = || {
        let first = NEXT.fetch_add(batch as u64, Ordering::Relaxed);
        (first..first + batch as u64).map(&event).collect::<Vec<E>>()
    };
    bencher.counter(ItemsCount::new(batch)).with_inputs(fresh).bench_local_refs(|events| {
        databases().runtime.block_on(Apply::<E>::apply(&**store, events, at(0))).unwrap()
    });
}

fn new_like(number: u64) -> Like {
    like(number, &format!("target-{}", number % 1000), &format!("liker-{number}"), LikeAction::Like, 0)
}

fn like_of_one_row(number: u64) -> Like {
    like(number, "target", "liker", LikeAction::Like, number as i64)
}

fn new_expectation(number: u64) -> ExpectationWrite {
    expectation(number, number as i64 / 3 + 1, number as i64 % 3 + 1, 1)
}

#[divan::bench_group(sample_count = 20, sample_size = 1)]
mod apply {
    use super::*;

    #[divan::bench(args = BATCHES)]
    fn postgres_new_likes(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().postgres, batch, new_like);
    }

    #[divan::bench(args = BATCHES)]
    fn postgres_new_expectations(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().postgres, batch, new_expectation);
    }

    /// The reduction in the batch, and one row.
    #[divan::bench(args = BATCHES)]
    fn postgres_likes_of_one_row(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().postgres, batch, like_of_one_row);
    }

    #[divan::bench(args = BATCHES)]
    fn sqlite_new_likes(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().sqlite, batch, new_like);
    }
}

/// What it costs that sessions are lent for a transaction at a time, without a pooler and with one.
#[divan::bench_group(sample_count = 100)]
mod pooler {
    use super::*;

    fn reads(bencher: Bencher<'_, '_>, store: &Arc<dyn Store>) {
        let target = TargetOcid::try_from("target-1".to_owned()).unwrap();
        bencher.bench_local(|| databases().runtime.block_on(store.like_count(&target)).unwrap());
    }

    #[divan::bench]
    fn read(bencher: Bencher<'_, '_>) {
        reads(bencher, &databases().postgres);
    }

    #[divan::bench]
    fn read_lent(bencher: Bencher<'_, '_>) {
        reads(bencher, &databases().lent);
    }

    #[divan::bench]
    fn read_pooled(bencher: Bencher<'_, '_>) {
        reads(bencher, &databases().pooled);
    }

    #[divan::bench(args = BATCHES, sample_count = 20, sample_size = 1)]
    fn batch(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().postgres, batch, new_like);
    }

    #[divan::bench(args = BATCHES, sample_count = 20, sample_size = 1)]
    fn batch_lent(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().lent, batch, new_like);
    }

    #[divan::bench(args = BATCHES, sample_count = 20, sample_size = 1)]
    fn batch_pooled(bencher: Bencher<'_, '_>, batch: usize) {
        applies(bencher, &databases().pooled, batch, new_like);
    }
}
