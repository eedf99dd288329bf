//! Creating the topics that are missing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use super::super::cause::{Asking, explain};
use super::super::client::ASK_TIMEOUT;
use super::super::client::ClientSettings;
use super::connect;
use super::describe::{describe_with, there};
use super::promises;
use crate::{Names, Topic, TopicReport, TopicState, TopicsConfig, TopicsError};

/// How long the cluster may take to create topics.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates what is missing, and looks at all there is afterwards.
pub(in crate::kafka) fn create(
    settings: &ClientSettings,
    names: &Names,
    config: &TopicsConfig,
) -> Result<Vec<TopicReport>, TopicsError> {
    let admin = connect(settings)?;
    let mut missing = Vec::new();
    for topic in there(&admin, names)? {
        match topic.partitions {
            Ok(_) => {}
            Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                missing.extend(Topic::ALL.into_iter().filter(|of| names.topic(*of) == topic.name));
            }
            Err(code) => {
                let reason = explain(admin.inner(), &KafkaError::MetadataFetch(code));
                return Err(TopicsError(format!("topic {}: {reason}", topic.name)));
            }
        }
    }
    let mut created = HashMap::new();
    if !missing.is_empty() {
        created = create_missing(&admin, names, config, &missing)?;
        wait_until_led(&admin, names)?;
    }
    let report = |description: crate::TopicDescription| {
        let has = description.partitions.as_ref().map_or(0, Vec::len);
        let wanted = config.partitions as usize;
        let state = match created.remove(&description.name) {
            Some(state) => state,
            None if has != wanted => TopicState::Differs { has, wanted },
            None => TopicState::Existed,
        };
        TopicReport { state, description }
    };
    Ok(describe_with(&admin, settings, names, config, &|_| None)?.into_iter().map(report).collect())
}

fn create_missing(
    admin: &AdminClient<Asking>,
    names: &Names,
    config: &TopicsConfig,
    missing: &[Topic],
) -> Result<HashMap<String, TopicState>, TopicsError> {
    let properties: Vec<_> = missing.iter().map(|topic| promises::wanted(*topic, config)).collect();
    let wanted: Vec<_> = missing
        .iter()
        .zip(&properties)
        .map(|(topic, properties)| new_topic(names.topic(*topic), config, properties))
        .collect();
    let options =
        AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT));
    let outcome = futures_executor::block_on(admin.create_topics(&wanted, &options))
        .map_err(|error| TopicsError(format!("topics not created: {}", explain(admin.inner(), &error))))?;
    let state = |result| match result {
        Ok(name) => Ok((name, TopicState::Created)),
        // somebody else was faster, which is as good
        Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => Ok((name, TopicState::Existed)),
        Err((name, code)) => {
            let reason = explain(admin.inner(), &KafkaError::AdminOp(code));
            Err(TopicsError(format!("topic {name} not created: {reason}")))
        }
    };
    outcome.into_iter().map(state).collect()
}

/// The controller answers before the brokers know, and a broker names itself as leader before it acts as one: waits
/// until every partition answers a question that only its leader can. Records sent before that are refused.
fn wait_until_led(admin: &AdminClient<Asking>, names: &Names) -> Result<(), TopicsError> {
    let client = admin.inner();
    let ends = |name: &str| -> KafkaResult<()> {
        let metadata = client.fetch_metadata(Some(name), ASK_TIMEOUT)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        let found = found.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))?;
        let ask = |partition: i32| client.fetch_watermarks(name, partition, ASK_TIMEOUT).map(drop);
        found.partitions().iter().try_for_each(|partition| ask(partition.id()))
    };
    let until = Instant::now() + CREATE_TIMEOUT;
    for name in names.all_topics() {
        while let Err(error) = ends(name) {
            if Instant::now() > until {
                return Err(TopicsError(format!(
                    "topics created, but {name} cannot be used yet: {}; is every broker up?",
                    explain(client, &error)
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
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
