//! What the log holds that is in no row: because it waits, was refused or is no event, or is gone from the log itself.

use anyhow::{Result, ensure};
use floodgate_testkit::wait;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shared::{number, of_type, settled, sum, verify};
use crate::support::answers::accepted;
use crate::support::client::{Ask, runtime};
use crate::support::node::Node;
use crate::support::rule::refuse;
use crate::support::topic::Topics;
use crate::support::world::{DRAINED, Servers, World, partitions, run};

fn send_likes(serve: &Node, likers: std::ops::Range<usize>) -> Result<Vec<Uuid>> {
    let send = |number: usize| {
        accepted(&serve.ask(&Ask::new("PUT", format!("/api/v6/characters/star/likes/account-{number}")))?)
    };
    likers.map(send).collect()
}

/// Makes the records of a partition before an offset expire.
fn expire(brokers: &str, topic: &str, partition: i32, before: i64) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(before))?;
    let results = runtime().block_on(admin.delete_records(&offsets, &AdminOptions::new()))?;
    results.elements().iter().try_for_each(|element| Ok(element.error()?))
}

#[test]
fn what_waits_is_in_flight_and_what_never_can_be_applied_is_dead_lettered() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("topics.partitions", "1");
    run(|| {
        // one partition, so that offsets are known
        world.set("topics.prefix", format!("{}one.", world.setting("topics.prefix")));
        world.succeed(&["topics", "create"])?;
        let (brokers, topic, letters) =
            (kafka.bootstrap(), world.named("floodgate.like.v1"), world.named("floodgate.dlq.v1"));
        let rule = refuse("house_rule", "likes", "new.liker_account_id = 'account-7'");
        postgres.psql(&world.setting("store.url"), &rule)?;
        let serve = world.start(&["serve"])?;
        let ids = send_likes(&serve, 0..10)?;
        let garbage = Topics::of(&world).put(&topic, b"star\x1fx", b"no event", ("trace", "1"))?;
        ensure!(garbage == (0, 10), "{garbage:?}");
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        ensure!(code == 0 && number(like, "inFlight") == 10 && number(like, "records") == 11, "{report}");
        ensure!(
            like["unreadable"] == json!({"deadLettered": 0, "inFlight": 1, "missing": 0, "cannotTell": 0}),
            "{report}"
        );

        let consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        ensure!(code == 0 && number(like, "current") == 9 && number(like, "deadLettered") == 1, "{report}");
        ensure!(
            like["unreadable"] == json!({"deadLettered": 1, "inFlight": 0, "missing": 0, "cannotTell": 0}),
            "{report}"
        );
        ensure!(like["unchecked"] == json!([]) && report["notes"] == json!([]), "{report}");

        expire(&brokers, &topic, 0, 4)?;
        let (code, report) = verify(&world, &[])?;
        let like = of_type(&report, "like");
        let expired = json!([{"partition": 0, "fromOffset": 0, "untilOffset": 4}]);
        ensure!(code == 0 && like["unchecked"] == expired && number(like, "current") == 5, "{report}");
        ensure!(world.succeed(&["verify"])?.contains("unchecked: partition 0 offsets 0 to 3"));

        // without the dead letters nobody can tell what became of those records, and the report says why
        expire(&brokers, &letters, 0, 2)?;
        let (code, report) = verify(&world, &[])?;
        let doubt = |number: usize| &report["cannotTell"][number];
        ensure!(code == 3 && report["missing"] == json!([]) && report["violations"] == 0, "{report}");
        ensure!(doubt(0)["kind"] == "deadLetterExpired" && doubt(0)["eventId"] == json!(ids[7]), "{report}");
        ensure!(doubt(0)["fromOffset"] == 7 && doubt(0)["key"] == "star\u{1f}account-7", "{report}");
        ensure!(doubt(1)["fromOffset"] == 10 && doubt(1)["key"] == "star\u{1f}x", "{report}");
        let note = report["notes"][0].as_str().unwrap_or_default();
        ensure!(note.starts_with("dead letters before offset 2"), "{report}");
        let told = world.command(&["verify"])?;
        let wanted = format!("cannot tell: like {topic}/0/7: event {}, key star\\x1faccount-7,", ids[7]);
        ensure!(told.code == 3 && told.stdout.contains(&wanted), "{told:?}");
        ensure!(told.stderr.contains("cannot tell"), "{told:?}");
        // the database still refuses the event, and what is no event is none
        for (place, why) in [(7, "the database refuses it"), (10, "it is no event")] {
            let left = world.command(&["reapply", &format!("{topic}/0/{place}")])?;
            ensure!(left.code == 1 && left.stdout.contains(why), "{left:?}");
        }
        consume.stop()?;
        serve.stop()
    });
}

