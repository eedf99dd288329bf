#![allow(warnings, clippy::all)]
use floodgate_schemas::examples::*;
use floodgate_schemas::*;
use floodgate_store::*;
use floodgate_testkit::*;
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let pg = Postgres::start(PostgresOptions {
        settings: vec![("shared_buffers".into(), "512MB".into()), ("max_wal_size".into(), "8GB".into())],
    })
    .unwrap();
    let n = 200_000usize;
    for round in 0..2 {
        for batch in [1000usize, 5000] {
            let url = pg.create_database().unwrap();
            let cfg = Config {
                url: url.clone(),
                max_connections: 6,
                connect_timeout_ms: 5000,
                statement_timeout_ms: 60000,
                lock_timeout_ms: 60000,
                apply_timeout_ms: 60000,
            };
            rt.block_on(async {
                migrate(&cfg).await.unwrap();
                let store = open(&cfg).unwrap();
                // warm
                let likes: Vec<Like> = (0..n as u64)
                    .map(|i| {
                        like(
                            i,
                            &format!("target-{:05}", (i * 7919) % 10_000),
                            &format!("liker-account-{:07}", i),
                            LikeAction::Like,
                            i as i64,
                        )
                    })
                    .collect();
                let unlikes: Vec<Like> = likes
                    .iter()
                    .map(|l| {
                        let mut u = l.clone();
                        u.action = LikeAction::Unlike;
                        u.occurred_at = u.occurred_at.saturating_add_micros(10_000_000);
                        u.event_id =
                            event_id(1_000_000_000 + u.occurred_at.as_micros() as u64 % 1_000_000_000);
                        u
                    })
                    .collect();
                run("likes first", &store, &likes, batch).await;
                run("likes replay", &store, &likes, batch).await;
                run("unlikes (update)", &store, &unlikes, batch).await;
                let two: Vec<Like> = (0..n as u64)
                    .map(|i| {
                        like(
                            2_000_000 + i,
                            &format!("zarget-{:05}", (i * 7919) % 10_000),
                            &format!("liker-account-{:07}", i),
                            LikeAction::Like,
                            i as i64,
                        )
                    })
                    .collect();
                let t = Instant::now();
                let (a, b) = two.split_at(n / 2);
                tokio::join!(go(store.clone(), a.to_vec(), batch), go(store.clone(), b.to_vec(), batch));
                println!(
                    "{batch:5} likes first, two connections: {:.0} rows/s",
                    n as f64 / t.elapsed().as_secs_f64()
                );
                let hot: Vec<Like> = (0..n as u64)
                    .map(|i| {
                        like(
                            4_000_000 + i,
                            "hot",
                            &format!("liker-account-{:07}", i),
                            LikeAction::Like,
                            i as i64,
                        )
                    })
                    .collect();
                run("likes one target", &store, &hot, batch).await;
                let ex: Vec<ExpectationWrite> = (0..n as u64)
                    .map(|i| {
                        let mut e = expectation(
                            i,
                            ((i * 7919) % 66_667) as i64 + 1,
                            (i / 66_667) as i64 % 3 + 1,
                            1_000_000 + i as i64,
                        );
                        e.calculated_at = at(i as i64);
                        e
                    })
                    .collect();
                run("expectations first", &store, &ex, batch).await;
                run("expectations replay", &store, &ex, batch).await;
                let ex2: Vec<ExpectationWrite> = ex
                    .iter()
                    .map(|e| {
                        let mut u = e.clone();
                        u.version += 1;
                        u.event_id = event_id(9_000_000_000 + u.version as u64);
                        u
                    })
                    .collect();
                run("expectations update", &store, &ex2, batch).await;
                let c = NewCoupon {
                    coupon_id: CouponId::try_from("summer".to_string()).unwrap(),
                    stock: Stock::try_from(45_000).unwrap(),
                    opens_at: None,
                    closes_at: None,
                };
                store.create_coupon(&c).await.unwrap();
                let asks: Vec<CouponIssue> = (0..n as u64)
                    .map(|i| {
                        coupon_issue(i, "summer", &format!("user-{:07}", if i % 10 == 9 { i - 5 } else { i }))
                    })
                    .collect();
                run("coupons", &store, &asks, batch).await;
                // COPY
                use std::fmt::Write;
                let mut text = String::new();
                for l in &likes {
                    writeln!(
                        text,
                        "{}\t{}\tt\t{}\t{}",
                        l.target_ocid, l.liker_account_id, l.occurred_at, l.event_id
                    )
                    .unwrap();
                }
                std::fs::write("/tmp/copy.txt", text).unwrap();
                pg.psql(&url, "TRUNCATE likes").unwrap();
                let t = Instant::now();
                pg.psql(&url, "\\copy likes from '/tmp/copy.txt'").unwrap();
                println!("{batch:5} COPY all at once: {:.0} rows/s", n as f64 / t.elapsed().as_secs_f64());
            });
        }
    }
}
async fn go(store: Arc<dyn Store>, ev: Vec<Like>, batch: usize) {
    tokio::spawn(async move {
        for b in ev.chunks(batch) {
            store.apply(b, at(0)).await.unwrap();
        }
    })
    .await
    .unwrap()
}
async fn run<E: Event>(name: &str, store: &Arc<dyn Store>, events: &[E], batch: usize)
where
    dyn Store: Apply<E>,
{
    let t = Instant::now();
    let cpu = cpu();
    for b in events.chunks(batch) {
        let s: &dyn Store = store.as_ref();
        Apply::<E>::apply(s, b, at(0)).await.unwrap();
    }
    println!(
        "{batch:5} {name}: {:.0} rows/s, {:.2} us cpu/row client",
        events.len() as f64 / t.elapsed().as_secs_f64(),
        (self::cpu() - cpu) * 1e6 / events.len() as f64
    );
}
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
