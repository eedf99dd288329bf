//! Every route, from a request to what the buffer holds and the client is told.

mod cloudevents;
mod compressed;

use axum::body::Body;
use floodgate_buffer::{Refused, Topic};
use floodgate_schemas::codec::Codecs;
use floodgate_schemas::examples::{at, event_id, expectation};
use floodgate_schemas::{CouponIssue, EventType, ExpectationWrite, Like, LikeAction};
use floodgate_store::{
    Coupon, CouponCreated, Decision, DecisionStatus, ExpectationRow, NewCoupon, ReadError,
};
use serde_json::{Value, json};

use crate::HttpConfig;
use crate::testing::{Answer, Fate, World, config};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn post(world: &World, path: &str, body: impl ToString) -> Answer {
    world.ask("POST", path, &[JSON], body.to_string()).await
}

async fn get(world: &World, path: &str) -> Answer {
    world.ask("GET", path, &[], Body::empty()).await
}

/// Status, name and field of a problem.
fn problem(answer: &Answer) -> (u16, &str, Option<&str>) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.body["status"], answer.status.as_u16());
    let (status, name) = answer.told();
    (status, name, answer.body["field"].as_str())
}

fn a_write() -> Value {
    let mut body = expectation(1, 7, 2, 3).to_json();
    for name in ["type", "eventId", "acceptedAt"] {
        body.as_object_mut().unwrap().remove(name);
    }
    body
}

#[tokio::test]
async fn an_expectation_is_taken_as_it_was_sent_and_read_from_memory_for_a_while() {
    let world = World::new(&config());
    let accepted = post(&world, "/api/v6/expectations", a_write()).await;
    assert_eq!((accepted.told(), accepted.header("content-type")), ((202, ""), Some("application/json")));
    let kept = world.buffer.take();
    assert_eq!(
        (kept[0].topic, &*kept[0].key, kept.len()),
        (Topic::Events(EventType::Expectation), &b"7"[..], 1)
    );
    let event: ExpectationWrite = Codecs::builtin().decode(&kept[0].value).unwrap();
    assert_eq!(accepted.body, json!({ "eventId": event.event_id.to_string(), "status": "ACCEPTED" }));
    let sent = expectation(1, 7, 2, 3);
    assert_eq!(event, ExpectationWrite { event_id: event.event_id, accepted_at: event.accepted_at, ..sent });

    let path = "/api/v6/characters/7/expectations";
    assert_eq!(problem(&get(&world, path).await), (404, "not-found", None));
    let world = World::new(&config());
    let row = ExpectationRow {
        character_id: event.character_id,
        preset_no: event.preset_no,
        total_expected_cost: event.total_expected_cost,
        black_cube_cost: event.black_cube_cost,
        red_cube_cost: event.red_cube_cost,
        additional_cube_cost: event.additional_cube_cost,
        starforce_cost: event.starforce_cost,
        version: event.version,
        calculated_at: event.calculated_at,
        event_id: event.event_id,
        updated_at: at(9),
    };
    world.database.expectations.lock().push(row);
    let read = get(&world, path).await;
    let preset = json!({
        "presetNo": 2, "totalExpectedCost": "300.00", "blackCubeCost": "30.00", "redCubeCost": "3.00",
        "additionalCubeCost": "0.30", "starforceCost": "0.03", "calculatedAt": at(3).to_string(), "version": 3,
        "eventId": event.event_id.to_string(), "updatedAt": at(9).to_string(),
    });
    assert_eq!(read.body, json!({ "characterId": 7, "presets": [preset], "fromCache": false }));
    world.database.expectations.lock().clear();
    let again = get(&world, path).await;
    assert_eq!(again.body, json!({ "characterId": 7, "presets": [preset], "fromCache": true }));
    let reads = |result| world.metrics.http.cache_reads.with_label_values(&[result]).get();
    assert_eq!((reads("hit"), reads("miss")), (1, 1));

    let unkept = World::new(&HttpConfig { cache_ms: 0, ..config() });
    *unkept.database.away.lock() = Some(ReadError::Unavailable("away".to_owned()));
    assert_eq!(problem(&get(&unkept, path).await), (503, "database-unavailable", None));
    for wrong in ["0", "-1", "+1", "1.0", "x", "-", "9223372036854775808"] {
        let answer = get(&world, &format!("/api/v6/characters/{wrong}/expectations")).await;
        assert_eq!(problem(&answer), (422, "invalid-value", Some("characterId")), "{wrong}");
    }
}

