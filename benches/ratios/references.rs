//! What floodgate is compared with: servers that do less, written the obvious way. The bench starts them as
//! processes of their own.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use apache_avro::Schema;
use apache_avro::types::Record;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum::{Json, Router};
use floodgate_testkit::{Process, ScratchDir, ports, wait};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};

use crate::side::Side;

/// Starts this very program as one of them.
pub fn start(scratch: &ScratchDir, kind: &'static str, args: &[&str]) -> Result<(Process, Side)> {
    let port = ports::free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(format!("reference-{kind}")).arg(port.to_string()).args(args);
    let process = Process::spawn(kind, command, scratch.path())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait::until(kind, Duration::from_secs(20), || std::net::TcpStream::connect(address).ok())?;
    let side = Side { name: kind, address, pid: process.pid(), path: "/api/v6/expectations" };
    Ok((process, side))
}

/// Runs one of them until it is killed.
pub fn serve(kind: &str, args: &[String]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match (kind, args) {
        ("bare", [port]) => runtime.block_on(bare(port.parse().expect("a port"))),
        ("naive", [port, brokers, topic]) => {
            runtime.block_on(naive(port.parse().expect("a port"), brokers, topic));
        }
        _ => panic!("there is no reference {kind} with {args:?}"),
    }
}

/// The body of an expectation write, as a derive reads it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    character_id: i64,
    preset_no: i32,
    total_expected_cost: String,
    black_cube_cost: String,
    red_cube_cost: String,
    additional_cube_cost: String,
    starforce_cost: String,
    calculated_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    event_id: String,
    status: &'static str,
}

fn accepted() -> (StatusCode, Json<Accepted>) {
    let event_id = uuid::Uuid::now_v7().to_string();
    (StatusCode::ACCEPTED, Json(Accepted { event_id, status: "ACCEPTED" }))
}

/// The body of a request for a coupon.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IssueBody {
    user_id: String,
}

/// What our ingress says at the door, byte for byte.
const SOLD_OUT: &str = r#"{"type":"/problems/sold-out","title":"Every piece of the coupon is given out","status":409,"detail":"every piece of this coupon is given out; nothing is stored","retryable":false}"#;

/// Reads the JSON, answers 202 or, to requests for coupons, 409, does nothing.
async fn bare(port: u16) {
    let handler = async |Json(body): Json<Body>| {
        std::hint::black_box((body.character_id, body.preset_no, body.calculated_at.len()));
        accepted()
    };
    let refuse = async |Path(coupon): Path<String>, Json(body): Json<IssueBody>| {
        std::hint::black_box((coupon.len(), body.user_id.len()));
        (StatusCode::CONFLICT, [(CONTENT_TYPE, "application/problem+json")], SOLD_OUT)
    };
    let router = Router::new()
        .route("/api/v6/expectations", post(handler))
        .route("/api/v6/coupons/{couponId}/issues", post(refuse));
    listen(port, router).await;
}

struct Naive {
    producer: FutureProducer,
    schema: Schema,
    topic: String,
}

/// Reads the JSON, encodes through apache-avro's `Value`, sends with a FutureProducer (acks=all, idempotent,
/// linger 5 ms), answers 202 after the acknowledgement.
async fn naive(port: u16, brokers: &str, topic: &str) {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create()
        .expect("a producer");
    let schema = r#"{"type":"record","name":"Write","fields":[
        {"name":"characterId","type":"long"},{"name":"presetNo","type":"int"},
        {"name":"total","type":"string"},{"name":"black","type":"string"},{"name":"red","type":"string"},
        {"name":"additional","type":"string"},{"name":"starforce","type":"string"},{"name":"at","type":"string"}]}"#;
    let schema = Schema::parse_str(schema).expect("a schema");
    let naive = Arc::new(Naive { producer, schema, topic: topic.to_owned() });
    listen(port, Router::new().route("/api/v6/expectations", post(publish)).with_state(naive)).await;
}

async fn publish(
    State(naive): State<Arc<Naive>>,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<Accepted>), StatusCode> {
    let key = body.character_id.to_string();
    let mut record = Record::new(&naive.schema).ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    record.put("characterId", body.character_id);
    record.put("presetNo", body.preset_no);
    record.put("total", body.total_expected_cost);
    record.put("black", body.black_cube_cost);
    record.put("red", body.red_cube_cost);
    record.put("additional", body.additional_cube_cost);
    record.put("starforce", body.starforce_cost);
    record.put("at", body.calculated_at);
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&naive.schema).build();
    let value = writer
        .and_then(|writer| writer.write_value_to_vec(record))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let record = FutureRecord::to(&naive.topic).key(&key).payload(&value);
    match naive.producer.send(record, Duration::from_secs(6)).await {
        Ok(_) => Ok(accepted()),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn listen(port: u16, router: Router) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    axum::serve(listener, router).await.expect("the server runs");
}
