//! What becomes of writes, from requests to answers.

use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use floodgate_buffer::{Outcome, Receipt, Refused, Wake};
use floodgate_schemas::codec::Codecs;
use floodgate_schemas::examples::{at, event_id};
use floodgate_schemas::{Encoder, EventType, Like, SchemaIds};
use floodgate_traces::Tracer;
use serde_json::json;

use crate::testing::{Answer, Fate, Kept, Log, World, config};

const TIMES: [&str; 3] =
    ["2026-11-21T10:00:00.000001Z", "2026-11-21T10:00:00.000002Z", "2026-11-21T10:00:00.000003Z"];

/// A write under the same key whenever it is sent, with other words where it names another time.
async fn like(world: &World, occurred_at: &str) -> Answer {
    let headers = [("idempotency-key", "key-0001"), ("content-type", "application/json")];
    let body = json!({ "occurredAt": occurred_at }).to_string();
    world.ask("PUT", "/api/v6/characters/star/likes/fan", &headers, body).await
}

/// The same as one of a batch. Returns the answer's only result.
async fn like_in_a_batch(world: &World, occurred_at: &str) -> serde_json::Value {
    let event = json!({
        "type": "like", "targetOcid": "star", "likerAccountId": "fan", "action": "LIKE",
        "occurredAt": occurred_at, "idempotencyKey": "key-0001",
    });
    let headers = [("content-type", "application/json")];
    let mut answer = world.ask("POST", "/api/v6/events", &headers, json!([event]).to_string()).await;
    assert_eq!(answer.told(), (200, ""), "{answer:?}");
    answer.body["results"][0].take()
}

/// The ids and times of the likes that were stored.
fn stored(kept: Vec<Kept>) -> Vec<(String, String)> {
    let like = |kept: Kept| Codecs::builtin().decode::<Like>(&kept.value).unwrap();
    kept.into_iter().map(like).map(|like| (like.event_id.to_string(), like.occurred_at.to_string())).collect()
}

/// What was answered 503 has not used its key: the retry is no repeat that somebody remembers, and stands for itself
/// also where the client thought better of its words.
#[tokio::test]
async fn what_is_certainly_not_stored_has_not_used_its_key() {
    for (fate, name) in [(Fate::NotStored, "not-stored"), (Fate::Refused(Refused::Full), "queue-full")] {
        let world = World::new(&config());
        world.buffer.next([fate.clone(), fate]);
        for time in [TIMES[0], TIMES[1]] {
            let refused = like(&world, time).await;
            assert_eq!((refused.told(), refused.header("retry-after")), ((503, name), Some("1")));
        }
        assert_eq!(world.buffer.take(), []);
        let accepted = like(&world, TIMES[2]).await;
        assert_eq!(accepted.told(), (202, ""), "{accepted:?}");
        let id = accepted.body["eventId"].as_str().unwrap().to_owned();
        assert_eq!(stored(world.buffer.take()), [(id.clone(), TIMES[2].to_owned())]);
        // from here on the key is used
        assert_eq!(like(&world, TIMES[0]).await.told(), (422, "idempotency-key-reused"));
        assert_eq!(world.buffer.take(), []);
        // a repeat is stored once more, for nobody knows here whether the first one still is
        assert_eq!(like(&world, TIMES[2]).await.body["eventId"], *id);
        assert_eq!(stored(world.buffer.take()), [(id, TIMES[2].to_owned())]);
        let counted = [world.refused("like", name), world.refused("like", "idempotency-key-reused")];
        assert_eq!((counted, world.accepted("like")), ([2, 1], 2));
    }
}

#[tokio::test]
async fn an_event_of_many_that_is_certainly_not_stored_has_not_used_its_key() {
    for (fate, name) in
        [(Fate::NotStored, "/problems/not-stored"), (Fate::Refused(Refused::Full), "/problems/queue-full")]
    {
        let world = World::new(&config());
        world.buffer.next([fate.clone(), fate]);
        for time in [TIMES[0], TIMES[1]] {
            let refused = like_in_a_batch(&world, time).await;
            let told = (&refused["status"], &refused["problem"]["type"], &refused["problem"]["index"]);
            assert_eq!(told, (&json!("retry"), &json!(name), &json!(0)), "{refused}");
        }
        assert_eq!(world.buffer.take(), []);
        let accepted = like_in_a_batch(&world, TIMES[2]).await;
        assert_eq!(accepted["status"], "accepted", "{accepted}");
        let id = accepted["eventId"].as_str().unwrap().to_owned();
        assert_eq!(stored(world.buffer.take()), [(id, TIMES[2].to_owned())]);
        let rejected = like_in_a_batch(&world, TIMES[0]).await;
        assert_eq!(rejected["problem"]["type"], "/problems/idempotency-key-reused", "{rejected}");
        assert_eq!(rejected["problem"]["field"], "idempotencyKey", "{rejected}");
        assert_eq!(rejected["status"], "rejected");
        assert_eq!(world.buffer.take(), []);
    }
}

