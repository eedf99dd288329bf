//! Records that can never be applied, and dead letters that cannot be published.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::{coupon_issue, expectation, like};
use floodgate_schemas::{Event, EventType, Keying, LikeAction};
use floodgate_testkit::wait;

use crate::scenario::{Pace, Round, scenario, scenario_of_any, servers};
use crate::support::load::LoadOptions;
use crate::support::rule::{refuse, take};
use crate::support::topic::kafka::commit;
use crate::support::topic::{Topics, event_id};
use crate::support::world::{DRAINED, READY, World, is_redis, partitions};

const CONFIG_TOOL: &str = "kafka.admin.ConfigCommand";
/// Before the fields of every event stand a marker and its schema's fingerprint.
const HEADER: usize = 10;

/// Topic, key and value.
type Poison = (String, Vec<u8>, Vec<u8>);

/// Key and value of poison, by partition and offset.
type Origins = BTreeMap<(i32, i64), (Vec<u8>, Vec<u8>)>;

/// An event's key and value.
fn record<E: Event>(event: &E) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (String::new(), Vec::new());
    event.write_partition_key(Keying::default(), &mut key);
    encode(event, &mut value);
    (key.into_bytes(), value)
}

/// Records that are no valid events, made from valid ones of partitions that the seed chooses.
fn poison(round: &Round<'_>, world: &World) -> Result<Vec<Poison>> {
    let number = round.one_of(1000);
    let mut poison = Vec::new();
    let mut add = |topic: &str, (key, _): (Vec<u8>, Vec<u8>), value: Vec<u8>| {
        poison.push((world.named(topic), key, value));
    };
    let like = record(&like(1, &format!("target-{number}"), "account-1", LikeAction::Like, 0));
    add("floodgate.like.v1", like.clone(), b"no avro at all".to_vec());
    add("floodgate.like.v1", like.clone(), Vec::new());
    add("floodgate.like.v1", like.clone(), like.1[..like.1.len() - 3].to_vec());
    let mut nul = like.1.clone();
    let at = nul.windows(8).position(|window| window == b"account-").context("no liker in a like")?;
    nul[at] = 0;
    add("floodgate.like.v1", like.clone(), nul);

    // a value of another type of event: its schema is known, and not here
    let coupon = record(&coupon_issue(2, &format!("coupon-{number}"), "user"));
    add("floodgate.coupon.v1", coupon.clone(), like.1.clone());
    let mut no_id = coupon.1.clone();
    no_id[HEADER + 1] = b'x';
    add("floodgate.coupon.v1", coupon, no_id);
    let expectation = record(&expectation(3, number as i64 + 1, 1, 5));
    let mut preset = expectation.1.clone();
    // id (a length and 36 characters), time of acceptance, character, preset: the last three are varints
    let after_varint =
        |from: usize| preset[from..].iter().position(|byte| byte & 0x80 == 0).map(|at| from + at + 1);
    let at = after_varint(HEADER + 37).and_then(after_varint).context("no preset in an expectation")?;
    preset[at] = 2 * 7;
    add("floodgate.expectation.v1", expectation, preset);
    Ok(poison)
}

/// What is no event is dead-lettered alone, once, with its origin; its neighbours are applied.
#[test]
fn poison_among_good_records() {
    scenario_of_any("18", "poison_among_good_records", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let topics = Topics::of(&world);
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.4))?;
        let mut origins: BTreeMap<String, Origins> = BTreeMap::new();
        for (topic, key, value) in poison(round, &world)? {
            let origin = topics.put(&topic, &key, &value, ("trace", "poison"))?;
            origins.entry(topic).or_default().insert(origin, (key, value));
        }
        load.is_running()?;
        let put = Instant::now();
        // within seconds every partition is past its poison, while the load goes on
        wait::until("all partitions to move on", Duration::from_secs(15), || {
            let committed = world.committed().ok()?;
            let is_past = |(topic, (partition, offset)): (&String, &(i32, i64))| {
                let group = topic.trim_end_matches(".v1").to_owned();
                committed.get(&(group, i64::from(*partition))).is_some_and(|next| next > offset)
            };
            origins
                .iter()
                .all(|(topic, poison)| poison.keys().all(|origin| is_past((topic, origin))))
                .then_some(())
        })?;
        round.recovers(&serve, put)?;
        let recording = load.finish()?;
        round.judge(&world, &recording)?;
        for (topic, origins) in &origins {
            let letters = topics.dead_letters(&world.named("floodgate.dlq.v1"), topic)?;
            ensure!(letters.keys().eq(origins.keys()), "{topic}: {letters:?}, and not {origins:?}");
            for (origin, letter) in &letters {
                let (key, value) = &origins[origin];
                ensure!(
                    letter.value.as_ref() == Some(value) && letter.key.as_ref() == Some(key),
                    "{letter:?}"
                );
                ensure!(letter.header("trace").as_deref() == Some("poison"), "{letter:?}");
            }
        }
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        Ok(())
    });
}

