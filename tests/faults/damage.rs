//! Bytes that are not what was written: a batch that is damaged on the broker's disk, of events and of dead letters.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::Value;

use crate::likes::{PARTITIONS, TOPIC, lag_of, like, named_in, wait_applied};
use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::node::Node;
use crate::support::topic::Topics;
use crate::support::world::{DRAINED, Ended, World};

/// A batch in a partition's files.
struct OnDisk {
    file: PathBuf,
    /// Where its records begin in the file.
    at: u64,
    /// Its first record's offset.
    offset: i64,
    /// The offset behind its last record.
    until: i64,
}

/// The first batch from an offset on that is compressed, or is not, as Kafka's documentation lays batches out.
fn batch_from(folder: &Path, from: i64, compressed: bool) -> Result<OnDisk> {
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
            if offset >= from && (codec != 0) == compressed {
                let until = offset + i64::from(i32::from_be_bytes(header[23..27].try_into()?)) + 1;
                return Ok(OnDisk { file, at: (place + HEADER) as u64, offset, until });
            }
            place += 12 + length;
        }
    }
    anyhow::bail!("no batch from {from} on in {} (compressed: {compressed})", folder.display())
}

/// The place of the record whose value has this text as an Avro string, in a partition's files.
fn text_in_a_value(folder: &Path, text: &str, offset: i64) -> Result<OnDisk> {
    let length = u8::try_from(2 * text.len())?;
    // in the key it is not behind its length
    let wanted = [&[length], text.as_bytes()].concat();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let bytes = fs::read(&file)?;
        if let Some(place) = bytes.windows(wanted.len()).position(|bytes| bytes == wanted) {
            return Ok(OnDisk { file, at: place as u64 + 1, offset, until: offset + 1 });
        }
    }
    anyhow::bail!("{text} is in no value in {}", folder.display())
}

/// Puts bytes in the place of those in a file, and returns them.
fn exchange(batch: &OnDisk, bytes: [u8; 8]) -> Result<[u8; 8]> {
    let mut file = OpenOptions::new().read(true).write(true).open(&batch.file)?;
    let mut before = [0; 8];
    file.seek(SeekFrom::Start(batch.at))?;
    file.read_exact(&mut before)?;
    file.seek(SeekFrom::Start(batch.at))?;
    file.write_all(&bytes)?;
    Ok(before)
}

/// Likes of which a batch is damaged, and a consumer that is to meet it.
struct Damaged {
    consume: Node,
    partition: usize,
    /// Where the consumer begins.
    committed: i64,
    batch: OnDisk,
    /// What stood where the damage is.
    good: [u8; 8],
}

/// Damages the first of the batches, compressed or not, of `count` likes that wait for a consumer, which is then started.
fn damage(
    round: &Round<'_>,
    world: &World,
    serve: &Node,
    count: usize,
    compressed: bool,
    bytes: [u8; 8],
) -> Result<Damaged> {
    let consume = world.start(&["consume"])?;
    let partition = round.one_of(PARTITIONS);
    like(serve, &named_in("sound", partition, 5))?;
    world.wait_drained(DRAINED)?;
    consume.stop()?;
    let committed = lag_of(world, partition)?["committedOffset"].as_i64().context("no commit")?;
    like(serve, &named_in("damaged", partition, count))?;
    let folder = round.kafka().data_folder(0).join(format!("{}-{partition}", world.named(TOPIC)));
    let batch = batch_from(&folder, committed, compressed)?;
    let good = exchange(&batch, bytes)?;
    // it may meet the damage before anybody sees it ready
    let consume = world.launch(&["consume"])?;
    Ok(Damaged { consume, partition, committed, batch, good })
}

/// Other partitions than the damaged one go on, and the metric tells of that one alone.
fn others_go_on(
    round: &Round<'_>,
    world: &World,
    serve: &Node,
    consume: &Node,
    partition: usize,
) -> Result<()> {
    like(serve, &named_in("elsewhere", (partition + 1) % PARTITIONS, 5))?;
    wait_applied(round, world, "elsewhere", 5)?;
    consume.wait_held("unreadable", 1.0)
}

