//! What clients can ask for, as values: the router is built from them, the document, and what keeps clients in their bounds.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter};
use floodgate_schemas::Row;
use serde_json::Value;

use crate::document::Document;
use crate::guard::Way;
use crate::ingress::Ingress;
use crate::problem::{self, Kind};
use crate::scope::Access;

/// One method of one path.
pub(crate) struct Operation {
    pub(crate) verb: Verb,
    /// As the router has it, and the document.
    pub(crate) path: &'static str,
    /// What generated clients call it.
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) about: About,
    pub(crate) access: Access,
    /// What is read of a request beside its body.
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: Option<Body>,
    /// What it is answered with when all is well.
    pub(crate) answers: &'static [Answer],
    /// And when not, beside [`ANY`].
    pub(crate) problems: &'static [&'static [&'static Kind]],
    /// What answers it.
    pub(crate) route: fn(Way, &Arc<Document>) -> MethodRouter<Arc<Ingress>>,
}

/// What any request may be answered with, whatever it asks for.
pub(crate) const ANY: &[&Kind] = &[
    &problem::INVALID_REQUEST,
    &problem::TARGET_TOO_LONG,
    &problem::HEAD_TOO_LARGE,
    &problem::BUSY,
    &problem::INTERNAL,
];

/// What whoever is not let in may be answered with.
const GUARDED: &[&Kind] =
    &[&problem::UNAUTHORIZED, &problem::FORBIDDEN, &problem::RATE_LIMITED, &problem::NOT_READY];

impl Operation {
    /// The kinds of problem that it may be answered with.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        let guarded = (self.access != Access::Open).then_some(GUARDED);
        [ANY].into_iter().chain(guarded).chain(self.problems.iter().copied()).flatten().copied()
    }
}

/// How values look.
pub(crate) type Schema = fn() -> Value;

/// A value that a request carries beside its body.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// `path`, `query` or `header`.
    pub(crate) place: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) schema: Schema,
}

impl Parameter {
    /// A part of the path: it is read as the field of its name is.
    pub(crate) const fn path(field: Row) -> Self {
        Self { name: field.name, place: "path", meaning: field.meaning, schema: field.schema }
    }
}

/// What requests have in their body.
pub(crate) struct Body {
    pub(crate) is_required: bool,
    /// What its media types do not say; empty where they say all.
    pub(crate) meaning: &'static str,
    /// By media type.
    pub(crate) content: &'static [(&'static str, Schema)],
}

/// An answer that is no problem.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) meaning: &'static str,
    /// By media type.
    pub(crate) content: &'static [(&'static str, Schema)],
    /// Names, and what they mean.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// The methods that operations have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(crate) const fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Delete => MethodFilter::DELETE,
        }
    }

    pub(crate) const fn method(self) -> Method {
        match self {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Delete => Method::DELETE,
        }
    }

    /// What the document calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Delete => "delete",
        }
    }
}

/// What operations are about: the document's sections, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Expectations,
    Coupons,
    Likes,
    Events,
    Instance,
}

impl About {
    pub(crate) const ALL: [About; 5] =
        [About::Expectations, About::Coupons, About::Likes, About::Events, About::Instance];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            About::Expectations => "expectations",
            About::Coupons => "coupons",
            About::Likes => "likes",
            About::Events => "events",
            About::Instance => "instance",
        }
    }

    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            About::Expectations => "What upgrading a character's presets is expected to cost.",
            About::Coupons => "Coupons, of which there is a stock: first come, first served.",
            About::Likes => "Who likes whom.",
            About::Events => "Many events of any type in one request.",
            About::Instance => "How this instance is, and this document.",
        }
    }
}
