//! Apache Kafka in KRaft mode: one or several brokers that are controllers as well, each a Java process.

mod java;

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::java::{Java, Keep};
use crate::{Link, Process, Proxy, ScratchDir, ports, process, wait};

/// From start to readiness. Generous, as a busy machine starts three Java processes slowly.
const START_DEADLINE: Duration = Duration::from_secs(240);
const STOP_DEADLINE: Duration = Duration::from_secs(240);
const TOOL_DEADLINE: Duration = Duration::from_secs(240);
const TOOL_HEAP_MB: u32 = 128;
/// Any 16 bytes in base64.
const CLUSTER_ID: &str = "dGVzdGtpdC1jbHVzdGVyMQ";

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// How many brokers, each of them also a controller.
    pub brokers: usize,
    /// Server properties; they win over those of this crate.
    pub properties: Vec<(String, String)>,
    /// The heap of each broker.
    pub heap_mb: u32,
    /// Start fast, stay lean and notice a dead broker soon, at the price of throughput: only the first compiler stage,
    /// the serial collector, short sessions. Switch it off to measure; the server then runs as in production.
    pub quick_jit: bool,
    /// Whether each broker can also be reached through a [`Link`] of its own, under [`Kafka::linked_bootstrap`].
    pub linked: bool,
    /// The host under which clients of the links are told to find the brokers; 127.0.0.1 unless that is to fail.
    pub linked_host: String,
    /// Whether permissions are checked, and each broker can also be reached with the login [`LOGIN`], under
    /// [`Kafka::secured_bootstrap`]. Whoever comes without a login may do everything.
    pub secured: bool,
}

/// Name and password of the one user of a secured cluster, who may do what [`Kafka::grant`] says.
pub const LOGIN: (&str, &str) = ("floodgate", "secret");

impl Default for KafkaOptions {
    fn default() -> Self {
        KafkaOptions {
            brokers: 1,
            properties: Vec::new(),
            heap_mb: 256,
            quick_jit: true,
            linked: false,
            linked_host: "127.0.0.1".to_owned(),
            secured: false,
        }
    }
}

/// A cluster. Dropping it kills its brokers and removes their data.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    // Declared before the folder, hence killed before it is removed.
    brokers: Vec<Broker>,
    java: Java,
    scratch: ScratchDir,
}

#[derive(Debug)]
struct Broker {
    port: u16,
    controller_port: u16,
    linked: Option<Linked>,
    secured_port: Option<u16>,
    process: Mutex<Option<Arc<Process>>>,
}

/// A second listener, whose clients are told to come through a link.
#[derive(Debug)]
struct Linked {
    port: u16,
    link: Link,
}

impl Kafka {
    /// Starts a cluster and waits until all brokers answer.
    pub fn start(options: KafkaOptions) -> Result<Kafka> {
        let java = Java::find(options.quick_jit, rehearse)?;
        let kafka = Kafka::prepare(options, java)?;
        for i in 0..kafka.brokers.len() {
            kafka.launch(i)?;
        }
        for i in 0..kafka.brokers.len() {
            kafka.wait_ready(i)?;
        }
        Ok(kafka)
    }

    /// A cluster of which no broker has been started.
    fn prepare(options: KafkaOptions, java: Java) -> Result<Kafka> {
        ensure!(options.brokers > 0, "a cluster of no brokers");
        let scratch = ScratchDir::new("kafka")?;
        let log4j = include_str!("../kafka/log4j2.properties");
        std::fs::write(scratch.path().join("log4j2.properties"), log4j)?;
        let proxy = options.linked.then(Proxy::start).transpose()?;
        let new_broker = |_| {
            let (port, controller_port) = (ports::free_port()?, ports::free_port()?);
            let linked = proxy.as_ref().map(|proxy| -> Result<Linked> {
                let port = ports::free_port()?;
                Ok(Linked { port, link: proxy.link(port)? })
            });
            let secured_port = options.secured.then(ports::free_port).transpose()?;
            let (linked, process) = (linked.transpose()?, Mutex::new(None));
            Ok(Broker { port, controller_port, linked, secured_port, process })
        };
        let brokers = (0..options.brokers).map(new_broker).collect::<Result<_>>()?;
        let kafka = Kafka { options, brokers, java, scratch };
        kafka.format_all()?;
        Ok(kafka)
    }