#[test]
fn what_vanished_unread_is_a_violation() {
    let servers = Servers::shared();
    let (world, serve) = settled(servers, "vanished").unwrap();
    run(|| {
        let brokers = servers.kafka.bootstrap();
        let topic = world.named("floodgate.like.v1");
        send_likes(&serve, 0..5)?;
        let mut consume = world.start(&["consume"])?;
        world.wait_drained(DRAINED)?;
        consume.stop()?;
        send_likes(&serve, 5..10)?;
        expire(&brokers, &topic, 0, 7)?;
        let (code, report) = verify(&world, &[])?;
        let lost = &report["lost"][0];
        ensure!(code == 1 && report["violations"] == 2 && lost["kind"] == "expiredUnread", "{report}");
        ensure!(lost["partition"] == 0 && lost["fromOffset"] == 5 && lost["untilOffset"] == 7, "{report}");
        ensure!(report["cannotTell"] == json!([]), "{report}");
        let told = world.command(&["verify"])?;
        let group = world.named("floodgate.like");
        let wanted = format!(
            "violation: like {topic} partition 0 offsets 5 to 6: expired before the group {group} read them"
        );
        ensure!(told.code == 1 && told.stdout.contains(&wanted), "{told:?}");
        // once the group has gone on, the log says nothing of it any more; the consumers' own log does
        consume.start_again(&world)?;
        world.wait_drained(DRAINED)?;
        ensure!(consume.process().stderr().contains("offsets 5 up to 7 are missing"));
        let (code, report) = verify(&world, &[])?;
        ensure!(code == 0 && of_type(&report, "like")["unchecked"][0]["untilOffset"] == 7, "{report}");
        consume.stop()?;

        // a topic that gives up records of a key before their time: the last one of it is left
        let configure = |change: &[&str]| -> Result<()> {
            let mut args = vec!["--bootstrap-server", &brokers, "--alter", "--entity-type", "topics"];
            args.extend(["--entity-name", &topic]);
            args.extend(change);
            servers.kafka.run_tool("kafka.admin.ConfigCommand", &args).map(drop)
        };
        let compact =
            "cleanup.policy=compact,segment.ms=100,min.cleanable.dirty.ratio=0.01,delete.retention.ms=100";
        configure(&["--add-config", compact])?;
        let records = || Ok::<_, anyhow::Error>(Topics::of(&world).read_all(&topic)?.len());
        let before = records()?;
        // the active segment is never compacted: later records make new ones
        wait::until("a record to be removed", DRAINED, || {
            send_likes(&serve, 7..9).ok()?;
            let sent = sum(&verify(&world, &[]).ok()?.1, "records");
            let ends = world.lag().ok()?;
            let (_, like) = partitions(&ends).find(|(of, _)| *of == group)?;
            let held = like["endOffset"].as_i64()? - like["startOffset"].as_i64()?;
            (held > sent as i64 && before > 0).then_some(())
        })?;
        let (code, report) = verify(&world, &[])?;
        let is_compacted = |lost: &&Value| lost["kind"] == "compacted";
        ensure!(
            code == 1 && report["lost"].as_array().is_some_and(|lost| lost.iter().any(|l| is_compacted(&l))),
            "{report}"
        );
        serve.stop()
    });
}
