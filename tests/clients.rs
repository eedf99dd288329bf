//! Other people's programs on our topics: Python's confluent-kafka and Kafka's console consumer read what we write, and what they write is
//! applied, by our schema and by a newer one, with keys on the partitions that we choose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use floodgate_buffer::murmur2_partition;
use floodgate_schemas::EventType;
use floodgate_schemas::codec::schema_of;
use floodgate_testkit::{Process, RegistryOptions, SchemaRegistry, process, wait};
use serde_json::{Value, json};
use support::client::Ask;
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, run};

const PARTITIONS: usize = 10;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Python,
    Java,
}

struct Clients {
    registry: SchemaRegistry,
    world: World,
}

impl Clients {
    fn new() -> Clients {
        let Servers { kafka, postgres } = Servers::shared();
        let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
        let world = World::ready(kafka, postgres).unwrap().hurried();
        world.set("schema_registry.url", registry.url());
        Clients { registry, world }
    }

    fn topic(&self, of: EventType) -> String {
        self.world.named(of.topic())
    }

    fn psql(&self, statement: &str) -> Result<String> {
        let told = Servers::shared().postgres.psql(&self.world.setting("store.url"), statement)?;
        Ok(told.trim().to_owned())
    }

    /// Runs a program to its end and gives what it printed.
    fn run(mut command: Command, input: &str) -> Result<String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run ./scripts/setup")?;
        child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        let ended = child.wait_with_output()?;
        let (told, log) = (String::from_utf8(ended.stdout)?, String::from_utf8_lossy(&ended.stderr));
        ensure!(ended.status.success(), "{command:?}: {}\n{told}\n{log}", ended.status);
        Ok(told)
    }

    fn java() -> Command {
        let jars = |folder: &str| {
            process::target_folder().join("testkit").join(folder).join("*").display().to_string()
        };
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{}:{}", jars("kafka-libs"), jars("serde-libs")));
        command
    }

    fn python() -> Command {
        let mut command = Command::new(process::target_folder().join("testkit/python/bin/python"));
        command.arg(programs().join("clients.py"));
        command
    }

    fn brokers(&self) -> String {
        self.world.setting("buffer.kafka.brokers")
    }

    /// So many records of a topic: key, partition and fields of each.
    fn read(&self, by: By, topic: &str, count: usize) -> Result<Vec<Value>> {
        match by {
            By::Python => {
                let mut command = Self::python();
                command.args(["read", &self.brokers(), &self.registry.url(), topic, &count.to_string()]);
                lines(&Self::run(command, "")?)
            }
            // Kafka's own tool, with the deserialiser that it is told
            By::Java => {
                let mut command = Self::java();
                command.args(["org.apache.kafka.tools.consumer.ConsoleConsumer", "--from-beginning"]);
                command.args(["--bootstrap-server", &self.brokers(), "--topic", topic]);
                let deserializer = "io.apicurio.registry.serde.avro.AvroKafkaDeserializer";
                for property in [
                    "print.key=true".to_owned(),
                    "print.partition=true".to_owned(),
                    format!("value.deserializer={deserializer}"),
                    format!("value.deserializer.apicurio.registry.url={}", self.registry.core_url()),
                ] {
                    command.args(["--formatter-property", &property]);
                }
                // it does not end by itself, as the deserialiser's threads go on
                let console = Process::spawn("console-consumer", command, self.world.folder())?;
                let record = |line: &str| {
                    let mut parts = line.strip_prefix("Partition:")?.splitn(3, '\t');
                    let (partition, key) = (parts.next()?.parse::<u32>().ok()?, parts.next()?);
                    let fields: Value = serde_json::from_str(parts.next()?).ok()?;
                    Some(json!({ "key": key, "partition": partition, "fields": fields }))
                };
                let read = || {
                    let records: Vec<Value> = console.stdout().lines().filter_map(record).collect();
                    (records.len() >= count).then_some(records)
                };
                wait::until("the console consumer's records", DRAINED, read)
                    .with_context(|| console.log_tail())
            }
        }
    }

    /// Writes likes by the schema in a file, and gives key and partition of each.
    fn write(&self, by: By, topic: &str, schema: &Path, likes: &str) -> Result<Vec<Value>> {
        let (mut command, registry) = match by {
            By::Python => (Self::python(), self.registry.url()),
            By::Java => {
                let mut command = Self::java();
                command.arg(programs().join("Clients.java"));
                (command, self.registry.core_url())
            }
        };
        command.args(["write", &self.brokers(), &registry, topic]).arg(schema);
        lines(&Self::run(command, likes)?)
    }

    /// Writes a schema to a file.
    fn file(&self, name: &str, schema: &str) -> Result<PathBuf> {
        let path = self.world.folder().join(name);
        std::fs::write(&path, schema)?;
        Ok(path)
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Lines of JSON.
fn lines(told: &str) -> Result<Vec<Value>> {
    told.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Our events, one of each type but for likes, of which there are some.
fn write_ours(clients: &Clients) -> Result<BTreeSet<String>> {
    clients.world.set("coupon.refuse_unknown", "false");
    let serve = clients.world.start(&["serve"])?;
    let like = |n: usize| json!({"type": "like", "targetOcid": format!("star-{n}"), "likerAccountId": "käthe", "action": "LIKE"});
    let mut events: Vec<Value> = (0..50).map(like).collect();
    events.push(json!({"type": "coupon", "couponId": "summer", "userId": "ann"}));
    events.push(json!({
        "type": "expectation", "characterId": 7, "presetNo": 1, "totalExpectedCost": "12345678901234567.89",
        "blackCubeCost": "0.01", "redCubeCost": "0.00", "additionalCubeCost": "1.28", "starforceCost": "100.00",
        "calculatedAt": "2026-11-21T10:00:00.000001Z",
    }));
    let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(Value::from(events).to_string()))?;
    ensure!(answer.status == 200, "{}", answer.text());
    let results = answer.json();
    let results = results["results"].as_array().context("no results")?;
    let ids = results.iter().map(|result| result["eventId"].as_str().map(str::to_owned).context("no id"));
    let ids = ids.collect::<Result<BTreeSet<_>>>().with_context(|| answer.text().to_owned())?;
    serve.stop()?;
    Ok(ids)
}

#[test]
fn our_events_are_read_by_python_and_java() {
    let clients = Clients::new();
    run(|| {
        let ids = write_ours(&clients)?;
        ensure!(ids.len() == 52, "{}", ids.len());
        for by in [By::Python, By::Java] {
            let mut read = BTreeSet::new();
            for (of, count) in [(EventType::Like, 50), (EventType::Coupon, 1), (EventType::Expectation, 1)] {
                for record in clients.read(by, &clients.topic(of), count)? {
                    let fields = &record["fields"];
                    read.insert(fields["eventId"].as_str().context("no id")?.to_owned());
                    let wanted = match of {
                        EventType::Like => fields["likerAccountId"] == "käthe" && fields["action"] == "LIKE",
                        EventType::Coupon => fields["couponId"] == "summer" && fields["userId"] == "ann",
                        // Java prints a decimal's bytes
                        EventType::Expectation => {
                            let cost =
                                by == By::Java || fields["totalExpectedCost"] == "12345678901234567.89";
                            cost && fields["characterId"] == 7 && fields["presetNo"] == 1
                        }
                    };
                    ensure!(wanted, "{by:?}: {record}");
                    let key = record["key"].as_str().context("no key")?;
                    let place = murmur2_partition(key.as_bytes(), PARTITIONS);
                    ensure!(record["partition"] == place, "{by:?}: {record}, not {place}");
                }
            }
            ensure!(read == ids, "{by:?}: {read:?}");
        }
        Ok(())
    });
}

/// What they write with our schema and with a newer one, each by its own serialiser, is applied once.
#[test]
fn events_of_python_and_java_are_applied() {
    let clients = Clients::new();
    run(|| {
        let topic = clients.topic(EventType::Like);
        let ours = clients.file("like.avsc", schema_of(EventType::Like))?;
        let mut newer: Value = serde_json::from_str(schema_of(EventType::Like))?;
        let fields = newer["fields"].as_array_mut().context("no fields")?;
        fields.push(json!({"name": "device", "type": "string", "default": "unknown"}));
        let newer = clients.file("newer.avsc", &newer.to_string())?;
        let consume = clients.world.start(&["consume", "--group", "like"])?;

        let mut partitions = BTreeMap::new();
        let mut number = 0_u32;
        for (by, schema) in [(By::Python, &ours), (By::Java, &ours), (By::Python, &newer), (By::Java, &newer)]
        {
            let mut lines = String::new();
            for _ in 0..40 {
                number += 1;
                let id = format!("0190a0a0-0000-7000-8000-{number:012x}");
                let (time, target) =
                    (1_764_000_000_000_000_i64 + i64::from(number), format!("star-{number}"));
                lines += &match by {
                    By::Python => json!({
                        "eventId": id, "acceptedAt": time, "targetOcid": target, "likerAccountId": "käthe", "action": "LIKE",
                        "occurredAt": time, "device": "python",
                    })
                    .to_string(),
                    By::Java => format!("{id}\t{time}\t{target}\tkäthe\tLIKE\t{time}\tjava"),
                };
                lines.push('\n');
            }
            // an unknown field is none that Avro writes
            if schema == &ours {
                lines = lines.replace(",\"device\":\"python\"", "");
            }
            for told in clients.write(by, &topic, schema, &lines)? {
                let key = told["key"].as_str().context("no key")?.to_owned();
                partitions.insert(key, told["partition"].as_u64().context("no partition")?);
            }
        }
        ensure!(partitions.len() == 160, "{}", partitions.len());
        for (key, partition) in &partitions {
            ensure!(
                murmur2_partition(key.as_bytes(), PARTITIONS) as u64 == *partition,
                "{key:?} is on {partition}"
            );
        }
        wait::until("all likes to be applied", DRAINED, || {
            (clients.psql("SELECT count(*) FROM likes WHERE liked").ok()? == "160").then_some(())
        })?;
        let letters = Topics::of(&clients.world).read_all(&clients.world.named("floodgate.dlq.v1"))?;
        ensure!(letters.is_empty(), "{letters:?}");
        let times = clients.psql("SELECT count(DISTINCT occurred_at), sum(extract(microseconds FROM occurred_at)::bigint % 1000) FROM likes")?;
        ensure!(times == format!("160|{}", (1..=160).sum::<u32>()), "{times}");
        consume.stop()
    });
}
