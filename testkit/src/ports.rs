//! Ports for servers to listen on.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// Below the range that the kernel takes ports for outgoing connections from (32768 and up unless set otherwise): a
/// server that is down for a moment must find its port free when it comes back.
const RANGE: Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that nobody listens on at the moment and that this process has not been given before. Chosen at
/// random, so that test processes that run side by side hardly ever choose the same.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut slot = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = slot.get_or_insert_default();
    for attempt in 0..1000 {
        let dice = RandomState::new().hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + dice as u16;
        // On all addresses, so that a port taken on any of them counts as taken.
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port found between {} and {}", RANGE.start, RANGE.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_all_can_be_bound() -> Result<()> {
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let port = free_port()?;
            assert!(RANGE.contains(&port) && seen.insert(port), "{port}");
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(())
    }
}
