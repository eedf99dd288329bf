//! Compressed bodies on every route that takes one.

use std::io::Write;

use floodgate_schemas::examples::at;
use serde_json::json;

use super::{JSON, NDJSON, a_write, problem};
use crate::HttpConfig;
use crate::testing::{World, config};

/// Every route that takes a body takes it compressed, and stores what it would have stored.
#[tokio::test]
async fn bodies_may_be_compressed() {
    let gzip = |plain: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |plain: &str| {
        let mut frame = vec![0; 2000];
        let written = zstd_safe::compress(&mut frame[..], plain.as_bytes(), 3).unwrap();
        frame.truncate(written);
        frame
    };
    let like = json!({"type": "like", "targetOcid": "star", "likerAccountId": "fan", "action": "LIKE"});
    for (method, path, media_type, body, status) in [
        ("POST", "/api/v6/expectations", JSON, a_write().to_string(), 202),
        ("POST", "/api/v6/coupons", JSON, json!({"couponId": "c", "stock": 5}).to_string(), 201),
        ("POST", "/api/v6/coupons/c/issues", JSON, json!({"userId": "ann"}).to_string(), 202),
        (
            "PUT",
            "/api/v6/characters/star/likes/fan",
            JSON,
            json!({"occurredAt": at(1).to_string()}).to_string(),
            202,
        ),
        (
            "DELETE",
            "/api/v6/characters/star/likes/fan",
            JSON,
            json!({"occurredAt": at(2).to_string()}).to_string(),
            202,
        ),
        ("POST", "/api/v6/events", JSON, json!([like]).to_string(), 200),
        ("POST", "/api/v6/events", NDJSON, format!("{like}\n{like}"), 200),
    ] {
        let stored = async |headers: &[(&str, &str)], body: Vec<u8>| {
            let world = World::new(&HttpConfig { bodies_max_bytes: 1 << 20, ..config() });
            let answer = world.ask(method, path, headers, body).await;
            (
                answer.status.as_u16(),
                answer.body,
                world.buffer.take().into_iter().map(|kept| kept.value).collect::<Vec<_>>(),
            )
        };
        let plain = stored(&[media_type], body.clone().into()).await;
        assert_eq!(plain.0, status, "{path}: {}", plain.1);
        for (coding, body) in [("gzip", gzip(&body)), ("X-GZIP", gzip(&body)), ("zstd", zstd(&body))] {
            let compressed = stored(&[media_type, ("content-encoding", coding)], body).await;
            assert_eq!(compressed, plain, "{path} {coding}");
        }
    }
    let world = World::new(&HttpConfig { bodies_max_bytes: 1 << 20, ..config() });
    let path = "/api/v6/expectations";
    let zipped = |body: Vec<u8>| world.ask("POST", path, &[JSON, ("content-encoding", "gzip")], body);
    let large = zipped(gzip(&" ".repeat(1001))).await;
    assert_eq!(problem(&large), (413, "body-too-large", None));
    assert_eq!(problem(&zipped(b"{}".to_vec()).await), (400, "malformed-json", None));
    assert_eq!(world.refused("expectation", "body-too-large"), 1);
    // a like's body may be left out, compressed or not
    let like = "/api/v6/characters/star/likes/fan";
    for body in [Vec::new(), gzip("")] {
        let left_out = world.ask("PUT", like, &[JSON, ("content-encoding", "gzip")], body).await;
        assert_eq!(left_out.told().0, 202, "{left_out:?}");
    }
}