/// The dead letters take no record, or take them again.
fn refuse_letters(round: &Round<'_>, world: &World, is_refusing: bool) -> Result<()> {
    if is_redis() {
        // all keys, or only those of events
        let all = ["ACL", "SETUSER", "default", "allkeys"];
        let events =
            ["ACL", "SETUSER", "default", "resetkeys", "%R~*", "~*like*", "~*coupon*", "~*expectation*"];
        return round.redis().cli(if is_refusing { &events } else { &all }).map(drop);
    }
    let (bootstrap, letters) = (round.kafka().bootstrap(), world.named("floodgate.dlq.v1"));
    let change = match is_refusing {
        true => ["--add-config", "max.message.bytes=10"],
        false => ["--delete-config", "max.message.bytes"],
    };
    let args =
        ["--bootstrap-server", &bootstrap, "--alter", "--entity-type", "topics", "--entity-name", &letters];
    round.kafka().run_tool(CONFIG_TOOL, &[&args[..], &change].concat()).map(drop)
}

/// A dead letter that cannot be published holds its partition, which says so; nothing is passed over.
#[test]
fn dead_letter_publish_fails() {
    scenario_of_any("19", "dead_letter_publish_fails", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let topics = Topics::of(&world);
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(3000);
        world.create_coupons(&serve, &plan)?;
        refuse_letters(round, &world, true)?;
        let load = world.load(&plan, &[&serve], LoadOptions::default());
        load.wait_for(round.between(0.1, 0.5))?;
        let (partition, offset) = topics.put(&likes, b"any key", b"poison", ("trace", "held"))?;
        consume.wait_unready("dead-letter")?;
        let recording = load.finish()?;
        // whatever else is done, this partition waits
        let held = (world.named("floodgate.like"), i64::from(partition));
        let committed = wait::until("the other groups to finish", DRAINED, || {
            let lag = world.lag().ok()?;
            let groups = lag["groups"].as_array()?;
            let is_done = |group: &&serde_json::Value| group["status"] != "LAGGING";
            (groups.iter().filter(is_done).count() == 2).then(|| world.committed().ok())?
        })?;
        ensure!(committed.get(&held).is_none_or(|next| *next <= offset), "{committed:?} passed {offset}");
        ensure!(topics.read_all(&letters)?.is_empty(), "a dead letter came through");
        if !is_redis() {
            // which wants to know which records are dead letters
            round.balances(&world)?;
        }

        refuse_letters(round, &world, false)?;
        let over = Instant::now();
        wait::until("the consumer to go on", READY, || (consume.readiness().ok()?.0 == 200).then_some(()))?;
        round.recovers(&serve, over)?;
        round.judge(&world, &recording)?;
        let found = topics.dead_letters(&letters, &likes)?;
        ensure!(found.keys().eq([&(partition, offset)]), "{found:?}");
        Ok(())
    });
}

