//! Every operation, in one table: from it the router is built and the document.

use axum::http::HeaderMap;
use axum::routing::on;

use super::{cloudevents, coupons, events, expectations, health, likes};
use crate::operation::{About, Operation, Verb};
use crate::paths;
use crate::scope::{Access, Scope};

/// What clients can ask for.
pub(super) static OPERATIONS: [Operation; 15] = [
    Operation {
        verb: Verb::Post,
        path: paths::EXPECTATIONS,
        name: "writeExpectation",
        summary: "Write what upgrading one preset is expected to cost",
        about: About::Expectations,
        access: Access::Needs(Scope::ExpectationWrite),
        route: |by, _| on(by, expectations::write),
    },
    Operation {
        verb: Verb::Get,
        path: paths::CHARACTER,
        name: "readExpectations",
        summary: "Read what stands for a character",
        about: About::Expectations,
        access: Access::Needs(Scope::Read),
        route: |by, _| on(by, expectations::read),
    },
    Operation {
        verb: Verb::Post,
        path: paths::COUPONS,
        name: "createCoupon",
        summary: "Create a coupon",
        about: About::Coupons,
        access: Access::Needs(Scope::CouponCreate),
        route: |by, _| on(by, coupons::create),
    },
    Operation {
        verb: Verb::Get,
        path: paths::COUPON,
        name: "readCoupon",
        summary: "Read how a coupon stands",
        about: About::Coupons,
        access: Access::Needs(Scope::Read),
        route: |by, _| on(by, coupons::read),
    },
    Operation {
        verb: Verb::Post,
        path: paths::ISSUES,
        name: "issueCoupon",
        summary: "Ask for a coupon",
        about: About::Coupons,
        access: Access::Needs(Scope::CouponIssue),
        route: |by, _| on(by, coupons::issue),
    },
    Operation {
        verb: Verb::Get,
        path: paths::REQUEST,
        name: "readDecision",
        summary: "Read what was decided on a request for a coupon",
        about: About::Coupons,
        access: Access::Needs(Scope::Read),
        route: |by, _| on(by, coupons::decision),
    },
    Operation {
        verb: Verb::Get,
        path: paths::LIKES,
        name: "countLikes",
        summary: "Read how many like a character",
        about: About::Likes,
        access: Access::Needs(Scope::Read),
        route: |by, _| on(by, likes::count),
    },
    Operation {
        verb: Verb::Get,
        path: paths::LIKE,
        name: "readLike",
        summary: "Read whether an account likes a character",
        about: About::Likes,
        access: Access::Needs(Scope::Read),
        route: |by, _| on(by, likes::liked),
    },
    Operation {
        verb: Verb::Put,
        path: paths::LIKE,
        name: "like",
        summary: "Like a character",
        about: About::Likes,
        access: Access::Needs(Scope::LikeWrite),
        route: |by, _| on(by, likes::like),
    },
    Operation {
        verb: Verb::Delete,
        path: paths::LIKE,
        name: "unlike",
        summary: "Take a like back",
        about: About::Likes,
        access: Access::Needs(Scope::LikeWrite),
        route: |by, _| on(by, likes::unlike),
    },
    Operation {
        verb: Verb::Post,
        path: paths::EVENTS,
        name: "writeEvents",
        summary: "Write many events of any type",
        about: About::Events,
        access: Access::NeedsByEvent,
        route: |by, _| on(by, events::write),
    },
    Operation {
        verb: Verb::Post,
        path: paths::CLOUD_EVENTS,
        name: "writeCloudEvents",
        summary: "Write events as CloudEvents 1.0",
        about: About::Events,
        access: Access::NeedsByEvent,
        route: |by, _| on(by, cloudevents::write),
    },
    Operation {
        verb: Verb::Get,
        path: paths::HEALTHZ,
        name: "readHealth",
        summary: "Whether this instance makes progress",
        about: About::Instance,
        access: Access::Open,
        route: |by, _| on(by, health::healthz),
    },
    Operation {
        verb: Verb::Get,
        path: paths::READYZ,
        name: "readReadiness",
        summary: "Whether this instance can take events",
        about: About::Instance,
        access: Access::Open,
        route: |by, _| on(by, health::readyz),
    },
    Operation {
        verb: Verb::Get,
        path: paths::DOCUMENT,
        name: "readDocument",
        summary: "This document",
        about: About::Instance,
        access: Access::Open,
        route: |by, document| {
            let document = document.clone();
            on(by, async move |asked: HeaderMap| document.answer(&asked))
        },
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::Body;

    use super::*;
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
}
