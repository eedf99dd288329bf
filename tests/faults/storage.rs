//! Storage that does not keep what a 202 promises, and permissions that are withdrawn: readiness means that an event can be
//! stored, and says why it cannot.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::kafka::LOGIN;
use floodgate_testkit::{KafkaOptions, PostgresOptions, wait};

use crate::scenario::{Pace, Round, kafka, scenario, servers};
use crate::support::answers::problem;
use crate::support::client::Ask;
use crate::support::load::LoadOptions;
use crate::support::node::Node;
use crate::support::topic::Topics;
use crate::support::world::{READY, Servers, World};

const CONFIG_TOOL: &str = "kafka.admin.ConfigCommand";

/// Changes that break the promise of a topic, of which a seed takes one.
const BROKEN: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("retention.bytes", "1000"),
    ("retention.ms", "60000"),
    ("max.message.bytes", "1000"),
];

/// One line of its log with this text, however often the cause was met.
fn told_once(node: &Node, text: &str) -> Result<()> {
    let log = node.process().stderr();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(text)).collect();
    ensure!(lines.len() == 1, "{text:?} in {} lines: {lines:?}", lines.len());
    Ok(())
}

/// A topic that somebody else made: nothing is accepted on it before it is mended, by the command that is told, and then
/// everything is kept.
#[test]
fn topics_that_do_not_keep_events() {
    scenario("topics", "topics_that_do_not_keep_events", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let (property, value) = BROKEN[round.one_of(BROKEN.len())];
        let topic = world.named("floodgate.coupon.v1");
        let bootstrap = round.kafka().bootstrap();
        let change = format!("{property}={value}");
        let args = ["--bootstrap-server", &bootstrap, "--alter", "--entity-type", "topics"];
        let args = [&args[..], &["--entity-name", &topic, "--add-config", &change]].concat();
        round.kafka().run_tool(CONFIG_TOOL, &args)?;

        let mut mend = String::new();
        for command in ["create", "describe"] {
            let ended = world.command(&["topics", command])?;
            ensure!(ended.code == 1, "topics {command} ended with {}: {}", ended.code, ended.stdout);
            for told in [&topic, property, value, "wanted is"] {
                ensure!(
                    ended.stderr.contains(told),
                    "topics {command} does not say {told}: {}",
                    ended.stderr
                );
            }
            let told = ended.stderr.split("to mend it: kafka-configs.sh ").nth(1).context("no command")?;
            mend = told.lines().next().unwrap_or_default().to_owned();
        }
        world.set("coupon.refuse_unknown", "false");
        let serve = world.launch(&["serve"])?;
        serve.wait_unready(property)?;
        let clients = serve.get("/readyz")?;
        ensure!(clients.status == 503, "the clients' /readyz: {}", clients.status);
        ensure!(!clients.text().contains(&topic), "names of topics are none of clients' business");
        let ask = Ask::new("POST", "/api/v6/coupons/any/issues").json(r#"{"userId":"anybody"}"#);
        problem(&serve.ask(&ask)?, 503, "not-stored", None)?;
        ensure!(Topics::of(&world).event_ids(&world)?.is_empty(), "an event was stored where it is not kept");
        told_once(&serve, "a promise cannot be kept")?;
        let breaks = [("topic", topic.as_str()), ("property", property), ("kind", "breaks")];
        ensure!(serve.metrics()?.sum("floodgate_topic_findings", &breaks) == 1.0);

        round.kafka().run_tool(CONFIG_TOOL, &mend.split_whitespace().collect::<Vec<_>>())?;
        let over = Instant::now();
        serve.wait_ready()?;
        world.succeed(&["topics", "create"])?;
        let _consume = world.start(&["consume"])?;
        round.recovers(&serve, over)?;
        let plan = round.plan(2000);
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        round.judge(&world, &recording)
    });
}

/// A broker that checks permissions.
fn secured() -> Result<Servers> {
    Servers::start(KafkaOptions { secured: true, ..kafka(1) }, PostgresOptions::default())
}

/// What the processes of a world may do, each with one permission that a seed withdraws and grants again.
struct Permissions<'r> {
    round: &'r Round<'r>,
    prefix: String,
}

impl Permissions<'_> {
    fn args<'a>(&'a self, what: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["--resource-pattern-type", "prefixed"];
        args.extend(what);
        args.push(&self.prefix);
        args
    }

    fn grant(&self, what: &[&str]) -> Result<()> {
        self.round.kafka().grant(&self.args(what))
    }

    fn revoke(&self, what: &[&str]) -> Result<()> {
        self.round.kafka().revoke(&self.args(what))
    }
}

const WRITE: &[&str] = &["--operation", "Write", "--topic"];
const READ: &[&str] =
    &["--operation", "Read", "--operation", "Describe", "--operation", "DescribeConfigs", "--topic"];
const GROUP: &[&str] = &["--operation", "Read", "--operation", "Describe", "--group"];

