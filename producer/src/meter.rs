//! How many requests each operation answers, with what, and how long that takes.
//!
//! Which operation a request is for the router finds out behind whoever may refuse it before, and would tell of every request at
//! a cost. So it is looked up here once more, without anything being allocated, and what is counted is found by its place.

use std::sync::OnceLock;
use std::time::Instant;

use axum::http::{Method, StatusCode};
use floodgate_observe::RequestMetrics;
use prometheus::{Histogram, IntCounter};

use crate::operation::Operation;
use crate::problem::KINDS;

/// Counts by operation.
pub(crate) struct Meter {
    operations: Vec<Metered>,
    /// Requests for anything else.
    others: Metered,
}

/// One operation, or what is none.
struct Metered {
    method: Method,
    labels: [&'static str; 2],
    /// What paths have between their variable parts, one of which stands behind each but the last.
    literals: Vec<&'static str>,
    /// The most frequent first.
    answers: Vec<Answered>,
    metrics: RequestMetrics,
}

struct Answered {
    status: StatusCode,
    count: IntCounter,
    /// Made when it is needed: most statuses never are.
    seconds: OnceLock<Histogram>,
}

/// A request in work.
pub(crate) struct Running<'m> {
    metered: &'m Metered,
    began: Instant,
}

impl Meter {
    pub(crate) fn new(operations: &'static [Operation], metrics: &RequestMetrics) -> Self {
        let metered = operations.iter().map(|operation| {
            let statuses = operation.answers.iter().map(|answer| answer.status);
            let statuses = statuses.chain(operation.kinds().map(|kind| kind.status));
            Metered::new(operation.verb.method(), operation.path, statuses, metrics)
        });
        let refusals = KINDS.iter().map(|kind| kind.status).filter(StatusCode::is_client_error);
        Self {
            operations: metered.collect(),
            others: Metered::new(Method::OPTIONS, "other", refusals, metrics),
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self, method: &Method, path: &str) -> Running<'_> {
        // what is asked for its head alone is the same operation
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let found = self.operations.iter().find(|metered| metered.method == *method && metered.is_at(path));
        Running { metered: found.unwrap_or(&self.others), began: Instant::now() }
    }
}

impl Metered {
    fn new(
        method: Method,
        path: &'static str,
        statuses: impl Iterator<Item = StatusCode>,
        metrics: &RequestMetrics,
    ) -> Self {
        let literals = path.split('{').map(|part| part.split_once('}').map_or(part, |(_, literal)| literal));
        let labels = [verb_of(&method), path];
        let mut metered = Self {
            method,
            labels,
            literals: literals.collect(),
            answers: Vec::new(),
            metrics: metrics.clone(),
        };
        for status in statuses {
            if !metered.answers.iter().any(|answered| answered.status == status) {
                let count = metered.metrics.answered.with_label_values(&metered.labelled(status.as_str()));
                metered.answers.push(Answered { status, count, seconds: OnceLock::new() });
            }
        }
        metered
    }

    fn labelled<'a>(&self, status: &'a str) -> [&'a str; 3] {
        [self.labels[0], self.labels[1], status]
    }

    fn is_at(&self, path: &str) -> bool {
        let [first, others @ ..] = &self.literals[..] else { return false };
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        for literal in others {
            let variable = rest.find('/').unwrap_or(rest.len());
            match rest[variable..].strip_prefix(literal) {
                Some(behind) if variable > 0 => rest = behind,
                _ => return false,
            }
        }
        rest.is_empty()
    }

    fn count(&self, status: StatusCode, seconds: f64) {
        let labels = || self.labelled(status.as_str());
        let histogram = || self.metrics.seconds.with_label_values(&labels());
        match self.answers.iter().find(|answered| answered.status == status) {
            Some(answered) => {
                answered.count.inc();
                answered.seconds.get_or_init(histogram).observe(seconds);
            }
            None => {
                self.metrics.answered.with_label_values(&labels()).inc();
                histogram().observe(seconds);
            }
        }
    }
}

impl Running<'_> {
    /// It was answered.
    pub(crate) fn ended(self, status: StatusCode) {
        self.metered.count(status, self.began.elapsed().as_secs_f64());
    }
}

/// The names of methods that there are no operations for are anybody's.
fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use floodgate_observe::Metrics;

    use super::*;
    use crate::routes::OPERATIONS;

    fn route(meter: &Meter, method: Method, path: &str) -> [&'static str; 2] {
        meter.begin(&method, path).metered.labels
    }

    #[test]
    fn every_operation_is_found_and_nothing_else_is() {
        let meter = Meter::new(&OPERATIONS, &Metrics::new().unwrap().requests);
        for operation in &OPERATIONS {
            let filled = operation.path.replace('{', "x-").replace('}', ".y");
            let method = operation.verb.method();
            assert_eq!(
                route(&meter, method.clone(), &filled),
                [verb_of(&method), operation.path],
                "{filled}"
            );
            let gap = operation.path.contains('{').then(|| filled.replace("x-", "/"));
            let others = [format!("{filled}/"), format!("/x{filled}"), String::new()];
            for other in others.into_iter().chain(gap) {
                let found = route(&meter, method.clone(), &other);
                assert_ne!(found[1], operation.path, "{other}");
            }
        }
        assert_eq!(route(&meter, Method::HEAD, "/healthz"), ["GET", "/healthz"]);
        assert_eq!(route(&meter, Method::PATCH, "/healthz"), ["other"; 2]);
    }

    #[test]
    fn what_may_come_is_there_at_0_and_what_comes_is_counted() {
        let metrics = Metrics::new().unwrap();
        let meter = Meter::new(&OPERATIONS, &metrics.requests);
        let text = || String::from_utf8(metrics.render()).unwrap();
        let line = |status: u16, count: u64| {
            format!(
                r#"floodgate_http_requests_total{{method="POST",route="/api/v6/coupons",status="{status}"}} {count}"#
            )
        };
        for status in [200, 201, 409, 503] {
            assert!(text().contains(&line(status, 0)), "{status}");
        }
        assert!(!text().contains("floodgate_http_request_seconds_"), "none yet");
        for status in [StatusCode::CREATED, StatusCode::CREATED, StatusCode::IM_A_TEAPOT] {
            meter.begin(&Method::POST, "/api/v6/coupons").ended(status);
        }
        assert!(
            text().contains(&line(201, 2))
                && text().contains(&line(418, 1))
                && text().contains(&line(200, 0))
        );
        let seconds =
            r#"floodgate_http_request_seconds_count{method="POST",route="/api/v6/coupons",status="201"} 2"#;
        assert!(text().contains(seconds), "{}", text());
    }
}
