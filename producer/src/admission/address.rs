//! Who asks, by address.
//!
//! A connection's other end is who asks, unless that is a proxy. A proxy says for whom it asks in `X-Forwarded-For`, to which
//! each of several adds the address it was asked from, so that the *last* one is what the nearest proxy saw and those before it
//! are hearsay. So the list is read from its end, for as long as whoever spoke is trusted: the first address that is not a
//! trusted proxy's is the client's. What stands before it a client may have made up, and is not looked at.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Whose word on a client's address is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.to_vec())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address is one of them.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Who asks.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trust(client) {
            return client;
        }
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        for line in lines.iter().rev() {
            for told in String::from_utf8_lossy(line.as_bytes()).rsplit(',') {
                // who cannot be understood is not believed: it was the proxy that asked
                let Some(address) = parse(told.trim()) else { return client };
                client = address;
                if !self.trust(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    let without_port = || text.rsplit_once(':').map(|(address, _)| address);
    let address: IpAddr = bare.unwrap_or(text).parse().ok().or_else(|| without_port()?.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let nets = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        let headers = forwarded
            .iter()
            .map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap()))
            .collect();
        Proxies::new(&nets).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_say_who_asks() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("fd00::7", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
    }

    /// What a client claims of itself stands before what the first trusted proxy saw.
    #[test]
    fn what_a_client_made_up_is_not_looked_at() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1, 10.2.3.4"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.9.9.9, 10.2.3.4"]), "10.9.9.9");
        for unreadable in ["unknown", "_hidden", "", "1.2.3", "198.51.100.1; rm", "ä"] {
            assert_eq!(client("10.0.0.1", &["1.1.1.1", &format!("{unreadable}, 10.2.3.4")]), "10.2.3.4");
        }
    }
}