#[tokio::test]
async fn coupons_are_created_and_read() {
    let world = World::new(&config());
    let body = json!({
        "couponId": "c", "stock": 3, "opensAt": at(1).to_string(), "closesAt": at(2).to_string(),
    });
    for (created, told) in [
        (CouponCreated::Created, (201, "")),
        (CouponCreated::SameExists, (200, "")),
        (CouponCreated::DifferentExists, (409, "coupon-exists")),
    ] {
        *world.database.created.lock() = Some(created);
        let answer = post(&world, "/api/v6/coupons", &body).await;
        assert_eq!(answer.told(), told);
        assert!(told.0 == 409 || answer.body == body, "{answer:?}");
    }
    let coupon = Coupon {
        terms: NewCoupon {
            coupon_id: "c".to_owned().try_into().unwrap(),
            stock: 3.try_into().unwrap(),
            opens_at: Some(at(1)),
            closes_at: None,
        },
        issued: 1.try_into().unwrap(),
    };
    *world.database.coupon.lock() = Some(coupon);
    let read = get(&world, "/api/v6/coupons/c").await;
    let terms = json!({
        "couponId": "c", "stock": 3, "opensAt": at(1).to_string(), "closesAt": null, "issued": 1, "remaining": 2,
    });
    assert_eq!(read.content(), (200, &terms));
    assert_eq!(problem(&get(&world, "/api/v6/coupons/d").await), (404, "not-found", None));
    // open for no time at all is a mistake
    let never =
        json!({ "couponId": "c", "stock": 3, "opensAt": at(1).to_string(), "closesAt": at(1).to_string() });
    let answer = post(&world, "/api/v6/coupons", never).await;
    assert_eq!(problem(&answer), (422, "invalid-value", Some("closesAt")));
    *world.database.away.lock() = Some(ReadError::Unanswered("late".to_owned()));
    assert_eq!(problem(&post(&world, "/api/v6/coupons", body).await), (504, "outcome-unknown", None));
}

#[tokio::test]
async fn a_coupon_is_asked_for_and_its_decision_told() {
    let world = World::new(&config());
    let asked = post(&world, "/api/v6/coupons/c/issues", json!({ "userId": "ann" })).await;
    let kept = world.buffer.take();
    let event: CouponIssue = Codecs::builtin().decode(&kept[0].value).unwrap();
    assert_eq!((&*kept[0].key, event.coupon_id.as_str(), event.user_id.as_str()), (&b"c"[..], "c", "ann"));
    let id = event.event_id.to_string();
    assert_eq!(asked.content(), (202, &json!({ "requestId": id, "status": "PENDING" })));
    let path = format!("/api/v6/coupon-requests/{id}");
    assert_eq!(asked.header("location"), Some(&*path));
    for query in ["", "?", "?waitMs=0", "?waitMs=1"] {
        let pending = get(&world, &format!("{path}{query}")).await;
        assert_eq!(pending.content(), (200, &asked.body), "{query}");
    }
    let decision = Decision {
        request_id: event.event_id,
        coupon_id: event.coupon_id,
        user_id: event.user_id,
        status: DecisionStatus::Issued,
        rank: Some(1),
        decided_at: at(5),
    };
    world.database.decisions.lock().push(decision);
    let decided = json!({
        "requestId": id, "status": "ISSUED", "couponId": "c", "userId": "ann", "rank": 1,
        "decidedAt": at(5).to_string(),
    });
    for query in ["", "?waitMs=30000"] {
        let answer = get(&world, &format!("{path}{query}")).await;
        assert_eq!(answer.content(), (200, &decided), "{query}");
    }
    for wrong in ["waitMs=30001", "waitMs=", "waitMs", "waitMs=+1", "waitMs=1&waitMs=1", "waitMs=x"] {
        let answer = get(&world, &format!("{path}?{wrong}")).await;
        assert_eq!(problem(&answer), (400, "invalid-request", Some("waitMs")), "{wrong}");
    }
    let answer = get(&world, &format!("{path}?wait=1")).await;
    assert_eq!(problem(&answer), (400, "invalid-request", Some("wait")));
    let answer = get(&world, "/api/v6/coupon-requests/1").await;
    assert_eq!(problem(&answer), (400, "invalid-request", Some("requestId")));
}

