//! Traces as their readers get them: from a request to its row, through a real OpenTelemetry Collector.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use floodgate_testkit::{Collector, ports, wait};
use serde_json::{Value, json};
use support::client::{Ask, runtime};
use support::node::Node;
use support::world::{DRAINED, READY, Servers, World, is_redis, run};

/// What a collector handed on, span by span.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Value>>>);

impl Told {
    /// A collector, and what it will hand on.
    fn start() -> Result<(Collector, Told)> {
        let told = Told::default();
        let kept = told.clone();
        let listener = runtime().block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let take = move |body: Bytes| async move {
            let batch: Value = serde_json::from_slice(&body).unwrap();
            kept.keep(&batch);
            "{}"
        };
        let router = Router::new().route("/v1/traces", post(take));
        runtime().spawn(async move { axum::serve(listener, router).await });
        Ok((Collector::start(&format!("http://{address}"))?, told))
    }

    /// Spans with the resource and the scope they were told under.
    fn keep(&self, batch: &Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for resource in list(&batch["resourceSpans"]) {
            for scope in list(&resource["scopeSpans"]) {
                for mut span in list(&scope["spans"]) {
                    span["resource"] = resource["resource"]["attributes"].clone();
                    span["schemaUrl"] = scope["schemaUrl"].clone();
                    self.0.lock().unwrap().push(span);
                }
            }
        }
    }

    fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }

    /// The one span for which this holds.
    fn one(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = || {
            let found: Vec<Value> = self.all().into_iter().filter(|span| is(span)).collect();
            match &found[..] {
                [one] => Some(one.clone()),
                _ => None,
            }
        };
        wait::until(what, READY, found).with_context(|| format!("{:#}", json!(self.all())))
    }
}

/// An attribute as text.
fn attribute(attributes: &Value, name: &str) -> Option<String> {
    let found = attributes.as_array()?.iter().find(|attribute| attribute["key"] == name)?;
    let value = found["value"].as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The path of one request to its transaction is connected by parents and links, in both directions, and says what it is about.
#[test]
fn a_request_is_connected_with_the_transaction_of_its_row() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?.hurried();
        let (collector, told) = Told::start()?;
        world.set("otel.endpoint", collector.endpoint());
        world.set("otel.sample_ratio", "0");
        world.set("otel.service_name", "floodgate-test");
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        // among others that nobody follows
        for liker in 0..20 {
            let like = Ask::new("PUT", format!("/api/v6/characters/star/likes/unfollowed-{liker}"));
            ensure!(serve.ask(&like)?.status == 202);
        }
        let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let like = Ask::new("PUT", "/api/v6/characters/star/likes/followed")
            .header("traceparent", format!("00-{trace}-{caller}-01"));
        let answer = serve.ask(&like)?;
        ensure!(answer.status == 202, "{}", answer.text());
        let event_id = answer.json()["eventId"].as_str().unwrap_or_default().to_owned();
        world.wait_drained(DRAINED)?;

        let below = |parent: &Value| {
            let (trace, span) = (parent["traceId"].clone(), parent["spanId"].clone());
            move |told: &Value| told["traceId"] == trace && told["parentSpanId"] == span
        };
        let server = told.one("the request's span", |span| span["parentSpanId"] == caller)?;
        ensure!(server["traceId"] == trace, "{server}");
        let send = told.one("what it sent", below(&server))?;
        let process = told.one("what became of that", below(&send))?;
        let linked = |from: &Value| from["links"][0]["spanId"].clone();
        let batch = told.one("its batch", |span| span["spanId"] == linked(&process))?;
        ensure!(linked(&batch) == send["spanId"] && batch["links"][0]["traceId"] == trace, "{batch}");
        ensure!(batch["links"].as_array().map(Vec::len) == Some(1), "{batch}");
        let transaction = told.one("its transaction", below(&batch))?;
        ensure!(told.all().len() == 5, "others are told of: {:#}", json!(told.all()));

        // OTLP's kinds: 2 server, 3 client, 4 producer, 5 consumer
        let topic = format!("{}floodgate.like.v1", world.setting("topics.prefix"));
        let system = if is_redis() { "redis" } else { "kafka" };
        let route = "/api/v6/characters/{targetOcid}/likes/{likerAccountId}";
        for (span, name, kind, facts) in [
            (
                &server,
                format!("PUT {route}"),
                2,
                vec![("http.route", route), ("http.response.status_code", "202")],
            ),
            (
                &send,
                format!("send {topic}"),
                4,
                vec![("messaging.system", system), ("messaging.message.id", &event_id)],
            ),
            (&process, format!("process {topic}"), 5, vec![("messaging.message.id", &event_id)]),
            (&batch, format!("apply {topic}"), 5, vec![("messaging.destination.name", &topic)]),
            (&transaction, "apply like".to_owned(), 3, vec![("db.system.name", "postgresql")]),
        ] {
            ensure!(span["name"] == name && span["kind"] == kind, "{span:#}");
            for (key, value) in facts {
                ensure!(attribute(&span["attributes"], key).as_deref() == Some(value), "{key}: {span:#}");
            }
            let service = attribute(&span["resource"], "service.name");
            ensure!(service.as_deref() == Some("floodgate-test"), "{span:#}");
            ensure!(span["schemaUrl"].as_str().is_some_and(|url| url.ends_with("/1.44.0")), "{span:#}");
            let time = |name: &str| span[name].as_str().and_then(|time| time.parse::<u64>().ok());
            ensure!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span:#}");
        }
        let row = serve.get("/api/v6/characters/star/likes/followed")?.json();
        ensure!(row["liked"] == true, "{row}");
        for (node, sent) in [(&serve, 2.0), (&consume, 3.0)] {
            let counted = || Some(node.metrics().ok()?.sum("floodgate_spans_total", &[("result", "sent")]));
            wait::until("spans to be counted", READY, || (counted()? == sent).then_some(()))?;
        }
        serve.stop()?;
        consume.stop()
    });
}

