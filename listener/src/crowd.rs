//! How many connections each client has.
//!
//! A limit for each keeps one client from taking all places, and a few of them take them all the same. So of all places some can be
//! kept for newcomers: once only those are left, whoever has a connection gets no further one, and whoever has none is let in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The clients that have connections, never more than there are connections.
pub struct Crowd {
    places: Places,
    open: Mutex<Open>,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Of each client.
    pub of_one: usize,
    /// Of all, before only clients are let in that have none.
    pub before_newcomers: usize,
}

/// Those that are counted.
#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// A connection that is counted until it is dropped.
pub struct Counted {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// One in which each client may have so many connections.
    pub fn new(places: Places) -> Arc<Self> {
        Arc::new(Self { places, open: Mutex::default() })
    }

    /// One more connection of a client, unless it has as many as it may have.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let Places { of_one, before_newcomers } = self.places;
        let client = site(address);
        let mut open = self.open.lock();
        let its_own = open.of.get(&client).copied().unwrap_or_default();
        if its_own >= of_one || its_own > 0 && open.all >= before_newcomers {
            return None;
        }
        open.of.insert(client, its_own + 1);
        open.all += 1;
        Some(Counted { crowd: Arc::clone(self), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self { crowd, client } = self;
        let mut open = crowd.open.lock();
        open.all -= 1;
        if let Some(connections) = open.of.get_mut(client) {
            *connections -= 1;
            if *connections == 0 {
                open.of.remove(client);
            }
        }
    }
}

/// The addresses that count as one client's: of IPv6 the network of 64 bits, of which everybody has at least one.
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn crowd(of_one: usize, before_newcomers: usize) -> Arc<Crowd> {
        Crowd::new(Places { of_one, before_newcomers })
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_client_has_as_many_as_allowed() {
        let crowd = crowd(2, usize::MAX);
        let first = crowd.admit(at("10.0.0.1")).unwrap();
        let second = crowd.admit(at("::ffff:10.0.0.1")).unwrap();
        assert!(crowd.admit(at("10.0.0.1")).is_none());
        let other = crowd.admit(at("10.0.0.2")).unwrap();
        drop(first);
        let again = crowd.admit(at("10.0.0.1")).unwrap();
        assert!(crowd.admit(at("10.0.0.1")).is_none());
        drop((second, again, other));
        assert!(crowd.open.lock().of.is_empty(), "nobody is remembered who has no connection");
    }

    #[test]
    fn newcomers_find_places_that_others_do_not_get() {
        let crowd = crowd(4, 6);
        let first: Vec<_> = (0..4).filter_map(|_| crowd.admit(at("10.0.0.1"))).collect();
        let second: Vec<_> = (0..4).filter_map(|_| crowd.admit(at("10.0.0.2"))).collect();
        assert_eq!((first.len(), second.len()), (4, 2));
        let newcomer = crowd.admit(at("10.0.0.3")).unwrap();
        assert!(crowd.admit(at("10.0.0.3")).is_none(), "it is none any more");
        let other = crowd.admit(at("10.0.0.4")).unwrap();
        drop((first, newcomer));
        assert!(crowd.admit(at("10.0.0.4")).is_some());
        drop((second, other));
        assert_eq!(crowd.open.lock().all, 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = crowd(1, usize::MAX);
        let held = crowd.admit(at("2001:db8:1:2::1")).unwrap();
        assert!(crowd.admit(at("2001:db8:1:2:ffff::9")).is_none());
        assert!(crowd.admit(at("2001:db8:1:3::1")).is_some());
        drop(held);
        assert!(crowd.admit(at("2001:db8:1:2:ffff::9")).is_some());
    }
}
