//! Systems that somebody would take instead, where `benches/peers/setup` could build them; without them their figures
//! are left out. What each does, and why it is configured as it is, stands in `benches/peers`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_schemas::{Event, Like};
use floodgate_testkit::{Process, ScratchDir, ports, wait};
use sqlx::{Connection, PgConnection, Row};

use crate::side::Side;
use crate::support::client::{Ask, Client};
use crate::support::world::Servers;
use crate::table::{Cpu, Run};
use crate::tools::filler::Filler;
use crate::worlds::{drop_database, fresh_tables};

const TOPIC: &str = "likes-as-json";
const TOPICS_TOOL: &str = "org.apache.kafka.tools.TopicCommand";
const STARTED: Duration = Duration::from_secs(120);
const DRAINED: Duration = Duration::from_secs(180);
/// Between two looks for the last rows.
const LOOK: Duration = Duration::from_millis(20);
/// So many of the last likes lie in all partitions.
const LAST: usize = 60;

fn configuration(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(file)
}

/// What was built beside this program: `target/release/deps/ratios-…`, `target/peers/…`.
fn built(name: &str) -> Result<Option<PathBuf>> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("not in a target folder")?;
    Ok(Some(target.join("peers").join(name)).filter(|path| path.exists()))
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], ports::free_port()?)))
}

fn wait_for_ok(
    process: &Process,
    address: SocketAddr,
    path: &str,
    is_ready: impl Fn(&str) -> bool,
) -> Result<()> {
    let client = Client::new(address);
    wait::until(&format!("{} to be ready", process.name()), STARTED, || {
        let answer = client.ask(&Ask::get(path)).ok()?;
        (answer.status == 200 && is_ready(&answer.text())).then_some(())
    })
    .with_context(|| process.log_tail())
}

pub struct Benthos;

impl Benthos {
    /// HTTP to Kafka: 200 after the acknowledgement.
    pub fn ingress(scratch: &ScratchDir, brokers: &str, topic: &str) -> Result<Option<(Process, Side)>> {
        let Some(program) = built("benthos")? else { return Ok(None) };
        let address = free_address()?;
        let mut command = Command::new(program);
        command.arg("-c").arg(configuration("benthos/ingress.yaml"));
        command.env("INGRESS_ADDRESS", address.to_string()).env("INGRESS_BROKERS", brokers);
        command.env("INGRESS_TOPIC", topic);
        let process = Process::spawn("benthos", command, scratch.path())?;
        wait_for_ok(&process, address, "/ready", |_| true)?;
        let side = Side { name: "benthos", address, pid: process.pid(), path: "/post" };
        Ok(Some((process, side)))
    }

    /// Kafka to Postgres, without counters.
    pub fn sink(servers: &Servers, likes: &[Like]) -> Result<Run> {
        let Some(program) = built("benthos")? else { return Ok(Run::default()) };
        sink(servers, likes, |scratch, url, group| {
            let address = free_address()?;
            let mut command = Command::new(&program);
            command.arg("-c").arg(configuration("benthos/sink.yaml"));
            command.env("SINK_ADDRESS", address.to_string()).env("SINK_BROKERS", servers.kafka.bootstrap());
            command.env("SINK_TOPIC", TOPIC).env("SINK_GROUP", group);
            command.env("SINK_DSN", format!("{url}?sslmode=disable"));
            Process::spawn("benthos-sink", command, scratch.path())
        })
    }
}

pub struct Debezium;

impl Debezium {
    /// Kafka to Postgres, without counters.
    pub fn sink(servers: &Servers, likes: &[Like]) -> Result<Run> {
        let Some(jars) = built("debezium/.complete")? else { return Ok(Run::default()) };
        sink(servers, likes, |scratch, url, group| {
            let address = free_address()?;
            let (login, place) = url.trim_start_matches("postgres://").split_once('@').context("a URL")?;
            let (user, password) = login.split_once(':').context("a URL with a password")?;
            let fill = |file: &str| -> Result<PathBuf> {
                let text = std::fs::read_to_string(configuration("debezium").join(file))?;
                let values = [
                    ("@BROKERS@", servers.kafka.bootstrap()),
                    ("@REST_PORT@", address.port().to_string()),
                    ("@FOLDER@", scratch.path().display().to_string()),
                    ("@TOPIC@", TOPIC.to_owned()),
                    ("@GROUP@", group.to_owned()),
                    ("@JDBC_URL@", format!("jdbc:postgresql://{place}")),
                    ("@USER@", user.to_owned()),
                    ("@PASSWORD@", password.to_owned()),
                ];
                let filled = values.iter().fold(text, |text, (name, value)| text.replace(name, value));
                let path = scratch.path().join(file);
                std::fs::write(&path, filled)?;
                Ok(path)
            };
            let (worker, connector) = (fill("worker.properties")?, fill("sink.properties")?);
            let folder = jars.parent().context("a folder")?;
            let mut command = Command::new("java");
            command.args([
                "-Xms512m",
                "-Xmx1g",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-Duser.timezone=UTC",
            ]);
            command.args(["-XX:-UsePerfData", "-Djava.awt.headless=true"]);
            command.arg(format!("-Djava.io.tmpdir={}", scratch.path().display()));
            let log = configuration("debezium/log4j2.properties");
            command.arg(format!("-Dlog4j2.configurationFile={}", log.display()));
            command.arg("-cp").arg(format!("{}/*", folder.display()));
            command.arg("org.apache.kafka.connect.cli.ConnectStandalone").args([worker, connector]);
            Process::spawn("debezium", command, scratch.path())
        })
    }
}

