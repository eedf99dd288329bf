//! One of the servers that are compared.

use std::net::SocketAddr;

/// A server that takes single expectation writes.
pub struct Side {
    pub name: &'static str,
    pub address: SocketAddr,
    pub pid: u32,
    pub path: &'static str,
}
