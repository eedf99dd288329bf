//! Committed offsets that are moved, deleted, or left behind by the log.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use floodgate_schemas::EventType;
use floodgate_testkit::wait;
use uuid::Uuid;

use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::load::{LoadOptions, Recording};
use crate::support::node::Node;
use crate::support::topic::kafka::commit;
use crate::support::topic::{Topics, event_id};
use crate::support::world::{DRAINED, READY, World, partitions};

const GROUPS_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const DELETE_RECORDS_TOOL: &str = "org.apache.kafka.tools.DeleteRecordsCommand";

/// A load that is applied and committed.
fn applied(round: &Round<'_>, world: &World, serve: &Node) -> Result<Recording> {
    let plan = round.plan(2000);
    world.create_coupons(serve, &plan)?;
    let recording = world.load(&plan, &[serve], LoadOptions::default()).finish()?;
    world.wait_drained(DRAINED)?;
    Ok(recording)
}

/// Offsets that an operator, or a bug elsewhere, moves back are told, and what is read again changes nothing.
#[test]
fn offsets_moved_back() {
    scenario("15", "offsets_moved_back", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let recording = applied(round, &world, &serve)?;
        let rows = world.rows(round.postgres)?;
        // the watcher has seen how far the groups were
        wait::until("the ingress to export the committed offsets", READY, || {
            let metrics = serve.metrics().ok()?;
            let committed = metrics.sum("kafka_consumergroup_current_offset", &[]);
            (committed == metrics.sum("kafka_topic_partition_current_offset", &[]) && committed > 0.0)
                .then_some(())
        })?;
        consume.stop()?;
        for ((group, partition), offset) in world.committed()? {
            let topic = format!("{group}.v1");
            let back = (round.between(0.0, 1.0) * offset as f64) as i64;
            commit(&round.kafka().bootstrap(), &group, &topic, &[(i32::try_from(partition)?, back)])?;
        }
        wait::until("an alert", READY, || {
            let metrics = serve.metrics().ok()?;
            (metrics.sum("floodgate_committed_offset_rewinds_total", &[]) > 0.0).then_some(())
        })?;
        ensure!(serve.process().stderr().contains("moved back"), "the log says nothing of it");
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        ensure!(world.rows(round.postgres)? == rows, "what was read again changed rows");
        round.judge(&world, &recording)
    });
}

/// A group whose offsets are gone reads everything again, from the oldest record, and changes no row.
#[test]
fn group_offsets_deleted() {
    scenario("23", "group_offsets_deleted", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let recording = applied(round, &world, &serve)?;
        let rows = world.rows(round.postgres)?;
        consume.stop()?;
        let groups = EventType::ALL.map(|of| world.named(of.group()));
        let bootstrap = round.kafka().bootstrap();
        let mut args = vec!["--bootstrap-server", &bootstrap, "--delete"];
        groups.iter().for_each(|group| args.extend(["--group", group]));
        round.kafka().run_tool(GROUPS_TOOL, &args)?;
        ensure!(world.committed()?.is_empty(), "offsets are left: {:?}", world.committed()?);
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        let again = consume.metrics()?.sum("floodgate_events_applied_total", &[]);
        ensure!(again == recording.taken as f64, "{again} of {} events were read again", recording.taken);
        ensure!(world.rows(round.postgres)? == rows, "a replay from offset 0 changed rows");
        round.judge(&world, &recording)
    });
}

/// Records that expire unread are never passed over in silence: the exact range is named.
#[test]
fn retention_passes_an_unread_offset() {
    scenario("24", "retention_passes_an_unread_offset", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let plan = round.plan(3000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 1000, ..LoadOptions::default() });
        load.wait_for(0.3)?;
        consume.stop()?;
        let mut recording = load.finish()?;

        // the log's start moves past some of what waits in one partition
        let lag = world.lag()?;
        // without a commit nobody can say what was to be read
        let is_waiting =
            |p: &serde_json::Value| p["lag"] != 0 && p["committedOffset"] != serde_json::Value::Null;
        let waiting: Vec<_> = partitions(&lag).filter(|(_, partition)| is_waiting(partition)).collect();
        let (group, chosen) = waiting.get(round.one_of(waiting.len().max(1))).context("nothing waits")?;
        let of = EventType::ALL.into_iter().find(|of| world.named(of.group()) == *group);
        let of = of.context("no such group")?;
        let (topic, group) = (world.named(of.topic()), group.to_string());
        let number = |name: &str| chosen[name].as_i64().unwrap_or(0);
        let (partition, committed) = (number("partition"), number("committedOffset"));
        let start = committed + 1 + ((number("lag") - 1) as f64 * round.between(0.0, 1.0)) as i64;
        let lost: HashSet<Uuid> = Topics::of(&world)
            .read_all(&topic)?
            .iter()
            .filter(|record| i64::from(record.partition) == partition)
            .filter(|record| (committed..start).contains(&record.offset))
            .filter_map(|record| event_id(of, record))
            .collect();
        delete_records(round, &world, &topic, partition, start)?;

        let missing = format!("offsets {committed} up to {start} are missing");
        let lag = world.lag()?;
        let told = partitions(&lag).find(|(found, p)| *found == group && p["partition"] == partition);
        ensure!(told.is_some_and(|(_, p)| p["missing"] == start - committed), "not {missing}: {lag}");
        let ledger = world.command(&["verify"])?;
        let range = match start - committed {
            1 => format!("partition {partition} offset {committed}:"),
            _ => format!("partition {partition} offsets {committed} to {}:", start - 1),
        };
        ensure!(
            ledger.code == 1 && ledger.stdout.contains(&range),
            "verify does not name {range} {ledger:?}"
        );
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        let log = consume.process().stderr();
        ensure!(log.contains(&missing), "the log does not say that {missing}");
        recording.excuse(&lost);
        round.judge(&world, &recording)
    });
}

fn delete_records(round: &Round<'_>, world: &World, topic: &str, partition: i64, before: i64) -> Result<()> {
    let file = world.folder().join("delete.json");
    let wanted = serde_json::json!({
        "version": 1, "partitions": [{"topic": topic, "partition": partition, "offset": before}],
    });
    std::fs::write(&file, wanted.to_string())?;
    let file = file.display().to_string();
    let bootstrap = round.kafka().bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--offset-json-file", &file];
    round.kafka().run_tool(DELETE_RECORDS_TOOL, &args)?;
    Ok(())
}
