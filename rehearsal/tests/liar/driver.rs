//! Sends a load as fast as it can, asks for what became of it, and has it judged.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use floodgate_rehearsal::ask::Ask;
use floodgate_rehearsal::client::{Answer, NoAnswer};
use floodgate_rehearsal::judge::judge;
use floodgate_rehearsal::observed::Observed;
use floodgate_rehearsal::plan::{Plan, Request};
use floodgate_rehearsal::record::{Fate, Record, Unanswered};
use floodgate_rehearsal::report::Report;
use floodgate_rehearsal::settle::{Limits, Load, settle};
use floodgate_rehearsal::{Schedule, Shape};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep};

/// Of all loads.
pub const SEED: u64 = 5;

struct Client(SocketAddr);

impl Client {
    async fn send(&self, request: &Request) -> hyper::Result<Answer> {
        let stream = tokio::net::TcpStream::connect(self.0).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(request.method)
            .uri(&request.path)
            .header("host", "floodgate")
            .header("content-type", "application/json")
            .header("idempotency-key", &request.key)
            .body(Full::new(Bytes::from(request.body.clone())))
            .unwrap();
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok(Answer { status, retry_after: None, body: answer.into_body().collect().await?.to_bytes() })
    }
}

impl Ask for Client {
    async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        let request =
            Request { method: "GET", path: path.to_owned(), body: String::new(), key: "any".to_owned() };
        self.send(&request).await.map_err(|error| NoAnswer::Broken(error.to_string()))
    }
}

/// What there is to say of a server. Several are asked at a time, and each in turn is certain to come after some.
pub async fn rehearse(address: SocketAddr, shape: &Shape, stock: u64) -> Report {
    let (plan, schedule) = (Plan::new(shape, SEED, "summer".to_owned()), Schedule::new(shape, SEED).unwrap());
    let client = Client(address);
    let create = Request {
        method: "POST",
        path: "/api/v6/coupons".to_owned(),
        body: format!("{{\"couponId\":\"summer\",\"stock\":{stock}}}"),
        key: "any".to_owned(),
    };
    assert_eq!(client.send(&create).await.unwrap().status, 201);
    let began_unix_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let began = Instant::now();
    let asked = |number| ask(&client, &plan, &schedule, number, began, shape.retry.tries);
    let records: Vec<Record> =
        stream::iter(0..schedule.total()).map(asked).buffer_unordered(4).collect().await;
    let load = Load { plan: &plan, records: &records, whole: 0..0, judges_whole: true, began, began_unix_us };
    let limits =
        Limits { drain: Duration::from_secs(2), doubt: Duration::from_millis(200), ..Limits::default() };
    let clients = [client];
    let settled = settle(&load, &clients, &limits, &mut |_| {}).await;
    judge(&Observed {
        shape,
        schedule: &schedule,
        load: &load,
        settled: &settled,
        urls: &[format!("http://{address}")],
        seed: SEED,
        stock,
        max_lag: None,
        lag: &[],
        slip_ms: 0.0,
        generator_was_the_limit: false,
    })
}

async fn ask(
    client: &Client,
    plan: &Plan,
    schedule: &Schedule,
    number: u32,
    began: Instant,
    tries_max: u32,
) -> Record {
    let request = plan.request(number);
    let us = || began.elapsed().as_micros() as u64;
    let (asked_us, mut tries, mut unknown) = (us(), 0, None);
    let fate = loop {
        tries += 1;
        match client.send(&request).await.unwrap().status {
            202 => break Fate::Accepted,
            409 => break unknown.unwrap_or(Fate::SoldOut),
            504 => unknown = Some(Fate::Unknown(Unanswered::Status(504))),
            503 if tries == tries_max => break unknown.unwrap_or(Fate::NotStored(503)),
            503 => {}
            status => panic!("{status} to {request:?}"),
        }
        if tries == tries_max {
            break unknown.unwrap();
        }
        sleep(Duration::from_millis(5)).await;
    };
    let (due_us, answered_us) = (schedule.due(number).as_micros() as u64, us());
    Record { number, due_us, asked_us, answered_us, tries: tries as u16, instance: 0, fate }
}
