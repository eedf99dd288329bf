//! Every operation, in one table: from it the router is built and the document.
//!
//! What a request carries and what it is answered with stands here by the types that read and write it, so that nothing is said
//! twice. Whoever adds an operation adds its row; a test asks the router for what the document does not have.

#[cfg(test)]
mod tests;

use axum::http::{HeaderMap, StatusCode};
use floodgate_schemas::{
    CloudEvent, CloudEventData, CouponIssue, Described, EventId, ExpectationWrite, IdempotencyKey, Like,
    Mixed,
};
use serde_json::{Value, json};

use super::answers::{AcceptedBody, STORED_IN};
use super::cloudevents::{self, BATCH, STRUCTURED};
use super::coupons::{self, CouponRequest, CouponState, CouponTerms, Creation};
use super::docs;
use super::events::{self, EventResults};
use super::expectations::{self, Expectations};
use super::health::{self, Health};
use super::likes::{self, LikeCount, Liked};
use crate::extract::{JSON, NDJSON};
use crate::operation::{About, Answer, Body, Operation, Parameter, Schema, Verb};
use crate::paths;
use crate::problem::{self, Kind};
use crate::scope::{Access, Scope};

/// What reading a body may end with.
const BODY: &[&Kind] = &[
    &problem::MALFORMED_JSON,
    &problem::BODY_TIMEOUT,
    &problem::BODY_TOO_LARGE,
    &problem::UNSUPPORTED_MEDIA_TYPE,
];

/// What its fields may be refused for.
const FIELDS: &[&Kind] = &[&problem::INVALID_FIELD, &problem::INVALID_VALUE];

/// What may become of an event that is offered alone.
const WRITE: &[&Kind] = &[
    &problem::IDEMPOTENCY_KEY_REUSED,
    &problem::BODY_TOO_LARGE,
    &problem::QUEUE_FULL,
    &problem::NOT_STORED,
    &problem::SHUTTING_DOWN,
    &problem::OUTCOME_UNKNOWN,
];

/// What may be known of a coupon before it is asked for.
const COUPON: &[&Kind] = &[&problem::UNKNOWN_COUPON, &problem::SOLD_OUT];

/// What the database may have to say.
const READ: &[&Kind] = &[&problem::DATABASE_UNAVAILABLE];

/// Of a path.
const ID: &[&Kind] = &[&problem::INVALID_VALUE];

const KEY: Parameter = Parameter {
    name: "Idempotency-Key",
    place: "header",
    meaning: "Makes a retry the same event: it takes effect once however often it is sent.",
    schema: IdempotencyKey::schema,
};

const ACCEPTED: Answer = Answer {
    status: StatusCode::ACCEPTED,
    meaning: "Accepted: it will take effect, unless a newer one does.",
    content: &[(JSON, AcceptedBody::schema)],
    headers: &[KEPT],
};

const KEPT: (&str, &str) =
    (STORED_IN, "Where the event is kept, if that is not where events are kept when all is well.");

const TAG: (&str, &str) = ("ETag", "Names this content of it.");

const HEALTHY: &[Answer] = &[found("It does.", &[(JSON, Health::schema)])];

