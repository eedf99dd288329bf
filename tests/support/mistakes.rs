//! What clients get wrong, and how they are told.

use serde_json::{Value, json};
use uuid::Uuid;

use super::answers::{expectation, from_now, in_an_hour, in_microseconds, valid_expectation};
use super::client::Ask;

/// A request, and the status, the problem and the field it is answered with.
pub type Mistake = (Ask, u16, &'static str, Option<&'static str>);

/// All of them.
pub fn mistakes() -> Vec<Mistake> {
    let mut all = mistakes_in_expectations();
    all.extend(mistakes_in_likes());
    all.extend(mistakes_with_coupons());
    all.extend(mistakes_in_batches());
    all.extend(mistakes_on_any_route());
    all
}

/// A valid expectation but for one field.
pub fn with(field: &str, value: Value) -> Ask {
    let mut body = expectation();
    body[field] = value;
    Ask::new("POST", "/api/v6/expectations").json(body.to_string())
}

fn without(field: &str) -> Ask {
    let mut body = expectation();
    body.as_object_mut().unwrap().remove(field);
    Ask::new("POST", "/api/v6/expectations").json(body.to_string())
}

fn mistakes_in_expectations() -> Vec<Mistake> {
    let post = || Ask::new("POST", "/api/v6/expectations");
    let mut all: Vec<Mistake> = vec![
        (post().json(""), 400, "malformed-json", None),
        (post().json("{"), 400, "malformed-json", None),
        (post().json("[]"), 400, "malformed-json", None),
        (post().json("null"), 400, "malformed-json", None),
        (post().json(format!("{} x", expectation())), 400, "malformed-json", None),
        (post().json("{\"characterId\":".to_owned() + &"[".repeat(100_000)), 400, "malformed-json", None),
        (
            post().json("{\"characterId\":".to_owned() + &"{\"a\":".repeat(100_000)),
            400,
            "malformed-json",
            None,
        ),
        (post().json(wide()), 400, "invalid-field", Some("k0")),
        (post().json("\u{feff}{}"), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "NaN")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "Infinity")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "04711")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "0x10")), 400, "malformed-json", None),
        (post().json(expectation().to_string().replace("4711", "+1")), 400, "malformed-json", None),
        (bytes(b"{\"characterId\":\"\xff\"}"), 400, "malformed-json", None),
        (bytes(b"{\"\xc3\x28\":1}"), 400, "malformed-json", None),
        (bytes(b"\x00"), 400, "malformed-json", None),
        (post().json(r#"{"presetNo":1,"presetNo":2}"#), 400, "invalid-field", Some("presetNo")),
        (with("characterID", json!(1)), 400, "invalid-field", Some("characterID")),
        (with("characterId", json!("1")), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!(0)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(1.5)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(-1)), 422, "invalid-value", Some("characterId")),
        (with("characterId", json!(1e30)), 422, "invalid-value", Some("characterId")),
        (
            with("characterId", json!(9_223_372_036_854_775_808_u64)),
            422,
            "invalid-value",
            Some("characterId"),
        ),
        (with("characterId", json!([1])), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!({})), 400, "invalid-field", Some("characterId")),
        (with("characterId", json!(u64::MAX)), 422, "invalid-value", Some("characterId")),
        (with("presetNo", json!(0)), 422, "invalid-value", Some("presetNo")),
        (with("presetNo", json!(4)), 422, "invalid-value", Some("presetNo")),
        (with("presetNo", json!(null)), 400, "invalid-field", Some("presetNo")),
        (with("version", json!("1")), 400, "invalid-field", Some("version")),
        (with("version", json!(u64::MAX)), 422, "invalid-value", Some("version")),
        (with("version", json!(i64::MAX)), 422, "invalid-value", Some("version")),
        (with("version", json!(in_microseconds(600))), 422, "invalid-value", Some("version")),
        (with("version", json!(1.5)), 422, "invalid-value", Some("version")),
        (
            post().json(expectation().to_string().replace("4711", "1E400")),
            422,
            "invalid-value",
            Some("characterId"),
        ),
        (
            post().json(expectation().to_string().replace("4711", "-0")),
            422,
            "invalid-value",
            Some("characterId"),
        ),
        (with("calculatedAt", json!("2016-12-31T23:59:60Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-01-02T24:00:00Z")), 422, "invalid-value", Some("calculatedAt")),
        (
            with("calculatedAt", json!("2026-01-02T03:04:05+24:00")),
            422,
            "invalid-value",
            Some("calculatedAt"),
        ),
        (with("calculatedAt", json!("0000-01-01T00:00:00Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!(1_767_323_045)), 400, "invalid-field", Some("calculatedAt")),
        (with("calculatedAt", json!("yesterday")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-01-02")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-13-02T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-02-30T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("2026-01-02T24:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("99999-01-02T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("-0001-01-02T03:04:05Z")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!("")), 422, "invalid-value", Some("calculatedAt")),
        (
            with("calculatedAt", json!("2026-01-02T03:04:05Z\u{0}")),
            422,
            "invalid-value",
            Some("calculatedAt"),
        ),
        (with("calculatedAt", json!("2026-01-02T03:04:05")), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!(in_an_hour())), 422, "invalid-value", Some("calculatedAt")),
        (with("calculatedAt", json!(from_now(320))), 422, "invalid-value", Some("calculatedAt")),
        (with("starforceCost", json!(true)), 400, "invalid-field", Some("starforceCost")),
    ];
    for cost in [
        json!("-1"),
        json!(-1),
        json!("1.005"),
        json!("1e3"),
        json!("1000000000000000000"),
        json!("9".repeat(400)),
        json!("0.".to_owned() + &"0".repeat(400)),
        json!("1.234"),
        json!("NaN"),
        json!("inf"),
        json!(" 1"),
        json!("1,5"),
        json!("٣"),
        json!("1\u{0}"),
        json!("ten"),
        json!(""),
    ] {
        all.push((with("redCubeCost", cost), 422, "invalid-value", Some("redCubeCost")));
    }
    let exponent = expectation().to_string().replace("\"10.5\"", "1e3");
    all.push((post().json(exponent), 422, "invalid-value", Some("totalExpectedCost")));
    for name in [
        "characterId",
        "presetNo",
        "totalExpectedCost",
        "blackCubeCost",
        "redCubeCost",
        "additionalCubeCost",
        "starforceCost",
        "calculatedAt",
    ] {
        all.push((without(name), 400, "invalid-field", Some(name)));
    }
    for key in ["short", "has space in it", &"x".repeat(129)] {
        all.push((valid_expectation().key(key), 400, "invalid-request", Some("Idempotency-Key")));
    }
    let twice = valid_expectation().key("key-12345678").key("key-12345678");
    all.push((twice, 400, "invalid-request", Some("Idempotency-Key")));
    let read = |id: &str| Ask::get(format!("/api/v6/characters/{id}/expectations"));
    all.push((read("1"), 404, "not-found", None));
    all.push((read("0"), 422, "invalid-value", Some("characterId")));
    all.push((read("x"), 422, "invalid-value", Some("characterId")));
    all.push((read("+1"), 422, "invalid-value", Some("characterId")));
    all.push((read("9223372036854775808"), 422, "invalid-value", Some("characterId")));
    all
}

/// An expectation whose bytes are not the test language's.
fn bytes(body: &'static [u8]) -> Ask {
    Ask::new("POST", "/api/v6/expectations").header("content-type", "application/json").body(body)
}

/// An object with very many names.
fn wide() -> String {
    let fields: Vec<_> = (0..100_000).map(|number| format!("\"k{number}\":1")).collect();
    format!("{{{}}}", fields.join(","))
}

/// The whole body is refused only when it is no list of events.
fn mistakes_in_batches() -> Vec<Mistake> {
    let post = || Ask::new("POST", "/api/v6/events");
    let lines = |body: String| post().header("content-type", "application/x-ndjson").body(body);
    vec![
        (post().json(""), 400, "malformed-json", None),
        (post().json("{}"), 400, "malformed-json", None),
        (post().json("[{}"), 400, "malformed-json", None),
        (post().json("[{},]"), 400, "malformed-json", None),
        (post().json("[{}] []"), 400, "malformed-json", None),
        (post().json("[".repeat(100_000)), 400, "malformed-json", None),
        (post().json(format!("[{}1]", "1,".repeat(10_000))), 413, "too-many-events", None),
        (lines("1\n".repeat(10_001)), 413, "too-many-events", None),
        (post().json("[]").key("key-12345678"), 400, "invalid-request", Some("Idempotency-Key")),
        (post().header("content-type", "application/ndjson").body("{}"), 415, "unsupported-media-type", None),
        (post().body("[]"), 415, "unsupported-media-type", None),
        (Ask::new("POST", "/api/v6/events?wait=1").json("[]"), 400, "invalid-request", Some("wait")),
        (Ask::get("/api/v6/events"), 405, "method-not-allowed", None),
    ]
}

fn mistakes_in_likes() -> Vec<Mistake> {
    let like =
        |target: &str, liker: &str| Ask::new("PUT", format!("/api/v6/characters/{target}/likes/{liker}"));
    let unlike = |body: &str| Ask::new("DELETE", "/api/v6/characters/t/likes/l").json(body);
    let (long, future) = ("x".repeat(129), in_an_hour());
    vec![
        (like("same", "same"), 422, "invalid-value", Some("likerAccountId")),
        (like("t", "l").key("key-12345678"), 422, "invalid-value", Some("occurredAt")),
        (unlike("{}").key("key-12345678"), 422, "invalid-value", Some("occurredAt")),
        (unlike(&format!(r#"{{"occurredAt":"{future}"}}"#)), 422, "invalid-value", Some("occurredAt")),
        (unlike(r#"{"occurredAt":17}"#), 400, "invalid-field", Some("occurredAt")),
        (unlike(r#"{"occuredAt":"2026-01-02T03:04:05Z"}"#), 400, "invalid-field", Some("occuredAt")),
        (unlike("nonsense"), 400, "malformed-json", None),
        (like("t", "l").body("{}"), 415, "unsupported-media-type", None),
        (like(&long, "l"), 422, "invalid-value", Some("targetOcid")),
        (like("t", &long), 422, "invalid-value", Some("likerAccountId")),
        (like("t%00", "l"), 422, "invalid-value", Some("targetOcid")),
        (like("t", "l%1F"), 422, "invalid-value", Some("likerAccountId")),
        (like("t%FF", "l"), 400, "invalid-request", Some("path")),
        (like("t%2", "l"), 400, "invalid-request", Some("path")),
        (like("t", "l%zz"), 400, "invalid-request", Some("path")),
        (unlike(r#"{"occurredAt":"\ud800"}"#), 400, "malformed-json", Some("occurredAt")),
        (Ask::get(format!("/api/v6/characters/{long}/likes")), 422, "invalid-value", Some("targetOcid")),
        (
            Ask::get(format!("/api/v6/characters/t/likes/{long}")),
            422,
            "invalid-value",
            Some("likerAccountId"),
        ),
    ]
}

fn mistakes_with_coupons() -> Vec<Mistake> {
    let create = |body: Value| Ask::new("POST", "/api/v6/coupons").json(body.to_string());
    let issue = |coupon: &str, body: Value| {
        Ask::new("POST", format!("/api/v6/coupons/{coupon}/issues")).json(body.to_string())
    };
    let (long, id) = ("x".repeat(129), Uuid::now_v7());
    let closes = json!({"couponId": "c", "stock": 1, "opensAt": "2026-01-01T00:00:00Z", "closesAt": "2026-01-01T00:00:00Z"});
    vec![
        (create(json!({"couponId": "c"})), 400, "invalid-field", Some("stock")),
        (create(json!({"stock": 1})), 400, "invalid-field", Some("couponId")),
        (create(json!({"couponId": 1, "stock": 1})), 400, "invalid-field", Some("couponId")),
        (create(json!({"couponId": "c", "stock": "1"})), 400, "invalid-field", Some("stock")),
        (create(json!({"couponId": "c", "stock": 1, "count": 1})), 400, "invalid-field", Some("count")),
        (create(json!({"couponId": "", "stock": 1})), 422, "invalid-value", Some("couponId")),
        (create(json!({"couponId": "a\u{0}b", "stock": 1})), 422, "invalid-value", Some("couponId")),
        (create(json!({"couponId": long, "stock": 1})), 422, "invalid-value", Some("couponId")),
        (create(json!({"couponId": "c", "stock": -1})), 422, "invalid-value", Some("stock")),
        (create(json!({"couponId": "c", "stock": 2_147_483_648_i64})), 422, "invalid-value", Some("stock")),
        (
            create(json!({"couponId": "c", "stock": 1, "opensAt": "now"})),
            422,
            "invalid-value",
            Some("opensAt"),
        ),
        (create(closes), 422, "invalid-value", Some("closesAt")),
        (Ask::get("/api/v6/coupons/c"), 404, "not-found", None),
        (issue("c", json!({})), 400, "invalid-field", Some("userId")),
        (issue("c", json!({"userId": 1})), 400, "invalid-field", Some("userId")),
        (issue("c", json!({"userId": "u", "couponId": "c"})), 400, "invalid-field", Some("couponId")),
        (issue("c", json!({"userId": ""})), 422, "invalid-value", Some("userId")),
        (issue("c", json!({"userId": "a\nb"})), 422, "invalid-value", Some("userId")),
        (issue(&long, json!({"userId": "u"})), 422, "invalid-value", Some("couponId")),
        (issue("c", json!({"userId": "u"})).key("short"), 400, "invalid-request", Some("Idempotency-Key")),
        (Ask::get("/api/v6/coupon-requests/4711"), 400, "invalid-request", Some("requestId")),
        (Ask::get(format!("/api/v6/coupon-requests/{id}?waitms=1")), 400, "invalid-request", Some("waitms")),
        (wait_ms(id, "30001"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "-1"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "+1"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "1.5"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, ""), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "1&waitMs=2"), 400, "invalid-request", Some("waitMs")),
        (wait_ms(id, "99999999999999999999"), 400, "invalid-request", Some("waitMs")),
    ]
}

fn wait_ms(request: Uuid, value: &str) -> Ask {
    Ask::get(format!("/api/v6/coupon-requests/{request}?waitMs={value}"))
}

/// What all routes have in common.
fn mistakes_on_any_route() -> Vec<Mistake> {
    let mut all: Vec<Mistake> = vec![
        (Ask::get("/"), 404, "not-found", None),
        (Ask::get("/api/v6/expectation"), 404, "not-found", None),
        (Ask::new("POST", "/api/v5/expectations").json("{}"), 404, "not-found", None),
        (Ask::get("/metrics"), 404, "not-found", None),
    ];
    let posts = ["/api/v6/expectations", "/api/v6/coupons", "/api/v6/coupons/c/issues"];
    for path in posts {
        let body = format!("{{\"filler\":\"{}\"}}", "x".repeat(8 * 1024 * 1024));
        all.push((Ask::new("POST", path).json(body), 413, "body-too-large", None));
        all.push((Ask::new("POST", path).body("{}"), 415, "unsupported-media-type", None));
        let text = Ask::new("POST", path).header("content-type", "text/plain").body("{}");
        all.push((text, 415, "unsupported-media-type", None));
        let typed = |media_type: &str| Ask::new("POST", path).header("content-type", media_type).body("{}");
        all.push((typed("application/json; charset=latin1"), 415, "unsupported-media-type", None));
        all.push((typed("application/jsonx"), 415, "unsupported-media-type", None));
        all.push((typed(""), 415, "unsupported-media-type", None));
        let brotli = Ask::new("POST", path).header("content-encoding", "br").json("{}");
        all.push((brotli, 415, "unsupported-media-type", Some("Content-Encoding")));
        let zipped = Ask::new("POST", path).header("content-encoding", "gzip").json("{}");
        all.push((zipped, 400, "malformed-json", None));
    }
    all.push((Ask::get(format!("/{}", "x".repeat(8192))), 414, "target-too-long", None));
    all.push((Ask::get(format!("/?{}", "x".repeat(60_000))), 414, "target-too-long", None));
    let reads = [
        "/api/v6/characters/1/expectations",
        "/api/v6/coupons/c",
        "/api/v6/coupon-requests/00000000-0000-4000-8000-000000000000",
        "/api/v6/characters/t/likes",
    ];
    for path in reads {
        all.push((Ask::new("POST", path).json("{}"), 405, "method-not-allowed", None));
    }
    for path in posts {
        all.push((Ask::new("PATCH", path).json("{}"), 405, "method-not-allowed", None));
    }
    all.push((Ask::new("POST", "/api/v6/characters/t/likes/l").json("{}"), 405, "method-not-allowed", None));
    all.push((Ask::new("DELETE", "/healthz"), 405, "method-not-allowed", None));
    for path in [
        "/api/v6/characters/1/expectations",
        "/api/v6/coupons/c",
        "/api/v6/characters/t/likes",
        "/api/v6/characters/t/likes/l",
    ] {
        all.push((Ask::get(format!("{path}?page=2")), 400, "invalid-request", Some("page")));
    }
    for path in posts {
        all.push((Ask::new("POST", format!("{path}?dry=1")).json("{}"), 400, "invalid-request", Some("dry")));
    }
    all.push((Ask::new("PUT", "/api/v6/characters/t/likes/l?at=1"), 400, "invalid-request", Some("at")));
    all
}
