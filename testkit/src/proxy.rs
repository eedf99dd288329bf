//! Links that can be cut: TCP connections led through Toxiproxy, which drops, delays and throttles them on demand.
//!
//! A link is a port of its own that leads to another. Whoever connects to it does not know; the test cuts it, swallows
//! what one side says, or slows it down, and mends it again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Process, ScratchDir, ports, process, wait};

const START_DEADLINE: Duration = Duration::from_secs(180);
/// Toxiproxy answers at once, unless the machine is very busy.
const ANSWER_DEADLINE: Duration = Duration::from_secs(180);

/// A proxy. Dropping it ends it and with it all its links.
#[derive(Debug, Clone)]
pub struct Proxy(Arc<Running>);

#[derive(Debug)]
struct Running {
    api_port: u16,
    process: Process,
    // after the process: its logs are in there
    _scratch: ScratchDir,
}

/// A port that leads to another one as long as it is not disturbed.
#[derive(Debug, Clone)]
pub struct Link {
    proxy: Proxy,
    port: u16,
}

impl Proxy {
    /// Starts a proxy without links.
    pub fn start() -> Result<Proxy> {
        let scratch = ScratchDir::new("proxy")?;
        let api_port = ports::free_port()?;
        let mut command = Command::new(program()?);
        command.args(["-host", "127.0.0.1", "-port", &api_port.to_string()]);
        let process = Process::spawn("toxiproxy", command, scratch.path())?;
        let proxy = Proxy(Arc::new(Running { api_port, process, _scratch: scratch }));
        wait::until("Toxiproxy to answer", START_DEADLINE, || proxy.call("GET", "/version", "").ok())
            .with_context(|| proxy.0.process.log_tail())?;
        Ok(proxy)
    }

    /// A new link to `upstream`, a port of 127.0.0.1.
    pub fn link(&self, upstream: u16) -> Result<Link> {
        let port = ports::free_port()?;
        let body = format!(
            r#"{{"name":"{port}","listen":"127.0.0.1:{port}","upstream":"127.0.0.1:{upstream}","enabled":true}}"#
        );
        self.call("POST", "/proxies", &body)?;
        Ok(Link { proxy: self.clone(), port })
    }

    /// One request to Toxiproxy's own interface.
    fn call(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0.api_port))?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: toxiproxy\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "Toxiproxy: {method} {path}: {answer}");
        Ok(answer)
    }
}

impl Link {
    /// The port that leads to the other one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) -> Result<()> {
        self.enable(false)
    }

    /// Takes connections again.
    pub fn mend(&self) -> Result<()> {
        self.enable(true)
    }

    /// Swallows what the server says, on all connections, while what clients say arrives.
    pub fn swallow_answers(&self) -> Result<()> {
        self.disturb("swallow", "downstream", "timeout", r#"{"timeout":0}"#)
    }

    /// Lets so many bytes a second through, in each direction of each connection.
    pub fn throttle(&self, kb_per_second: u32) -> Result<()> {
        let attributes = format!(r#"{{"rate":{kb_per_second}}}"#);
        self.disturb("throttle-up", "upstream", "bandwidth", &attributes)?;
        self.disturb("throttle-down", "downstream", "bandwidth", &attributes)
    }

    /// Ends [`Link::swallow_answers`] or [`Link::throttle`]. What was swallowed stays so; connections on which
    /// something was are broken.
    pub fn calm(&self) -> Result<()> {
        for name in ["swallow", "throttle-up", "throttle-down"] {
            // those that were not there are gone as well
            let _ = self.proxy.call("DELETE", &format!("/proxies/{}/toxics/{name}", self.port), "");
        }
        self.cut()?;
        self.mend()
    }

    fn disturb(&self, name: &str, stream: &str, kind: &str, attributes: &str) -> Result<()> {
        let body =
            format!(r#"{{"name":"{name}","type":"{kind}","stream":"{stream}","attributes":{attributes}}}"#);
        self.proxy.call("POST", &format!("/proxies/{}/toxics", self.port), &body).map(drop)
    }

    fn enable(&self, enabled: bool) -> Result<()> {
        let body = format!(r#"{{"enabled":{enabled}}}"#);
        self.proxy.call("POST", &format!("/proxies/{}", self.port), &body).map(drop)
    }
}

/// Where `scripts/setup` puts it, or in `PATH`.
fn program() -> Result<PathBuf> {
    let built = process::target_folder().join("testkit/bin/toxiproxy-server");
    if built.is_file() {
        return Ok(built);
    }
    let found = process::find_in_path("toxiproxy-server")
        .context("toxiproxy-server is not there: run ./scripts/setup")?;
    Ok(found.join("toxiproxy-server"))
}