/// All likes from a topic of JSON into our own table: a second, from the first rows on.
fn sink(
    servers: &Servers,
    likes: &[Like],
    start: impl FnOnce(&ScratchDir, &str, &str) -> Result<Process>,
) -> Result<Run> {
    fill(servers, likes)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (url, _) = fresh_tables(servers, &runtime)?;
    let scratch = ScratchDir::new("peer")?;
    let group = url.rsplit('/').next().unwrap_or_default();
    let process = start(&scratch, &url, group)?;
    let cpu = Cpu::watch(&[
        ("sink", process.pid()),
        ("Kafka", servers.kafka.pid(0)?),
        ("Postgres", servers.postgres.pid()?),
    ]);
    let measured = runtime.block_on(async {
        let drained = rows(&url, likes, &process);
        tokio::time::timeout(STARTED + DRAINED, drained).await.context("not all rows came in time")?
    });
    let (before, lasted) = measured.with_context(|| process.log_tail())?;
    let value = (likes.len() as f64 - before) / lasted.as_secs_f64();
    let run = Run { value, cpu: cpu.per_event(likes.len() as f64), note: String::new() };
    process.kill()?;
    drop_database(servers, &url)?;
    Ok(run)
}

/// How many rows there were at first, and how long the others took. Looks for the last likes, not at all of them, which
/// would cost what is measured.
async fn rows(url: &str, likes: &[Like], process: &Process) -> Result<(f64, Duration)> {
    let mut connection = PgConnection::connect(url).await?;
    let last = &likes[likes.len() - LAST..];
    let targets: Vec<&str> = last.iter().map(|like| like.target_ocid.as_str()).collect();
    let likers: Vec<&str> = last.iter().map(|like| like.liker_account_id.as_str()).collect();
    let mut first = None;
    loop {
        ensure!(process.exit_status().is_none(), "it ended");
        let Some((before, began)) = first else {
            let count: i64 =
                sqlx::query("SELECT count(*) FROM likes").fetch_one(&mut connection).await?.get(0);
            first = (count > 0).then(|| (count as f64, Instant::now()));
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let there = "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS last (target_ocid, liker_account_id) \
                     JOIN likes USING (target_ocid, liker_account_id)";
        let there = sqlx::query(there).bind(&targets).bind(&likers).fetch_one(&mut connection).await?;
        if there.get::<i64, _>(0) == LAST as i64 {
            let lasted = began.elapsed();
            let count: i64 =
                sqlx::query("SELECT count(*) FROM likes").fetch_one(&mut connection).await?.get(0);
            if count == likes.len() as i64 {
                return Ok((before, lasted));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The likes as JSON, once for all rounds.
fn fill(servers: &Servers, likes: &[Like]) -> Result<()> {
    static FILLED: OnceLock<()> = OnceLock::new();
    if FILLED.get().is_some() {
        return Ok(());
    }
    let args = ["--bootstrap-server", &servers.kafka.bootstrap(), "--create", "--topic", TOPIC];
    servers.kafka.run_tool(TOPICS_TOOL, &[&args[..], &["--partitions", "10"]].concat())?;
    let filler = Filler::new(&servers.kafka.bootstrap())?;
    for like in likes {
        let (target, liker) = (like.target_ocid.as_str(), like.liker_account_id.as_str());
        let json = format!(
            r#"{{"targetOcid":"{target}","likerAccountId":"{liker}","liked":{},"occurredAt":"{}","eventId":"{}"}}"#,
            like.liked(),
            like.occurred_at,
            like.event_id()
        );
        filler.send(TOPIC, target, json.as_bytes())?;
    }
    filler.flush()?;
    FILLED.get_or_init(|| ());
    Ok(())
}
