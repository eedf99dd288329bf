//! Positions that are not of the log they are used in: one made anew, one whose end was cut, or numbers that others set.

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{PostgresOptions, wait};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::likes::{
    DEADLINE, GROUP, PARTITIONS, TOPIC, incidents, lag_of, like, named, named_everywhere, named_in,
    wait_applied,
};
use crate::scenario::{Pace, Round, kafka, scenario, servers};
use crate::support::client::runtime;
use crate::support::node::Node;
use crate::support::world::{DRAINED, READY, Servers};

/// Longer than any scenario: a member that stands still for a while, or whose coordinator is away, stays one.
const LONG_SESSION: (&str, &str) = ("buffer.kafka.session_timeout_ms", "60000");

/// Whoever has applied something of all partitions has them all, and nothing is being handed over.
const ONE_MEMBER: (&str, &str) = ("consumers.instances", "1");

/// Deletes a topic and makes it anew at once, so that whoever reads it may not see that it was gone.
fn make_anew(bootstrap: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    runtime().block_on(admin.delete_topics(&[topic], &options))?;
    let anew = NewTopic::new(topic, i32::try_from(PARTITIONS)?, TopicReplication::Fixed(1));
    wait::until("the topic to be made anew", DEADLINE, || {
        let made = runtime().block_on(admin.create_topics([&anew], &options)).ok()?;
        made.iter().all(Result::is_ok).then_some(())
    })?;
    Ok(())
}

/// The commits of the group of likes, as an onlooker sees them and can put them back.
struct Commits {
    onlooker: BaseConsumer,
    topic: String,
}

impl Commits {
    fn of(bootstrap: &str, group: &str, topic: String) -> Result<Self> {
        let onlooker =
            ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create()?;
        Ok(Self { onlooker, topic })
    }

    /// Offsets, with the metadata and the epochs they carry.
    fn read(&self) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, i32::try_from(PARTITIONS - 1)?);
        Ok(self.onlooker.committed_offsets(list, DEADLINE)?)
    }

    /// Kafka forgets commits with their topic, when it gets to it: afterwards they are put back, as a member commits that
    /// was not done with its batch, or a tool that carries commits from cluster to cluster.
    fn put_back(&self, commits: &TopicPartitionList) -> Result<()> {
        wait::until("the commits to be forgotten", READY, || {
            let left = self.read().ok()?;
            left.elements().iter().all(|element| element.offset() == Offset::Invalid).then_some(())
        })?;
        // refused while the group has a member
        wait::until("the commits to be put back", READY, || {
            self.onlooker.commit(commits, CommitMode::Sync).ok()
        })?;
        Ok(())
    }
}

/// A topic is deleted and made anew, and gets more records in each partition than it had before: a consumer that is started with
/// the commits of the topic before, and one that only stood still meanwhile, apply every one of them.
#[test]
fn topic_made_anew() {
    scenario("35", "topic_made_anew", Pace::Quick, servers, |round| {
        let world = round.world_with(&[ONE_MEMBER])?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let each = 20 + round.one_of(50);
        let send = |what: &str, times: usize| like(&serve, &named_everywhere(what, each * times));
        let wait = |what: &str, times: usize| wait_applied(round, &world, what, PARTITIONS * each * times);
        send("first", 1)?;
        world.wait_drained(DRAINED)?;
        let (topic, bootstrap) = (world.named(TOPIC), round.kafka().bootstrap());
        consume.kill()?;
        let commits = Commits::of(&bootstrap, &world.named(GROUP), topic.clone())?;
        let before = commits.read()?;
        let is_whole = |element: &TopicPartitionListElem<'_>| element.offset() == Offset::Offset(each as i64);
        ensure!(before.elements().iter().all(is_whole), "committed: {before:?}");
        make_anew(&bootstrap, &topic)?;
        send("second", 2)?;
        commits.put_back(&before)?;
        world.set(LONG_SESSION.0, LONG_SESSION.1);
        consume.start_again(&world)?;
        wait("second", 2)?;
        ensure!(incidents(&consume, "another-log")? == PARTITIONS as f64, "no metric tells of it");
        let log = consume.process().stderr();
        ensure!(log.contains("is of a log that is there no more"), "the log does not tell of it");
        world.wait_drained(DRAINED)?;
        round.balances(&world)?;

        // it stands still until there is a log with its numbers: it neither sees the topic gone nor the end go back
        consume.process().freeze()?;
        make_anew(&bootstrap, &topic)?;
        send("third", 3)?;
        consume.process().thaw()?;
        wait("third", 3)?;
        let log = consume.process().stderr();
        ensure!(log.contains("made anew while it was consumed"), "the log does not tell of it");
        wait("second", 2)?;
        wait("first", 1)?;
        world.wait_drained(DRAINED)?;
        consume.wait_ready()?;
        round.balances(&world).map(drop)
    });
}