/// A batch that is damaged on the broker's disk, so that it cannot be unpacked: its partition stands and is told, nothing of it
/// or behind it is applied, and others go on; it goes on by itself once the disk is mended.
#[test]
fn bytes_damaged_on_disk() {
    scenario("37", "bytes_damaged_on_disk", Pace::Quick, servers, |round| {
        let world = round.world()?;
        world.set("buffer.kafka.client.compression_type", "lz4");
        let serve = world.start(&["serve"])?;
        let count = 300 + round.one_of(300);
        let Damaged { consume, partition, committed, batch, good } =
            damage(round, &world, &serve, count, true, *b"damaged!")?;
        consume.wait_unready("damaged")?;
        others_go_on(round, &world, &serve, &consume, partition)?;
        let told = format!("the partition stands at offset {}", batch.offset);
        ensure!(consume.process().stderr().contains(&told), "the log does not say that {told}");
        // behind the damage and beside it everything is looked at
        like(&serve, &named_in("behind", partition, 7))?;
        let ledger = world.command(&["verify", "--json"])?;
        ensure!(
            ledger.code == 3 && ledger.stderr.contains("damaged, so that nobody can read it"),
            "{ledger:?}"
        );
        let report: Value = serde_json::from_str(&ledger.stdout)?;
        let doubts = report["cannotTell"].as_array().context("no doubts")?;
        let [doubt] = &doubts[..] else { anyhow::bail!("one stretch is damaged: {report}") };
        let is_there = doubt["kind"] == "damaged" && doubt["partition"] == partition;
        let is_exact = doubt["fromOffset"] == batch.offset && doubt["untilOffset"] == batch.until;
        ensure!(is_there && is_exact, "offsets {} to {} are damaged: {doubt}", batch.offset, batch.until);
        let read = count + 5 + 5 + 7 - usize::try_from(batch.until - batch.offset)?;
        let of_likes =
            report["types"].as_array().and_then(|types| types.iter().find(|of| of["type"] == "like"));
        let of_likes = of_likes.context("no likes")?;
        ensure!(of_likes["records"] == read && report["violations"] == 0, "{read} can be read: {report}");
        ensure!(report["lost"] == serde_json::json!([]), "{report}");
        ensure!(!ledger.stderr.contains("outside the log"), "{ledger:?}");
        // what cannot be read may be missing
        let left = world.command(&["reapply", "--missing"])?;
        ensure!(left.code == 1 && left.stdout.contains("damaged, so that nobody"), "{left:?}");
        let before = usize::try_from(batch.offset - committed)?;
        wait_applied(round, &world, "damaged", before)?;
        exchange(&batch, good)?;
        wait_applied(round, &world, "damaged", count)?;
        wait_applied(round, &world, "behind", 7)?;
        consume.wait_ready()?;
        round.balances(&world).map(drop)
    });
}

/// Damage of which the client says nothing and only tries again, an uncompressed batch whose records have impossible lengths,
/// is a partition that stands, too: others go on, and it does once the disk is mended.
#[test]
fn lengths_damaged_on_disk() {
    scenario("37", "lengths_damaged_on_disk", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let count = 50 + round.one_of(50);
        let Damaged { consume, partition, batch, good, .. } =
            damage(round, &world, &serve, count, false, [0xff; 8])?;
        consume.wait_unready("nothing that can be read comes")?;
        others_go_on(round, &world, &serve, &consume, partition)?;
        let told = format!("records from offset {} on do not come", batch.offset);
        ensure!(consume.process().stderr().contains(&told), "the log does not say that {told}");
        exchange(&batch, good)?;
        wait_applied(round, &world, "damaged", count)?;
        consume.wait_ready()?;
        round.balances(&world).map(drop)
    });
}

