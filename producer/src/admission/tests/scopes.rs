//! What those may do who are known, in every form in which it can be asked for.

use floodgate_schemas::EventType;
use serde_json::Value;

use super::*;
use crate::extract::{JSON, NDJSON};
use crate::operation::Operation;
use crate::routes::OPERATIONS;
use crate::scope::Access;

/// A request but for who sends it.
struct Sent {
    method: String,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

impl Sent {
    fn to(one: &Operation, headers: &[(&'static str, &'static str)], body: impl ToString) -> Self {
        let examples = [("{couponId}", "c"), ("{targetOcid}", "star"), ("{likerAccountId}", "ann")];
        let path = examples.iter().fold(one.path.to_owned(), |path, (name, of)| path.replace(name, of));
        let path = path.replace("{characterId}", "7").replace("{requestId}", &"0".repeat(32));
        Self {
            method: one.verb.method().to_string(),
            path,
            headers: headers.to_vec(),
            body: body.to_string(),
        }
    }

    async fn by(&self, world: &World, bearer: &str) -> Answer {
        let authorization = format!("Bearer {bearer}");
        let mut headers = self.headers.clone();
        headers.push(("authorization", &authorization));
        world.ask(&self.method, &self.path, &headers, self.body.clone()).await
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?} {}", self.method, self.path, self.headers, self.body)
    }
}

/// What an event of this type says, of this user.
fn event(of: EventType, user: &str) -> Value {
    match of {
        EventType::Expectation => {
            json!({"characterId": 7, "presetNo": 1, "totalExpectedCost": 1, "blackCubeCost": 1,
            "redCubeCost": 1, "additionalCubeCost": 1, "starforceCost": 1, "calculatedAt": at(0).to_string()})
        }
        EventType::Coupon => json!({"couponId": "c", "userId": user}),
        EventType::Like => json!({"targetOcid": "star", "likerAccountId": user, "action": "LIKE",
            "occurredAt": at(0).to_string()}),
    }
}

/// An event by every operation that takes all types, in every form that it takes.
fn by_type(of: EventType, user: &str) -> Vec<Sent> {
    let event = event(of, user);
    let mut native = event.clone();
    native["type"] = json!(of.name());
    let envelope =
        json!({"specversion": "1.0", "type": of.topic(), "source": "/game", "id": user, "data": event});
    let mut sent = Vec::new();
    for one in OPERATIONS.iter().filter(|one| one.access == Access::NeedsByEvent) {
        for (media_type, _) in one.body.as_ref().unwrap().content {
            let mut headers = vec![("content-type", *media_type)];
            let body = match (one.name, *media_type) {
                ("writeEvents", JSON) => json!([native]).to_string(),
                ("writeEvents", NDJSON) => format!("{native}\n"),
                ("writeCloudEvents", "application/cloudevents+json") => envelope.to_string(),
                ("writeCloudEvents", "application/cloudevents-batch+json") => json!([envelope]).to_string(),
                ("writeCloudEvents", JSON) => {
                    let source = ("ce-source", "/game");
                    headers.extend([
                        ("ce-specversion", "1.0"),
                        ("ce-type", of.topic()),
                        source,
                        ("ce-id", "1"),
                    ]);
                    event.to_string()
                }
                (name, form) => panic!("{name}: nothing is sent as {form} here"),
            };
            sent.push(Sent::to(one, &headers, body));
        }
    }
    assert_eq!(sent.len(), 5, "forms in which an event of any type is sent");
    sent
}

/// What every operation for which a scope is needed is asked for, and the scope.
fn by_scope() -> Vec<(Sent, Scope)> {
    let mut sent = Vec::new();
    for one in &OPERATIONS {
        let Access::Needs(scope) = one.access else { continue };
        let body = match one.name {
            "writeExpectation" => event(EventType::Expectation, "").to_string(),
            "createCoupon" => json!({"couponId": "c", "stock": 1}).to_string(),
            "issueCoupon" => json!({"userId": "ann"}).to_string(),
            "like" | "unlike" => String::new(),
            "readExpectations" | "readCoupon" | "readDecision" | "countLikes" | "readLike" => String::new(),
            name => panic!("{name}: nothing is sent here"),
        };
        let headers = if body.is_empty() { &[][..] } else { &[super::JSON] };
        sent.push((Sent::to(one, headers, body), scope));
    }
    for of in EventType::ALL {
        sent.extend(by_type(of, "ann").into_iter().map(|sent| (sent, Scope::of(of))));
    }
    sent
}

