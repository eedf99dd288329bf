//! A plain producer without anything around it: what librdkafka and the broker can do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use floodgate_schemas::codec::encode;
use floodgate_schemas::{Event, Keying, LikeAction, examples};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use crate::table::{Cpu, Run};
use crate::tools::filler::Filler;

const ANSWERED: Duration = Duration::from_secs(10);

/// Acknowledged likes a second, sent as fast as one thread can, encoded before.
pub fn rate(brokers: &str, topic: &str, likes: u64, watched: &[(&'static str, u32)]) -> Result<Run> {
    let events = (0..likes).map(|number| {
        let (target, liker) = (format!("target-{}", number % 1000), format!("liker-{number}"));
        let like = examples::like(number, &target, &liker, LikeAction::Like, 1);
        let (mut key, mut value) = (String::new(), Vec::new());
        like.write_partition_key(Keying::default(), &mut key);
        encode(&like, &mut value);
        Ok((key, value))
    });
    let events = events.collect::<Result<Vec<_>>>()?;
    let filler = Filler::new(brokers)?;
    let (cpu, began) = (Cpu::watch(watched), Instant::now());
    for (key, value) in &events {
        filler.send(topic, key, value)?;
    }
    filler.flush()?;
    let value = likes as f64 / began.elapsed().as_secs_f64();
    Ok(Run { value, cpu: cpu.per_event(likes as f64), ..Run::default() })
}

struct Tell(Sender<bool>);

impl ClientContext for Tell {}

impl ProducerContext for Tell {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let _ = self.0.send(result.is_ok());
    }
}

/// The median of single messages' round trips, one after the other, in seconds.
pub fn round_trip(brokers: &str, topic: &str, lasts: Duration) -> Result<Run> {
    let (tell, told): (_, Receiver<bool>) = channel();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
    config.set("linger.ms", "0").set("partitioner", "murmur2_random");
    let producer: ThreadedProducer<Tell> = config.create_with_context(Tell(tell))?;
    let value = [7_u8; 120];
    let (mut took, began) = (Vec::new(), Instant::now());
    let mut number = 0_u64;
    while began.elapsed() < lasts {
        number += 1;
        let (sent, key) = (Instant::now(), number.to_string());
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).map_err(|(error, _)| error)?;
        told.recv_timeout(ANSWERED).context("a message without a report")?;
        took.push(sent.elapsed());
    }
    producer.flush(ANSWERED)?;
    took.sort();
    Ok(Run { value: took[took.len() / 2].as_secs_f64(), ..Run::default() })
}
