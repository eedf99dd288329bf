//! Spans as they come out, with a clock and a chance that are told.

use std::sync::Arc;

use floodgate_observe::Metrics;
use floodgate_schemas::EventType;
use floodgate_schemas::examples::{Counted, HandClock, at, event_id};
use tokio::sync::mpsc;

use crate::{Ended, Kind, OtelConfig, Span, SpanContext, Surroundings, Tracer, Value};

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
    let (_, value) = span.attributes.iter().find(|(found, _)| *found == name)?;
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
    assert!(!follows(&own(none), Some(PARENT)) && follows(&own(all.clone()), Some(&not_sampled)));
    // whoever decides, the trace is the caller's
    for config in [all.clone(), own(all)] {
        let mut world = World::new(&config);
        let request = world.tracer.request(Some(PARENT.as_bytes())).unwrap();
        request.ended("GET", (None, "/"), Ended::Answered(200));
        let span = world.told().remove(0);
        assert_eq!((span.parent.unwrap().to_string(), span.parent_is_remote), (PARENT.to_owned(), true));
    }
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
    sends.became(EventType::Like, None);
    drop(sends);
    request.ended("PUT", (Some("/api/likes/{id}"), "/api/likes/7"), Ended::Answered(202));
    let carried = sent.to_string();
    let marked = [(4, carried.as_bytes(), 2, 99)];
    let mut batch = world.tracer.batch(EventType::Like, "group", 1000, marked.into_iter()).unwrap();
    assert_eq!(batch.firsts(), [4]);
    batch.is_event(4, || event_id(7).to_string());
    let began = batch.now();
    world.clock.set(at(50));
    batch.transaction(1000, began, Some(("retry", "the database is away".into())));
    batch.transaction(1000, batch.now(), None);
    world.clock.set(at(60));
    batch.done();
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
            &format!("apply {topic}"),
            &format!("process {topic}")
        ]
    );
    let [send, server, failed, done, batch, process] = &spans[..] else { panic!("{spans:?}") };
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
        (done, "floodgate.events", "1000"),
        (server, "url.path", "/api/likes/7"),
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
    sends.became(EventType::Like, Some("not-stored"));
    [EventType::Like, EventType::Coupon].into_iter().for_each(|of| sends.became(of, None));
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

/// Nobody waits for an answer any more: nothing is known of what was sent.
#[test]
fn what_nobody_heard_of_is_no_success() {
    let mut world = World::new(&config());
    let mut sends = crate::Sends::of(world.tracer.request(None));
    sends.next(EventType::Like, event_id(1));
    drop(sends);
    let spans = world.told();
    assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("unanswered"));
    assert_eq!(spans[0].error.as_deref(), Some("1 of 1 not acknowledged"));
}

#[test]
fn requests_that_fail_or_are_left_say_so() {
    let mut world = World::new(&config());
    for how in [Ended::Answered(503), Ended::Answered(422), Ended::Left, Ended::Bug] {
        world.tracer.request(None).unwrap().ended("GET", (Some("/x"), "/x"), how);
    }
    let spans = world.told();
    let errors = spans.iter().map(|span| (attribute(span, "error.type"), span.error.as_deref()));
    let kind = |kind: &str| Some(kind.to_owned());
    assert_eq!(
        errors.collect::<Vec<_>>(),
        [
            (kind("503"), Some("")),
            (None, None),
            (kind("cancelled"), Some("the client went away")),
            (kind("panic"), Some("answering met a bug")),
        ]
    );
}

