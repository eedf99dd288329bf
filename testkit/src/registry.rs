//! A schema registry: Apicurio's, by its Confluent API.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::{Certificates, Process, ScratchDir, ports, process, wait};

const START_DEADLINE: Duration = Duration::from_secs(120);
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Where the API begins.
const PATH: &str = "/apis/ccompat/v7";

/// What its ids count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegistryIds {
    /// Contents: one schema has one id, whatever subjects it is in. As Confluent's.
    #[default]
    Contents,
    /// Versions of subjects: one schema has an id in each.
    Versions,
}

/// How to start one.
#[derive(Debug, Default)]
pub struct RegistryOptions {
    /// What its ids count.
    pub ids: RegistryIds,
    /// It speaks TLS, too, if it is given certificates.
    pub tls: Option<Certificates>,
}

/// A registry. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct SchemaRegistry {
    process: Mutex<Option<Arc<Process>>>,
    port: u16,
    tls_port: u16,
    options: RegistryOptions,
    scratch: ScratchDir,
}

impl SchemaRegistry {
    /// Starts one and waits until it answers.
    pub fn start(options: RegistryOptions) -> Result<SchemaRegistry> {
        let registry = SchemaRegistry {
            process: Mutex::new(None),
            port: ports::free_port()?,
            tls_port: ports::free_port()?,
            options,
            scratch: ScratchDir::new("registry")?,
        };
        registry.start_again()?;
        Ok(registry)
    }

    /// Where its API is, as `schema_registry.url` has it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Where its own API is, which its own serdes ask.
    pub fn core_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v3", self.port)
    }

    /// `schema_registry.url` behind a link to its port.
    pub fn url_at(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}{PATH}")
    }

    /// The same by TLS.
    pub fn tls_url(&self) -> String {
        format!("https://localhost:{}{PATH}", self.tls_port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process that was started last.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.slot().clone().context("the registry was never started")
    }

    /// Starts it again on its port and data, and waits until it answers.
    pub fn start_again(&self) -> Result<()> {
        let process = {
            let mut slot = self.slot();
            if let Some(process) = slot.as_ref() {
                ensure!(process.exit_status().is_some(), "the registry runs already");
            }
            let folder = process::target_folder().join("testkit/registry");
            let set = |name: &str, value: &str| format!("-D{name}={value}");
            let data = self.scratch.path().join("data/db");
            let mut command = Command::new("java");
            // it lives for seconds: the second compiler would only take time from everybody else
            command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
            command.arg(set("quarkus.http.host", "127.0.0.1"));
            command.arg(set("quarkus.http.port", &self.port.to_string()));
            command.arg(set("apicurio.datasource.url", &format!("jdbc:h2:file:{}", data.display())));
            command.arg(set("apicurio.rest.deletion.artifact-version.enabled", "true"));
            if self.options.ids == RegistryIds::Versions {
                command.arg(set("apicurio.ccompat.legacy-id-mode.enabled", "true"));
            }
            if let Some(Certificates { certificate, key, .. }) = &self.options.tls {
                command.arg(set("quarkus.http.ssl-port", &self.tls_port.to_string()));
                command.arg(set("quarkus.http.ssl.certificate.files", &certificate.display().to_string()));
                command.arg(set("quarkus.http.ssl.certificate.key-files", &key.display().to_string()));
                command.arg(set("quarkus.http.insecure-requests", "enabled"));
            }
            command.arg("-jar").arg(folder.join("apicurio-registry-app-3.0.9-runner.jar"));
            let process = Process::spawn("registry", command, self.scratch.path());
            slot.insert(Arc::new(process.context("no registry: run ./scripts/setup")?)).clone()
        };
        let answers = || self.ask("GET", "/subjects", None).ok().filter(|(status, _)| *status == 200);
        wait::until("the registry to answer", START_DEADLINE, answers).with_context(|| process.log_tail())?;
        Ok(())
    }

    /// Ends it in order: killed it may forget what it was told in its last second.
    pub fn stop(&self) -> Result<()> {
        let process = self.process()?;
        process.terminate()?;
        process.wait_exit(START_DEADLINE).map(drop)
    }

    /// Kills it and everything it knows. Started again it counts from one.
    pub fn forget(&self) -> Result<()> {
        self.process()?.kill()?;
        Ok(std::fs::remove_dir_all(self.scratch.path().join("data"))?)
    }

    /// Asks it for something by its API, and gives status and text of the answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<(u16, String)> {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "30", "-X", method, "-w", "\n%{http_code}"]);
        command.args(["-H", "content-type: application/vnd.schemaregistry.v1+json"]);
        if let Some(body) = body {
            command.args(["--data-raw", body]);
        }
        command.arg(self.url() + path);
        let told = process::run("curl", command, self.scratch.path(), CALL_DEADLINE)?;
        let (text, status) = told.trim_end().rsplit_once('\n').context("no status")?;
        Ok((status.parse()?, text.to_owned()))
    }

    /// Registers a schema, given as a JSON string of its text, whatever the registry thinks of it, and gives the answer.
    pub fn register(&self, subject: &str, schema: &str) -> Result<String> {
        let body = format!(r#"{{"schemaType": "AVRO", "schema": {schema}}}"#);
        match self.ask("POST", &format!("/subjects/{subject}/versions"), Some(&body))? {
            (200, text) => Ok(text),
            (status, text) => bail!("{status}: {text}"),
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
