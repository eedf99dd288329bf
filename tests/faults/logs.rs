//! Logs that cannot be read as they are: shut by transactions of others, damaged, or known in part only.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{PostgresOptions, wait};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::likes::{
    DEADLINE, GROUP, PARTITIONS, TOPIC, applied, lag_of, like, named, named_in, wait_applied,
};
use crate::scenario::{Pace, Round, kafka, scenario, servers};
use crate::support::topic::read_all;
use crate::support::world::{DRAINED, READY, Servers, partitions};

/// A producer of another program.
fn foreign(round: &Round<'_>, id: &str) -> Result<BaseProducer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", round.kafka.bootstrap())
        .set("transactional.id", format!("{id}-{}", round.seed))
        .create()?;
    producer.init_transactions(DEADLINE)?;
    Ok(producer)
}

/// Sends a repeat of an event in a transaction that is left open.
fn send_in_transaction(producer: &BaseProducer, topic: &str, partition: usize, value: &[u8]) -> Result<()> {
    producer.begin_transaction()?;
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(i32::try_from(partition)?).payload(value);
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(producer.flush(DEADLINE)?)
}

/// Transactions of other programs, committed, aborted and left open: lag reaches 0, nothing is hidden, and what cannot be read
/// yet is told as that.
#[test]
fn transactions_of_others() {
    scenario("36", "transactions_of_others", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        like(&serve, &named("before", 40))?;
        world.wait_drained(DRAINED)?;
        let (bootstrap, topic) = (round.kafka.bootstrap(), world.named(TOPIC));
        let partition = round.one_of(PARTITIONS);
        let there = read_all(&bootstrap, &topic)?;
        let of_partition = |record: &&crate::support::topic::Found| record.partition as usize == partition;
        let value = there.iter().find(of_partition).and_then(|record| record.value.clone());
        let value = value.context("no record there")?;
        let producer = foreign(round, "transactions")?;

        for is_committed in [true, false] {
            send_in_transaction(&producer, &topic, partition, &value)?;
            match is_committed {
                true => producer.commit_transaction(DEADLINE)?,
                false => producer.abort_transaction(DEADLINE)?,
            }
            world.wait_drained(DRAINED)?;
        }
        // also where nobody consumes
        consume.stop()?;
        send_in_transaction(&producer, &topic, partition, &value)?;
        producer.abort_transaction(DEADLINE)?;
        world.wait_drained(DRAINED)?;
        consume.start_again(&world)?;
        consume.wait_ready()?;

        send_in_transaction(&producer, &topic, partition, &value)?;
        let shut = named_in("shut", partition, 7);
        like(&serve, &shut)?;
        like(&serve, &named_in("open", (partition + 1) % PARTITIONS, 7))?;
        wait_applied(round, &world, "open", 7)?;
        consume.wait_unready("a transaction of another program is open")?;
        let held = [("reason", "unreadable")];
        ensure!(consume.metrics()?.sum("floodgate_partition_held", &held) == 1.0, "no metric tells of it");
        let lag = lag_of(&world, partition)?;
        ensure!(lag["lag"] == 8 && lag["unreadable"] == 8, "the record and 7 behind it wait: {lag}");
        ensure!(applied(round, &world, "shut")? == 0, "read past an open transaction");
        let ledger = round.balances(&world)?;
        ensure!(ledger["notes"].to_string().contains("a transaction of another program is open"), "{ledger}");

        producer.abort_transaction(DEADLINE)?;
        wait_applied(round, &world, "shut", 7)?;
        world.wait_drained(DRAINED)?;
        consume.wait_ready()?;
        round.balances(&world).map(drop)
    });
}

/// A compressed batch in a partition's files.
struct Compressed {
    file: PathBuf,
    /// Where its records begin in the file.
    at: u64,
    /// Its first record's offset.
    offset: i64,
}

/// The first compressed batch from an offset on, as Kafka's documentation lays batches out.
fn compressed_from(folder: &Path, from: i64) -> Result<Compressed> {
    const HEADER: usize = 61;
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let bytes = fs::read(&file)?;
        let mut place = 0;
        while let Some(header) = bytes.get(place..place + HEADER) {
            let offset = i64::from_be_bytes(header[0..8].try_into()?);
            let length = usize::try_from(i32::from_be_bytes(header[8..12].try_into()?))?;
            let codec = header[22] & 0b111;
            if offset >= from && codec != 0 {
                return Ok(Compressed { file, at: (place + HEADER) as u64, offset });
            }
            place += 12 + length;
        }
    }
    anyhow::bail!("no compressed batch from {from} on in {}", folder.display())
}

