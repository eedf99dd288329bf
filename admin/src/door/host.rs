//! By which names the listener may be asked.
//!
//! A page of another site can let its own name lead to this address (DNS rebinding): to the browser, what is here is that site's
//! then, and its scripts read it. All that gives them away is the name that the browser asks for. Addresses and `localhost` are
//! nobody's to lead anywhere; other names are known only from the configuration.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use thiserror::Error;

use crate::problem::Problem;

/// A name of `[admin] hosts`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostName(String);

/// It is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no host's name: one without scheme, port and wildcard, such as floodgate.example")]
pub struct InvalidHost(String);

impl TryFrom<String> for HostName {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = (1..=253).contains(&text.len()) && text.bytes().all(is_of_name);
        if is_name { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidHost(text)) }
    }
}

/// The host and port that a request is for: of its target where that has them, as RFC 9110 wants it, else of its `Host`.
///
/// # Errors
/// There is none, or more than one, or it cannot be read.
pub(crate) fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let read = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, Some(_), Some(_)) => None,
        (Some(authority), ..) => Some(authority.clone()),
        (None, Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (None, None, _) => None,
    };
    // the parser takes any text for a port, and what stands before an @ besides
    let is_plain = |authority: &Authority| match authority.port_u16() {
        Some(_) => !authority.as_str().contains('@'),
        None => authority.as_str() == authority.host(),
    };
    read.filter(is_plain)
        .ok_or_else(|| Problem::refused("Host", "must be there, once, and be a host with or without a port"))
}

/// Whether a request may be for this host.
///
/// # Errors
/// It is refused with 421: by RFC 9110 (7.4 and 15.5.20) that is the answer to a request for an authority that one does not speak for.
pub(crate) fn check(authority: &Authority, hosts: &[HostName]) -> Result<(), Problem> {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_listed = || hosts.iter().any(|HostName(name)| name.eq_ignore_ascii_case(host));
    if bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") || is_listed() {
        return Ok(());
    }
    let told: String = host.chars().take(253).collect();
    let detail = format!(
        "`{told}` is not known as a name of this listener: ask by an address or as localhost, add the name to admin.hosts, or \
         send the token"
    );
    let title = "Not a name of this listener";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected-request", title, &detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn may(uri: &'static str, hosts: &[&'static str]) -> bool {
        let known = [HostName::try_from("Ops.Example".to_owned()).unwrap()];
        let headers: HeaderMap = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
        authority(&Uri::from_static(uri), &headers).and_then(|authority| check(&authority, &known)).is_ok()
    }

    #[test]
    fn names_that_others_can_make_lead_here_are_refused() {
        let mine = [
            "localhost",
            "localhost:9600",
            "LocalHost",
            "127.0.0.1:9600",
            "127.0.0.1",
            "[::1]:9600",
            "[::1]",
            "10.0.0.7",
            "ops.example",
            "OPS.example:80",
        ];
        for host in mine {
            assert!(may("/", &[host]), "{host}");
        }
        let others = [
            "evil.example",
            "evil.example:9600",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9600",
            "",
            "localhost.",
            "a.ops.example",
            "ops.example.evil",
            "2130706433",
            "127.1",
            "0x7f000001",
            "[::1",
            "::1]:9600",
            "evil@localhost",
            "localhost:x",
            "localhost/",
            "local host",
        ];
        for host in others {
            assert!(!may("/", &[host]), "{host}");
        }
    }

    #[test]
    fn the_target_says_more_than_the_header() {
        assert!(may("http://localhost:9600/lag", &["evil.example"]));
        assert!(!may("http://evil.example/lag", &["localhost"]));
        assert!(!may("/", &[]) && !may("/", &["localhost", "localhost"]));
    }

    #[test]
    fn listed_names_are_names() {
        for wrong in ["", "https://ops.example", "ops.example:9600", "*.example", "[::1]", "ops example"] {
            assert!(HostName::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