#[tokio::test]
async fn likes_are_given_taken_and_counted() {
    let world = World::new(&config());
    let path = "/api/v6/characters/st%20ar/likes/f%C3%A4n";
    for (method, action) in [("PUT", LikeAction::Like), ("DELETE", LikeAction::Unlike)] {
        // chunks that turn out to be none are no body
        let none = Body::from_stream(futures_util::stream::empty::<Result<Vec<u8>, std::io::Error>>());
        for (headers, body) in
            [(&[][..], Body::empty()), (&[], none), (&[JSON], json!({}).to_string().into())]
        {
            let accepted = world.ask(method, path, headers, body).await;
            assert_eq!(accepted.told(), (202, ""), "{accepted:?}");
            let kept = world.buffer.take();
            let event: Like = Codecs::builtin().decode(&kept[0].value).unwrap();
            assert_eq!((event.action, event.occurred_at), (action, event.accepted_at));
            assert_eq!(kept[0].key, "st ar\u{1f}fän".as_bytes());
        }
    }
    let answer = world.ask("PUT", path, &[], "{}").await;
    assert_eq!(problem(&answer), (415, "unsupported-media-type", None));
    let ahead = json!({ "occurredAt": "2199-01-01T00:00:00Z" }).to_string();
    let answer = world.ask("PUT", path, &[JSON], ahead).await;
    assert_eq!(problem(&answer), (422, "invalid-value", Some("occurredAt")));
    for (wrong, field) in [("st%2", "path"), ("st%zz", "path"), ("%ff", "path"), ("%00", "targetOcid")] {
        let answer = get(&world, &format!("/api/v6/characters/{wrong}/likes")).await;
        assert_eq!(answer.body["field"], field, "{wrong}: {answer:?}");
    }

    *world.database.likes.lock() = (12, true);
    let count = get(&world, "/api/v6/characters/star/likes").await;
    assert_eq!(count.content(), (200, &json!({ "targetOcid": "star", "count": 12 })));
    let liked = get(&world, "/api/v6/characters/star/likes/fan").await;
    assert_eq!(liked.content(), (200, &json!({ "liked": true })));
    *world.database.away.lock() = Some(ReadError::Unreadable("rubbish".to_owned()));
    for path in ["/api/v6/characters/star/likes", "/api/v6/characters/star/likes/fan"] {
        assert_eq!(problem(&get(&world, path).await), (500, "internal", None));
    }
}

/// A body that is announced and does not come.
struct Announced;

impl hyper::body::Body for Announced {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(5)
    }
}

/// What a request's head tells is answered at once, and not when the body has come.
#[tokio::test]
async fn a_body_of_another_type_is_not_waited_for() {
    let world = World::new(&config());
    for (method, path) in [("PUT", "/api/v6/characters/star/likes/fan"), ("POST", "/api/v6/expectations")] {
        let answer = world.ask(method, path, &[("content-type", "text/plain")], Body::new(Announced));
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), answer).await;
        assert_eq!(problem(&answer.expect("the body was waited for")), (415, "unsupported-media-type", None));
    }
}

fn many() -> Vec<Value> {
    let like = |target: &str| json!({ "type": "like", "targetOcid": target, "likerAccountId": "fan", "action": "LIKE" });
    let mut write = a_write();
    write["type"] = "expectation".into();
    let coupon = json!({ "type": "coupon", "couponId": "c", "userId": "ann" });
    vec![write, coupon, like("star"), like("fan"), json!({ "type": "other" }), json!([]), like("last")]
}

