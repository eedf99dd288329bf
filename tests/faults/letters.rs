//! Records that can never be applied, and dead letters that cannot be published.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_schemas::EventType;
use floodgate_testkit::wait;

use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::load::LoadOptions;
use crate::support::topic::{Found, dead_letters, event_id, put, put_all, read_all};
use crate::support::world::{DRAINED, READY, World, partitions};

const CONFIG_TOOL: &str = "kafka.admin.ConfigCommand";
/// Before the fields of every event stand a marker and its schema's fingerprint.
const HEADER: usize = 10;

/// Topic, key and value.
type Poison = (String, Vec<u8>, Vec<u8>);

/// Key and value of poison, by partition and offset.
type Origins = BTreeMap<(i32, i64), (Vec<u8>, Vec<u8>)>;

/// Records that are no valid events, made from valid ones.
fn poison(round: &Round<'_>, world: &World) -> Result<Vec<Poison>> {
    let records = |name: &str| read_all(&round.kafka.bootstrap(), &world.named(name));
    let (likes, expectations) = (records("floodgate.like.v1")?, records("floodgate.expectation.v1")?);
    let coupons = records("floodgate.coupon.v1")?;
    let pick = |records: &[Found]| -> Result<(Vec<u8>, Vec<u8>)> {
        let record = records.get(round.one_of(records.len().max(1))).context("no record yet")?;
        Ok((record.key.clone().unwrap_or_default(), record.value.clone().unwrap_or_default()))
    };
    let mut poison = Vec::new();
    let mut add = |topic: &str, (key, _): (Vec<u8>, Vec<u8>), value: Vec<u8>| {
        poison.push((world.named(topic), key, value));
    };
    let like = pick(&likes)?;
    add("floodgate.like.v1", like.clone(), b"no avro at all".to_vec());
    add("floodgate.like.v1", like.clone(), Vec::new());
    let mut unknown = like.1.clone();
    unknown[3] ^= 0xff;
    add("floodgate.like.v1", like.clone(), unknown);
    add("floodgate.like.v1", like.clone(), like.1[..like.1.len() - 3].to_vec());
    let mut nul = like.1.clone();
    let at = nul.windows(8).position(|window| window == b"account-").context("no liker in a like")?;
    nul[at] = 0;
    add("floodgate.like.v1", like.clone(), nul);

    // a value of another type of event: its schema is known, and not here
    let coupon = pick(&coupons)?;
    add("floodgate.coupon.v1", coupon.clone(), like.1.clone());
    let mut no_id = coupon.1.clone();
    no_id[HEADER + 1] = b'x';
    add("floodgate.coupon.v1", coupon, no_id);
    let expectation = pick(&expectations)?;
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
    scenario("18", "poison_among_good_records", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 700, ..LoadOptions::default() });
        load.wait_for(round.between(0.1, 0.4))?;
        let mut origins: BTreeMap<String, Origins> = BTreeMap::new();
        for (topic, key, value) in poison(round, &world)? {
            let origin = put(&round.kafka.bootstrap(), &topic, &key, &value, ("trace", "poison"))?;
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
            let letters = dead_letters(&round.kafka.bootstrap(), &world.named("floodgate.dlq.v1"), topic)?;
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

/// A dead letter that cannot be published holds its partition, which says so; nothing is passed over.
#[test]
fn dead_letter_publish_fails() {
    scenario("19", "dead_letter_publish_fails", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(3000);
        world.create_coupons(&serve, &plan)?;
        let configure = |change: &[&str]| -> Result<()> {
            let bootstrap = round.kafka.bootstrap();
            let mut args = vec!["--bootstrap-server", &bootstrap, "--alter", "--entity-type", "topics"];
            args.extend(["--entity-name", &letters]);
            args.extend(change);
            round.kafka.run_tool(CONFIG_TOOL, &args).map(drop)
        };
        configure(&["--add-config", "max.message.bytes=10"])?;
        let load = world.load(&plan, &[&serve], LoadOptions::default());
        load.wait_for(round.between(0.1, 0.5))?;
        let key = &read_all(&round.kafka.bootstrap(), &likes)?[0].key.clone().unwrap_or_default();
        let (partition, offset) = put(&round.kafka.bootstrap(), &likes, key, b"poison", ("trace", "held"))?;
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
        ensure!(read_all(&round.kafka.bootstrap(), &letters)?.is_empty(), "a dead letter came through");
        round.balances(&world)?;

        configure(&["--delete-config", "max.message.bytes"])?;
        let over = Instant::now();
        wait::until("the consumer to go on", READY, || (consume.readiness().ok()?.0 == 200).then_some(()))?;
        round.recovers(&serve, over)?;
        round.judge(&world, &recording)?;
        let found = dead_letters(&round.kafka.bootstrap(), &letters, &likes)?;
        ensure!(found.keys().eq([&(partition, offset)]), "{found:?}");
        Ok(())
    });
}