const fn found(meaning: &'static str, content: &'static [(&'static str, Schema)]) -> Answer {
    Answer { status: StatusCode::OK, meaning, content, headers: &[] }
}

/// Media types that no document can list.
const BINARY: &str = "In binary mode the data may be of any other media type that is JSON by its name, such as `application/game+json`, or \
    of none.";

/// An attribute of a CloudEvent in a request's head.
const fn attribute(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter { name, place: "header", meaning, schema: String::schema }
}

/// A like. Taking it back is the same, but for what it is called.
const LIKE: Operation = Operation {
    verb: Verb::Put,
    path: paths::LIKE,
    name: "like",
    summary: "Like a character",
    about: About::Likes,
    access: Access::Needs(Scope::LikeWrite),
    parameters: &[
        Parameter::path(Like::TARGET_OCID.row()),
        Parameter::path(Like::LIKER_ACCOUNT_ID.row()),
        KEY,
    ],
    body: Some(Body {
        is_required: false,
        meaning: "",
        content: &[(JSON, || Like::BODY.schema("LikeBody"))],
    }),
    answers: &[ACCEPTED],
    problems: &[BODY, FIELDS, WRITE],
    route: |way, _| way.to(likes::like),
};

/// One event a line.
fn lines() -> Value {
    let event = json!({ "type": "coupon", "couponId": "summer", "userId": "ann" });
    json!({ "type": "string", "description": "One event a line.", "examples": [format!("{event}\n")] })
}

/// What clients can ask for.
pub(crate) static OPERATIONS: [Operation; 17] = [
    Operation {
        verb: Verb::Post,
        path: paths::EXPECTATIONS,
        name: "writeExpectation",
        summary: "Write what upgrading one preset is expected to cost",
        about: About::Expectations,
        access: Access::Needs(Scope::ExpectationWrite),
        parameters: &[KEY],
        body: Some(Body {
            is_required: true,
            meaning: "",
            content: &[(JSON, || ExpectationWrite::FIELDS.schema("Expectation"))],
        }),
        answers: &[ACCEPTED],
        problems: &[BODY, FIELDS, WRITE],
        route: |way, _| way.to(expectations::write),
    },
    Operation {
        verb: Verb::Get,
        path: paths::CHARACTER,
        name: "readExpectations",
        summary: "Read what stands for a character",
        about: About::Expectations,
        access: Access::Needs(Scope::Read),
        parameters: &[Parameter::path(ExpectationWrite::CHARACTER_ID.row())],
        body: None,
        answers: &[found("What stands.", &[(JSON, Expectations::schema)])],
        problems: &[ID, READ, &[&problem::NOT_FOUND]],
        route: |way, _| way.to(expectations::read),
    },
    Operation {
        verb: Verb::Post,
        path: paths::COUPONS,
        name: "createCoupon",
        summary: "Create a coupon",
        about: About::Coupons,
        access: Access::Needs(Scope::CouponCreate),
        parameters: &[],
        body: Some(Body {
            is_required: true,
            meaning: "",
            content: &[(JSON, || Creation::FIELDS.schema("NewCoupon"))],
        }),
        answers: &[
            Answer {
                status: StatusCode::CREATED,
                meaning: "Created.",
                content: &[(JSON, CouponTerms::schema)],
                headers: &[],
            },
            found("It exists already, with the same terms.", &[(JSON, CouponTerms::schema)]),
        ],
        problems: &[BODY, FIELDS, READ, &[&problem::COUPON_EXISTS, &problem::OUTCOME_UNKNOWN]],
        route: |way, _| way.to(coupons::create),
    },
    Operation {
        verb: Verb::Get,
        path: paths::COUPON,
        name: "readCoupon",
        summary: "Read how a coupon stands",
        about: About::Coupons,
        access: Access::Needs(Scope::Read),
        parameters: &[Parameter::path(CouponIssue::COUPON_ID.row())],
        body: None,
        answers: &[found("How it stands.", &[(JSON, CouponState::schema)])],
        problems: &[ID, READ, &[&problem::NOT_FOUND]],
        route: |way, _| way.to(coupons::read),
    },
    Operation {
        verb: Verb::Post,
        path: paths::ISSUES,
        name: "issueCoupon",
        summary: "Ask for a coupon",
        about: About::Coupons,
        access: Access::Needs(Scope::CouponIssue),
        parameters: &[Parameter::path(CouponIssue::COUPON_ID.row()), KEY],
        body: Some(Body {
            is_required: true,
            meaning: "",
            content: &[(JSON, || CouponIssue::BODY.schema("CouponIssue"))],
        }),
        answers: &[Answer {
            status: StatusCode::ACCEPTED,
            meaning: "Accepted: it will be decided.",
            content: &[(JSON, CouponRequest::schema)],
            headers: &[("Location", "Where the decision will be found."), KEPT],
        }],
        problems: &[COUPON, BODY, FIELDS, WRITE],
        route: |way, _| way.to(coupons::issue),
    },
    Operation {
        verb: Verb::Get,
        path: paths::REQUEST,
        name: "readDecision",
        summary: "Read what was decided on a request for a coupon",
        about: About::Coupons,
        access: Access::Needs(Scope::Read),
        parameters: &[
            Parameter {
                name: "requestId",
                place: "path",
                meaning: "The request, named by its event.",
                schema: EventId::schema,
            },
            Parameter {
                name: "waitMs",
                place: "query",
                meaning: "How long the answer may wait for the decision, in milliseconds.",
                schema: || json!({ "type": "integer", "minimum": 0, "maximum": coupons::WAIT_MS_MAX }),
            },
        ],
        body: None,
        answers: &[found("The decision, or that there is none yet.", &[(JSON, CouponRequest::schema)])],
        problems: &[READ],
        route: |way, _| way.to(coupons::decision),
    },
    Operation {
        verb: Verb::Get,
        path: paths::LIKES,
        name: "countLikes",
        summary: "Read how many like a character",
        about: About::Likes,
        access: Access::Needs(Scope::Read),
        parameters: &[Parameter::path(Like::TARGET_OCID.row())],
        body: None,
        answers: &[found("How many; 0 of whom nobody knows.", &[(JSON, LikeCount::schema)])],
        problems: &[ID, READ],
        route: |way, _| way.to(likes::count),
    },
    Operation {
        verb: Verb::Get,
        path: paths::LIKE,
        name: "readLike",
        summary: "Read whether an account likes a character",
        about: About::Likes,
        access: Access::Needs(Scope::Read),
        parameters: &[
            Parameter::path(Like::TARGET_OCID.row()),
            Parameter::path(Like::LIKER_ACCOUNT_ID.row()),
        ],
        body: None,
        answers: &[found("Whether it does.", &[(JSON, Liked::schema)])],
        problems: &[ID, READ],
        route: |way, _| way.to(likes::liked),
    },
    LIKE,
    Operation {
        verb: Verb::Delete,
        name: "unlike",
        summary: "Take a like back",
        route: |way, _| way.to(likes::unlike),
        ..LIKE
    },
    Operation {
        verb: Verb::Post,
        path: paths::EVENTS,
        name: "writeEvents",
        summary: "Write many events of any type",
        about: About::Events,
        access: Access::NeedsByEvent,
        parameters: &[],
        body: Some(Body {
            is_required: true,
            meaning: "",
            content: &[(JSON, Vec::<Mixed>::schema), (NDJSON, lines)],
        }),
        answers: &[Answer {
            headers: &[KEPT],
            ..found("What became of each, whatever is wrong with others.", &[(JSON, EventResults::schema)])
        }],
        problems: &[BODY, &[&problem::TOO_MANY_EVENTS]],
        route: |way, _| way.to(events::write),
    },
    Operation {
        verb: Verb::Post,
        path: paths::CLOUD_EVENTS,
        name: "writeCloudEvents",
        summary: "Write events as CloudEvents 1.0",
        about: About::Events,
        access: Access::NeedsByEvent,
        parameters: &[
            attribute("ce-specversion", "In binary mode: 1.0."),
            attribute("ce-type", "In binary mode: the type of event, which is its topic's name."),
            attribute("ce-source", "In binary mode: who sends it."),
            attribute("ce-id", "In binary mode: names the event within its source."),
            attribute("ce-time", "In binary mode: when a like happened whose data do not say so."),
        ],
        body: Some(Body {
            is_required: true,
            meaning: BINARY,
            content: &[
                (STRUCTURED, CloudEvent::schema),
                (BATCH, Vec::<CloudEvent>::schema),
                (JSON, CloudEventData::schema),
            ],
        }),
        answers: &[
            Answer { headers: &[KEPT, ("Location", "Of a coupon: where its decision will be.")], ..ACCEPTED },
            Answer {
                headers: &[KEPT],
                ..found("What became of each of a batch.", &[(JSON, EventResults::schema)])
            },
        ],
        problems: &[BODY, FIELDS, WRITE, COUPON, &[&problem::TOO_MANY_EVENTS]],
        route: |way, _| way.to(cloudevents::write),
    },
    Operation {
        verb: Verb::Get,
        path: paths::HEALTHZ,
        name: "readHealth",
        summary: "Whether this instance makes progress",
        about: About::Instance,
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: HEALTHY,
        problems: &[&[&problem::NOT_READY]],
        route: |way, _| way.to(health::healthz),
    },
    Operation {
        verb: Verb::Get,
        path: paths::READYZ,
        name: "readReadiness",
        summary: "Whether this instance can take events",
        about: About::Instance,
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: HEALTHY,
        problems: &[&[&problem::NOT_READY]],
        route: |way, _| way.to(health::readyz),
    },
    Operation {
        verb: Verb::Get,
        path: paths::DOCUMENT,
        name: "readDocument",
        summary: "This document",
        about: About::Instance,
        access: Access::Open,
        parameters: &[Parameter {
            name: "If-None-Match",
            place: "header",
            meaning: "The content that is known already, by its ETag.",
            schema: String::schema,
        }],
        body: None,
        answers: &[
            Answer { headers: &[TAG], ..found("OpenAPI 3.1.", &[(JSON, || json!({ "type": "object" }))]) },
            Answer {
                status: StatusCode::NOT_MODIFIED,
                meaning: "It is known already.",
                content: &[],
                headers: &[TAG],
            },
        ],
        problems: &[],
        route: |way, document| {
            let document = document.clone();
            way.to(async move |asked: HeaderMap| document.answer(&asked))
        },
    },
    Operation {
        verb: Verb::Get,
        path: paths::DOCS,
        name: "readDocs",
        summary: "A page that shows this document",
        about: About::Instance,
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: &[found("The page.", &[(docs::HTML, str::schema)])],
        problems: &[],
        route: |way, _| way.to(docs::page),
    },
    Operation {
        verb: Verb::Get,
        path: paths::DOCS_FILE,
        name: "readDocsFile",
        summary: "A file of that page",
        about: About::Instance,
        access: Access::Open,
        parameters: &[Parameter { name: "file", place: "path", meaning: "Its name.", schema: str::schema }],
        body: None,
        answers: &[found(
            "The file.",
            &[(docs::SCRIPT, str::schema), (docs::CSS, str::schema), (docs::TEXT, str::schema)],
        )],
        problems: &[&[&problem::NOT_FOUND]],
        route: |way, _| way.to(docs::file),
    },
];