/// Whatever is wrong with one event, the others take their way, and each is told by its place.
#[tokio::test]
async fn many_events_are_answered_each_for_itself() {
    let world = World::new(&config());
    let array = json!(many()).to_string();
    let lines: Vec<_> = many().iter().map(Value::to_string).collect();
    for (media_type, body, places) in [
        (JSON, array, ("index", [3, 4, 5, 6])),
        (NDJSON, format!("\r\n{}", lines.join("\n")), ("line", [5, 6, 7, 8])),
    ] {
        let fates = [Fate::Stored, Fate::Stored, Fate::Stored, Fate::Unknown];
        world.buffer.next(fates);
        let answer = world.ask("POST", "/api/v6/events", &[media_type], body).await;
        let results = answer.body["results"].as_array().unwrap();
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        let wanted = ["accepted", "accepted", "accepted", "rejected", "rejected", "rejected", "unknown"];
        assert_eq!(statuses, wanted, "{answer:?}");
        let kept = world.buffer.take();
        let like: Like = Codecs::builtin().decode(&kept[2].value).unwrap();
        assert_eq!(results[2], json!({ "status": "accepted", "eventId": like.event_id.to_string() }));
        assert_eq!(kept.len(), 3);
        let (name, numbers) = places;
        for (result, number) in results[3..].iter().zip(numbers) {
            assert_eq!(result["problem"][name], number, "{result}");
        }
        assert_eq!(results[3]["problem"]["field"], "likerAccountId");
        let told = results[5]["problem"]["detail"].as_str().unwrap();
        let place = if name == "line" { "line 7 " } else { "the element at index 5 " };
        assert!(told.starts_with(place), "{told}");
        assert!(results[6]["eventId"].is_string(), "what may be stored has an id: {}", results[6]);
    }
    let refused =
        ["like", "unknown"].map(|of| world.refused(of, "invalid-value") + world.refused(of, "invalid-field"));
    assert_eq!((refused, world.accepted("like"), world.accepted("coupon")), ([2, 2], 2, 2));
    assert_eq!(world.metrics.publish_seconds.get_sample_count(), 2);

    let eleven = json!(vec![json!({}); 11]).to_string();
    assert_eq!(problem(&post(&world, "/api/v6/events", eleven).await), (413, "too-many-events", None));
    let lines = "{}\n".repeat(11);
    let answer = world.ask("POST", "/api/v6/events", &[NDJSON], lines).await;
    assert_eq!(problem(&answer), (413, "too-many-events", None));
    let answer = world.ask("POST", "/api/v6/events", &[JSON, ("idempotency-key", "key-0001")], "[]").await;
    assert_eq!(problem(&answer), (400, "invalid-request", Some("Idempotency-Key")));
    let none = post(&world, "/api/v6/events", "[]").await;
    assert_eq!(none.content(), (200, &json!({ "results": [] })));
    // the answer has its share of the memory for bodies, too
    let full = World::new(&HttpConfig { bodies_max_bytes: 1500, ..config() });
    let two = json!([{}, {}]).to_string();
    assert_eq!(problem(&post(&full, "/api/v6/events", &two).await), (503, "busy", None));
    assert_eq!(post(&full, "/api/v6/events", "[{}]").await.told(), (200, ""));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let world = World::new(&config());
    let path = "/api/v6/expectations";
    let body = a_write().to_string();
    for (media_type, taken) in [
        ("application/json", true),
        ("Application/JSON; charset=UTF-8", true),
        ("application/json; a=b; charset=\"utf-8\"", true),
        ("application/json; charset=latin1", false),
        ("application/x-ndjson", false),
        ("text/plain", false),
    ] {
        let answer = world.ask("POST", path, &[("content-type", media_type)], body.clone()).await;
        assert_eq!(answer.told().0, if taken { 202 } else { 415 }, "{media_type}");
    }
    let unknown = [
        &["br"][..],
        &["deflate"],
        &["compress"],
        &["gzip, zstd"],
        &["gzip", "gzip"],
        &["identity", "gzip"],
        &[""],
    ];
    for encodings in unknown {
        let mut headers = vec![JSON];
        headers.extend(encodings.iter().map(|encoding| ("content-encoding", *encoding)));
        let answer = world.ask("POST", path, &headers, body.clone()).await;
        let told = (problem(&answer), answer.header("accept-encoding"));
        let wanted = ((415, "unsupported-media-type", Some("Content-Encoding")), Some("gzip, zstd"));
        assert_eq!(told, wanted, "{encodings:?}");
    }
    let media_type = world.ask("POST", path, &[("content-type", "text/plain")], body.clone()).await;
    assert_eq!(media_type.header("accept-encoding"), None, "it is not about that");
    assert_eq!(
        world.ask("POST", path, &[JSON, ("content-encoding", "identity")], body.clone()).await.told().0,
        202
    );
    assert_eq!(
        problem(&world.ask("POST", path, &[], body.clone()).await),
        (415, "unsupported-media-type", None)
    );
    assert_eq!(problem(&post(&world, path, "{").await), (400, "malformed-json", None));
    let key = ("idempotency-key", "key-0001");
    for wrong in [&[JSON, key, key][..], &[JSON, ("idempotency-key", "short")]] {
        let answer = world.ask("POST", path, wrong, body.clone()).await;
        assert_eq!(problem(&answer), (400, "invalid-request", Some("Idempotency-Key")));
    }
    let answer = post(&world, "/api/v6/expectations?x=1&y=2", &body).await;
    assert_eq!(problem(&answer), (400, "invalid-request", Some("x")));
    assert_eq!(post(&world, "/api/v6/expectations?", &body).await.told(), (202, ""));
    let large = world.ask("POST", path, &[JSON], " ".repeat(1001)).await;
    assert_eq!(problem(&large), (413, "body-too-large", None));
    assert_eq!(problem(&post(&world, "/api/v6/nothing", "").await), (404, "not-found", None));
    assert_eq!(problem(&get(&world, path).await), (405, "method-not-allowed", None));
    assert_eq!(
        (world.refused("expectation", "body-too-large"), world.refused("expectation", "malformed-json")),
        (1, 1)
    );

    for (refused, told) in [
        (Refused::Unavailable("away".to_owned()), (503, "not-stored", None)),
        (Refused::TooLarge, (413, "body-too-large", None)),
        (Refused::Closed, (503, "shutting-down", None)),
    ] {
        world.buffer.next([Fate::Refused(refused)]);
        assert_eq!(problem(&post(&world, path, &body).await), told);
    }
    let broken =
        Body::from_stream(futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("broken"))]));
    assert_eq!(
        problem(&world.ask("POST", path, &[JSON], broken).await),
        (400, "invalid-request", Some("body"))
    );
    let hasty = World::new(&HttpConfig { send_timeout_ms: 1, ..config() });
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(problem(&hasty.ask("POST", path, &[JSON], never).await), (408, "body-timeout", None));
}

