//! The table against the router and the document.

use std::collections::BTreeSet;

use axum::body::Body;
use floodgate_listener::Fault;
use floodgate_schemas::EventType;

use super::*;
use crate::admission::AuthMode;
use crate::openapi;
use crate::origins::EXPOSED;
use crate::problem::Problem;
use crate::testing::{World, config};

/// A path with something in the place of every parameter.
fn example(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// What the router serves is what the document has, and the other way round.
#[tokio::test]
async fn every_method_of_every_path_is_in_the_document_or_refused() {
    let world = World::new(&config());
    let document = world.ask("GET", paths::DOCUMENT, &[], Body::empty()).await.body;
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), OPERATIONS.iter().map(|one| one.path).collect::<BTreeSet<_>>().len());
    for (path, methods) in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
            let is_known = methods.get(method.to_lowercase()).is_some();
            let answer = world.ask(method, &example(path), &[], Body::empty()).await;
            assert_eq!(answer.told().1 != "method-not-allowed", is_known, "{method} {path}: {answer:?}");
            let allowed = answer.header("allow").unwrap_or_default().to_lowercase();
            assert!(is_known || methods.as_object().unwrap().keys().all(|known| allowed.contains(known)));
        }
    }
    let api: BTreeSet<_> = paths.keys().filter(|path| path.starts_with(paths::API)).collect();
    assert_eq!(
        api.into_iter().collect::<Vec<_>>(),
        BTreeSet::from(paths::ROUTES).into_iter().collect::<Vec<_>>()
    );
}

/// All that can be wrong is told, by the operation where it can be; a method that there is not is none.
#[test]
fn every_kind_of_problem_is_that_of_an_operation() {
    let told: BTreeSet<&str> = OPERATIONS.iter().flat_map(Operation::kinds).map(|kind| kind.name).collect();
    let all = problem::KINDS.iter().map(|kind| kind.name).filter(|name| *name != "method-not-allowed");
    assert_eq!(told, all.collect());
}

/// What stands before the routes may answer any of them, whatever it asks for.
#[test]
fn what_is_told_before_a_route_is_in_every_operation() {
    let part = Fault::Part { field: "Host", detail: "" };
    let faults = [Fault::Target(None), Fault::Size, part, Fault::NoRequest, Fault::NoRoom];
    let of_connections = [Problem::too_many_connections(), Problem::busy(), Problem::internal("")];
    for told in faults.map(Problem::from).iter().chain(&of_connections) {
        for one in &OPERATIONS {
            assert!(one.kinds().any(|kind| kind.name == told.name()), "{}: {}", one.name, told.name());
        }
    }
}

/// Who is not asked who it is finds nothing to say it by, and who is asked no way around it.
#[test]
fn what_is_asked_for_is_required() {
    for (mode, format) in [(AuthMode::Off, None), (AuthMode::Keys, Some("key")), (AuthMode::Jwt, Some("JWT"))]
    {
        let document = openapi::document(&OPERATIONS, mode);
        let scheme = &document["components"]["securitySchemes"]["bearer"];
        assert_eq!(
            (scheme["scheme"].as_str(), scheme["bearerFormat"].as_str()),
            (format.and(Some("bearer")), format)
        );
        for one in &OPERATIONS {
            let scopes = if format.is_some() { one.access.scopes() } else { Vec::new() };
            let wanted: Vec<_> = scopes.iter().map(|scope| json!({ "bearer": [scope.name()] })).collect();
            let required = &document["paths"][one.path][one.verb.name()]["security"];
            assert_eq!(*required, json!(wanted), "{} with {mode:?}", one.name);
        }
    }
}

