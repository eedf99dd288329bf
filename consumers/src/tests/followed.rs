//! What is told of events whose requests are followed.

use floodgate_traces::{OtelConfig, Span, SpanContext, Surroundings, TRACEPARENT};
use tokio::sync::mpsc;

use super::*;

fn traced(world: &mut World) -> mpsc::Receiver<Span> {
    let config = OtelConfig {
        endpoint: String::new(),
        headers: "".into(),
        service_name: String::new(),
        sample_ratio: 0.0,
        follow_parent: true,
        links_max: 100,
        queue_max_spans: 1000,
        timeout_ms: 1,
    };
    let around = Surroundings { messaging: "in-memory", database: "none", destinations: Vec::new() };
    let (clock, chance) = (Arc::clone(&world.clock) as _, Arc::new(Counted::default()));
    let (tracer, spans) = Tracer::new(&config, around, world.metrics.traces.clone(), clock, chance);
    world.tracer = tracer;
    spans
}

impl World {
    fn publish_followed(&self, liker: &str, span: u64) {
        let mut value = Vec::new();
        encode(&like(span, "target", liker, LikeAction::Like, 0), &mut value);
        let carried = SpanContext::new(1, span).unwrap().to_string();
        self.publish(&value, &[(TRACEPARENT.as_bytes(), Some(carried.as_bytes()))]);
    }
}

/// Names of spans with what they are about: the message they follow, or how many events and why it failed.
fn told(mut spans: mpsc::Receiver<Span>) -> Vec<String> {
    let spans = std::iter::from_fn(|| spans.try_recv().ok());
    let words = |span: Span| {
        let of = span.parent.filter(|parent| parent.trace_id() == 1).map(|parent| parent.span_id());
        let size = span.attributes.iter().find(|(name, _)| *name == "floodgate.events");
        format!(
            "{}{}{}{}",
            span.name.replace("floodgate.like.v1", "topic"),
            of.map(|of| format!(" {of}")).unwrap_or_default(),
            size.map(|(_, size)| format!(" {size:?}")).unwrap_or_default(),
            span.error.map(|error| format!(": {error}")).unwrap_or_default(),
        )
    };
    spans.map(words).collect()
}

#[tokio::test]
async fn each_try_is_a_span_and_every_followed_event_is_told_of() {
    let mut world = World::new();
    let spans = traced(&mut world);
    world.publish_likes(&["a", "b"]);
    world.publish_followed("c", 7);
    world.publish_followed("bad-d", 8);
    world.database.planned.lock().push_back(ApplyError::Retry("the database is away".to_owned()));
    world.work().await;
    assert_eq!(
        told(spans),
        [
            "apply like Number(4): the database is away",
            "apply like Number(4): a bad liker",
            "apply like Number(2)",
            "apply like Number(2): a bad liker",
            "apply like Number(1)",
            "apply like Number(1): a bad liker",
            "apply topic",
            "process topic 7",
            "process topic 8: a bad liker",
        ]
    );
}

#[tokio::test]
async fn of_a_batch_without_one_nothing_is_told() {
    let mut world = World::new();
    let spans = traced(&mut world);
    world.publish_likes(&["a", "b"]);
    world.publish(b"poison", &[(b"other", Some(b"00-1-1-01"))]);
    world.work().await;
    assert_eq!(told(spans), [""; 0]);
    assert_eq!(world.reasons(), ["not-avro"]);
}

/// The numbers of records are those of the batch as it came: others before and between change nothing.
#[tokio::test]
async fn events_are_told_of_by_their_own_ids() {
    let mut world = World::new();
    let mut spans = traced(&mut world);
    world.publish(b"poison", &[]);
    world.publish_followed("a", 7);
    world.publish_likes(&["x", "y"]);
    world.publish_followed("b", 8);
    world.work().await;
    let ids: Vec<String> = std::iter::from_fn(|| spans.try_recv().ok())
        .filter(|span| span.name.starts_with("process"))
        .map(|span| {
            let id = span.attributes.iter().find(|(name, _)| *name == "messaging.message.id");
            format!("{:?} {:?}", span.parent.unwrap().span_id(), id.unwrap().1)
        })
        .collect();
    let id = |number: u64| {
        let id = like(number, "target", "x", LikeAction::Like, 0).event_id;
        format!("{number:?} {:?}", floodgate_traces::Value::from(id.to_string()))
    };
    assert_eq!(ids, [id(7), id(8)]);
}

/// What is held comes again: nothing is told of it but the batch, until it is done with.
#[tokio::test]
async fn held_events_are_told_of_when_they_are_done() {
    let mut world = World::new();
    let spans = traced(&mut world);
    for number in 1..=40 {
        world.publish_followed(&format!("bad-{number}"), number);
    }
    let stop = CancellationToken::new();
    let mended = async {
        until(|| world.health.ready().is_err_and(|why| why.contains("held"))).await;
        world.database.is_mended.store(true, Ordering::Relaxed);
        until(|| world.database.applied.lock().len() == 40).await;
        stop.cancel();
    };
    tokio::join!(world.work_until(stop.clone()), mended);
    let told = told(spans);
    let processed: Vec<&String> = told.iter().filter(|span| span.starts_with("process")).collect();
    // once each, and none as a dead letter
    assert_eq!(processed.len(), 40, "{told:?}");
    assert!(processed.iter().all(|span| !span.contains("bad liker")), "{processed:?}");
    assert!(told.iter().filter(|span| *span == "apply topic").count() >= 2, "{told:?}");
}