/// Nothing listens where spans should go: they are counted, it is told once, and nothing else is different.
#[test]
fn a_receiver_that_is_away_costs_nothing_but_spans() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?.hurried();
        world.set("otel.endpoint", format!("http://127.0.0.1:{}", ports::free_port()?));
        world.set("otel.sample_ratio", "1");
        world.set("otel.queue_max_spans", "20");
        world.set("otel.links_max", "10");
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let like = |number: u32| {
            let like = Ask::new("PUT", format!("/api/v6/characters/star/likes/fan-{number}"));
            serve.ask(&like).map(|answer| answer.status)
        };
        let mut sent = 0;
        let mut some_likes = || -> Result<()> {
            for _ in 0..50 {
                ensure!(like(sent)? == 202);
                sent += 1;
            }
            Ok(())
        };
        some_likes()?;
        let lost = |node: &Node, result: &str| {
            Some(node.metrics().ok()?.sum("floodgate_spans_total", &[("result", result)]))
        };
        wait::until("spans that could not be sent", READY, || (lost(&serve, "failed")? > 0.0).then_some(()))?;
        // between two tries they have to wait, and there is room for 20
        wait::until("spans without room", READY, || {
            some_likes().ok()?;
            (lost(&serve, "dropped")? > 0.0).then_some(())
        })?;
        world.wait_drained(DRAINED)?;
        let count = serve.get("/api/v6/characters/star/likes")?.json();
        ensure!(count["count"] == sent, "{count}, not {sent}");
        ensure!(serve.readiness()?.0 == 200);
        serve.stop()?;
        consume.stop()?;
        let told = serve.process().stderr().matches("traces are not sent").count();
        ensure!(told == 1, "told {told} times");
        Ok(())
    });
}

/// It is away for a while, and then there: what comes then is told.
#[test]
fn a_receiver_that_comes_back_is_told_what_happens_then() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?.hurried();
        let (collector, told) = Told::start()?;
        world.set("otel.endpoint", collector.endpoint());
        world.set("otel.sample_ratio", "0");
        world.set("otel.timeout_ms", "500");
        let serve = world.start(&["serve"])?;
        let like = |parent: &str| {
            let like = Ask::new("PUT", "/api/v6/characters/star/likes/fan")
                .header("traceparent", format!("00-0af7651916cd43dd8448eb211c80319c-{parent}-01"));
            serve.ask(&like).map(|answer| answer.status)
        };
        collector.process().freeze()?;
        ensure!(like("00000000000000aa")? == 202);
        let failed = || Some(serve.metrics().ok()?.sum("floodgate_spans_total", &[("result", "failed")]));
        wait::until("spans that are not taken in time", READY, || (failed()? > 0.0).then_some(()))?;
        collector.process().thaw()?;
        ensure!(like("00000000000000bb")? == 202);
        told.one("a span that came then", |span| span["parentSpanId"] == "00000000000000bb")?;
        serve.stop()?;
        ensure!(serve.process().stderr().contains("traces are sent again"));
        Ok(())
    });
}

/// What was told last is sent before the process ends; and one that never answers keeps it for two seconds at most.
#[test]
fn a_stop_sends_what_is_there_and_waits_for_nobody() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?.hurried();
        let (collector, told) = Told::start()?;
        world.set("otel.endpoint", collector.endpoint());
        world.set("otel.headers", "x-team=blue%20one");
        world.set("otel.sample_ratio", "1");
        world.set("otel.timeout_ms", "60000");
        let like = Ask::new("PUT", "/api/v6/characters/star/likes/fan");
        let serve = world.start(&["serve"])?;
        ensure!(serve.ask(&like)?.status == 202);
        serve.stop()?;
        // of a request that came just before, well within the second that spans wait for company
        told.one("the span of the last request", |span| span["kind"] == 2)?;

        let serve = world.start(&["serve"])?;
        collector.process().freeze()?;
        ensure!(serve.ask(&like)?.status == 202);
        let stops = std::time::Instant::now();
        serve.stop()?;
        println!("a stop without a receiver that answers took {:.1?}", stops.elapsed());
        collector.process().thaw()
    });
}

/// What cannot work is told before anything starts, all at once and without secrets; and secrets are not printed.
#[test]
fn a_configuration_that_cannot_work_is_refused() {
    run(|| {
        let world = World::empty()?;
        let settings = [("otel.endpoint", "http://me:secret@collector:4318"), ("otel.headers", "secret")];
        let refused = world.command_with(&["config", "--check"], &settings)?;
        ensure!(refused.code == 2, "{refused:?}");
        let told = &refused.stderr;
        ensure!(
            told.contains("otel.endpoint holds a name") && told.contains("otel.headers has no ="),
            "{told}"
        );
        ensure!(!told.contains("secret"), "{told}");
        let settings = [("otel.endpoint", "http://collector:4318"), ("otel.headers", "authorization=secret")];
        let shown = world.command_with(&["config"], &settings)?;
        ensure!(shown.code == 0 && !shown.stdout.contains("secret"), "{shown:?}");
        Ok(())
    });
}
