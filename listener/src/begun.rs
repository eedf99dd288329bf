//! One request, from its head on until it is answered, whoever answers it.

use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::response::Response;
use hyper::body::Incoming;

use crate::always::always;
use crate::exchange::Working;
use crate::head::{self, Fault};
use crate::rest::{Linger, Settled, Watch};
use crate::unread::Unread;

/// What a listener takes of a request.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of a head.
    pub head_max_bytes: usize,
    /// Bytes of path and query.
    pub target_max_bytes: usize,
    /// What is read once it is answered.
    pub linger: Linger,
}

/// A request in work.
pub struct Begun {
    watch: Watch,
    working: Working,
    linger: Linger,
    is_http_1: bool,
    closes: bool,
}

impl Begun {
    /// Looks at the head of a request and watches its body. With it: how large the head is, or what is wrong with it.
    #[inline]
    pub fn new(
        request: Request<Incoming>,
        working: Working,
        bounds: &Bounds,
    ) -> (Self, Request, Result<usize, Fault>) {
        let Bounds { head_max_bytes, target_max_bytes, linger } = *bounds;
        let is_http_1 = request.version() <= Version::HTTP_11;
        let mut checked = head::check(&request, head_max_bytes, target_max_bytes);
        let mut closes = false;
        if is_http_1 {
            closes = working.exchange().is_doubted_behind();
            checked = checked.and_then(|bytes| head::lines(working.exchange(), bytes));
        }
        let checked = checked.map_err(|error| {
            closes |= error.closes;
            error.fault
        });
        let request = request.map(|body| Unread::over(body, working.exchange()));
        // a stream of HTTP/2 is reset behind its answer, and the client told that nothing more is wanted
        let (request, watch) = if is_http_1 { Watch::over(request) } else { Watch::none(request) };
        (Self { watch, working, linger, is_http_1, closes }, request, checked)
    }

    /// Whether it is the only one of its connection.
    pub fn is_http_1(&self) -> bool {
        self.is_http_1
    }

    /// Nothing is looked at behind it.
    pub fn closes(&mut self) {
        self.closes = true;
    }

    /// There is an answer. What of the request was not read is read afterwards, by the connection where only that can.
    #[inline]
    pub fn answered(self, response: &mut Response) {
        let Self { watch, working, linger, is_http_1, closes } = self;
        if watch.settle(response, linger) == Settled::Broken {
            working.exchange().linger();
        }
        always(response.headers_mut());
        if closes && is_http_1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        } else if closes {
            working.exchange().end_idleness();
        }
        working.answered();
    }
}
