//! Spans as they come out, with a clock and a chance that are told.

use std::sync::Arc;

use floodgate_observe::Metrics;
use floodgate_schemas::EventType;
use floodgate_schemas::examples::{Counted, HandClock, at, event_id};
use tokio::sync::mpsc;

use crate::{Kind, OtelConfig, Span, SpanContext, Surroundings, Tracer, Value};

struct World {
    tracer: Tracer,
    spans: mpsc::Receiver<Span>,
    clock: Arc<HandClock>,
    metrics: Metrics,
}

fn config() -> OtelConfig {
    OtelConfig {
        endpoint: "http://127.0.0.1:4318".to_owned(),
        headers: "".into(),
        service_name: "floodgate".to_owned(),
        sample_ratio: 1.0,
        follow_parent: true,
        links_max: 3,
        queue_max_spans: 100,
        timeout_ms: 1000,
    }
}

impl World {
    fn new(config: &OtelConfig) -> Self {
        let (clock, metrics) = (Arc::new(HandClock::new(at(0))), Metrics::new().unwrap());
        let destinations = vec![(EventType::Like, "staging.floodgate.like.v1".to_owned())];
        let around = Surroundings { messaging: "kafka", database: "sqlite", destinations };
        let told = Arc::clone(&clock) as _;
        let (tracer, spans) =
            Tracer::new(config, around, metrics.traces.clone(), told, Arc::new(Counted::default()));
        Self { tracer, spans, clock, metrics }
    }

    fn told(&mut self) -> Vec<Span> {
        std::iter::from_fn(|| self.spans.try_recv().ok()).collect()
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let (_, value) = span.attributes.iter().find(|(found, _)| found == name)?;
    Some(match value {
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
    })
}

/// A sampled parent from outside.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn who_is_followed_is_decided_by_the_request_or_by_chance() {
    let follows = |config: &OtelConfig, traceparent: Option<&str>| {
        World::new(config).tracer.request(traceparent.map(str::as_bytes)).is_some()
    };
    let not_sampled = PARENT.replace("-01", "-00");
    let (all, none) = (config(), OtelConfig { sample_ratio: 0.0, ..config() });
    assert!(follows(&none, Some(PARENT)) && !follows(&all, Some(&not_sampled)));
    assert!(follows(&all, None) && !follows(&none, None));
    assert!(follows(&all, Some("nonsense")) && !follows(&none, Some("nonsense")));
    let own = |config| OtelConfig { follow_parent: false, ..config };
    assert!(!follows(&own(none), Some(PARENT)) && follows(&own(all), Some(&not_sampled)));
    assert!(Tracer::off().request(Some(PARENT.as_bytes())).is_none());
}

#[test]
fn chance_samples_the_share_that_was_asked_for() {
    let mut config = config();
    config.sample_ratio = 0.25;
    let chance = Arc::new(floodgate_schemas::SystemChance);
    let clock = Arc::new(HandClock::new(at(0)));
    let around = Surroundings { messaging: "kafka", database: "sqlite", destinations: Vec::new() };
    let (tracer, _spans) =
        Tracer::new(&config, around, Metrics::new().unwrap().traces, clock as _, chance as _);
    let followed = (0..40_000).filter(|_| tracer.request(None).is_some()).count();
    // 14 standard deviations
    assert!((8_800..11_200).contains(&followed), "{followed}");
}

