//! Redis: one server with a data folder of its own, `appendonly` on and synced always unless a test says otherwise.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Certificates, Process, ScratchDir, ports, process, wait};

/// Loading what was appended included.
const START_DEADLINE: Duration = Duration::from_secs(60);
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// Where it appends what it is told.
const DATA: &str = "appendonlydir";

/// Which server: the system's, or one that `scripts/setup` brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedisVersion {
    /// The system's: 7.0 on Debian 12.
    #[default]
    System,
    /// Redis 6.2, the oldest that is supported.
    V6_2,
    /// Redis 8.2.
    V8_2,
    /// Valkey 9.1.
    Valkey,
}

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Which one.
    pub version: RedisVersion,
    /// Settings as `redis.conf` has them; they win over those of this crate.
    pub settings: Vec<(String, String)>,
}

/// A server. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Redis {
    process: Mutex<Option<Arc<Process>>>,
    port: u16,
    version: RedisVersion,
    settings: Vec<(String, String)>,
    scratch: ScratchDir,
}

impl Redis {
    /// Starts a server and waits until it accepts connections.
    pub fn start(options: RedisOptions) -> Result<Redis> {
        let scratch = ScratchDir::new("redis")?;
        let redis = Redis {
            process: Mutex::new(None),
            port: ports::free_port()?,
            version: options.version,
            settings: options.settings,
            scratch,
        };
        redis.start_again()?;
        Ok(redis)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A server that speaks TLS on another port of `localhost`, too, which is returned, with a certificate that is signed by
    /// one of its own: `ca.pem` in `folder`.
    pub fn start_with_tls(folder: &Path, settings: &[(&str, &str)]) -> Result<(Redis, u16)> {
        let port = ports::free_port()?;
        let Certificates { authority, certificate, key } = Certificates::make(folder)?;
        let text = |file: PathBuf| file.display().to_string();
        let (authority, certificate, key) = (text(authority), text(certificate), text(key));
        let tls_port = port.to_string();
        let own = [
            ("tls-port", tls_port.as_str()),
            ("tls-cert-file", &certificate),
            ("tls-key-file", &key),
            ("tls-ca-cert-file", &authority),
            ("tls-auth-clients", "no"),
        ];
        let settings = own.iter().chain(settings);
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok((Redis::start(RedisOptions { settings, ..RedisOptions::default() })?, port))
    }

    /// Runs a command of `redis-cli` and returns what it prints.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-p", &self.port.to_string()]).args(arguments);
        process::run("redis-cli", command, self.scratch.path(), COMMAND_DEADLINE)
    }

    /// The process that was started last.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.slot().clone().context("the server was never started")
    }

    /// Starts it again on its port and data, and waits until it answers.
    pub fn start_again(&self) -> Result<()> {
        let process = {
            let mut slot = self.slot();
            if let Some(process) = slot.as_ref() {
                ensure!(process.exit_status().is_some(), "the server runs already");
            }
            let brought = |name: &str| process::target_folder().join("testkit/redis").join(name);
            let program = match self.version {
                RedisVersion::System => "redis-server".into(),
                RedisVersion::V6_2 => brought("redis-server-6.2"),
                RedisVersion::V8_2 => brought("redis-server-8.2"),
                RedisVersion::Valkey => brought("valkey-server-9.1"),
            };
            let mut command = Command::new(program);
            let port = self.port.to_string();
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
            command.args(["--appendfsync", "always", "--dir"]).arg(self.scratch.path());
            for (name, value) in &self.settings {
                command.arg(format!("--{name}")).args(value.split(' '));
            }
            slot.insert(Arc::new(Process::spawn("redis", command, self.scratch.path())?)).clone()
        };
        let answers = || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
            self.cli(&["PING"]).ok().filter(|answer| answer.trim() == "PONG")
        };
        wait::until("Redis to answer", START_DEADLINE, answers).with_context(|| process.log_tail())?;
        Ok(())
    }

    /// What it has on its disk now, as a copy to go back to.
    pub fn copy_data(&self) -> Result<ScratchDir> {
        let copy = ScratchDir::new("redis-copy")?;
        copy_folder(&self.scratch.path().join(DATA), &copy.path().join(DATA))?;
        Ok(copy)
    }

    /// Puts a copy in the place of what it has on its disk; it must not be running.
    pub fn restore_data(&self, copy: &ScratchDir) -> Result<()> {
        let data = self.scratch.path().join(DATA);
        std::fs::remove_dir_all(&data)?;
        copy_folder(&copy.path().join(DATA), &data)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Servers that are one cluster.
#[derive(Debug)]
pub struct RedisCluster {
    /// All of them: first those that were masters when it began.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Three masters, each with so many replicas. One that is silent for a second is taken for dead; the slots of the others stay
    /// served.
    pub fn start(replicas: usize, settings: &[(&str, &str)]) -> Result<RedisCluster> {
        let node = || {
            let bus = ports::free_port()?.to_string();
            let own = [
                ("cluster-enabled", "yes"),
                ("cluster-config-file", "nodes.conf"),
                ("cluster-node-timeout", "1000"),
                ("cluster-require-full-coverage", "no"),
                ("cluster-port", &bus),
            ];
            let settings = own.iter().chain(settings);
            let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Redis::start(RedisOptions { settings, ..RedisOptions::default() })
        };
        let nodes = (0..3 * (1 + replicas)).map(|_| node()).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        let replicas = replicas.to_string();
        let mut create = vec!["--cluster", "create", "--cluster-replicas", &replicas, "--cluster-yes"];
        create.splice(2..2, addresses.iter().map(String::as_str));
        nodes[0].cli(&create)?;
        let cluster = RedisCluster { nodes };
        cluster.wait_well()?;
        Ok(cluster)
    }

    /// Waits until every node that runs says that all slots are served.
    pub fn wait_well(&self) -> Result<()> {
        let is_well = |node: &Redis| {
            let runs = node.process().is_ok_and(|process| process.exit_status().is_none());
            let says = || node.cli(&["CLUSTER", "INFO"]).unwrap_or_default();
            !runs || ["cluster_state:ok", "cluster_slots_ok:16384"].iter().all(|line| says().contains(line))
        };
        let well = || self.nodes.iter().all(is_well).then_some(());
        Ok(wait::until("the cluster to be well", START_DEADLINE, well)?)
    }

    /// All its nodes, replicas among them, as `buffer.redis.url` has them.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(Redis::url).collect();
        urls.join(",")
    }
}

/// Files of a folder that has no others in it.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
