//! What clients can ask for, as values: the router is built from them, the document, and what keeps clients in their bounds.

use std::sync::Arc;

use axum::routing::{MethodFilter, MethodRouter};

use crate::document::Document;
use crate::ingress::Ingress;
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
    /// What answers it.
    pub(crate) route: fn(MethodFilter, &Arc<Document>) -> MethodRouter<Arc<Ingress>>,
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