/// When most of what comes is bad, partitions are held instead of emptied into the dead letters, the others go on, and
/// all is well again by itself once the reason is gone.
#[test]
fn a_storm_of_bad_rows_is_held() {
    scenario_of_any("storm", "a_storm_of_bad_rows_is_held", Pace::Quick, servers, |round| {
        // repeats and superseded likes write nothing, hence keep every rule: not all of them are bad
        let settings = [("consumers.batch_max_events", "200"), ("consumers.dead_letter_share_max", "0.2")];
        let world = round.world_with(&settings)?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let topics = Topics::of(&world);
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(5000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 1500, ..LoadOptions::default() });
        load.wait_for(round.between(0.05, 0.2))?;
        // as if no like could ever be stored
        let url = world.setting("store.url");
        round.postgres.psql(&url, &refuse("wrong", "likes", "true"))?;
        consume.wait_unready("held")?;
        let mut recording = load.finish()?;
        wait::until("all four partitions to be held", READY, || {
            let metrics = consume.metrics().ok()?;
            (metrics.sum("floodgate_partition_held", &[]) == 4.0).then_some(())
        })?;
        let dead = topics.dead_letters(&letters, &likes)?;
        ensure!(dead.len() < 4 * 100, "{} dead letters", dead.len());
        // the other groups are not concerned, and nothing held was passed over
        wait::until("the other groups to finish", DRAINED, || {
            let lag = world.lag().ok()?;
            let done = lag["groups"].as_array()?.iter().filter(|group| group["status"] == "OK").count();
            (done == 2).then_some(())
        })?;
        round.balances(&world)?;

        round.postgres.psql(&url, &take("wrong", "likes"))?;
        round.recovers(&serve, Instant::now())?;
        world.wait_drained(DRAINED)?;
        let dead = topics.dead_letters(&letters, &likes)?;
        let ids = dead.values().filter_map(|letter| event_id(EventType::Like, letter)).collect();
        // what was dead-lettered before the storm was one may have come a second time, and be applied
        recording.excuse(&ids);
        round.judge(&world, &recording)?;
        let metrics = consume.metrics()?;
        ensure!(metrics.sum("floodgate_partition_held", &[]) == 0.0, "a partition is still held");
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        ensure!(consume.process().stderr().contains("goes on"), "nobody said that it is over");
        Ok(())
    });
}

/// A backlog of which every row is bad is held after a few hundred transactions, and not after two for each row.
#[test]
fn a_storm_is_held_before_the_search_is_dear() {
    scenario_of_any("storm", "a_storm_is_held_before_the_search_is_dear", Pace::Quick, servers, |round| {
        const LIKES: usize = 6000;
        // whoever holds a partition does not try it again before it is stopped
        let world = round.world_with(&[("consumers.retry_max_ms", "60000")])?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let topics = Topics::of(&world);
        let url = world.setting("store.url");
        // good ones first, more or fewer, so that the storm breaks out anywhere in a batch
        let good = round.one_of(LIKES / 2);
        let values: Vec<Vec<u8>> = (0..LIKES)
            .map(|number| {
                let (kind, mut value) = (if number < good { "good" } else { "bad" }, Vec::new());
                let liker = format!("{kind}-{number}");
                encode(&like(number as u64, "star", &liker, LikeAction::Like, 0), &mut value);
                value
            })
            .collect();
        topics.put_all(&likes, b"one partition", &values)?;
        round.postgres.psql(&url, &refuse("wrong", "likes", "new.liker_account_id LIKE 'bad%'"))?;
        // it may hold the partition before anybody sees it ready
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("too many bad records")?;
        consume.stop()?;
        // sessions that have ended have told what they did
        let count = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        let mut last = 0;
        let settled = wait::until("the sessions' counts", READY, || {
            let now: u64 = round.postgres.psql(&url, count).ok()?.trim().parse().ok()?;
            (std::mem::replace(&mut last, now) == now && now > 0).then_some(now)
        })?;
        ensure!(settled < 1000, "{settled} transactions were rolled back");
        let dead = topics.dead_letters(&letters, &likes)?;
        ensure!(dead.len() < 200, "{} dead letters", dead.len());

        round.postgres.psql(&url, &take("wrong", "likes"))?;
        let _consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let applied = round.postgres.psql(&url, "SELECT count(*) FROM likes WHERE liked")?;
        let wanted = LIKES - dead.len();
        ensure!(applied.trim() == wanted.to_string(), "{applied} of {wanted} likes are applied");
        round.balances(&world)?;
        Ok(())
    });
}

