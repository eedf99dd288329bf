//! A broker keeps its topics over a kill, and a cluster of three loses one and goes on.

use std::time::{Duration, Instant};

use anyhow::Result;
use floodgate_testkit::{Kafka, KafkaOptions, wait};

const TOPIC_COMMAND: &str = "org.apache.kafka.tools.TopicCommand";

fn topic_command(kafka: &Kafka, args: &[&str]) -> Result<String> {
    let bootstrap = kafka.bootstrap();
    kafka.run_tool(TOPIC_COMMAND, &[&["--bootstrap-server", &bootstrap], args].concat())
}

#[test]
fn one_broker_keeps_its_topics_over_a_kill() -> Result<()> {
    let start = Instant::now();
    let properties = vec![("num.partitions".into(), "3".into())];
    let kafka = Kafka::start(KafkaOptions { properties, ..KafkaOptions::default() })?;
    println!("started in {:.1?}", start.elapsed());

    topic_command(&kafka, &["--create", "--topic", "kept"])?;
    let pid = kafka.pid(0)?;
    let process = kafka.process(0)?;
    println!("rss {} MiB, cpu {:?}", process.rss_bytes()? >> 20, process.cpu_time()?);
    assert!(process.peak_rss_bytes()? >= process.rss_bytes()? / 2);
    kafka.kill(0)?;
    assert!(process.exit_status().is_some() && process.signal(0).is_err());

    let start = Instant::now();
    kafka.start_again(0)?;
    println!("started again in {:.1?}", start.elapsed());
    assert_ne!(kafka.pid(0)?, pid);
    let described = topic_command(&kafka, &["--describe", "--topic", "kept"])?;
    assert!(described.contains("PartitionCount: 3"), "{described}");

    let start = Instant::now();
    kafka.stop(0)?;
    println!("stopped in {:.1?}", start.elapsed());
    Ok(())
}

#[test]
fn three_brokers_lose_one_and_go_on() -> Result<()> {
    let start = Instant::now();
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() })?;
    println!("started in {:.1?}", start.elapsed());

    topic_command(&kafka, &["--create", "--topic", "kept", "--replication-factor", "3"])?;
    let start = Instant::now();
    kafka.kill(0)?;
    wait::until("the partition to have a leader and two replicas in sync", Duration::from_secs(60), || {
        let described = topic_command(&kafka, &["--describe", "--topic", "kept"]).ok()?;
        let in_sync = described.split("Isr: ").nth(1)?.split_whitespace().next()?.split(',').count();
        (in_sync == 2 && !described.contains("Leader: none")).then_some(())
    })?;
    println!("taken over in {:.1?}", start.elapsed());

    let start = Instant::now();
    kafka.start_again(0)?;
    println!("started again in {:.1?}", start.elapsed());
    Ok(())
}