/// Puts bytes in the place of those in a file, and returns them.
fn exchange(batch: &Compressed, bytes: [u8; 8]) -> Result<[u8; 8]> {
    let mut file = OpenOptions::new().read(true).write(true).open(&batch.file)?;
    let mut before = [0; 8];
    file.seek(SeekFrom::Start(batch.at))?;
    file.read_exact(&mut before)?;
    file.seek(SeekFrom::Start(batch.at))?;
    file.write_all(&bytes)?;
    Ok(before)
}

/// A batch that is damaged on the broker's disk, so that it cannot be unpacked: its partition stands and is told, nothing of it
/// or behind it is applied, and others go on; it goes on by itself once the disk is mended.
#[test]
fn bytes_damaged_on_disk() {
    scenario("37", "bytes_damaged_on_disk", Pace::Quick, servers, |round| {
        let world = round.world()?;
        world.set("buffer.kafka.client.compression_type", "lz4");
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let partition = round.one_of(PARTITIONS);
        like(&serve, &named_in("sound", partition, 5))?;
        world.wait_drained(DRAINED)?;
        consume.stop()?;
        let committed = lag_of(&world, partition)?["committedOffset"].as_i64().context("no commit")?;
        let count = 300 + round.one_of(300);
        like(&serve, &named_in("damaged", partition, count))?;
        let folder = round.kafka.data_folder(0).join(format!("{}-{partition}", world.named(TOPIC)));
        let batch = compressed_from(&folder, committed)?;
        let good = exchange(&batch, *b"damaged!")?;
        consume.start_again(&world)?;
        consume.wait_unready("damaged")?;
        like(&serve, &named_in("elsewhere", (partition + 1) % PARTITIONS, 5))?;
        wait_applied(round, &world, "elsewhere", 5)?;
        let held = [("reason", "unreadable")];
        ensure!(consume.metrics()?.sum("floodgate_partition_held", &held) == 1.0, "no metric tells of it");
        let told = format!("the partition stands at offset {}", batch.offset);
        ensure!(consume.process().stderr().contains(&told), "the log does not say that {told}");
        let ledger = world.command(&["verify"])?;
        ensure!(ledger.code == 1 && ledger.stderr.contains("is damaged at offset"), "verify: {ledger:?}");
        let before = usize::try_from(batch.offset - committed)?;
        wait_applied(round, &world, "damaged", before)?;
        exchange(&batch, good)?;
        wait_applied(round, &world, "damaged", count)?;
        consume.wait_ready()?;
        round.balances(&world).map(drop)
    });
}

/// One silent broker of three: its partitions are told as unknown, and all that the others lead goes on and is known.
#[test]
fn one_of_three_is_silent() {
    let servers = || Servers::start(kafka(3), PostgresOptions::default());
    scenario("half an answer", "one_of_three_is_silent", Pace::Cluster, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        like(&serve, &named("before", 40))?;
        world.wait_drained(DRAINED)?;
        let described = world.succeed(&["topics", "describe"])?;
        let of_likes = described.split(&world.named(TOPIC)).nth(1).context("the topic is not described")?;
        let leaders: Vec<usize> = of_likes
            .lines()
            .filter_map(|line| line.split("leader").nth(1)?.split_whitespace().next()?.parse().ok())
            .take(PARTITIONS)
            .collect();
        let silent = *leaders.get(round.one_of(PARTITIONS)).context("no leader")?;
        let led = leaders.iter().position(|leader| *leader != silent).context("one broker leads all")?;
        round.kafka.freeze(silent - 1)?;
        let group = world.named(GROUP);
        let mut last = Value::Null;
        wait::until("what is known to be told, and what is not", READY * 2, || {
            last = world.lag().ok()?;
            let is_known = |number: usize| {
                let mut of_group = partitions(&last).filter(|(found, _)| *found == group);
                of_group
                    .find(|(_, p)| p["partition"] == number)
                    .map(|(_, p)| p["lag"].is_u64() && p["unknown"].is_null())
            };
            let is_as_led = |(number, leader): (usize, &usize)| is_known(number) == Some(*leader != silent);
            leaders.iter().enumerate().all(is_as_led).then_some(())
        })
        .with_context(|| last.to_string())?;
        // members that begin now read what can be read
        consume.kill()?;
        consume.start_again(&world)?;
        like(&serve, &named_in("led", led, 5))?;
        wait_applied(round, &world, "led", 5)?;
        consume.wait_unready("where it is read on is not known yet")?;
        round.kafka.thaw(silent - 1)?;
        round.kafka.wait_ready(silent - 1)?;
        like(&serve, &named("after", 40))?;
        wait_applied(round, &world, "after", 40)?;
        consume.wait_ready()?;
        world.wait_drained(DRAINED)?;
        round.balances(&world).map(drop)
    });
}