/// Why what was sent is refused, alone or as the only one of many.
fn refused(answer: &Answer) -> Option<&Value> {
    match &answer.body["results"][0]["status"] {
        Value::Null => {
            (!answer.status.is_success() && answer.told().1 != "not-found").then_some(&answer.body)
        }
        status => (status != "accepted").then_some(&answer.body["results"][0]["problem"]),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_good_for_its_scopes_alone() {
    let keys: Vec<_> = Scope::ALL.iter().map(std::slice::from_ref).collect();
    let keys: Vec<_> =
        Scope::ALL.iter().zip(&keys).map(|(scope, only)| (scope.name(), scope.name(), *only)).collect();
    let (world, _) = world(&with_keys(&keys, false), &unlimited());
    *world.database.created.lock() = Some(floodgate_store::CouponCreated::Created);
    for (sent, needed) in by_scope() {
        for scope in Scope::ALL {
            let answer = sent.by(&world, scope.name()).await;
            let kept = world.buffer.take().len();
            if scope == needed {
                assert_eq!(refused(&answer), None, "{sent} as {scope}: {answer:?}");
                continue;
            }
            let problem = refused(&answer).unwrap_or_else(|| panic!("{sent} as {scope}: {answer:?}"));
            assert_eq!((&problem["type"], kept), (&json!("/problems/forbidden"), 0), "{sent} as {scope}");
            if answer.status == 403 {
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.contains("insufficient_scope"), "{answer:?}");
            }
            // who may write nothing is told of a type that it may not
            let names = Scope::ALL.iter().filter(|of| **of == needed || Scope::of(EventType::Like) == **of);
            let detail = problem["detail"].as_str().unwrap();
            assert!(names.into_iter().any(|of| detail.contains(of.name())), "{sent} as {scope}: {detail}");
        }
    }
    // of many each by its type
    let many = json!([
        {"type": "coupon", "couponId": "c", "userId": "ann"},
        {"type": "like", "targetOcid": "star", "likerAccountId": "ann", "action": "LIKE"},
    ]);
    let asked = tokio::time::Instant::now();
    let answer = ask(&world, "POST", "/api/v6/events", "like:write", many).await;
    assert_eq!(asked.elapsed(), std::time::Duration::ZERO, "nobody waits for one that is refused");
    let statuses = [0, 1].map(|index| answer.body["results"][index]["status"].clone());
    assert_eq!((answer.told().0, statuses), (200, ["rejected", "accepted"].map(Value::from)), "{answer:?}");
    assert_eq!(world.buffer.take().len(), 1);
}

/// Nobody issues a coupon or likes for another, however it is sent.
#[tokio::test]
async fn who_is_bound_writes_for_itself_alone() {
    let (world, _) = world(&with_keys(&[("ann", "key-1", &Scope::ALL)], true), &unlimited());
    let coupon = "/api/v6/coupons/c/issues";
    let of_bob = "/api/v6/characters/star/likes/bob";
    for (method, path, body, told) in [
        ("POST", coupon, json!({"userId": "ann"}), 202),
        ("POST", coupon, json!({"userId": "bob"}), 403),
        ("POST", coupon, json!({"userId": "Ann"}), 403),
        ("PUT", LIKE, json!(null), 202),
        ("PUT", of_bob, json!(null), 403),
        ("DELETE", of_bob, json!(null), 403),
        ("DELETE", LIKE, json!(null), 202),
        ("GET", of_bob, json!(null), 200),
    ] {
        let answer = ask(&world, method, path, "key-1", body.clone()).await;
        assert_eq!(answer.told().0, told, "{method} {path} {body}: {answer:?}");
        assert!(told != 403 || matches!(answer.body["field"].as_str(), Some("userId" | "likerAccountId")));
    }
    assert_eq!(world.buffer.take().len(), 3);
    for (of, field) in
        [(EventType::Coupon, "userId"), (EventType::Like, "likerAccountId"), (EventType::Expectation, "")]
    {
        for user in ["ann", "bob", "Ann"] {
            // nobody owns what is expected
            let is_own = user == "ann" || of == EventType::Expectation;
            for sent in by_type(of, user) {
                let answer = sent.by(&world, "key-1").await;
                let problem = refused(&answer);
                let told = problem.map(|problem| (problem["type"].clone(), problem["field"].clone()));
                let wanted = (!is_own).then(|| (json!("/problems/forbidden"), json!(field)));
                assert_eq!(told, wanted, "{sent}: {answer:?}");
                assert_eq!(world.buffer.take().len(), usize::from(is_own), "{sent}");
            }
        }
    }
    let many = json!([
        {"type": "coupon", "couponId": "c", "userId": "bob"},
        {"type": "like", "targetOcid": "star", "likerAccountId": "bob", "action": "LIKE"},
        {"type": "like", "targetOcid": "star", "likerAccountId": "ann", "action": "LIKE"},
    ]);
    let answer = ask(&world, "POST", "/api/v6/events", "key-1", many).await;
    let statuses: Vec<_> =
        answer.body["results"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, ["rejected", "rejected", "accepted"]);
    assert_eq!(world.buffer.take().len(), 1);
}
