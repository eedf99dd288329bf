//! Logs that cannot be read as they are: shut by transactions of others.

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::likes::{DEADLINE, PARTITIONS, TOPIC, applied, lag_of, like, named, named_in, wait_applied};
use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::topic::{Found, Topics};
use crate::support::world::DRAINED;

/// A producer of another program.
fn foreign(round: &Round<'_>, id: &str) -> Result<BaseProducer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", round.kafka().bootstrap())
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
        let topic = world.named(TOPIC);
        let partition = round.one_of(PARTITIONS);
        let there = Topics::of(&world).read_all(&topic)?;
        let of_partition = |record: &&Found| record.partition as usize == partition;
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
        consume.wait_held("unreadable", 1.0)?;
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
