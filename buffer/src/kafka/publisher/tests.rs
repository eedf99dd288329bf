use std::time::Duration;

use floodgate_schemas::EventType;
use floodgate_testkit::{Kafka, KafkaOptions, faults, wait};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use parking_lot::Mutex;

use super::*;
use crate::kafka::config::KafkaConfig;
use crate::kafka::testing::{self, Meeting};
use crate::publish::NotStored;
use crate::{Offset, Outcome, Partition, Receipts, Strategy, Topics, Wake};

fn start(strategy: &crate::kafka::Kafka) -> Result<Arc<KafkaPublisher>, OpenError> {
    KafkaPublisher::start(&strategy.settings, &strategy.names, &strategy.topics, Arc::new(NotStored))
}

fn outcome_of_one(publisher: &KafkaPublisher) -> Result<Outcome, Refused> {
    let receipts = Receipts::new(1);
    let topic = Topic::Events(EventType::Like);
    let record = Record { topic, key: Some(b"k"), value: Some(b"v"), headers: &[] };
    publisher.offer(&record, receipts.receipt(0))?;
    futures_executor::block_on(receipts.all());
    Ok(receipts.outcome(0))
}

/// Keeps what it is given.
#[derive(Default)]
struct Elsewhere(Mutex<Vec<String>>);

impl Spill for Elsewhere {
    fn spill(&self, record: &Record<'_>, receipt: Receipt) -> Option<Wake> {
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let headers =
            record.headers.iter().map(|(name, value)| format!("{}={:?}", text(name), value.map(text)));
        let (key, value) = (record.key.map(text), record.value.map(text));
        let headers: Vec<_> = headers.collect();
        self.0.lock().push(format!("{:?} {key:?} {value:?} {headers:?}", record.topic));
        receipt.complete(Outcome::Stored)
    }
}

/// Whatever way they took, records that are certainly not stored come back as they were offered, and whoever takes them says
/// what became of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_can_go_elsewhere() {
    for linger_above_events in [0, 1000] {
        // nobody listens there
        let config = testing::config("127.0.0.1:9".to_owned());
        let config = KafkaConfig { message_timeout_ms: 300, linger_above_events, ..config };
        let (strategy, elsewhere) = (testing::strategy_with(&config), Arc::new(Elsewhere::default()));
        let spill = Arc::clone(&elsewhere) as Arc<dyn Spill>;
        let publisher =
            KafkaPublisher::start(&strategy.settings, &strategy.names, &strategy.topics, spill).unwrap();
        let receipts = Receipts::new(4);
        let headers: [crate::Header<'_>; 3] = [(b"one", Some(b"1")), (b"none", None), (b"one", Some(b""))];
        let like = Topic::Events(EventType::Like);
        let records = [
            Record { topic: like, key: Some(b"k"), value: Some(b"first"), headers: &[] },
            Record { topic: like, key: Some(b"k"), value: None, headers: &headers },
            Record { topic: like, key: Some(b"k"), value: Some(b""), headers: &[] },
            Record { topic: Topic::DeadLetters, key: None, value: Some(b"letter"), headers: &headers },
        ];
        for (index, record) in records.iter().enumerate() {
            publisher.offer(record, receipts.receipt(index)).unwrap();
        }
        receipts.all().await;
        assert!((0..4).all(|index| receipts.outcome(index) == Outcome::Stored));
        let mut came = elsewhere.0.lock().clone();
        // of each topic in order
        came.sort_by_key(|record| record.starts_with("DeadLetters"));
        let headers = r#"["one=Some(\"1\")", "none=None", "one=Some(\"\")"]"#;
        let wanted = [
            r#"Events(Like) Some("k") Some("first") []"#.to_owned(),
            format!(r#"Events(Like) Some("k") None {headers}"#),
            r#"Events(Like) Some("k") Some("") []"#.to_owned(),
            format!(r#"DeadLetters None Some("letter") {headers}"#),
        ];
        assert_eq!(came, wanted, "linger_above_events = {linger_above_events}");
        assert_eq!(publisher.waiting().events, 0);
    }
}

/// The broker refuses a producer's first batch and takes its second, which was under way: librdkafka then
/// reports both as delivered. Only the second one is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_acknowledged_by_implication_is_not_stored() {
    let cluster = MockCluster::new(1).unwrap();
    let config = KafkaConfig {
        requests_in_flight_max: 5,
        // every record is a batch
        client: toml::toml! { "batch.num.messages" = 1 }.try_into().unwrap(),
        ..testing::config(cluster.bootstrap_servers())
    };
    let strategy = testing::strategy_with(&config);
    strategy.names.all_topics().iter().for_each(|name| cluster.create_topic(name, 1, 1).unwrap());
    let publisher = start(&strategy).unwrap();
    wait_ready(&publisher);

    cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION],
    );
    let receipts = Receipts::new(2);
    let topic = Topic::Events(EventType::Like);
    for index in 0..2 {
        let record = Record { topic, key: Some(b"k"), value: Some(b"v"), headers: &[] };
        publisher.offer(&record, receipts.receipt(index)).unwrap();
    }
    futures_executor::block_on(receipts.all());
    assert_eq!([receipts.outcome(0), receipts.outcome(1)], [Outcome::Unknown, Outcome::Stored]);
}