/// A bit that flips so that the batch can be read, and its record be another event, is damage of this record alone.
#[test]
fn bits_flipped_on_disk() {
    scenario("37", "bits_flipped_on_disk", Pace::Quick, servers, |round| {
        let world = round.world()?;
        world.set("buffer.kafka.checksums", "true");
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let partition = round.one_of(PARTITIONS);
        like(&serve, &named_in("sound", partition, 5))?;
        world.wait_drained(DRAINED)?;
        consume.stop()?;
        let committed = lag_of(&world, partition)?["committedOffset"].as_i64().context("no commit")?;
        let count = 20 + round.one_of(50);
        let names = named_in("damaged", partition, count);
        like(&serve, &names)?;
        let before = round.one_of(count);
        let offset = committed + i64::try_from(before)?;
        let folder = |topic| round.kafka().data_folder(0).join(format!("{}-{partition}", world.named(topic)));
        let place = text_in_a_value(&folder(TOPIC), &names[before], offset)?;
        // an event of "eamaged-…", which nobody sent
        exchange(&place, *b"eamaged-")?;
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("damaged")?;
        others_go_on(round, &world, &serve, &consume, partition)?;
        wait_applied(round, &world, "damaged", before)?;
        // it waits as all behind it does
        wait::until("the damaged record in the lag", DRAINED, || {
            (lag_of(&world, partition).ok()?["lag"] == count - before).then_some(())
        })?;
        let told = format!("the partition stands at offset {offset}: ");
        ensure!(consume.process().stderr().contains(&told), "the log does not say that {told}");
        let ledger = world.command(&["verify", "--json"])?;
        let report: Value = serde_json::from_str(&ledger.stdout)?;
        let doubts = report["cannotTell"].as_array().context("no doubts")?;
        let [doubt] = &doubts[..] else { anyhow::bail!("one record is damaged: {report}") };
        let is_exact = doubt["fromOffset"] == offset && doubt["untilOffset"] == offset + 1;
        ensure!(ledger.code == 3 && doubt["kind"] == "damaged" && is_exact, "{offset}: {report}");
        exchange(&place, *b"damaged-")?;
        wait_applied(round, &world, "damaged", count)?;
        wait_applied(round, &world, "eamaged", 0)?;
        consume.wait_ready()?;

        // a dead letter is looked at in the same way
        let key = format!("{}\u{1f}liker", names[0]);
        let garbage = ["\u{12}no event0", "\u{12}no event1", "\u{12}no event2"];
        let (topics, topic) = (Topics::of(&world), world.named(TOPIC));
        let origins = topics.put_all(&topic, key.as_bytes(), &garbage)?;
        world.wait_drained(DRAINED)?;
        let place = text_in_a_value(&folder("floodgate.dlq.v1"), "no event1", 1)?;
        exchange(&place, *b"no evens")?;
        let (left, ended) = listed(&world)?;
        ensure!(ended.code == 3 && left == [origins[0].1, origins[2].1], "{left:?}: {ended:?}");
        ensure!(ended.stderr.contains("offset 1 up to 2: damaged"), "{ended:?}");
        exchange(&place, *b"no event")?;
        let replayed = world.succeed(&REPLAY)?;
        ensure!(replayed.starts_with("3 dead letters replayed"), "{replayed}");
        world.wait_drained(DRAINED)?;
        round.balances(&world).map(drop)
    });
}

/// All of them, though they are no events.
const REPLAY: [&str; 4] = ["dlq", "replay", "--all", "--undecodable"];

/// The places in the likes' topic of dead letters that are listed, and how the command ended.
fn listed(world: &World) -> Result<(Vec<i64>, Ended)> {
    let ended = world.command(&["dlq", "list", "--json", "--limit", "1000"])?;
    let letter = |line: &str| Ok(serde_json::from_str::<Value>(line)?["origin"]["offset"].as_i64());
    let offsets = ended.stdout.lines().map(letter).collect::<Result<Vec<_>>>()?;
    let mut offsets: Vec<i64> = offsets.into_iter().flatten().collect();
    offsets.sort_unstable();
    Ok((offsets, ended))
}

/// How many copies of the letters of a partition say that they were replayed, of as many records.
fn marked(world: &World) -> Result<usize> {
    let letters = Topics::of(world).read_all(&world.named("floodgate.dlq.v1"))?;
    Ok(letters.iter().filter(|letter| letter.header("floodgate-dlq-replayed-at").is_some()).count())
}