/// Who leads a partition, if anybody does, and who is in sync with it, in Kafka's numbers.
fn leader_and_in_sync(bootstrap: &str, topic: &str, partition: usize) -> Result<(Option<i32>, Vec<i32>)> {
    let onlooker: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let metadata = onlooker.fetch_metadata(Some(topic), DEADLINE)?;
    let found = metadata.topics().first().context("no such topic")?;
    let of = found
        .partitions()
        .iter()
        .find(|found| found.id() == partition as i32)
        .context("no such partition")?;
    let mut in_sync = of.isr().to_vec();
    in_sync.sort_unstable();
    Ok(((of.leader() >= 0).then_some(of.leader()), in_sync))
}

/// A partition of two copies.
struct Copies<'r> {
    round: &'r Round<'r>,
    topic: String,
    partition: usize,
}

impl Copies<'_> {
    fn wait_for(&self, leader: Option<i32>, in_sync: &[i32]) -> Result<()> {
        let mut last = None;
        wait::until(&format!("leader {leader:?}, in sync {in_sync:?}"), READY * 2, || {
            let now = leader_and_in_sync(&self.round.kafka().bootstrap(), &self.topic, self.partition);
            let is_so =
                now.as_ref().is_ok_and(|now| now.0 == leader && (now.1 == in_sync || leader.is_none()));
            last = Some(now);
            is_so.then_some(())
        })
        .with_context(|| format!("{last:?}"))
    }

    /// One copy misses what `meanwhile` writes, and is made the leader though it is not in sync, as the other one is gone: the
    /// log's end is cut, and `then` writes on from there before the other comes back.
    fn cut(&self, meanwhile: impl FnOnce() -> Result<()>, then: impl FnOnce() -> Result<()>) -> Result<()> {
        let kafka = self.round.kafka();
        let (leader, both) = leader_and_in_sync(&kafka.bootstrap(), &self.topic, self.partition)?;
        let leader = leader.context("no leader")?;
        let behind = *both.iter().find(|node| **node != leader).context("a single copy")?;
        // Kafka calls the first broker node 1
        let broker = |node: i32| node as usize - 1;
        kafka.kill(broker(behind))?;
        self.wait_for(Some(leader), &[leader])?;
        meanwhile()?;
        kafka.kill(broker(leader))?;
        kafka.start_again(broker(behind))?;
        self.wait_for(None, &[])?;
        let (bootstrap, partition) = (kafka.bootstrap(), self.partition.to_string());
        let of = ["--topic", &self.topic, "--partition", &partition];
        let elect = [&["--bootstrap-server", &bootstrap, "--election-type", "UNCLEAN"][..], &of].concat();
        kafka.run_tool("org.apache.kafka.tools.LeaderElectionCommand", &elect)?;
        self.wait_for(Some(behind), &[behind])?;
        then()?;
        kafka.start_again(broker(leader))?;
        self.wait_for(Some(behind), &both)
    }
}

