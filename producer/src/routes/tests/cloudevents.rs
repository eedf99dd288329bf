//! Events as CloudEvents, from a request to what the buffer holds and the client is told.

use axum::body::Body;
use floodgate_schemas::EventType;
use floodgate_schemas::examples::at;
use serde_json::{Value, json};

use super::{JSON, a_write, problem};
use crate::HttpConfig;
use crate::testing::{Answer, Fate, Kept, World, config};

const PATH: &str = "/api/v6/cloudevents";
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json; charset=UTF-8");

/// What stands in the head around a coupon's data.
const ENVELOPE: [(&str, &str); 4] = [
    ("ce-specversion", "1.0"),
    ("ce-type", "floodgate.coupon.v1"),
    ("ce-source", "/shop/%E2%82%AC"),
    ("ce-id", "order%204711"),
];

/// What its source and id are as a key, as another program has computed it.
const KEY: &str = "05fba92c-7239-5305-bbcd-a4834343b1d7";

const COUPON: &str = r#"{"couponId":"summer","userId":"ann"}"#;

fn envelope(of: EventType, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "type": of.topic(), "source": "/shop/€", "id": "order 4711", "subject": "s", "data": data,
    })
}

/// The ENVELOPE but for one field, left out or another.
fn with<'h>(name: &str, value: Option<&'h str>) -> Vec<(&'h str, &'h str)> {
    let mut headers: Vec<_> = ENVELOPE.into_iter().filter(|(known, _)| *known != name).collect();
    headers
        .extend(value.and_then(|value| Some((ENVELOPE.iter().find(|(known, _)| *known == name)?.0, value))));
    headers
}

async fn binary(world: &World, headers: &[(&str, &str)], data: &str) -> Answer {
    let headers = [&[JSON], headers].concat();
    world.ask("POST", PATH, &headers, data.to_owned()).await
}

/// Topics, keys and bytes.
fn stored(world: &World) -> Vec<Kept> {
    let mut kept = world.buffer.take();
    kept.sort_by(|one, other| one.value.cmp(&other.value));
    kept
}

/// In all three modes an event is what it is natively, under the key that is its source and id.
#[tokio::test]
async fn events_are_stored_as_their_own_routes_store_them() {
    let like = json!({"targetOcid": "star", "likerAccountId": "fan", "action": "UNLIKE"});
    let coupon: Value = serde_json::from_str(COUPON).unwrap();
    let time = at(7).to_string();
    for (of, data) in
        [(EventType::Coupon, coupon), (EventType::Expectation, a_write()), (EventType::Like, like)]
    {
        let mut native = data.clone();
        native["type"] = json!(of.name());
        native["idempotencyKey"] = json!(KEY);
        if of == EventType::Like {
            native["occurredAt"] = json!(time);
        }
        let mut in_json = envelope(of, &data);
        in_json["time"] = json!(time);
        let in_head = [
            ("ce-specversion", "1.0"),
            ("ce-type", of.topic()),
            ("ce-source", "/shop/%E2%82%AC"),
            ("ce-id", "order%204711"),
            ("ce-time", &time),
            ("ce-partitionkey", "passed over"),
        ];
        let of_json = [JSON].iter().chain(&in_head).copied().collect::<Vec<_>>();
        let modes: [(&[(&str, &str)], String); 4] = [
            (&of_json, data.to_string()),
            (&in_head, data.to_string()),
            (&[STRUCTURED], in_json.to_string()),
            (&[BATCH], json!([in_json]).to_string()),
        ];
        let world = World::new(&config());
        let answer = world.ask("POST", "/api/v6/events", &[JSON], json!([native]).to_string()).await;
        let id = answer.body["results"][0]["eventId"].clone();
        let wanted = stored(&world);
        assert_eq!(wanted.len(), 1, "{answer:?}");
        for (headers, body) in modes {
            let world = World::new(&config());
            let answer = world.ask("POST", PATH, headers, body).await;
            assert_eq!(stored(&world), wanted, "{answer:?}");
            assert_eq!(world.accepted(of.name()), 1);
            if headers[0] == BATCH {
                let results = json!({"results": [{"status": "accepted", "eventId": id}]});
                assert_eq!(answer.content(), (200, &results));
                continue;
            }
            assert_eq!(answer.content(), (202, &json!({"eventId": id, "status": "ACCEPTED"})));
            let location = format!("/api/v6/coupon-requests/{}", id.as_str().unwrap());
            assert_eq!(answer.header("location"), (of == EventType::Coupon).then_some(&*location));
        }
    }
}

