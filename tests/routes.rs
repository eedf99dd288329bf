//! What every route answers to what clients get right.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use support::answers::{
    accepted, eventually, in_an_hour, is_time, keys, pending, problem, valid_expectation,
};
use support::client::Ask;
use support::node::Node;
use support::world::{World, run};
use uuid::Uuid;

/// However JSON and RFC 3339 let it be written: what is accepted is kept as it means.
#[test]
fn what_is_accepted_is_kept_as_it_means() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for (number, (closes, kept)) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("2026-01-02t03:04:05z", "2026-01-02T03:04:05.000000Z"),
            ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05.000000Z"),
            ("2026-01-02T03:04:05.1234569+09:00", "2026-01-01T18:04:05.123456Z"),
        ]
        .into_iter()
        .enumerate()
        {
            let coupon = format!("c{number}");
            let body = json!({"couponId": coupon, "stock": 1, "closesAt": closes}).to_string();
            let created = node.ask(&Ask::new("POST", "/api/v6/coupons").json(body.clone()))?;
            ensure!(
                created.status == 201 && created.json()["closesAt"] == kept,
                "{closes}: {}",
                created.text()
            );
            let read = node.get(&format!("/api/v6/coupons/{coupon}"))?.json();
            ensure!(read["closesAt"] == kept, "{closes}: {read}");
            let again = node.ask(&Ask::new("POST", "/api/v6/coupons").json(body))?;
            ensure!(again.status == 200, "{closes}: {}", again.text());
        }
        for (number, (stock, kept)) in
            [("1.0", 1), ("2e3", 2000), ("1.50e1", 15), ("-0", 0), ("2147483647.0", 2_147_483_647)]
                .into_iter()
                .enumerate()
        {
            let body = format!(r#"{{"couponId":"n{number}","stock":{stock}}}"#);
            let created = node.ask(&Ask::new("POST", "/api/v6/coupons").json(body))?;
            ensure!(created.status == 201 && created.json()["stock"] == kept, "{stock}: {}", created.text());
        }
        for (path, id) in [
            ("%ED%95%9C%20%2F", "한 /"),
            ("%2525", "%25"),
            ("a+b", "a+b"),
            ("%F0%9F%99%82", "🙂"),
            ("e%CC%81", "e\u{301}"),
        ] {
            accepted(&node.ask(&Ask::new("PUT", format!("/api/v6/characters/{path}/likes/l")))?)?;
            let read =
                eventually(&node, &format!("/api/v6/characters/{path}/likes"), |body| body["count"] == 1)?;
            ensure!(read["targetOcid"] == id, "{path}: {read}");
        }
        node.stop()
    });
}

#[test]
fn routes_answer_what_the_contract_says() {
    let world = World::empty().unwrap();
    run(|| {
        let node = world.start(&[])?;
        for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
            ensure!(
                node.get(path)?.json()["status"] == status
                    && node.ask_admin(path)?.json()["status"] == status
            );
        }
        expectations(&node)?;
        likes(&node)?;
        coupons(&node)?;
        node.stop()
    });
}

fn expectations(node: &Node) -> Result<()> {
    let path = "/api/v6/characters/4711/expectations";
    problem(&node.get(path)?, 404, "not-found", None)?;
    let first = accepted(&node.ask(&valid_expectation())?)?;
    ensure!(first.get_version_num() == 7, "a fresh id is no UUIDv7: {first}");
    let read = eventually(node, path, |_| true)?;
    ensure!(keys(&read) == BTreeSet::from(["characterId", "presets", "fromCache"]), "{read}");
    ensure!(read["characterId"] == 4711 && read["fromCache"].is_boolean(), "{read}");
    let preset = &read["presets"][0];
    ensure!(is_time(&preset["updatedAt"]), "{preset}");
    let mut wanted = json!({
        "presetNo": 2, "totalExpectedCost": "10.50", "blackCubeCost": "1.00", "redCubeCost": "2.25",
        "additionalCubeCost": "0.00", "starforceCost": "7.25", "calculatedAt": "2026-01-02T03:04:05.000006Z",
        "version": 1_767_323_045_000_006_i64, "eventId": first,
    });
    wanted["updatedAt"] = preset["updatedAt"].clone();
    ensure!(read["presets"] == json!([wanted]), "{read}");

    // exactly as the digits say; an offset counts; a lower version is superseded; a key gives the same id again
    let body = r#"{"characterId":9223372036854775807,"presetNo":1,"totalExpectedCost":999999999999999999.99,
        "blackCubeCost":12345678901234567.89,"redCubeCost":"0.1","additionalCubeCost":0.01,"starforceCost":0,
        "calculatedAt":"2026-01-02T12:04:05+09:00","version":5}"#;
    let ask = Ask::new("POST", "/api/v6/expectations").json(body).key("key-12345678");
    let id = accepted(&node.ask(&ask)?)?;
    ensure!(id == accepted(&node.ask(&ask)?)? && id.get_version_num() == 5, "{id}");
    accepted(&node.ask(&Ask::new("POST", "/api/v6/expectations").json(body.replace(":5}", ":4}")))?)?;
    let path = "/api/v6/characters/9223372036854775807/expectations";
    let read = eventually(node, path, |_| true)?;
    let preset = &read["presets"][0];
    let shown = ["totalExpectedCost", "blackCubeCost", "redCubeCost", "calculatedAt"]
        .map(|name| preset[name].clone());
    let wanted = ["999999999999999999.99", "12345678901234567.89", "0.10", "2026-01-02T03:04:05.000000Z"];
    ensure!(shown == wanted && preset["eventId"] == json!(id) && preset["version"] == 5, "{read}");
    Ok(())
}

