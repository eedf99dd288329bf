//! What the HTTP library takes and we do not: heads that are too large, and heads that two readers may understand in two ways.
//!
//! Where a proxy and we do not agree on where a request ends, what its client sends after it is a request to one of us and not to
//! the other: *request smuggling*. The library refuses what has no one meaning, but for what stands here. Who sends such a thing
//! is answered once, and whatever comes after it on the connection is not looked at.

use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Version};
use hyper::Request;

use crate::exchange::Exchange;
use crate::problem::Problem;

/// Why a head is refused.
#[derive(Debug)]
pub(crate) struct HeadError {
    pub(crate) problem: Problem,
    /// Whether nothing is looked at that comes behind it: somebody else may understand something else by it, or the library may not
    /// have taken it either.
    pub(crate) closes: bool,
}

/// What is counted of the fields of a head.
#[derive(Default)]
struct Fields<'r> {
    bytes: usize,
    hosts: usize,
    host: Option<&'r HeaderValue>,
    codings: usize,
    coding: Option<&'r HeaderValue>,
}

/// How large a head is that there is nothing wrong with. The HTTP library's own limit is as coarse as the pieces it reads.
///
/// # Errors
/// What is wrong with the head.
pub(crate) fn check<B>(
    request: &Request<B>,
    head_max_bytes: usize,
    target_max_bytes: usize,
) -> Result<usize, HeadError> {
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = Fields::of(request);
    let ambiguous = fields.ambiguous(request);
    if target_bytes > target_max_bytes {
        // whatever else is wrong with it, what comes behind it is looked at only where all know where that is
        let problem = Problem::target_too_long(target_max_bytes);
        return Err(HeadError { problem, closes: ambiguous.is_some() });
    }
    let closed = |problem| Err(HeadError { problem, closes: true });
    if target_bytes + fields.bytes > head_max_bytes {
        return closed(Problem::head_too_large());
    }
    match ambiguous {
        None => Ok(target_bytes + fields.bytes),
        Some((field, detail)) => closed(Problem::invalid_request(field, detail)),
    }
}

/// What the HTTP library does not see either: lines that end with a line feed alone.
///
/// # Errors
/// There are some.
pub(crate) fn lines(exchange: &Exchange, head_bytes: usize) -> Result<usize, HeadError> {
    match exchange.is_head_doubted() {
        false => Ok(head_bytes),
        true => {
            let problem = Problem::invalid_request("head", "lines of a head end with CR and LF");
            Err(HeadError { problem, closes: true })
        }
    }
}

impl<'r> Fields<'r> {
    fn of<B>(request: &'r Request<B>) -> Self {
        let mut fields = Self::default();
        for (name, value) in request.headers() {
            fields.bytes += name.as_str().len() + value.len() + 4;
            if name == HOST {
                fields.hosts += 1;
                fields.host = Some(value);
            } else if name == TRANSFER_ENCODING {
                fields.codings += 1;
                fields.coding = Some(value);
            }
        }
        fields
    }

    /// The field that may be understood in two ways, and what is asked for.
    fn ambiguous<B>(&self, request: &Request<B>) -> Option<(&'static str, &'static str)> {
        // RFC 9112, section 3.2
        if self.hosts > 1 || self.hosts == 0 && request.version() == Version::HTTP_11 {
            return Some(("Host", "a request has one Host"));
        }
        // RFC 9113, section 8.3.1
        if let (Version::HTTP_2, Some(host), Some(authority)) =
            (request.version(), self.host, request.uri().authority())
            && host.as_bytes() != authority.as_str().as_bytes()
        {
            return Some(("Host", "Host and :authority are the same"));
        }
        // codings that one reader knows and the other does not: the library looks at the last one alone
        let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if self.codings > 1 || self.coding.is_some_and(|coding| !is_chunked(coding)) {
            return Some((
                "Transfer-Encoding",
                "chunked is the only transfer coding here, and is given once",
            ));
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The problem's name, and whether the connection is closed with it.
    fn told(version: Version, uri: &str, fields: &[(&str, &str)]) -> Option<(&'static str, bool)> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let error = check(&request.body(()).unwrap(), 100, 50).err()?;
        Some((error.problem.name(), error.closes))
    }

    #[test]
    fn heads_have_one_meaning() {
        let host = ("host", "x");
        let ambiguous = Some(("invalid-request", true));
        assert_eq!(told(Version::HTTP_11, "/", &[host]), None);
        assert_eq!(told(Version::HTTP_11, "/", &[("host", "")]), None);
        assert_eq!(told(Version::HTTP_11, "/", &[]), ambiguous);
        assert_eq!(told(Version::HTTP_11, "/", &[host, host]), ambiguous);
        assert_eq!(told(Version::HTTP_10, "/", &[]), None);
        assert_eq!(told(Version::HTTP_10, "/", &[host, ("host", "y")]), ambiguous);
        for (coding, expected) in
            [("chunked", None), ("Chunked", None), ("gzip, chunked", ambiguous), ("chunked,", ambiguous)]
        {
            assert_eq!(
                told(Version::HTTP_11, "/", &[host, ("transfer-encoding", coding)]),
                expected,
                "{coding}"
            );
        }
        let twice = [host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(told(Version::HTTP_11, "/", &twice), ambiguous);
        assert_eq!(told(Version::HTTP_2, "http://x/", &[]), None);
        assert_eq!(told(Version::HTTP_2, "http://x/", &[host]), None);
        assert_eq!(told(Version::HTTP_2, "http://x/", &[("host", "y")]), ambiguous);
    }

    #[test]
    fn limits_count_every_byte() {
        let target = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert_eq!(told(Version::HTTP_11, &target(50), &[("host", "x")]), None);
        assert_eq!(told(Version::HTTP_11, &target(51), &[("host", "x")]), Some(("target-too-long", false)));
        let doubtful = [("host", "x"), ("transfer-encoding", "gzip, chunked")];
        assert_eq!(
            told(Version::HTTP_11, &target(51), &doubtful),
            Some(("target-too-long", true)),
            "and ambiguous"
        );
        // "host: x\r\n" are nine
        let fits = "y".repeat(100 - 1 - 9 - 5);
        assert_eq!(told(Version::HTTP_11, "/", &[("host", "x"), ("a", &fits)]), None);
        let larger = fits + "y";
        assert_eq!(
            told(Version::HTTP_11, "/", &[("host", "x"), ("a", &larger)]),
            Some(("head-too-large", true))
        );
    }
}