/// The whole way: each span is in the trace of what came before, but for the batch's, which is linked both ways.
#[test]
fn a_request_its_message_and_its_batch_are_connected() {
    let mut world = World::new(&config());
    let request = world.tracer.request(Some(PARENT.as_bytes())).unwrap();
    world.clock.set(at(10));
    let mut sends = crate::Sends::of(Some(Arc::clone(&request)));
    let sent = sends.next(EventType::Like, event_id(7)).unwrap();
    world.clock.set(at(20));
    drop(sends);
    request.ended("PUT", Some("/api/likes/{id}"), Some(202));
    let carried = sent.to_string();
    let marked = [(4, carried.as_bytes(), 2, 99)];
    let mut batch = world.tracer.batch(EventType::Like, "group", 1000, marked.into_iter()).unwrap();
    assert_eq!(batch.numbers().collect::<Vec<_>>(), [4]);
    batch.is_event(4, || event_id(7).to_string());
    let began = batch.now();
    world.clock.set(at(50));
    batch.transaction(1000, began, Some(("retry", "the database is away".into())));
    batch.transaction(1000, batch.now(), None);
    world.clock.set(at(60));
    drop(batch);

    let spans = world.told();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let topic = "staging.floodgate.like.v1";
    assert_eq!(
        names,
        [
            format!("send {topic}").as_str(),
            "PUT /api/likes/{id}",
            "apply like",
            "apply like",
            &format!("process {topic}"),
            &format!("apply {topic}")
        ]
    );
    let [send, server, failed, done, process, batch] = &spans[..] else { panic!("{spans:?}") };
    let outer = |span: &Span| span.parent.map(SpanContext::span_id);
    assert_eq!(outer(server), Some(0xb7ad_6b71_6920_3331));
    assert_eq!(outer(send), Some(server.context.span_id()));
    assert_eq!((send.context, outer(process)), (sent, Some(sent.span_id())));
    assert!([server, send, process].iter().all(|span| span.context.trace_id() == sent.trace_id()));
    assert_eq!((batch.parent, &batch.links[..]), (None, &[sent][..]));
    assert_ne!(batch.context.trace_id(), sent.trace_id());
    assert_eq!(process.links, [batch.context]);
    assert_eq!([outer(failed), outer(done)], [Some(batch.context.span_id()); 2]);
    assert_eq!(failed.context.trace_id(), batch.context.trace_id());
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| span.context.span_id()).collect();
    assert_eq!(ids.len(), 6, "each span has an id of its own");

    let kinds = [server, send, process, batch, done].map(|span| span.kind);
    assert_eq!(kinds, [Kind::Server, Kind::Producer, Kind::Consumer, Kind::Consumer, Kind::Client]);
    let times = |span: &Span| {
        (span.started.as_micros() - at(0).as_micros(), span.ended.as_micros() - at(0).as_micros())
    };
    assert_eq!(
        [server, send, process, failed, done].map(times),
        [(0, 20), (10, 20), (20, 60), (20, 50), (50, 50)]
    );
    assert_eq!((failed.error.as_deref(), &done.error), (Some("the database is away"), &None));
    let id = event_id(7).to_string();
    for (span, name, value) in [
        (server, "http.request.method", "PUT"),
        (server, "http.route", "/api/likes/{id}"),
        (server, "http.response.status_code", "202"),
        (send, "messaging.system", "kafka"),
        (send, "messaging.destination.name", topic),
        (send, "messaging.operation.type", "send"),
        (send, "messaging.message.id", &id),
        (process, "messaging.operation.type", "process"),
        (process, "messaging.message.id", &id),
        (process, "messaging.consumer.group.name", "group"),
        (process, "messaging.destination.partition.id", "2"),
        (process, "messaging.kafka.offset", "99"),
        (batch, "messaging.batch.message_count", "1000"),
        (done, "db.system.name", "sqlite"),
        (done, "db.operation.batch.size", "1000"),
        (failed, "error.type", "retry"),
    ] {
        assert_eq!(attribute(span, name).as_deref(), Some(value), "{name} of {span:?}");
    }
    assert_eq!(attribute(done, "error.type"), None);
}

#[test]
fn what_one_request_sends_to_a_topic_is_one_span() {
    let mut world = World::new(&config());
    let mut sends = crate::Sends::of(world.tracer.request(None));
    let contexts: Vec<_> = [EventType::Like, EventType::Coupon, EventType::Like]
        .map(|of| sends.next(of, event_id(1)).unwrap())
        .to_vec();
    assert!(contexts[0] == contexts[2] && contexts[0] != contexts[1]);
    sends.failed(EventType::Like, "not-stored");
    drop(sends);
    let spans = world.told();
    let [likes, coupons] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(attribute(likes, "messaging.batch.message_count").as_deref(), Some("2"));
    assert_eq!(attribute(likes, "error.type").as_deref(), Some("not-stored"));
    assert_eq!(likes.error.as_deref(), Some("1 of 2 not acknowledged"));
    assert_eq!((coupons.error.clone(), coupons.name.as_str()), (None, "send floodgate.coupon.v1"));
    // of a request that is not followed nothing is carried and nothing told
    let mut sends = crate::Sends::of(None);
    assert_eq!(sends.next(EventType::Like, event_id(1)), None);
    drop(sends);
    assert_eq!(world.told(), []);
}

