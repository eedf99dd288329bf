//! What the HTTP library takes and we do not: heads that are too large, and heads that two readers may understand in two ways.
//!
//! Where a proxy and we do not agree on where a request ends, what its client sends after it is a request to one of us and not to
//! the other: *request smuggling*. The library refuses what has no one meaning, but for what stands here. Who sends such a thing
//! is answered once, and whatever comes after it on the connection is not looked at.

use std::net::Ipv6Addr;

use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Version};
use hyper::Request;

use crate::exchange::Exchange;

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Path and query are longer than this, or than anybody takes.
    Target(Option<usize>),
    /// All of it is too large, or there are too many fields.
    Size,
    /// A part of it cannot be understood, or in two ways.
    Part {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// It is none.
    NoRequest,
    /// There is no memory for it now.
    NoRoom,
}

/// The one coding that two readers understand in one way.
pub(crate) const ONLY_CHUNKED: Fault = Fault::Part {
    field: "Transfer-Encoding",
    detail: "chunked is the only transfer coding here, and is given once",
};

/// A length that two readers understand in one way.
pub(crate) const ONE_LENGTH: Fault =
    Fault::Part { field: "Content-Length", detail: "Content-Length is one number of bytes" };

const LINES: Fault = Fault::Part { field: "head", detail: "lines of a head end with CR and LF" };
const ONE_HOST: Fault = Fault::Part { field: "Host", detail: "a request has one Host" };
const NO_HOST: Fault =
    Fault::Part { field: "Host", detail: "Host is a host with or without a port, and nothing else" };
const OTHER_HOST: Fault = Fault::Part { field: "Host", detail: "Host and :authority are the same" };

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadError {
    pub(crate) fault: Fault,
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
#[inline]
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
        return Err(HeadError { fault: Fault::Target(Some(target_max_bytes)), closes: ambiguous.is_some() });
    }
    if target_bytes + fields.bytes > head_max_bytes {
        return Err(HeadError { fault: Fault::Size, closes: true });
    }
    match ambiguous {
        None => Ok(target_bytes + fields.bytes),
        Some(fault) => Err(HeadError { fault, closes: true }),
    }
}