/// When most of what comes is bad, partitions are held instead of emptied into the dead letters, the others go on, and
/// all is well again by itself once the reason is gone.
#[test]
fn a_storm_of_bad_rows_is_held() {
    scenario("storm", "a_storm_of_bad_rows_is_held", Pace::Quick, servers, |round| {
        // repeats and superseded likes write nothing, hence keep every rule: not all of them are bad
        let settings = [("consumers.batch_max_events", "200"), ("consumers.dead_letter_share_max", "0.2")];
        let world = round.world_with(&settings)?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(5000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 1500, ..LoadOptions::default() });
        load.wait_for(round.between(0.05, 0.2))?;
        // a rule that no like keeps: the tables are wrong, not the events
        let url = world.setting("store.url");
        round
            .postgres
            .psql(&url, "ALTER TABLE likes ADD CONSTRAINT wrong CHECK (liker_account_id = '') NOT VALID")?;
        consume.wait_unready("held")?;
        let mut recording = load.finish()?;
        wait::until("all four partitions to be held", READY, || {
            let metrics = consume.metrics().ok()?;
            (metrics.sum("floodgate_partition_held", &[]) == 4.0).then_some(())
        })?;
        let dead = dead_letters(&round.kafka.bootstrap(), &letters, &likes)?;
        ensure!(dead.len() < 4 * 100, "{} dead letters", dead.len());
        // the other groups are not concerned, and nothing held was passed over
        wait::until("the other groups to finish", DRAINED, || {
            let lag = world.lag().ok()?;
            let done = lag["groups"].as_array()?.iter().filter(|group| group["status"] == "OK").count();
            (done == 2).then_some(())
        })?;
        round.balances(&world)?;

        round.postgres.psql(&url, "ALTER TABLE likes DROP CONSTRAINT wrong")?;
        round.recovers(&serve, Instant::now())?;
        world.wait_drained(DRAINED)?;
        let dead = dead_letters(&round.kafka.bootstrap(), &letters, &likes)?;
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

/// Poison on one partition holds this one alone, until an operator says that it really is to be dead-lettered.
#[test]
fn a_storm_of_poison_holds_one_partition() {
    scenario("storm", "a_storm_of_poison_holds_one_partition", Pace::Quick, servers, |round| {
        const POISON: usize = 400;
        let world = round.world()?;
        let (letters, likes) = (world.named("floodgate.dlq.v1"), world.named("floodgate.like.v1"));
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(2000);
        world.create_coupons(&serve, &plan)?;
        let key = format!("poisoned-{}", round.one_of(1000));
        let origins = put_all(&round.kafka.bootstrap(), &likes, key.as_bytes(), &vec![b"poison"; POISON])?;
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
        let dead = dead_letters(&round.kafka.bootstrap(), &letters, &likes)?.len();
        ensure!(dead < 100 && committed <= origins[dead].1, "{dead} dead letters, committed {committed}");
        consume.stop()?;

        world.set("consumers.dead_letter_share_max", "1");
        let _consume = world.start(&["consume"])?;
        round.judge(&world, &recording)?;
        let dead = dead_letters(&round.kafka.bootstrap(), &letters, &likes)?;
        ensure!(dead.keys().eq(origins.iter()), "{} of {POISON} dead letters", dead.len());
        Ok(())
    });
}