    /// The addresses of all brokers, in the form of `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        addresses.join(",")
    }

    /// The same through the brokers' links, which keep the clients they lead to the brokers. Empty unless
    /// [`KafkaOptions::linked`].
    pub fn linked_bootstrap(&self) -> String {
        let linked = self.brokers.iter().filter_map(|broker| broker.linked.as_ref());
        linked.map(|linked| format!("127.0.0.1:{}", linked.link.port())).collect::<Vec<_>>().join(",")
    }

    /// The addresses that want a login. Empty unless [`KafkaOptions::secured`].
    pub fn secured_bootstrap(&self) -> String {
        let ports = self.brokers.iter().filter_map(|broker| broker.secured_port);
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Lets the user do something, in the words of Kafka's `kafka-acls.sh`, such as `--operation Write --topic some`.
    pub fn grant(&self, what: &[&str]) -> Result<()> {
        self.change_permissions(&["--add"], what)
    }

    /// Takes that back.
    pub fn revoke(&self, what: &[&str]) -> Result<()> {
        self.change_permissions(&["--remove", "--force"], what)
    }

    fn change_permissions(&self, how: &[&str], what: &[&str]) -> Result<()> {
        let (bootstrap, user) = (self.bootstrap(), format!("User:{}", LOGIN.0));
        let mut args = vec!["--bootstrap-server", &bootstrap];
        args.extend(how);
        args.extend(["--allow-principal", &user]);
        args.extend(what);
        self.run_tool("org.apache.kafka.tools.AclCommand", &args).map(drop)
    }

    /// The link to broker `i`.
    pub fn link(&self, i: usize) -> Result<&Link> {
        let linked = self.brokers[i].linked.as_ref();
        linked.map(|linked| &linked.link).context("the cluster was started without links")
    }

    /// The port that clients find broker `i` at. Brokers are counted from 0; Kafka calls broker `i` node `i + 1`.
    pub fn port(&self, i: usize) -> u16 {
        self.brokers[i].port
    }

    /// The process that was started last for broker `i`.
    pub fn process(&self, i: usize) -> Result<Arc<Process>> {
        self.slot(i).clone().with_context(|| format!("broker {i} was never started"))
    }

    /// Where broker `i` keeps its logs, a folder for each partition.
    pub fn data_folder(&self, i: usize) -> PathBuf {
        self.broker_folder(i).join("data")
    }

    /// The process id of broker `i`.
    pub fn pid(&self, i: usize) -> Result<u32> {
        Ok(self.process(i)?.pid())
    }

    /// Kills broker `i` (SIGKILL).
    pub fn kill(&self, i: usize) -> Result<()> {
        self.process(i)?.kill()
    }

    /// Stops broker `i` in an orderly way (SIGTERM) and waits for its end.
    pub fn stop(&self, i: usize) -> Result<()> {
        let process = self.process(i)?;
        process.terminate()?;
        process.wait_exit(STOP_DEADLINE).map(drop)
    }

    /// Stops broker `i` where it is (SIGSTOP): connections stay open and nobody answers.
    pub fn freeze(&self, i: usize) -> Result<()> {
        self.process(i)?.freeze()
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&self, i: usize) -> Result<()> {
        self.process(i)?.thaw()
    }

    /// Starts broker `i` again on its port and data, and waits until it is ready. Alone it gets ready only if it makes a
    /// majority of controllers with those that run: otherwise [`Kafka::launch`] all that are needed, then wait.
    pub fn start_again(&self, i: usize) -> Result<()> {
        self.launch(i)?;
        self.wait_ready(i)
    }

    /// Starts the process of broker `i` and does not wait.
    pub fn launch(&self, i: usize) -> Result<()> {
        self.launch_with(&self.java, i)
    }

    fn launch_with(&self, java: &Java, i: usize) -> Result<()> {
        let mut slot = self.slot(i);
        if let Some(process) = slot.as_ref() {
            ensure!(process.exit_status().is_some(), "{} runs already", process.name());
        }
        let mut command = self.java(java, &self.broker_folder(i), self.options.heap_mb);
        command.arg("kafka.Kafka").arg(self.properties_file(i));
        let process = Process::spawn(&format!("broker-{i}"), command, self.folder())?;
        *slot = Some(Arc::new(process));
        Ok(())
    }

    /// Waits until broker `i` has said that it is started and answers requests.
    pub fn wait_ready(&self, i: usize) -> Result<()> {
        let process = self.process(i)?;
        process.wait_for_log("Kafka Server started", START_DEADLINE)?;
        let what = format!("{} to answer", process.name());
        wait::until(&what, START_DEADLINE, || answers(self.brokers[i].port).ok())
            .with_context(|| process.log_tail())
    }

    /// Runs a class with a `main` from Kafka's jars, such as `org.apache.kafka.tools.TopicCommand`, and returns its
    /// standard output. Starting Java takes about a second.
    pub fn run_tool(&self, main_class: &str, args: &[&str]) -> Result<String> {
        let mut command = self.java(&self.java, self.folder(), TOOL_HEAP_MB);
        command.arg(main_class).args(args);
        let name = main_class.rsplit('.').next().unwrap_or(main_class);
        process::run(name, command, self.folder(), TOOL_DEADLINE)
    }

    /// Writes the properties of all brokers and formats their data folders, all at once.
    fn format_all(&self) -> Result<()> {
        let mut running = Vec::new();
        for i in 0..self.brokers.len() {
            std::fs::create_dir(self.broker_folder(i))?;
            std::fs::write(self.properties_file(i), self.properties(i))?;
            let mut command = self.java(&self.java, &self.broker_folder(i), TOOL_HEAP_MB);
            command
                .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
                .arg(self.properties_file(i));
            running.push(Process::spawn(&format!("format-{i}"), command, self.folder())?);
        }
        for process in running {
            let exit = process.wait_exit(START_DEADLINE)?;
            ensure!(exit.success(), "{} failed ({exit})\n{}", process.name(), process.log_tail());
        }
        Ok(())
    }

    fn properties(&self, i: usize) -> String {
        let Broker { port, controller_port, linked, secured_port, .. } = &self.brokers[i];
        let host = &self.options.linked_host;
        let (mut more_at, mut more_through) = linked.as_ref().map_or_else(Default::default, |linked| {
            let (port, link) = (linked.port, linked.link.port());
            (format!(",LINKED://127.0.0.1:{port}"), format!(",LINKED://{host}:{link}"))
        });
        if let Some(port) = secured_port {
            let secured = format!(",SECURED://127.0.0.1:{port}");
            more_at += &secured;
            more_through += &secured;
        }
        let node = i + 1;
        let voters: Vec<String> = (1..)
            .zip(&self.brokers)
            .map(|(node, broker)| format!("{node}@127.0.0.1:{}", broker.controller_port))
            .collect();
        let voters = voters.join(",");
        let data = self.data_folder(i);
        let data = data.display();
        let copies = self.brokers.len().min(3);
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={voters}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LINKED:PLAINTEXT,SECURED:SASL_PLAINTEXT\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{more_at}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more_through}\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\n\
             offsets.topic.num.partitions=5\n\
             offsets.topic.replication.factor={copies}\n\
             transaction.state.log.num.partitions=5\n\
             transaction.state.log.replication.factor={copies}\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=5\n\
             share.coordinator.state.topic.replication.factor={copies}\n\
             share.coordinator.state.topic.min.isr=1\n"
        );
        if self.options.quick_jit {
            // The cleaner's memory is 128 MiB otherwise, half the heap.
            text += "log.cleaner.dedupe.buffer.size=8388608\n";
            // A dead broker is noticed after 3 s instead of 9, and a killed one may come back as soon.
            text += "broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n";
        }
        if secured_port.is_some() {
            let (user, password) = LOGIN;
            text += "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                     super.users=User:ANONYMOUS\n\
                     listener.name.secured.sasl.enabled.mechanisms=PLAIN\n";
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
            let _ = writeln!(
                text,
                "listener.name.secured.plain.sasl.jaas.config={module} required user_{user}=\"{password}\";"
            );
        }
        for (name, value) in &self.options.properties {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }

    fn java(&self, java: &Java, folder: &Path, heap_mb: u32) -> Command {
        let mut command = java.command(heap_mb, self.options.quick_jit);
        // Native libraries are unpacked there, and a Java that is killed leaves them behind.
        command.arg(format!("-Djava.io.tmpdir={}", folder.display()));
        let log4j = self.folder().join("log4j2.properties");
        command.arg(format!("-Dlog4j2.configurationFile={}", log4j.display()));
        command.current_dir(folder);
        command
    }

    fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn broker_folder(&self, i: usize) -> PathBuf {
        self.folder().join(format!("broker-{i}"))
    }

    fn properties_file(&self, i: usize) -> PathBuf {
        self.broker_folder(i).join("server.properties")
    }

    fn slot(&self, i: usize) -> std::sync::MutexGuard<'_, Option<Arc<Process>>> {
        self.brokers[i].process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Someone may hold one of the processes still: dropping our handle would not end it.
        for i in 0..self.brokers.len() {
            if let Some(process) = self.slot(i).take()
                && let Err(error) = process.kill()
            {
                eprintln!("testkit: {error:#}");
            }
        }
    }
}

/// Starts and stops a broker, only for the archive of classes that its Java leaves behind.
fn rehearse(java: &Java, keep: Keep<'_>) -> Result<()> {
    let kafka = Kafka::prepare(KafkaOptions::default(), java.clone())?;
    let written = kafka.folder().join("classes.jsa");
    kafka.launch_with(&java.writing(written.clone()), 0)?;
    kafka.wait_ready(0)?;
    kafka.stop(0)?;
    keep(&written)
}

/// Exchanges an ApiVersions request, the first thing every client sends.
fn answers(port: u16) -> Result<()> {
    let timeout = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    // Length 10, then: api key 18, version 0, correlation id 7, no client id.
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
    // Length, correlation id, error code.
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    ensure!(answer[4..] == [0, 0, 0, 7, 0, 0], "unexpected answer {answer:?}");
    Ok(())
}
