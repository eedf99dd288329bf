//! Creating and describing topics.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{ClientSettings, DEAD_LETTER_MAX_BYTES, EVENT_MAX_BYTES};
use super::offsets::{Bound, bounds, topic_facts};
use super::{ASK_TIMEOUT, Names};
use crate::{
    PartitionDescription, Topic, TopicDescription, TopicReport, TopicState, TopicsConfig, TopicsError,
};

/// How long the cluster may take to create topics.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

fn connect(settings: &ClientSettings) -> Result<(AdminClient<DefaultClientContext>, Metadata), TopicsError> {
    let brokers = &settings.kafka.brokers;
    let admin: AdminClient<_> =
        settings.asking().create().map_err(|error| TopicsError(format!("no Kafka client: {error}")))?;
    let metadata = admin.inner().fetch_metadata(None, ASK_TIMEOUT).map_err(|error| {
        TopicsError(format!(
            "Kafka at {brokers} does not answer ({error}); is it up, and is buffer.kafka.brokers right?"
        ))
    })?;
    Ok((admin, metadata))
}

pub(super) fn create(
    settings: &ClientSettings,
    names: &Names,
    config: &TopicsConfig,
) -> Result<Vec<TopicReport>, TopicsError> {
    let (admin, metadata) = connect(settings)?;
    let mut created = HashMap::new();
    let there = |name: &str| metadata.topics().iter().find(|topic| topic.name() == name);
    let missing: Vec<_> =
        Topic::ALL.into_iter().filter(|topic| there(names.topic(*topic)).is_none()).collect();
    if !missing.is_empty() {
        let properties: Vec<_> = missing.iter().map(|topic| properties(*topic, config)).collect();
        let wanted: Vec<_> = missing
            .iter()
            .zip(&properties)
            .map(|(topic, properties)| new_topic(names.topic(*topic), config, properties))
            .collect();
        let options =
            AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT));
        let outcome = futures_executor::block_on(admin.create_topics(&wanted, &options))
            .map_err(|error| TopicsError(format!("topics not created: {error}")))?;
        for result in outcome {
            match result {
                Ok(name) => created.insert(name, TopicState::Created),
                // somebody else was faster, which is as good
                Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    created.insert(name, TopicState::Existed)
                }
                Err((name, code)) => {
                    return Err(TopicsError(format!("topic {name} not created: {code}")));
                }
            };
        }
        wait_until_led(settings, names)?;
    }
    let report = |topic: Topic| {
        let name = names.topic(topic).to_owned();
        let wanted = config.partitions as usize;
        let state = match (created.remove(&name), there(&name).map(|topic| topic.partitions().len())) {
            (Some(state), _) => state,
            (None, Some(has)) if has != wanted => TopicState::Differs { has, wanted },
            (None, _) => TopicState::Existed,
        };
        TopicReport { name, state }
    };
    Ok(Topic::ALL.into_iter().map(report).collect())
}

/// The controller answers before the brokers know, and a broker names itself as leader before it acts as one: waits
/// until every partition answers a question that only its leader can. Records sent before that are refused.
fn wait_until_led(settings: &ClientSettings, names: &Names) -> Result<(), TopicsError> {
    let consumer: BaseConsumer = settings
        .onlooker("floodgate.topics")
        .create()
        .map_err(|error| TopicsError(format!("no Kafka client: {error}")))?;
    let ends = |name: &String| -> KafkaResult<()> {
        let facts = topic_facts(&consumer, name)?;
        if let Some((partition, _)) = facts.partitions.iter().find(|(_, is_led)| !is_led) {
            tracing::debug!(topic = name, %partition, "not led yet");
        }
        let [ends] = bounds(&consumer, name, &facts, [Bound::End])?;
        ends.into_values().try_for_each(|end| end.map(drop))
    };
    let until = Instant::now() + CREATE_TIMEOUT;
    for name in &names.topics {
        while let Err(error) = ends(name) {
            if Instant::now() > until {
                return Err(TopicsError(format!(
                    "topics created, but {name} cannot be used yet ({error}); is every broker up?"
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Durable defaults, spelled out so that a cluster's own defaults do not decide.
fn properties(topic: Topic, config: &TopicsConfig) -> Vec<(&'static str, String)> {
    let (retention_hours, max_bytes) = match topic {
        Topic::Events(_) => (config.retention_hours, EVENT_MAX_BYTES),
        Topic::DeadLetters => (config.dead_letter_retention_hours, DEAD_LETTER_MAX_BYTES),
    };
    // with three copies two must have a record before it is acknowledged; with fewer, one more loss of a
    // broker would stop all writes
    let min_in_sync = if config.replication_factor >= 3 { 2 } else { 1 };
    vec![
        ("min.insync.replicas", min_in_sync.to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", (retention_hours * 3_600_000).to_string()),
        ("retention.bytes", "-1".to_owned()),
        ("max.message.bytes", max_bytes.to_string()),
        ("message.timestamp.type", "CreateTime".to_owned()),
    ]
}

fn new_topic<'a>(
    name: &'a str,
    config: &TopicsConfig,
    properties: &'a [(&'static str, String)],
) -> NewTopic<'a> {
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    let replication = i32::try_from(config.replication_factor).unwrap_or(i32::MAX);
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    properties.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
}

pub(super) fn describe(
    settings: &ClientSettings,
    names: &Names,
) -> Result<Vec<TopicDescription>, TopicsError> {
    let (_, metadata) = connect(settings)?;
    let describe = |topic: Topic| {
        let name = names.topic(topic);
        let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        let partitions = found.map(|topic| {
            let mut partitions: Vec<_> = topic
                .partitions()
                .iter()
                .map(|partition| PartitionDescription {
                    partition: partition.id(),
                    leader: partition.leader(),
                    replicas: partition.replicas().to_vec(),
                    in_sync: partition.isr().to_vec(),
                })
                .collect();
            partitions.sort_by_key(|partition| partition.partition);
            partitions
        });
        TopicDescription { name: name.to_owned(), partitions }
    };
    Ok(Topic::ALL.into_iter().map(describe).collect())
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;

    use super::*;

    #[test]
    fn topics_are_durable_by_default() {
        let of = |topic, replication_factor| -> HashMap<&str, String> {
            let config = TopicsConfig {
                partitions: 10,
                replication_factor,
                prefix: String::new(),
                retention_hours: 2,
                dead_letter_retention_hours: 3,
            };
            properties(topic, &config).into_iter().collect()
        };
        let event = of(Topic::Events(EventType::Like), 3);
        assert_eq!(event["min.insync.replicas"], "2");
        assert_eq!(event["unclean.leader.election.enable"], "false");
        assert_eq!(event["retention.ms"], "7200000");
        assert_eq!(of(Topic::Events(EventType::Like), 1)["min.insync.replicas"], "1");
        let letters = of(Topic::DeadLetters, 3);
        assert_eq!(letters["retention.ms"], "10800000");
        let bytes =
            |properties: &HashMap<&str, String>| properties["max.message.bytes"].parse::<usize>().unwrap();
        assert!(bytes(&letters) > bytes(&event), "a dead letter carries its event and headers");
    }
}