/// What the HTTP library does not see either: lines that end with a line feed alone.
///
/// # Errors
/// There are some.
pub(crate) fn lines(exchange: &Exchange, head_bytes: usize) -> Result<usize, HeadError> {
    match exchange.is_head_doubted() {
        false => Ok(head_bytes),
        true => Err(HeadError { fault: LINES, closes: true }),
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

    /// What may be understood in two ways.
    fn ambiguous<B>(&self, request: &Request<B>) -> Option<Fault> {
        let (version, authority) = (request.version(), request.uri().authority());
        // RFC 9112, section 3.2
        if self.hosts > 1 || self.hosts == 0 && version == Version::HTTP_11 {
            return Some(ONE_HOST);
        }
        let are_hosts = self.host.is_none_or(|host| is_host(host.as_bytes()))
            && authority.is_none_or(|authority| is_host(authority.as_str().as_bytes()));
        if !are_hosts {
            return Some(NO_HOST);
        }
        // RFC 9113, section 8.3.1
        if let (Version::HTTP_2, Some(host), Some(authority)) = (version, self.host, authority)
            && host.as_bytes() != authority.as_str().as_bytes()
        {
            return Some(OTHER_HOST);
        }
        // codings that one reader knows and the other does not: the library looks at the last one alone
        let is_other = |coding: &HeaderValue| !is_chunked(coding.as_bytes());
        (self.codings > 1 || self.coding.is_some_and(is_other)).then_some(ONLY_CHUNKED)
    }
}

/// Whether a transfer coding is the one that everybody knows.
pub(crate) fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// The bytes of names (RFC 3986, section 3.2.2), but for the comma: what two fields said may have been made one with it.
const OF_NAMES: [bool; 256] = {
    let (mut of_names, others) = ([false; 256], b"-._~%!$&'()*+;=");
    let mut byte = 0;
    while byte < 128 {
        of_names[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        of_names[others[at] as usize] = true;
        at += 1;
    }
    of_names
};

/// Whether this is a host with or without a port. It may be empty, where a request is for none. Most are looked at once.
fn is_host(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| !OF_NAMES[usize::from(*byte)]).unwrap_or(text.len());
    match &text[end..] {
        [b'[', rest @ ..] if end == 0 => {
            let Some(close) = rest.iter().position(|byte| *byte == b']') else { return false };
            let address = str::from_utf8(&rest[..close]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            address.is_some() && is_port(&rest[close + 1..])
        }
        rest => is_port(rest),
    }
}

/// Whether this is what may stand behind a host.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is told, and whether the connection is closed with it.
    fn told(version: Version, uri: &str, fields: &[(&str, &str)]) -> Option<(Fault, bool)> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let error = check(&request.body(()).unwrap(), 100, 50).err()?;
        Some((error.fault, error.closes))
    }

    #[test]
    fn heads_have_one_meaning() {
        let host = ("host", "x");
        let doubled = Some((ONE_HOST, true));
        assert_eq!(told(Version::HTTP_11, "/", &[host]), None);
        assert_eq!(told(Version::HTTP_11, "/", &[]), doubled);
        assert_eq!(told(Version::HTTP_11, "/", &[host, host]), doubled);
        assert_eq!(told(Version::HTTP_10, "/", &[]), None);
        assert_eq!(told(Version::HTTP_10, "/", &[host, ("host", "y")]), doubled);
        let coded = Some((ONLY_CHUNKED, true));
        for (coding, expected) in
            [("chunked", None), ("Chunked", None), ("gzip, chunked", coded), ("chunked,", coded)]
        {
            assert_eq!(
                told(Version::HTTP_11, "/", &[host, ("transfer-encoding", coding)]),
                expected,
                "{coding}"
            );
        }
        let twice = [host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(told(Version::HTTP_11, "/", &twice), coded);
        assert_eq!(told(Version::HTTP_2, "http://x/", &[]), None);
        assert_eq!(told(Version::HTTP_2, "http://x/", &[host]), None);
        assert_eq!(told(Version::HTTP_2, "http://x/", &[("host", "y")]), Some((OTHER_HOST, true)));
    }

    #[test]
    fn a_host_is_a_host() {
        let hosts = [
            "",
            "x",
            "localhost:9600",
            "a-b.example.",
            "a_b",
            "10.0.0.7:80",
            "[::1]",
            "[2001:db8::7]:443",
            "x:",
            "caf%C3%A9.example",
            ":80",
        ];
        for host in hosts {
            assert_eq!(told(Version::HTTP_11, "/", &[("host", host)]), None, "{host}");
        }
        let others = [
            "a b",
            "a/b@c",
            "a,b",
            "a@b",
            "x:80:90",
            "x:8o",
            "x:-1",
            "[::1",
            "::1",
            "[x]",
            "[::1]x",
            "x[::1]",
            "[]",
            "a?b",
            "a#b",
            "http://a",
            "a\\b",
            "<a>",
            "caf\u{e9}",
            "\"a\"",
            "a\tb",
            "a|b",
        ];
        for host in others {
            assert_eq!(told(Version::HTTP_11, "/", &[("host", host)]), Some((NO_HOST, true)), "{host}");
        }
        // those of a target, too
        let host = ("host", "x");
        assert_eq!(told(Version::HTTP_11, "http://x:80/", &[host]), None);
        assert_eq!(told(Version::HTTP_11, "http://a@x/", &[host]), Some((NO_HOST, true)));
        assert_eq!(told(Version::HTTP_2, "http://a@x/", &[]), Some((NO_HOST, true)));
    }

    #[test]
    fn limits_count_every_byte() {
        let target = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert_eq!(told(Version::HTTP_11, &target(50), &[("host", "x")]), None);
        assert_eq!(
            told(Version::HTTP_11, &target(51), &[("host", "x")]),
            Some((Fault::Target(Some(50)), false))
        );
        let doubtful = [("host", "x"), ("transfer-encoding", "gzip, chunked")];
        assert_eq!(
            told(Version::HTTP_11, &target(51), &doubtful),
            Some((Fault::Target(Some(50)), true)),
            "and ambiguous"
        );
        // "host: x\r\n" are nine
        let fits = "y".repeat(100 - 1 - 9 - 5);
        assert_eq!(told(Version::HTTP_11, "/", &[("host", "x"), ("a", &fits)]), None);
        let larger = fits + "y";
        assert_eq!(told(Version::HTTP_11, "/", &[("host", "x"), ("a", &larger)]), Some((Fault::Size, true)));
    }
}