/// A world whose processes log in.
fn world_with_login<'r>(round: &'r Round<'r>) -> Result<(std::sync::Arc<World>, Permissions<'r>)> {
    let world = round.world()?;
    world.set("buffer.kafka.brokers", round.kafka().secured_bootstrap());
    let (user, password) = LOGIN;
    for (name, value) in [
        ("security_protocol", "SASL_PLAINTEXT"),
        ("sasl_mechanism", "PLAIN"),
        ("sasl_username", user),
        ("sasl_password", password),
    ] {
        world.set(&format!("buffer.kafka.client.{name}"), value);
    }
    let permissions = Permissions { round, prefix: world.named("") };
    Ok((world, permissions))
}

/// Write, and then all that a topic can be seen with as well: unready with the reason, which is nowhere taken for a missing topic,
/// and well again when the permission is back, without a write that would show it.
#[test]
fn permissions_withdrawn() {
    scenario("39", "permissions_withdrawn", Pace::Slow, secured, |round| {
        let (world, permissions) = world_with_login(round)?;
        for what in [WRITE, READ, GROUP] {
            permissions.grant(what)?;
        }
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let plan = round.plan(6000);
        world.create_coupons(&serve, &plan)?;
        let patient =
            LoadOptions { deadline: Duration::from_secs(600), repeat_every: 0, ..LoadOptions::default() };
        let load = world.load(&plan, &[&serve], patient);
        load.wait_for(round.between(0.1, 0.4))?;

        permissions.revoke(WRITE)?;
        serve.wait_unready("denies writing")?;
        ensure!(!serve.get("/readyz")?.text().contains("floodgate.like"), "clients see names of topics");
        ensure!(consume.readiness()?.0 == 200, "consumers need not write: {:?}", consume.readiness()?);
        permissions.grant(WRITE)?;
        serve.wait_ready()?;
        round.recovers(&serve, Instant::now())?;

        for what in [WRITE, READ] {
            permissions.revoke(what)?;
        }
        serve.wait_unready("denies writing")?;
        let commands: [&[&str]; 5] =
            [&["topics", "describe"], &["topics", "create"], &["lag"], &["verify"], &["dlq", "list"]];
        for command in commands {
            let ended = world.command(command)?;
            let is_told = ended.stderr.contains("TOPIC_AUTHORIZATION_FAILED");
            ensure!(ended.code == 1 && is_told, "{command:?}: {} {}", ended.stdout, ended.stderr);
            ensure!(
                !ended.stderr.contains("missing"),
                "{command:?} takes a secret for nothing: {}",
                ended.stderr
            );
        }
        for what in [READ, WRITE] {
            permissions.grant(what)?;
        }
        serve.wait_ready()?;
        round.recovers(&serve, Instant::now())?;

        permissions.revoke(GROUP)?;
        consume.wait_unready("GROUP_AUTHORIZATION_FAILED")?;
        ensure!(serve.readiness()?.0 == 200, "an ingress needs no group: {:?}", serve.readiness()?);
        for command in ["lag", "verify"] {
            let ended = world.command(&[command])?;
            ensure!(ended.code == 1 && ended.stderr.contains("GROUP_AUTHORIZATION_FAILED"), "{ended:?}");
            ensure!(!ended.stderr.contains("does not answer"), "{ended:?}");
        }
        // no group of ours is read through
        world.succeed(&["dlq", "list"])?;
        permissions.grant(GROUP)?;
        consume.wait_ready()?;
        world.lag()?;
        round.recovers(&serve, Instant::now())?;

        let recording = load.finish()?;
        serve.stop()?;
        world.set("buffer.kafka.brokers", round.kafka().bootstrap());
        world.set("buffer.kafka.client.security_protocol", "PLAINTEXT");
        round.judge(&world, &recording)
    });
}

/// A cluster that gives no idempotent producer (from Kafka 2.8 on: whoever may write to no topic): told once, not asked all
/// the time, and over as soon as the permission is there.
#[test]
fn idempotent_producer_refused() {
    scenario("producer", "idempotent_producer_refused", Pace::Quick, secured, |round| {
        let (world, permissions) = world_with_login(round)?;
        permissions.grant(READ)?;
        permissions.grant(GROUP)?;
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("WRITE")?;
        let fatal = "met a fatal error";
        wait::until("a refused producer", READY, || serve.process().stderr().contains(fatal).then_some(()))?;
        let ask = Ask::new("PUT", "/api/v6/characters/some/likes/one");
        for _ in 0..20 {
            problem(&serve.ask(&ask)?, 503, "not-stored", None)?;
        }
        round.lasts(Duration::from_secs(3));
        told_once(&serve, fatal)?;
        told_once(&serve, "cannot take events: Kafka at 127.0.0.1")?;

        permissions.grant(WRITE)?;
        let over = Instant::now();
        serve.wait_ready()?;
        let _consume = world.start(&["consume"])?;
        round.recovers(&serve, over)?;
        let plan = round.plan(1000);
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        world.set("buffer.kafka.brokers", round.kafka().bootstrap());
        world.set("buffer.kafka.client.security_protocol", "PLAINTEXT");
        round.judge(&world, &recording)?;
        // whoever may write to any topic may use such a producer: the next round's would not be refused
        permissions.revoke(WRITE)
    });
}