/// What the document shows as a request is one.
#[tokio::test]
async fn examples_are_accepted() {
    let world = World::new(&config());
    let document = world.ask("GET", paths::DOCUMENT, &[], Body::empty()).await.body;
    let mut sent = 0;
    for one in &OPERATIONS {
        let described = &document["paths"][one.path][one.verb.name()];
        let contents = described["requestBody"]["content"].as_object();
        for (media_type, content) in contents.into_iter().flatten() {
            let body =
                content["example"].as_str().map_or_else(|| content["example"].to_string(), str::to_owned);
            *world.database.created.lock() = Some(floodgate_store::CouponCreated::Created);
            let mut headers = vec![("content-type", media_type.as_str())];
            if one.path == paths::CLOUD_EVENTS && media_type == JSON {
                let of = EventType::Expectation.topic();
                headers.extend([
                    ("ce-specversion", "1.0"),
                    ("ce-type", of),
                    ("ce-source", "/game"),
                    ("ce-id", "1"),
                ]);
            }
            let method = one.verb.name().to_uppercase();
            // nobody likes oneself
            let path = example(one.path).replace("likes/1", "likes/2");
            let answer = world.ask(&method, &path, &headers, body.clone()).await;
            assert!(answer.status.is_success(), "{method} {path} {body}: {answer:?}");
            let results = answer.body["results"].as_array();
            assert!(results.into_iter().flatten().all(|result| result["status"] == "accepted"), "{answer:?}");
            sent += 1;
        }
    }
    assert_eq!(sent, 10);
}

#[tokio::test]
async fn who_has_the_document_is_not_sent_it_again() {
    let world = World::new(&config());
    let answer = world.ask("GET", paths::DOCUMENT, &[], Body::empty()).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let tag = answer.header("etag").unwrap().to_owned();
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let again = world.ask("GET", paths::DOCUMENT, &[("if-none-match", &known)], Body::empty()).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (304, Some(&*tag)));
    }
    let other = world.ask("GET", paths::DOCUMENT, &[("if-none-match", "\"other\"")], Body::empty()).await;
    assert_eq!(other.status, 200);
}

/// Statuses and headers beside a body, where they are answered.
#[tokio::test]
async fn what_answers_say_beside_their_body_is_in_the_document() {
    let world = World::new(&config());
    let document = world.ask("GET", paths::DOCUMENT, &[], Body::empty()).await.body;
    for one in &OPERATIONS {
        let described = &document["paths"][one.path][one.verb.name()];
        let parameters = described["parameters"].as_array().unwrap();
        let coding = parameters.iter().find(|parameter| parameter["name"] == "Content-Encoding");
        let codings = coding.map(|coding| &coding["schema"]["enum"]);
        let known = json!(["gzip", "x-gzip", "zstd", "identity"]);
        assert_eq!(codings, one.body.is_some().then_some(&known), "{}", one.name);
        for (status, answer) in described["responses"].as_object().unwrap() {
            for name in ["RateLimit", "RateLimit-Policy"] {
                let is_told = answer["headers"][name]["$ref"] == format!("#/components/headers/{name}");
                assert_eq!(is_told, one.access != Access::Open, "{} {status}", one.name);
                assert!(document["components"]["headers"][name]["description"].is_string());
            }
            for (name, of) in [("Accept-Encoding", &["415"][..]), ("WWW-Authenticate", &["401", "403"])] {
                let is_told = answer["headers"][name].is_object();
                assert_eq!(is_told, of.contains(&status.as_str()), "{name}: {} {status}", one.name);
            }
        }
    }
    let known = &document["paths"][paths::DOCUMENT]["get"]["responses"]["304"];
    assert!(known["headers"]["ETag"].is_object() && known["content"].is_null(), "{known}");
}

/// Browsers let pages read the header fields that the document names.
#[test]
fn pages_may_read_what_the_document_has() {
    let document = openapi::document(&OPERATIONS, AuthMode::Keys);
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let answers = operations.flat_map(|operation| operation["responses"].as_object().unwrap().values());
    let headers =
        answers.filter_map(|answer| answer["headers"].as_object()).flat_map(|headers| headers.keys());
    let told: BTreeSet<_> = headers.map(|name| name.to_lowercase()).collect();
    assert_eq!(told, EXPOSED.iter().map(|name| name.as_str().to_owned()).collect());
}
