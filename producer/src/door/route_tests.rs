//! What clients are told at the door, and what is stored then.

use axum::body::Body;
use floodgate_schemas::codec::Codecs;
use floodgate_schemas::examples::at;
use floodgate_schemas::{CouponIssue, EventId};
use floodgate_store::{Coupon, Decision, DecisionStatus, NewCoupon, ReadError};
use serde_json::{Value, json};

use super::DoorConfig;
use crate::testing::{Answer, World, config};

const JSON: (&str, &str) = ("content-type", "application/json");
const KEY: (&str, &str) = ("idempotency-key", "key-of-ann");
const ISSUES: &str = "/api/v6/coupons/summer/issues";

fn world() -> World {
    let door = DoorConfig { refuse_unknown: true, refuse_sold_out: true, ..DoorConfig::OPEN };
    World::with_door(&config(), door)
}

fn coupon(id: &str, stock: i64, issued: i64) -> Coupon {
    let terms = NewCoupon {
        coupon_id: id.to_owned().try_into().unwrap(),
        stock: stock.try_into().unwrap(),
        opens_at: None,
        closes_at: None,
    };
    Coupon { terms, issued: issued.try_into().unwrap() }
}

async fn issue(world: &World, user: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[JSON], headers].concat();
    world.ask("POST", ISSUES, &headers, json!({ "userId": user }).to_string()).await
}

/// The users whose requests were stored since this was asked last.
fn stored(world: &World) -> Vec<String> {
    let kept = world.buffer.take();
    kept.iter()
        .map(|kept| Codecs::builtin().decode::<CouponIssue>(&kept.value).unwrap().user_id.to_string())
        .collect()
}

#[tokio::test]
async fn a_request_for_a_coupon_that_there_is_not_is_not_stored() {
    let world = world();
    let refused = issue(&world, "ann", &[]).await;
    assert_eq!((refused.told(), &refused.body["retryable"]), ((404, "unknown-coupon"), &json!(false)));
    assert_eq!(refused.body["detail"], "there is no coupon summer; nothing is stored");
    assert_eq!((stored(&world), world.refused("coupon", "unknown-coupon")), (vec![], 1));
    // writes do not need the database: without it all are accepted
    *world.database.away.lock() = Some(ReadError::Unavailable("gone fishing".to_owned()));
    assert_eq!(issue(&world, "ben", &[]).await.told().0, 202);
    // what was created, or read, through this instance it knows
    *world.database.away.lock() = None;
    let body = json!({ "couponId": "summer", "stock": 1 }).to_string();
    assert_eq!(world.ask("POST", "/api/v6/coupons", &[JSON], body).await.told().0, 201);
    *world.database.coupon.lock() = None;
    assert_eq!(issue(&world, "cid", &[]).await.told().0, 202);
    assert_eq!(stored(&world), ["ben", "cid"]);
}

#[tokio::test]
async fn who_comes_too_late_is_told_before_the_body_is_read() {
    let world = world();
    *world.database.coupon.lock() = Some(coupon("summer", 1, 1));
    assert_eq!(world.ask("GET", "/api/v6/coupons/summer", &[], Body::empty()).await.told().0, 200);
    let refused = world.ask(
        "POST",
        ISSUES,
        &[JSON],
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()),
    );
    let refused = tokio::time::timeout(std::time::Duration::from_secs(10), refused).await;
    let refused = refused.expect("the body was waited for");
    assert_eq!((refused.told(), &refused.body["retryable"]), ((409, "sold-out"), &json!(false)));
    assert_eq!(world.refused("coupon", "sold-out"), 1);
    // a key may be that of a request that was decided
    assert_eq!(issue(&world, "ann", &[KEY]).await.told(), (409, "sold-out"));
    assert_eq!(stored(&world), [""; 0]);
    *world.database.coupon.lock() = Some(coupon("summer", 2, 1));
    let pending = world.ask("GET", "/api/v6/coupons/summer", &[], Body::empty()).await;
    assert_eq!(pending.body["remaining"], 1);
}