/// A record that was sent and not answered for in time may be in the log: nobody may say that it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_timed_out_on_the_way_is_unknown() {
    let cluster = MockCluster::new(1).unwrap();
    let config = KafkaConfig { message_timeout_ms: 1000, ..testing::config(cluster.bootstrap_servers()) };
    let strategy = testing::strategy_with(&config);
    strategy.names.all_topics().iter().for_each(|name| cluster.create_topic(name, 1, 1).unwrap());
    let publisher = start(&strategy).unwrap();
    wait_ready(&publisher);
    assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Stored));
    cluster.broker_round_trip_time(1, Duration::from_secs(8)).unwrap();
    assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Unknown));
}

/// Scenario 8 of the fault suite: in the middle of a stream of records the idempotent producer meets a fatal error,
/// which only librdkafka itself can raise at will. A new producer takes over; what was acknowledged is in the log,
/// what was refused or reported as not stored is not.
#[tokio::test(flavor = "multi_thread")]
async fn fatal_error_of_the_producer() {
    let kafka = Kafka::start(KafkaOptions::default()).unwrap();
    let mut strategy = testing::strategy_with(&testing::config(kafka.bootstrap()));
    // so that each producer has some
    strategy.topics.partitions = 4;
    strategy.create().unwrap();
    let publisher = start(&strategy).unwrap();
    wait_ready(&publisher);
    for seed in faults::seeds("fatal_error_of_the_producer") {
        let began = Instant::now();
        let broken = Arc::clone(&publisher.shared.current.read());
        let receipts = Receipts::new(RECORDS);
        // the seed decides how far the stream is by then
        let raise_at = (seed as usize * 7919) % (RECORDS - 200);
        let mut refused = Vec::new();
        let mut raised = began;
        for index in 0..RECORDS {
            if index == raise_at {
                raised = Instant::now();
                broken.raise_fatal_error();
            }
            let (key, value) = (index.to_string(), format!("{seed}:{index}"));
            let topic = Topic::Events(EventType::Like);
            let record =
                Record { topic, key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &[] };
            if publisher.offer(&record, receipts.receipt(index)).is_err() {
                refused.push(index);
            }
        }
        futures_executor::block_on(receipts.all());
        wait::until("new producers", Duration::from_secs(30), || {
            (!Arc::ptr_eq(&broken, &publisher.shared.current.read())).then_some(())
        })
        .unwrap();
        assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Stored));
        let recovered = raised.elapsed();
        assert_eq!(publisher.waiting(), Waiting::default());

        let there = values(&strategy, seed);
        for index in 0..RECORDS {
            let times = there.iter().filter(|found| **found == index).count();
            let fits = match receipts.outcome(index) {
                _ if refused.contains(&index) => times == 0,
                Outcome::Stored | Outcome::Spilled => times == 1,
                Outcome::NotStored => times == 0,
                Outcome::Unknown => times <= 1,
            };
            assert!(fits, "seed {seed}: {index} is there {times} times: {:?}", receipts.outcome(index));
        }
        faults::note("8", "fatal_error_of_the_producer", seed, began.elapsed(), recovered);
    }
}

/// As many as are on their way at once.
const RECORDS: usize = 900;

/// The numbers of this seed's records in the log.
fn values(strategy: &crate::kafka::Kafka, seed: u64) -> Vec<usize> {
    let mut log = strategy.logs().unwrap().open(Topic::Events(EventType::Like)).unwrap();
    let mut found = Vec::new();
    for (partition, mut range) in log.bounds().unwrap().known {
        while range.start < range.end {
            let chunk = log.read(partition, range.clone(), 1000).unwrap();
            let values = chunk.batch.iter().filter_map(|record| {
                let (of, index) = std::str::from_utf8(record.value?).ok()?.split_once(':')?;
                (of == seed.to_string()).then(|| index.parse::<usize>().ok())?
            });
            found.extend(values);
            range.start = chunk.next;
        }
    }
    found
}

/// A broker that takes records, and a publisher that is ready.
fn on_a_mock(
    config: impl FnOnce(KafkaConfig) -> KafkaConfig,
) -> (MockCluster<'static, DefaultProducerContext>, crate::kafka::Kafka, Arc<KafkaPublisher>) {
    let cluster = MockCluster::new(1).unwrap();
    let strategy = testing::strategy_with(&config(testing::config(cluster.bootstrap_servers())));
    strategy.names.all_topics().iter().for_each(|name| cluster.create_topic(name, 1, 1).unwrap());
    let publisher = start(&strategy).unwrap();
    wait_ready(&publisher);
    (cluster, strategy, publisher)
}