#[test]
fn requests_that_fail_or_are_left_say_so() {
    let mut world = World::new(&config());
    for status in [Some(503), Some(422), None] {
        world.tracer.request(None).unwrap().ended("GET", Some("/x"), status);
    }
    let errors: Vec<_> = world.told().iter().map(|span| attribute(span, "error.type")).collect();
    assert_eq!(errors, [Some("server-error".to_owned()), None, Some("cancelled".to_owned())]);
}

/// Links are of sampled events only, bounded, and what is beyond the bound is counted.
#[test]
fn a_batch_tells_of_so_many_and_counts_the_others() {
    let mut world = World::new(&config());
    let carried: Vec<String> = (1..=5).map(|span| SpanContext::new(1, span).unwrap().to_string()).collect();
    let not_sampled = carried[0].replace("-01", "-00");
    let marked = carried.iter().map(String::as_str).chain([not_sampled.as_str(), "nonsense"]);
    let marked = marked.enumerate().map(|(number, header)| (number, header.as_bytes(), 0, 0));
    drop(world.tracer.batch(EventType::Like, "group", 10, marked));
    let spans = world.told();
    assert_eq!(spans.len(), 4, "three messages and the batch");
    let batch = spans.last().unwrap();
    let linked: Vec<_> = batch.links.iter().map(|link| link.span_id()).collect();
    assert_eq!((linked, batch.links_dropped), (vec![1, 2, 3], 2));
    assert_eq!(world.metrics.traces.links_dropped.get(), 2);
    let unmarked = [(0, not_sampled.as_bytes(), 0, 0)];
    assert!(world.tracer.batch(EventType::Like, "group", 10, unmarked.into_iter()).is_none());
    assert_eq!(world.told(), []);
}

#[test]
fn messages_that_fail_or_come_again_are_told_so() {
    let mut world = World::new(&config());
    let carried: Vec<String> = (1..=3).map(|span| SpanContext::new(1, span).unwrap().to_string()).collect();
    let marked = || {
        let marked = carried.iter().enumerate();
        marked.map(|(number, header)| (number * 10, header.as_bytes(), number as i32, 7))
    };
    let mut batch = world.tracer.batch(EventType::Like, "group", 30, marked()).unwrap();
    batch.failed(10, "no such thing");
    // not one of those that are followed
    batch.failed(11, "no such thing");
    batch.comes_again(2);
    drop(batch);
    let spans = world.told();
    let [done, failed, batch] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&done.error, failed.error.as_deref()), (&None, Some("no such thing")));
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("dead-letter"));
    assert_eq!((batch.links.len(), &batch.error), (3, &None));
    let mut batch = world.tracer.batch(EventType::Like, "group", 30, marked()).unwrap();
    batch.gave_up("told to stop");
    drop(batch);
    let spans = world.told();
    let [batch] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(batch.error.as_deref(), Some("told to stop"));
}

#[test]
fn spans_without_room_are_dropped_and_counted() {
    let mut world = World::new(&OtelConfig { queue_max_spans: 2, ..config() });
    (0..5).for_each(|_| world.tracer.request(None).unwrap().ended("GET", Some("/x"), Some(200)));
    assert_eq!((world.told().len(), world.metrics.traces.dropped.get()), (2, 3));
    // nobody takes them any more
    let World { tracer, spans, metrics, .. } = world;
    drop(spans);
    tracer.request(None).unwrap().ended("GET", Some("/x"), Some(200));
    assert_eq!(metrics.traces.dropped.get(), 4);
}

#[test]
fn a_configuration_that_cannot_work_is_told() {
    let problems = |change: fn(&mut OtelConfig)| {
        let mut config = config();
        config.endpoint.clear();
        change(&mut config);
        config.problems().concat()
    };
    assert_eq!(problems(|_| {}), "");
    for (change, key) in [
        ((|c| c.endpoint = "127.0.0.1:4318".to_owned()) as fn(&mut OtelConfig), "otel.endpoint must be"),
        (|c| c.sample_ratio = 1.5, "otel.sample_ratio"),
        (|c| c.sample_ratio = f64::NAN, "otel.sample_ratio"),
        (|c| c.links_max = 0, "otel.links_max"),
        (|c| c.queue_max_spans = 0, "otel.queue_max_spans"),
        (|c| c.timeout_ms = 0, "otel.timeout_ms"),
    ] {
        assert!(problems(change).contains(key), "{key}");
    }
    let without_feature = problems(|c| c.endpoint = "https://collector:4318".to_owned());
    assert_eq!(without_feature.is_empty(), cfg!(feature = "otlp"), "{without_feature}");
}