/// Without an id of its schema no event is written, and none has used its key: with one they are.
#[tokio::test]
async fn without_an_id_nothing_is_stored() {
    let ids = Arc::new(SchemaIds::default());
    let world = World::handed(&config(), Tracer::off(), Encoder::registered(Arc::clone(&ids)));
    ids.tell("nobody answers");
    assert!(world.ingress.ready().is_err_and(|why| why.contains("nobody answers")));
    for time in [TIMES[0], TIMES[1]] {
        let refused = like(&world, time).await;
        assert_eq!((refused.told(), refused.header("retry-after")), ((503, "not-stored"), Some("1")));
        // why is no business of clients
        assert!(!refused.body["detail"].as_str().unwrap().contains("nobody answers"), "{refused:?}");
        let of_many = like_in_a_batch(&world, time).await;
        assert_eq!(of_many["status"], "retry", "{of_many}");
    }
    assert_eq!(world.buffer.take(), []);
    for of in EventType::ALL {
        ids.set(of, 7).unwrap();
    }
    assert_eq!(world.ingress.ready(), Ok(()));
    assert_eq!(like(&world, TIMES[2]).await.told(), (202, ""));
    assert_eq!(world.buffer.take()[0].value[..5], [0, 0, 0, 0, 7]);
}

/// What may be stored has used its key, whether the buffer says so or nobody hears in time.
#[tokio::test]
async fn what_may_be_stored_has_used_its_key() {
    for fate in [Fate::Unknown, Fate::Silence] {
        let world = World::new(&crate::HttpConfig { request_deadline_ms: 10, ..config() });
        world.buffer.next([fate]);
        let unknown = like(&world, TIMES[0]).await;
        assert_eq!((unknown.told(), unknown.header("retry-after")), ((504, "outcome-unknown"), None));
        let reused = like(&world, TIMES[1]).await;
        assert_eq!(reused.told(), (422, "idempotency-key-reused"));
        assert_eq!(reused.body["field"], "Idempotency-Key");
        assert_eq!(world.buffer.take(), []);
        let again = like(&world, TIMES[0]).await;
        assert_eq!(again.told(), (202, ""), "{again:?}");
        let id = again.body["eventId"].as_str().unwrap().to_owned();
        assert_eq!(stored(world.buffer.take()), [(id, TIMES[0].to_owned())]);
    }
}

/// The line of the log to which an answer of 504 leads says why nobody knows: the strategy said so, or nothing, and what troubles it.
#[tokio::test]
async fn what_nobody_knows_leads_to_why() {
    for (fate, cause) in
        [(Fate::Unknown, "reported an event as possibly stored"), (Fate::Silence, "did not tell")]
    {
        for trouble in [None, Some("broker 7 is away")] {
            let log = Log::start();
            let world = World::new(&crate::HttpConfig { request_deadline_ms: 10, ..config() });
            *world.buffer.unready.lock() = trouble.map(str::to_owned);
            world.buffer.next([fate.clone(), fate.clone()]);
            let answer = like(&world, TIMES[0]).await;
            assert_eq!(answer.told(), (504, "outcome-unknown"));
            let of_many = like_in_a_batch(&world, TIMES[0]).await;
            for problem in [&answer.body, &of_many["problem"]] {
                log.has(problem, cause);
                log.has(problem, trouble.unwrap_or(cause));
                assert!(!problem["detail"].as_str().unwrap().contains("broker"), "{problem}");
            }
        }
    }
}