/// A log loses its end, which was applied, and gets more records than it had, under the same offsets: everything that is accepted
/// from then on is applied by a consumer that runs and by one that is started afterwards, and what was lost is told.
#[test]
fn log_cut_by_an_unclean_election() {
    let servers = || Servers::start(kafka(3), PostgresOptions::default());
    scenario("35", "log_cut_by_an_unclean_election", Pace::Cluster, servers, |round| {
        let world = round.world_with(&[LONG_SESSION, ONE_MEMBER, ("topics.replication_factor", "2")])?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        let partition = round.one_of(PARTITIONS);
        let copies = Copies { round, topic: world.named(TOPIC), partition };
        let sends = |what: &str, count: usize| like(&serve, &named_in(what, partition, count));
        let (kept, lost) = (10 + round.one_of(50), 5 + round.one_of(30));
        let end = || lag_of(&world, partition)?["endOffset"].as_u64().context("no end");
        // where the log was cut, and how far it had been read
        let is_told = |consume: &Node, cut_at: u64| -> Result<()> {
            ensure!(incidents(consume, "another-log")? == 1.0, "no metric tells of it");
            let (log, read) = (consume.process().stderr(), cut_at + lost as u64);
            let told = [
                format!("the log was cut below offset {read}"),
                format!("broker end offset is {cut_at} "),
                format!("the position {read} is of a log that is there no more"),
            ];
            let untold: Vec<_> = told.iter().filter(|told| !log.contains(*told)).collect();
            ensure!(untold.is_empty(), "the log does not say {untold:?}");
            Ok(())
        };
        like(&serve, &named("before", 40))?;
        sends("kept", kept)?;
        world.wait_drained(DRAINED)?;

        let cut_at = end()?;
        let meanwhile = || {
            sends("lost", lost)?;
            wait_applied(round, &world, "lost", lost)
        };
        copies.cut(meanwhile, || sends("next", lost * 2))?;
        wait_applied(round, &world, "next", lost * 2)?;
        world.wait_drained(DRAINED)?;
        consume.wait_ready()?;
        is_told(&consume, cut_at)?;
        round.balances(&world)?;

        let cut_at = end()?;
        let meanwhile = || {
            sends("gone", lost)?;
            wait_applied(round, &world, "gone", lost)?;
            consume.stop()
        };
        copies.cut(meanwhile, || sends("last", lost * 2))?;
        consume.start_again(&world)?;
        wait_applied(round, &world, "last", lost * 2)?;
        world.wait_drained(DRAINED)?;
        is_told(&consume, cut_at)?;
        round.balances(&world).map(drop)
    });
}

/// Offsets that another program moves forward are told with what was passed over, and the ledger names it.
#[test]
fn offsets_moved_forward() {
    scenario("15", "offsets_moved_forward", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let mut consume = world.start(&["consume"])?;
        like(&serve, &named("before", 40))?;
        world.wait_drained(DRAINED)?;
        wait::until("the ingress to see how far the group is", READY, || {
            let metrics = serve.metrics().ok()?;
            (metrics.sum("kafka_consumergroup_current_offset", &[("consumergroup", &world.named(GROUP))])
                >= 40.0)
                .then_some(())
        })?;
        consume.stop()?;
        let partition = round.one_of(PARTITIONS);
        let skipped = named_in("skipped", partition, 5 + round.one_of(20));
        like(&serve, &skipped)?;
        let end = lag_of(&world, partition)?["endOffset"].as_i64().context("no end")?;
        let (group, topic) = (world.named(GROUP), world.named(TOPIC));
        let moved = [(i32::try_from(partition)?, end)];
        crate::support::topic::kafka::commit(&round.kafka().bootstrap(), &group, &topic, &moved)?;
        wait::until("an alert", READY, || {
            (serve.metrics().ok()?.sum("floodgate_committed_offset_skips_total", &[]) > 0.0).then_some(())
        })?;
        ensure!(
            serve.process().stderr().contains("moved the committed offset forward"),
            "the log says nothing"
        );
        consume.start_again(&world)?;
        wait::until("the consumer to tell", READY, || {
            (incidents(&consume, "offset-set-by-others").ok()? > 0.0).then_some(())
        })?;
        let ledger = world.command(&["verify", "--json"])?;
        let report: Value = serde_json::from_str(&ledger.stdout)?;
        ensure!(
            ledger.code == 1 && report["violations"] == skipped.len(),
            "{} were passed over: {report}",
            skipped.len()
        );
        world.succeed(&["reapply", "--missing"])?;
        wait_applied(round, &world, "skipped", skipped.len())?;
        round.balances(&world).map(drop)
    });
}