fn wait_ready(publisher: &KafkaPublisher) {
    let mut reason = String::new();
    let ready = wait::until("readiness", Duration::from_secs(30), || {
        publisher.ready().inspect_err(|error| reason.clone_from(error)).ok()
    });
    assert!(ready.is_ok(), "{reason}");
}

/// A part that panics holds up nobody: what it held reads as unknown, is counted out, and the part runs again.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_panic_leave_no_receipt_open() {
    // every record gathers
    let (_cluster, _, publisher) =
        on_a_mock(|config| KafkaConfig { linger_above_events: 0, linger_ms: 5, ..config });
    let panics = |part: &str| {
        let all = Parts::of_this_process().panics();
        all.iter().find(|(name, _)| name == part).map_or(0, |(_, count)| *count)
    };
    for (part, name) in
        [(Part::Linger, "kafka-linger"), (Part::Probe, "kafka-probe"), (Part::Delivery, "kafka-delivery")]
    {
        let before = panics(name);
        publisher.shared.planted.plant(part, move || panic!("planted in {part:?}"));
        publisher.shared.deliveries.look_now();
        // three at a time, so that some gather
        let receipts = Receipts::new(3);
        let topic = Topic::Events(EventType::Like);
        for index in 0..3 {
            let record = Record { topic, key: Some(b"k"), value: Some(b"v"), headers: &[] };
            publisher.offer(&record, receipts.receipt(index)).unwrap();
        }
        tokio::time::timeout(Duration::from_secs(20), receipts.all()).await.expect("a receipt is left open");
        wait::until("the panic", Duration::from_secs(20), || (panics(name) > before).then_some(())).unwrap();
        assert!(Parts::of_this_process().trouble().is_some(), "readiness says nothing of {name}");
        wait::until("records to be stored again", Duration::from_secs(20), || {
            (outcome_of_one(&publisher) == Ok(Outcome::Stored)).then_some(())
        })
        .unwrap();
        if part == Part::Delivery {
            assert!(Parts::of_this_process().died().unwrap().contains(name), "reports may be lost");
        } else {
            assert_eq!(publisher.waiting(), Waiting::default(), "{name} left something behind");
        }
    }
}

/// Events of one request, and of one key, are in the log in the order they came, also where the first of them gathers
/// while others are handed over and few are under way when the next one comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_during_a_hand_over_is_not_overtaken_after_it() {
    let (_cluster, strategy, publisher) =
        on_a_mock(|config| KafkaConfig { linger_above_events: 10, linger_ms: 1, ..config });
    let meeting = Arc::new(Meeting::default());
    for part in [Part::HandingOver, Part::HandedOver] {
        let meeting = Arc::clone(&meeting);
        publisher.shared.planted.plant(part, move || meeting.come());
    }
    let receipts = Receipts::new(3);
    let offer = |index: usize| {
        let value = index.to_string();
        let topic = Topic::Events(EventType::Like);
        let record = Record { topic, key: Some(b"k"), value: Some(value.as_bytes()), headers: &[] };
        publisher.offer(&record, receipts.receipt(index)).unwrap();
    };
    // others that are under way: what comes meanwhile gathers
    (0..20).for_each(|_| _ = publisher.admit(0, &mut Receipts::new(1).receipt(0)).unwrap());
    offer(0);
    meeting.take_place(|| {
        (0..20).for_each(|_| publisher.counts.release(0));
        offer(1);
    });
    meeting.take_place(|| offer(2));
    tokio::time::timeout(Duration::from_secs(30), receipts.all()).await.expect("a receipt is left open");
    // a mocked broker does not say where its log begins and ends
    let mut log = strategy.logs().unwrap().open(Topic::Events(EventType::Like)).unwrap();
    let chunk = log.read(Partition(0), Offset(0)..Offset(3), 3).unwrap();
    let values: Vec<_> = chunk.batch.iter().filter_map(|record| record.value).collect();
    assert_eq!(values, [b"0", b"1", b"2"]);
}

/// Readiness is about deliveries: a cluster that answers every question and takes no record is not ready, and is when it does.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_deliveries() {
    let (cluster, _, publisher) = on_a_mock(|config| config);
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP; 40];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusals);
    let mut outcomes = Vec::new();
    let unready = wait::until("unreadiness", Duration::from_secs(30), || {
        outcomes.push((outcome_of_one(&publisher), publisher.shared.deliveries.failing()));
        publisher.ready().err()
    });
    let told = unready.as_ref().is_ok_and(|reason| reason.contains("set this machine's clock"));
    assert!(told, "{unready:?}: {outcomes:?}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    // nobody writes meanwhile
    wait_ready(&publisher);
    assert_eq!(outcome_of_one(&publisher), Ok(Outcome::Stored));
}