/// Clients are told that an instance cannot take events, and operators why.
#[tokio::test]
async fn readiness_tells_clients_nothing_of_the_inside() {
    let world = World::new(&config());
    *world.buffer.unready.lock() = Some("broker b1 is away".to_owned());
    // the other tests of this process may have met a bug, which is told first
    assert!(world.ingress.ready().is_err());
    let unready = get(&world, "/readyz").await;
    assert_eq!(problem(&unready), (503, "not-ready", None));
    let told = unready.body["detail"].as_str().unwrap();
    assert!(told.contains("operators") && !told.contains("b1"), "{told}");
    world.ingress.drain();
    assert_eq!(world.ingress.ready(), Err("shutting down".to_owned()));
    assert_eq!(get(&world, "/readyz").await.body["detail"], "shutting down");
    // whoever waits for a decision is let go, and still answered
    let path = format!("/api/v6/coupon-requests/{}?waitMs=30000", event_id(1));
    assert_eq!(get(&world, &path).await.body["status"], "PENDING");
    world.buffer.left_behind.store(3, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.ingress.flush(std::time::Duration::ZERO).await, 3);
    let alive = get(&world, "/healthz").await;
    assert_eq!(alive.content(), (200, &json!({ "status": "ok" })));
}

/// A body of many events keeps nobody else's request waiting.
#[tokio::test]
async fn large_bodies_are_worked_off_elsewhere() {
    let large = 10 << 20;
    let limits = HttpConfig { body_max_bytes: large, bodies_max_bytes: large, events_max: 1000, ..config() };
    let world = World::new(&limits);
    let here = std::thread::current().id();
    let mut event = a_write();
    event["type"] = "expectation".into();
    for (events, is_here) in [(10, true), (1000, false)] {
        let answer = post(&world, "/api/v6/events", Value::from(vec![event.clone(); events])).await;
        assert_eq!(answer.body["results"].as_array().map(Vec::len), Some(events));
        let kept = world.buffer.take();
        assert_eq!(kept.len(), events);
        assert!(kept.iter().all(|kept| (kept.on == here) == is_here), "{events}");
    }
}