/// What spans are called is bounded, whatever clients send.
#[test]
fn methods_that_nobody_knows_name_no_span() {
    let mut world = World::new(&config());
    let long = "/x".repeat(1000);
    world.tracer.request(None).unwrap().ended("BREW", (None, &long), Ended::Answered(405));
    let spans = world.told();
    assert_eq!(spans[0].name, "HTTP");
    assert_eq!(attribute(&spans[0], "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(&spans[0], "http.request.method_original").as_deref(), Some("BREW"));
    assert_eq!(attribute(&spans[0], "url.path").unwrap().len(), 1000);
}

fn carried(spans: impl IntoIterator<Item = u64>) -> Vec<String> {
    spans.into_iter().map(|span| SpanContext::new(1, span).unwrap().to_string()).collect()
}

/// Links are of sampled events only, bounded, and what is beyond the bound is counted; what one request sent is one of them.
#[test]
fn a_batch_tells_of_so_many_and_counts_the_others() {
    let mut world = World::new(&config());
    let carried = carried([1, 1, 2, 1, 3, 4, 4, 5]);
    let not_sampled = carried[0].replace("-01", "-00");
    let marked = carried.iter().map(String::as_str).chain([not_sampled.as_str(), "nonsense"]);
    let marked = marked.enumerate().map(|(number, header)| (number, header.as_bytes(), 0, 0));
    let mut batch = world.tracer.batch(EventType::Like, "group", 10, marked).unwrap();
    assert_eq!(batch.firsts(), [0, 2, 4]);
    batch.failed(1, "no such thing");
    batch.failed(3, "another one");
    batch.done();
    drop(batch);
    let spans = world.told();
    let [batch, one, two, three] = &spans[..] else { panic!("{spans:?}") };
    let linked: Vec<_> = batch.links.iter().map(|link| link.span_id()).collect();
    assert_eq!((linked, batch.links_dropped), (vec![1, 2, 3], 2));
    assert_eq!(world.metrics.traces.links_dropped.get(), 2);
    assert_eq!(attribute(one, "messaging.batch.message_count").as_deref(), Some("3"));
    assert_eq!(one.error.as_deref(), Some("2 of 3, the first: no such thing"));
    assert!([two, three].iter().all(|span| attribute(span, "messaging.batch.message_count").is_none()));
    let unmarked = [(0, not_sampled.as_bytes(), 0, 0)];
    assert!(world.tracer.batch(EventType::Like, "group", 10, unmarked.into_iter()).is_none());
    assert_eq!(world.told(), []);
}

#[test]
fn messages_that_fail_or_come_again_are_told_so() {
    let mut world = World::new(&config());
    let carried = carried([1, 2, 3]);
    let marked = || {
        let marked = carried.iter().enumerate();
        marked.map(|(number, header)| (number * 10, header.as_bytes(), number as i32, 7))
    };
    let mut batch = world.tracer.batch(EventType::Like, "group", 30, marked()).unwrap();
    batch.failed(10, "no such thing");
    // not one of those that are followed
    batch.failed(11, "no such thing");
    batch.comes_again(2);
    batch.done();
    drop(batch);
    let spans = world.told();
    let [batch, done, failed] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&done.error, failed.error.as_deref()), (&None, Some("no such thing")));
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("dead-letter"));
    assert_eq!((batch.links.len(), &batch.error), (3, &None));
    // whoever does not come to an end has applied nothing that anybody knows of
    for (why, kind) in [(Some("told to stop"), "gave-up"), (None, "cancelled")] {
        let mut batch = world.tracer.batch(EventType::Like, "group", 30, marked()).unwrap();
        why.into_iter().for_each(|why| batch.gave_up(why));
        drop(batch);
        let spans = world.told();
        let [batch] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(attribute(batch, "error.type").as_deref(), Some(kind));
    }
}

/// A search for bad rows, and a database that is away, take as many transactions as they take.
#[test]
fn so_many_tries_are_told_of_and_others_counted() {
    let mut world = World::new(&OtelConfig { queue_max_spans: 1000, ..config() });
    let carried = carried([1]);
    let marked = [(0, carried[0].as_bytes(), 0, 0)];
    let mut batch = world.tracer.batch(EventType::Like, "group", 1, marked.into_iter()).unwrap();
    let why = "x".repeat(5000);
    (0..60).for_each(|_| batch.transaction(1, batch.now(), Some(("retry", why.clone().into()))));
    batch.done();
    drop(batch);
    let spans = world.told();
    assert_eq!(spans.len(), 50 + 2);
    assert_eq!(attribute(&spans[50], "floodgate.transactions").as_deref(), Some("60"));
    assert_eq!(spans[0].error.as_ref().unwrap().len(), 1000, "others' texts are cut");
}

#[test]
fn spans_without_room_are_dropped_and_counted() {
    let mut world = World::new(&OtelConfig { queue_max_spans: 2, ..config() });
    (0..5).for_each(|_| {
        world.tracer.request(None).unwrap().ended("GET", (Some("/x"), "/x"), Ended::Answered(200))
    });
    assert_eq!((world.told().len(), world.metrics.traces.dropped.get()), (2, 3));
    // nobody takes them any more
    let World { tracer, spans, metrics, .. } = world;
    drop(spans);
    tracer.request(None).unwrap().ended("GET", (Some("/x"), "/x"), Ended::Answered(200));
    assert_eq!(metrics.traces.dropped.get(), 4);
}

#[test]
fn a_configuration_that_cannot_work_is_told() {
    let problems = |change: fn(&mut OtelConfig)| {
        let mut config = config();
        config.endpoint.clear();
        change(&mut config);
        crate::problems(&config).concat()
    };
    assert_eq!(problems(|_| {}), "");
    for (change, key) in [
        ((|c| c.sample_ratio = 1.5) as fn(&mut OtelConfig), "otel.sample_ratio"),
        (|c| c.sample_ratio = f64::NAN, "otel.sample_ratio"),
        (|c| c.links_max = 0, "otel.links_max"),
        (|c| c.links_max = c.queue_max_spans + 1, "otel.links_max"),
        (|c| c.queue_max_spans = 0, "otel.queue_max_spans"),
        (|c| c.timeout_ms = 0, "otel.timeout_ms"),
    ] {
        assert!(problems(change).contains(key), "{key}");
    }
    let without_feature = problems(|c| c.endpoint = "https://collector:4318".to_owned());
    assert_eq!(without_feature.is_empty(), cfg!(feature = "otlp"), "{without_feature}");
    if cfg!(feature = "otlp") {
        // all of it at once
        let both = problems(|c| (c.endpoint, c.headers) = ("c:4318".to_owned(), "secret".into()));
        assert!(both.contains("otel.endpoint must be") && both.contains("otel.headers has no ="), "{both}");
    }
}