/// Two requests under one key at once: that one of them is certainly not stored gives back nothing of a key that the other has used,
/// whichever is told first; and when neither is stored the key is as good as never used.
#[tokio::test]
async fn a_key_that_one_of_two_at_once_has_used_stays_used() {
    use Outcome::{NotStored, Stored, Unknown};
    let answered = |outcome| match outcome {
        NotStored => (503, "not-stored"),
        Unknown => (504, "outcome-unknown"),
        _ => (202, ""),
    };
    for (first, second, other_words) in [
        (NotStored, Stored, (422, "idempotency-key-reused")),
        (NotStored, Unknown, (422, "idempotency-key-reused")),
        (Stored, NotStored, (422, "idempotency-key-reused")),
        (NotStored, NotStored, (202, "")),
    ] {
        let world = World::new(&config());
        world.buffer.next([Fate::Silence, Fate::Silence]);
        let (mut one, mut other) = (pin!(like(&world, TIMES[0])), pin!(like(&world, TIMES[0])));
        let mut receipts = Vec::new();
        let both_are_under_way = async {
            while receipts.len() < 2 {
                receipts.extend(world.buffer.unanswered());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            answer = &mut one => panic!("{answer:?}"),
            answer = &mut other => panic!("{answer:?}"),
            () = both_are_under_way => {}
        }
        let told = |receipt: Receipt, outcome| receipt.complete(outcome).map_or((), Wake::wake);
        let last = receipts.remove(1);
        told(receipts.remove(0), first);
        assert_eq!(one.await.told(), answered(first));
        // while the other is on its way nobody knows
        assert_eq!(like(&world, TIMES[1]).await.told(), (422, "idempotency-key-reused"));
        told(last, second);
        assert_eq!(other.await.told(), answered(second));
        assert_eq!(like(&world, TIMES[1]).await.told(), other_words, "{first:?}, {second:?}");
    }
}

/// An answer says where its event is if that is not where it belongs; one to many does if any of them is.
#[tokio::test]
async fn what_is_stored_elsewhere_is_told_so() {
    let world = World::new(&config());
    let told = |answer: &Answer| (answer.told().0, answer.header("floodgate-stored-in").map(str::to_owned));
    let json = [("content-type", "application/json")];
    let like = json!({"type": "like", "targetOcid": "star", "likerAccountId": "fan", "action": "LIKE"});
    for (method, path, body, status) in [
        ("PUT", "/api/v6/characters/star/likes/fan", String::new(), 202),
        ("POST", "/api/v6/coupons/summer/issues", json!({"userId": "ann"}).to_string(), 202),
        ("POST", "/api/v6/events", json!([like]).to_string(), 200),
    ] {
        let headers = if body.is_empty() { &[][..] } else { &json };
        for (fate, wanted) in [(Fate::Spilled, Some("elsewhere".to_owned())), (Fate::Stored, None)] {
            world.buffer.next([fate]);
            let answer = world.ask(method, path, headers, body.clone()).await;
            assert_eq!(told(&answer), (status, wanted), "{path}: {answer:?}");
        }
    }
    world.buffer.next([Fate::Stored, Fate::Spilled, Fate::NotStored]);
    let three = json!([like, like, like]).to_string();
    let answer = world.ask("POST", "/api/v6/events", &json, three).await;
    assert_eq!(told(&answer), (200, Some("elsewhere".to_owned())), "{answer:?}");
    let spilled = |of| world.metrics.events_spilled.with_label_values(&[of]).get();
    assert_eq!((spilled("like"), spilled("coupon"), spilled("expectation")), (3, 1, 0));
    assert_eq!(world.accepted("like"), 6, "those among them");
}

/// A clock that stands still, or is set back, gives no two events one time, and none an earlier one; and the ids are
/// those that were drawn.
#[tokio::test]
async fn times_of_acceptance_increase_whatever_the_clock_does() {
    let world = World::new(&config());
    for micros in [0, 0, -3_600_000_000, 1, 500] {
        world.clock.set(at(micros));
        let accepted = world.ask("PUT", "/api/v6/characters/star/likes/fan", &[], Body::empty()).await;
        assert_eq!(accepted.told(), (202, ""), "{accepted:?}");
    }
    let likes: Vec<Like> = world
        .buffer
        .take()
        .iter()
        .map(|kept| Codecs::builtin().decode::<Like>(&kept.value).unwrap())
        .collect();
    let times: Vec<_> = likes.iter().map(|like| (like.accepted_at, like.occurred_at)).collect();
    assert_eq!(times, [0, 1, 2, 3, 500].map(|micros| (at(micros), at(micros))));
    assert!(likes.is_sorted_by(|before, after| before.event_id < after.event_id), "{likes:?}");
    // the first two numbers are what fingerprints of words begin with
    assert_eq!(likes[0].event_id, event_id(3));
}

/// How far ahead a client's clock may be is counted from ours, to the microsecond.
#[tokio::test]
async fn clients_clocks_may_be_ahead_as_far_as_configured() {
    let world = World::new(&crate::HttpConfig { clock_ahead_max_ms: 2, ..config() });
    let json = [("content-type", "application/json")];
    // when ours is set back the limit stays where it was, as times of acceptance do
    for (now, ahead, told) in [(5, 2_005, 202), (10, 2_011, 422), (-50, 2_011, 202)] {
        world.clock.set(at(now));
        let body = json!({ "occurredAt": at(ahead).to_string() }).to_string();
        let answer = world.ask("PUT", "/api/v6/characters/star/likes/fan", &json, body).await;
        assert_eq!(answer.told().0, told, "{now}: {answer:?}");
    }
}