#[tokio::test]
async fn a_winners_retry_is_answered_as_ever() {
    let world = world();
    *world.database.coupon.lock() = Some(coupon("summer", 1, 0));
    let first = issue(&world, "ann", &[KEY]).await;
    let request: EventId = first.body["requestId"].as_str().unwrap().parse::<uuid::Uuid>().unwrap().into();
    world.database.decisions.lock().push(Decision {
        request_id: request,
        coupon_id: "summer".to_owned().try_into().unwrap(),
        user_id: "ann".to_owned().try_into().unwrap(),
        status: DecisionStatus::Issued,
        rank: Some(1),
        decided_at: at(1),
    });
    *world.database.coupon.lock() = Some(coupon("summer", 1, 1));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while issue(&world, "ben", &[]).await.told() != (409, "sold-out") {
        assert!(tokio::time::Instant::now() < deadline, "nobody learnt that it is sold out");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let again = issue(&world, "ann", &[KEY]).await;
    assert_eq!((again.told().0, &again.body), (202, &first.body));
    assert_eq!(issue(&world, "ben", &[KEY]).await.told(), (409, "sold-out"));
}

/// Each for itself, and none overtakes another that waited to be told.
#[tokio::test]
async fn many_are_told_at_the_door_each_for_itself() {
    let limits = crate::HttpConfig {
        events_max: 1000,
        body_max_bytes: 1 << 20,
        bodies_max_bytes: 1 << 20,
        ..config()
    };
    for fillers in [0, 300] {
        let door = DoorConfig { refuse_unknown: true, refuse_sold_out: true, ..DoorConfig::OPEN };
        let world = World::with_door(&limits, door);
        *world.database.coupon.lock() = Some(coupon("summer", 9, 0));
        let of = |coupon: &str, user: &str| json!({ "type": "coupon", "couponId": coupon, "userId": user });
        let mut events = vec![of("summer", "ann"), of("winter", "ben"), of("summer", "cid"), of("", "dan")];
        events.extend((0..fillers).map(|number| of("summer", &format!("user-{number}"))));
        let answer = world.ask("POST", "/api/v6/events", &[JSON], json!(events).to_string()).await;
        let told = |result: &Value| {
            (
                result["status"].as_str().unwrap().to_owned(),
                result["problem"]["type"].as_str().map(str::to_owned),
            )
        };
        let results: Vec<_> = answer.body["results"].as_array().unwrap().iter().map(told).collect();
        let rejected = |name: &str| ("rejected".to_owned(), Some(format!("/problems/{name}")));
        let accepted = ("accepted".to_owned(), None);
        assert_eq!(
            results[..4],
            [accepted.clone(), rejected("unknown-coupon"), accepted.clone(), rejected("invalid-value")]
        );
        assert!(results[4..].iter().all(|result| *result == accepted), "{results:?}");
        let users = stored(&world);
        assert_eq!(
            (users[..2].to_vec(), users.len()),
            (vec!["ann".to_owned(), "cid".to_owned()], 2 + fillers)
        );
        assert!(users[2..].iter().enumerate().all(|(number, user)| *user == format!("user-{number}")));
        assert_eq!(world.refused("coupon", "unknown-coupon"), 1);
    }
}

/// A batch that asks for more than can be looked up is let in whole, and the door stands as before.
#[tokio::test]
async fn a_batch_larger_than_the_room_goes_on_and_nobody_else() {
    let door = DoorConfig { refuse_unknown: true, refuse_sold_out: true, lookups_max: 4, ..DoorConfig::OPEN };
    let world = World::with_door(&config(), door);
    let batch = |events: Vec<Value>| {
        let world = &world;
        async move {
            let answer = world.ask("POST", "/api/v6/events", &[JSON], json!(events).to_string()).await;
            let results = answer.body["results"].as_array().cloned().unwrap_or_default();
            let accepted = results.iter().filter(|result| result["status"] == "accepted").count();
            (answer.told().0, accepted)
        }
    };
    let unknown = |number| json!({ "type": "coupon", "couponId": format!("c-{number}"), "userId": "ann" });
    assert_eq!(batch((0..5).map(unknown).collect()).await, (200, 5));
    assert_eq!(batch((0..4).map(unknown).collect()).await, (200, 0));
    assert_eq!(issue(&world, "ben", &[]).await.told(), (404, "unknown-coupon"));

    *world.database.coupon.lock() = Some(coupon("summer", 1, 1));
    let retry = |number| {
        let key = format!("key-number-{number}");
        json!({ "type": "coupon", "couponId": "summer", "userId": "ann", "idempotencyKey": key })
    };
    assert_eq!(batch((0..5).map(retry).collect()).await, (200, 5));
    assert_eq!(batch((5..9).map(retry).collect()).await, (200, 0));
    assert_eq!(issue(&world, "ben", &[KEY]).await.told(), (409, "sold-out"));
}