/// A record of a newer build holds its own partition from there on: nothing is dead-lettered, nothing behind it is passed
/// over, and it goes on with consumers that know the schema.
#[test]
fn consumers_older_than_the_ingress() {
    scenario("38", "consumers_older_than_the_ingress", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let (brokers, topics) = (round.kafka().bootstrap(), Topics::of(&world));
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(4000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.4))?;
        // what a newer build writes: a schema with a fingerprint, or a number in a registry, that nobody here knows
        let record = topics.read_all(&likes)?.pop().context("no like yet")?;
        let (key, mut newer) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let schema = match round.one_of(2) {
            0 => {
                newer[2..HEADER].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
                "fingerprint 0123456789abcdef"
            }
            _ => {
                newer.splice(..HEADER, [0, 0, 0, 0, 7]);
                "schema registry id 7"
            }
        };
        let (partition, offset) = topics.put(&likes, &key, &newer, ("trace", "newer"))?;
        let held = (world.named("floodgate.like"), i64::from(partition));
        consume.wait_unready(&format!("partition {partition} of {likes} held at offset {offset}"))?;
        let told = consume.readiness()?.1;
        ensure!(told.contains(schema), "{told}");
        load.is_running()?;
        let recording = load.finish()?;
        let lags_only_there = || {
            let lag = world.lag().ok()?;
            let is_held = |group: &str, p: &serde_json::Value| group == held.0 && p["partition"] == held.1;
            partitions(&lag).all(|(group, p)| is_held(group, p) || p["lag"] == 0).then_some(())
        };
        wait::until("everything else to be applied", DRAINED, lags_only_there)?;
        wait::until("all before the record to be committed", READY, || {
            (world.committed().ok()?.get(&held) == Some(&offset)).then_some(())
        })?;
        consume.wait_held("unknown-schema", 1.0)?;
        let log = consume.process().stderr();
        let told = log.lines().filter(|line| line.contains("does not know")).count();
        ensure!(told == 1, "told {told} times");
        ensure!(topics.read_all(&letters)?.is_empty(), "a dead letter came through");
        let report = round.balances(&world)?;
        let unreadable = |of: &serde_json::Value| of["unreadable"]["inFlight"] == 1 && of["type"] == "like";
        ensure!(report["types"].as_array().is_some_and(|types| types.iter().any(unreadable)), "{report}");

        // another of this build begins where the first one stood, and waits there as well
        consume.stop()?;
        let consume = world.start_and(&["consume"], |node| node.wait_unready("held at offset"))?;
        ensure!(world.committed()?.get(&held) == Some(&offset), "passed over by a restart");
        consume.stop()?;
        // there is no newer build: as if it had applied this one record, and this build went on behind it
        wait::until("the group to be empty", READY, || {
            commit(&brokers, &held.0, &likes, &[(partition, offset + 1)]).ok()
        })?;
        let over = Instant::now();
        let consume = world.start(&["consume"])?;
        round.recovers(&serve, over)?;
        world.check(round.postgres, &recording)?;
        let report = round.balances(&world)?;
        ensure!(report["notes"].to_string().contains("newest consumers"), "{report}");
        ensure!(topics.read_all(&letters)?.is_empty(), "a dead letter came through");
        ensure!(consume.readiness()?.0 == 200, "{:?}", consume.readiness()?);
        Ok(())
    });
}

/// Poison on one partition holds this one alone, until an operator says that it really is to be dead-lettered.
#[test]
fn a_storm_of_poison_holds_one_partition() {
    scenario_of_any("storm", "a_storm_of_poison_holds_one_partition", Pace::Quick, servers, |round| {
        const POISON: usize = 400;
        let world = round.world()?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let topics = Topics::of(&world);
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(2000);
        world.create_coupons(&serve, &plan)?;
        let key = format!("poisoned-{}", round.one_of(1000));
        let origins = topics.put_all(&likes, key.as_bytes(), &vec![b"poison"; POISON])?;
        consume.wait_unready("held")?;
        let partition = origins.first().context("no poison")?.0;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        let held = (world.named("floodgate.like"), i64::from(partition));
        wait::until("everything else to be applied", DRAINED, || {
            let lag = world.lag().ok()?;
            let is_held = |group: &str, p: &serde_json::Value| group == held.0 && p["partition"] == held.1;
            partitions(&lag).all(|(group, p)| is_held(group, p) || p["lag"] == 0).then_some(())
        })?;
        let committed = world.committed()?.get(&held).copied().unwrap_or(0);
        let dead = topics.dead_letters(&letters, &likes)?.len();
        ensure!(dead < 100 && committed <= origins[dead].1, "{dead} dead letters, committed {committed}");
        consume.stop()?;

        world.set("consumers.dead_letter_share_max", "1");
        let _consume = world.start(&["consume"])?;
        round.judge(&world, &recording)?;
        let dead = topics.dead_letters(&letters, &likes)?;
        ensure!(dead.keys().eq(origins.iter()), "{} of {POISON} dead letters", dead.len());
        Ok(())
    });
}