/// Whoever sends one event twice is told of one; with other words it is refused.
#[tokio::test]
async fn source_and_id_are_the_key() {
    let world = World::new(&config());
    let first = binary(&world, &ENVELOPE, COUPON).await;
    let structured = envelope(EventType::Coupon, &serde_json::from_str(COUPON).unwrap()).to_string();
    let again = world.ask("POST", PATH, &[STRUCTURED], structured).await;
    assert_eq!((first.told(), &first.body), ((202, ""), &again.body));
    let other = binary(&world, &with("ce-id", Some("order%204712")), COUPON).await;
    assert_ne!(other.body["eventId"], first.body["eventId"]);
    let mut write = envelope(EventType::Expectation, &a_write());
    let taken = world.ask("POST", PATH, &[STRUCTURED], write.to_string()).await;
    assert_eq!(taken.told(), (202, ""));
    write["data"]["starforceCost"] = json!("7.77");
    let reused = |field| (422, "idempotency-key-reused", Some(field));
    let of_structured = world.ask("POST", PATH, &[STRUCTURED], write.to_string()).await;
    assert_eq!(problem(&of_structured), reused("id"));
    let head = with("ce-type", Some(EventType::Expectation.topic()));
    let of_binary = binary(&world, &head, &write["data"].to_string()).await;
    assert_eq!(problem(&of_binary), reused("ce-id"));
    let of_batch = world.ask("POST", PATH, &[BATCH], json!([write]).to_string()).await;
    let of_batch = &of_batch.body["results"][0]["problem"];
    assert_eq!((&of_batch["status"], &of_batch["field"]), (&json!(422), &json!("id")));
    for detail in [&of_structured.body["detail"], &of_binary.body["detail"], &of_batch["detail"]] {
        assert!(detail.as_str().unwrap().contains("this source and id"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_wrong_in_the_head_is_told_by_its_name() {
    let world = World::new(&HttpConfig { bodies_max_bytes: 1 << 20, ..config() });
    for (headers, status, name, field) in [
        (vec![], 400, "invalid-field", "ce-type"),
        (with("ce-type", Some("floodgate.gift.v1")), 422, "invalid-value", "ce-type"),
        (with("ce-type", Some("coupon")), 422, "invalid-value", "ce-type"),
        (with("ce-specversion", None), 400, "invalid-field", "ce-specversion"),
        (with("ce-specversion", Some("0.3")), 422, "invalid-value", "ce-specversion"),
        (with("ce-source", None), 400, "invalid-field", "ce-source"),
        (with("ce-source", Some("")), 422, "invalid-value", "ce-source"),
        (with("ce-id", Some("\"\"")), 422, "invalid-value", "ce-id"),
        (with("ce-id", Some("%ff")), 422, "invalid-value", "ce-id"),
        ([&ENVELOPE[..], &[("ce-id", "another")]].concat(), 400, "invalid-field", "ce-id"),
        (
            [&ENVELOPE[..], &[("idempotency-key", "key-0001")]].concat(),
            400,
            "invalid-request",
            "Idempotency-Key",
        ),
    ] {
        // nobody waits for its body
        let answer = world.ask("POST", PATH, &headers, never()).await;
        assert_eq!(problem(&answer), (status, name, Some(field)), "{headers:?}");
    }
    let counted = |of: &str| ["invalid-field", "invalid-value"].map(|name| world.refused(of, name));
    assert_eq!((counted("unknown"), counted("coupon")), ([1, 2], [3, 4]));
    for media_type in [
        "text/plain",
        "application/x-ndjson",
        "application/json; charset=latin1",
        "application/cloudevents+xml",
        "application/cloudevents",
        "application/cloudevents-batch+avro",
    ] {
        let headers = [&ENVELOPE[..], &[("content-type", media_type)]].concat();
        let answer = world.ask("POST", PATH, &headers, never()).await;
        assert_eq!(problem(&answer), (415, "unsupported-media-type", None), "{media_type}");
    }
    let query = world.ask("POST", "/api/v6/cloudevents?a=b", &ENVELOPE, never()).await;
    assert_eq!(problem(&query), (400, "invalid-request", Some("a")));
    let coding = [&ENVELOPE[..], &[("content-encoding", "br")]].concat();
    let coding = world.ask("POST", PATH, &coding, never()).await;
    assert_eq!(problem(&coding), (415, "unsupported-media-type", Some("Content-Encoding")));
    assert!(world.buffer.take().is_empty());
}

/// A body that never comes.
fn never() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<&str, std::convert::Infallible>>())
}

#[tokio::test]
async fn what_is_wrong_in_the_body_is_told_by_its_name() {
    let world = World::new(&config());
    for (data, status, name, field) in [
        ("", 400, "malformed-json", "data"),
        ("[]", 400, "malformed-json", "data"),
        ("{\"couponId\":\"c\",}", 400, "malformed-json", "data"),
        ("{\"couponId\":\"c\"}", 400, "invalid-field", "data.userId"),
        ("{\"couponId\":\"c\",\"userId\":\"\"}", 422, "invalid-value", "data.userId"),
        ("{\"gift\":1}", 400, "invalid-field", "data.gift"),
    ] {
        let answer = binary(&world, &ENVELOPE, data).await;
        assert_eq!(problem(&answer), (status, name, Some(field)), "{data}");
    }
    let large = binary(&world, &ENVELOPE, &" ".repeat(1001)).await;
    assert_eq!(problem(&large), (413, "body-too-large", None));
    assert_eq!(world.refused("coupon", "body-too-large"), 1);
    let like = json!({"targetOcid": "star", "likerAccountId": "fan", "action": "LIKE"}).to_string();
    for (time, of_time) in [
        (None, "is required"),
        (Some("soon"), "is not an RFC 3339"),
        (Some("2999-01-01T00:00:00Z"), "lies too far"),
    ] {
        let mut headers = with("ce-type", Some("floodgate.like.v1"));
        headers.extend(time.map(|time| ("ce-time", time)));
        let answer = binary(&world, &headers, &like).await;
        assert_eq!(problem(&answer), (422, "invalid-value", Some("ce-time")));
        assert!(answer.body["detail"].as_str().unwrap().contains(of_time), "{answer:?}");
    }
    let structured = world.ask("POST", PATH, &[STRUCTURED], "{").await;
    assert_eq!(problem(&structured), (400, "malformed-json", None));
    assert_eq!(world.refused("unknown", "malformed-json"), 1);
    let mut envelope = envelope(EventType::Coupon, &json!({"couponId": "c", "userId": 1}));
    let answer = world.ask("POST", PATH, &[STRUCTURED], envelope.to_string()).await;
    assert_eq!(problem(&answer), (400, "invalid-field", Some("data.userId")));
    envelope["specversion"] = json!("0.3");
    let answer = world.ask("POST", PATH, &[STRUCTURED], envelope.to_string()).await;
    assert_eq!(problem(&answer), (422, "invalid-value", Some("specversion")));
    assert!(world.buffer.take().is_empty());
}

/// A batch is answered as one of `/events` is, under the same limits.
#[tokio::test]
async fn a_batch_is_answered_each_for_itself() {
    let world = World::new(&HttpConfig { body_max_bytes: 10_000, ..config() });
    let good = |id: &str| {
        let mut envelope = envelope(EventType::Coupon, &serde_json::from_str(COUPON).unwrap());
        envelope["id"] = json!(id);
        envelope
    };
    let mut bad = good("2");
    bad["data"]["userId"] = json!("");
    world.buffer.next([Fate::Stored, Fate::Spilled, Fate::NotStored]);
    let batch = json!([good("1"), bad, 7, {"type": "x"}, good("3"), good("4")]);
    let answer = world.ask("POST", PATH, &[BATCH], batch.to_string()).await;
    assert_eq!(answer.header("floodgate-stored-in"), Some("elsewhere"));
    let told = |result: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let problem = &result["problem"];
        format!("{} {} {}", text(&result["status"]), text(&problem["type"]), text(&problem["field"]))
    };
    let results: Vec<_> = answer.body["results"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(
        results,
        [
            "accepted - -",
            "rejected /problems/invalid-value data.userId",
            "rejected /problems/malformed-json -",
            "rejected /problems/invalid-value type",
            "accepted - -",
            "retry /problems/not-stored -",
        ]
    );
    assert_eq!(answer.body["results"][2]["problem"]["detail"], "the element at index 2 is not a JSON object");
    assert_eq!(answer.body["results"][1]["problem"]["index"], 1);
    let ask = async |body: String| world.ask("POST", PATH, &[BATCH], body).await;
    assert_eq!(ask("[]".to_owned()).await.content(), (200, &json!({"results": []})));
    assert_eq!(problem(&ask(good("1").to_string()).await), (400, "malformed-json", None));
    let eleven = json!(vec![good("1"); 11]).to_string();
    assert_eq!(problem(&ask(eleven).await), (413, "too-many-events", None));
    assert_eq!(problem(&ask(" ".repeat(10_001)).await), (413, "body-too-large", None));
}