/// Dead letters that are damaged on the broker's disk are named as that, others are listed and replayed; those that may have
/// been marked in the damage are left alone until it is mended, so that each is replayed once.
#[test]
fn dead_letters_damaged_on_disk() {
    const LETTERS: usize = 60;
    scenario("37", "dead_letters_damaged_on_disk", Pace::Quick, servers, |round| {
        let world = round.world()?;
        world.set("buffer.kafka.client.compression_type", "lz4");
        world.set("consumers.batch_max_wait_ms", "300");
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let partition = round.one_of(PARTITIONS);
        let (topics, topic) = (Topics::of(&world), world.named(TOPIC));
        let key = |partition: usize| format!("{}\u{1f}liker", named_in("poison", partition, 1)[0]);
        let garbage = |what: &str, count: usize| -> Vec<String> {
            (0..count).map(|number| format!("no event, {what} {number}, {}", "-".repeat(100))).collect()
        };
        let key_here = key(partition);
        let before = topics.put_all(&topic, key_here.as_bytes(), &garbage("before", 5))?;
        world.wait_drained(DRAINED)?;
        let poisoned = topics.put_all(&topic, key_here.as_bytes(), &garbage("damaged", LETTERS))?;
        let elsewhere = key((partition + 1) % PARTITIONS);
        topics.put_all(&topic, elsewhere.as_bytes(), &garbage("elsewhere", 5))?;
        world.wait_drained(DRAINED)?;
        let behind = topics.put_all(&topic, key_here.as_bytes(), &garbage("behind", 5))?;
        world.wait_drained(DRAINED)?;
        let (all, ended) = listed(&world)?;
        ensure!(ended.code == 0 && all.len() == LETTERS + 15, "{} letters: {ended:?}", all.len());
        let folder = round.kafka().data_folder(0);
        let folder = folder.join(format!("{}-{partition}", world.named("floodgate.dlq.v1")));
        // the letters from before may be compressed as well
        let batch = batch_from(&folder, 5, true)?;
        let damaged = usize::try_from(batch.until - batch.offset)?;
        let good = exchange(&batch, *b"damaged!")?;

        let (left, ended) = listed(&world)?;
        let said =
            format!("partition {partition} from offset {} up to {}: damaged", batch.offset, batch.until);
        ensure!(ended.code == 3 && ended.stderr.contains(&said), "{said} is not said: {ended:?}");
        ensure!(!ended.stderr.contains("outside the log"), "{ended:?}");
        ensure!(left.len() == all.len() - damaged, "{} of {} are left: {ended:?}", left.len(), all.len());
        let page = serve.ask_admin("/dlq")?.json();
        let unread = &page["unread"][0];
        let is_said = unread["fromOffset"] == batch.offset && unread["untilOffset"] == batch.until;
        ensure!(is_said && page["total"] == left.len(), "{page}");
        let show = |(partition, offset): &(i32, i64)| {
            world.command(&["dlq", "show", &format!("{topic}/{partition}/{offset}")])
        };
        let hidden = show(&poisoned[usize::try_from(batch.offset - 5)?])?;
        ensure!(hidden.code == 3 && hidden.stderr.contains("whether there is a dead letter"), "{hidden:?}");
        let found = show(&before[0])?;
        ensure!(found.code == 3 && found.stdout.contains("reason"), "it may have been replayed: {found:?}");

        // the ledger does not take for missing what may be there, and names damage as damage
        let ledger = world.command(&["verify", "--json"])?;
        let report: Value = serde_json::from_str(&ledger.stdout)?;
        ensure!(ledger.code == 3 && report["violations"] == 0, "{ledger:?}");
        let unread = report["cannotTell"].as_array().context("no doubts")?;
        let unread = unread.iter().filter(|doubt| doubt["kind"] == "deadLetterUnread").count();
        ensure!(unread == damaged, "{damaged} letters cannot be read: {report}");
        ensure!(report["notes"].to_string().contains("are damaged"), "{report}");

        // it is marked where the letter is, behind it: what stands before the damage may be marked in it
        consume.stop()?;
        let sure = left.len() - 5 - (usize::try_from(batch.offset)? - 5);
        let replayed = world.command(&REPLAY)?;
        ensure!(replayed.code == 3 && replayed.stderr.contains("damaged"), "{replayed:?}");
        let told = format!("{sure} dead letter");
        ensure!(replayed.stdout.starts_with(&told), "{told}: {replayed:?}");
        ensure!(replayed.stdout.contains("may have been replayed before and are left alone"), "{replayed:?}");
        ensure!(show(&behind[0])?.code == 0, "its marker is there");
        exchange(&batch, good)?;
        ensure!(marked(&world)? == sure, "{sure} were replayed");
        let replayed = world.succeed(&REPLAY)?;
        let told = format!("replayed; {sure} were replayed before");
        ensure!(replayed.contains(&told), "{told}: {replayed}");
        ensure!(marked(&world)? == all.len(), "each once");
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        round.balances(&world).map(drop)
    });
}
