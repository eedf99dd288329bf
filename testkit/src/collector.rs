//! An OpenTelemetry Collector: takes OTLP over HTTP, as every collector does, and hands on what it understood.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Process, ScratchDir, ports, process, wait};

const START_DEADLINE: Duration = Duration::from_secs(60);

/// A collector. Dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    port: u16,
    _scratch: ScratchDir,
}

impl Collector {
    /// Starts one and waits until it takes connections. What it took it posts, as OTLP's JSON, to `/v1/traces` of `hands_on_to`.
    pub fn start(hands_on_to: &str) -> Result<Collector> {
        let scratch = ScratchDir::new("otel-collector")?;
        let port = ports::free_port()?;
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
             exporters: {{otlp_http: {{endpoint: '{hands_on_to}', encoding: json, compression: none}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}\n"
        );
        let mut command = Command::new(process::target_folder().join("testkit/bin/otel-collector"));
        // the configuration is text, so that no other way of reading one has to be built in
        command.arg(format!("--config=yaml:{text}"));
        let process = Process::spawn("otel-collector", command, scratch.path())
            .context("otel-collector is not there: run ./scripts/setup")?;
        let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        wait::until("the collector to listen", START_DEADLINE, answers)
            .with_context(|| process.log_tail())?;
        Ok(Collector { process, port, _scratch: scratch })
    }

    /// Where it takes OTLP over HTTP.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