fn likes(node: &Node) -> Result<()> {
    ensure!(
        node.get("/api/v6/characters/nobody/likes")?.json() == json!({"targetOcid": "nobody", "count": 0})
    );
    ensure!(node.get("/api/v6/characters/nobody/likes/ann")?.json() == json!({"liked": false}));
    // ids are text: percent-encoded in a path, whatever they hold
    let (target, liker) = ("%EC%9A%A9%2F%25%20%F0%9F%90%89", "ann+bob%40x");
    let path = format!("/api/v6/characters/{target}/likes/{liker}");
    accepted(&node.ask(&Ask::new("PUT", &path))?)?;
    eventually(node, &path, |body| *body == json!({"liked": true}))?;
    let count = format!("/api/v6/characters/{target}/likes");
    eventually(node, &count, |body| *body == json!({"targetOcid": "용/% 🐉", "count": 1}))?;
    // older than the like: superseded
    accepted(&node.ask(&Ask::new("DELETE", &path).json(r#"{"occurredAt":"2020-01-01T00:00:00Z"}"#))?)?;
    accepted(&node.ask(&Ask::new("DELETE", &path).json("{}"))?)?;
    eventually(node, &path, |body| *body == json!({"liked": false}))?;
    eventually(node, &count, |body| body["count"] == 0)?;
    Ok(())
}

fn coupons(node: &Node) -> Result<()> {
    let create = |body: Value| node.ask(&Ask::new("POST", "/api/v6/coupons").json(body.to_string()));
    let terms = json!({"couponId": "one", "stock": 1, "opensAt": "2026-01-01T00:00:00Z"});
    let created = create(terms.clone())?;
    ensure!(created.status == 201, "{}", created.text());
    ensure!(create(terms.clone())?.status == 200, "again with the same body");
    let mut others = vec![json!({"couponId": "one", "stock": 2, "opensAt": "2026-01-01T00:00:00Z"})];
    others.push(json!({"couponId": "one", "stock": 1}));
    others.push(
        json!({"couponId": "one", "stock": 1, "opensAt": "2026-01-01T00:00:00Z", "closesAt": in_an_hour()}),
    );
    for other in others {
        problem(&create(other)?, 409, "coupon-exists", None)?;
    }
    let read = node.get("/api/v6/coupons/one")?.json();
    let wanted = json!({"couponId": "one", "stock": 1, "issued": 0, "remaining": 1,
        "opensAt": "2026-01-01T00:00:00.000000Z", "closesAt": null});
    ensure!(read == wanted, "{read}");
    create(json!({"couponId": "later", "stock": 1, "opensAt": in_an_hour()}))?;
    create(json!({"couponId": "over", "stock": 1, "closesAt": "2026-01-01T00:00:00Z"}))?;
    create(json!({"couponId": "none", "stock": 0}))?;

    let unknown = Uuid::now_v7();
    let decision = node.get(&format!("/api/v6/coupon-requests/{unknown}"))?;
    ensure!(decision.json() == json!({"requestId": unknown, "status": "PENDING"}), "{}", decision.text());
    let decided = [
        ("one", "ann", "ISSUED"),
        ("one", "ann", "DUPLICATE"),
        ("one", "bob", "SOLD_OUT"),
        ("later", "ann", "NOT_OPEN"),
        ("over", "ann", "NOT_OPEN"),
        ("none", "ann", "SOLD_OUT"),
    ];
    let nothing = Ask::new("POST", "/api/v6/coupons/nothing/issues").json(r#"{"userId":"ann"}"#);
    problem(&node.ask(&nothing)?, 404, "unknown-coupon", None)?;
    for (coupon, user, outcome) in decided {
        let ask = Ask::new("POST", format!("/api/v6/coupons/{coupon}/issues"));
        let id = pending(&node.ask(&ask.json(json!({"userId": user}).to_string()))?)?;
        let path = format!("/api/v6/coupon-requests/{id}");
        let body = eventually(node, &path, |body| body["status"] != "PENDING")?;
        ensure!(is_time(&body["decidedAt"]), "{body}");
        let mut wanted = json!({"requestId": id, "status": outcome, "couponId": coupon, "userId": user});
        wanted["decidedAt"] = body["decidedAt"].clone();
        if outcome == "ISSUED" {
            wanted["rank"] = json!(1);
        }
        ensure!(body == wanted, "{body}, not {wanted}");
    }
    let read = node.get("/api/v6/coupons/one")?.json();
    ensure!(read["issued"] == 1 && read["remaining"] == 0, "{read}");
    Ok(())
}
