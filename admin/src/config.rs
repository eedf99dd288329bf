//! The `[admin]` and `[lag]` sections.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::door::{HostName, Token};

/// `[admin]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where operators connect.
    pub listen: SocketAddr,
    /// Whether it may be open to others than this machine without a token.
    pub allow_open: bool,
    /// What operators have to show.
    #[serde(deserialize_with = "Token::optional")]
    pub token: Option<Token>,
    /// Names by which it may be asked.
    pub hosts: Vec<HostName>,
}

/// `[lag]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LagConfig {
    /// Whether this process exports the groups' gauges.
    pub export: LagExport,
    /// How often positions are read.
    pub refresh_ms: u64,
    /// How often dead letters are counted; 0: never.
    pub dead_letters_refresh_ms: u64,
}

/// Which process exports the gauges of a group, which are the same whoever reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LagExport {
    /// `run` and `serve` do, `consume` does not.
    Auto,
    /// This process does.
    On,
    /// This process does not.
    Off,
}
