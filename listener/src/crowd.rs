//! How many connections each client has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Whose connections are not counted, by address.
type Exempt = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The clients that have connections, never more than there are connections.
pub struct Crowd {
    /// Of each; 0: any number.
    max: usize,
    exempt: Exempt,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted until it is dropped.
pub struct Counted {
    counted: Option<(Arc<Crowd>, IpAddr)>,
}

impl Crowd {
    /// One in which each client may have `max` connections (0: any number), but for those that are exempt.
    pub fn new(max: usize, exempt: Exempt) -> Arc<Self> {
        Arc::new(Self { max, exempt, open: Mutex::default() })
    }

    /// One more connection of a client, unless it has as many as it may have.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        if self.max == 0 || (self.exempt)(address) {
            return Some(Counted { counted: None });
        }
        let client = site(address);
        let mut open = self.open.lock();
        let connections = open.entry(client).or_default();
        if *connections >= self.max {
            return None;
        }
        *connections += 1;
        Some(Counted { counted: Some((Arc::clone(self), client)) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((crowd, client)) = &self.counted else { return };
        let mut open = crowd.open.lock();
        if let Some(connections) = open.get_mut(client) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(client);
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

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_client_has_as_many_as_allowed() {
        let crowd = Crowd::new(2, Box::new(|address| address == at("10.0.0.9")));
        let first = crowd.admit(at("10.0.0.1")).unwrap();
        let second = crowd.admit(at("::ffff:10.0.0.1")).unwrap();
        assert!(crowd.admit(at("10.0.0.1")).is_none());
        let other = crowd.admit(at("10.0.0.2")).unwrap();
        let proxy: Vec<_> = (0..9).map(|_| crowd.admit(at("10.0.0.9")).unwrap()).collect();
        drop(first);
        let again = crowd.admit(at("10.0.0.1")).unwrap();
        assert!(crowd.admit(at("10.0.0.1")).is_none());
        drop((second, again, other, proxy));
        assert!(crowd.open.lock().is_empty(), "nobody is remembered who has no connection");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Crowd::new(1, Box::new(|_| false));
        let held = crowd.admit(at("2001:db8:1:2::1")).unwrap();
        assert!(crowd.admit(at("2001:db8:1:2:ffff::9")).is_none());
        assert!(crowd.admit(at("2001:db8:1:3::1")).is_some());
        drop(held);
        assert!(crowd.admit(at("2001:db8:1:2:ffff::9")).is_some());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let crowd = Crowd::new(0, Box::new(|_| false));
        let _held: Vec<_> = (0..9).map(|_| crowd.admit(at("10.0.0.1")).unwrap()).collect();
        assert!(crowd.open.lock().is_empty());
    }
}
