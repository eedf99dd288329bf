//! Looking at the topics: partitions, replicas, properties, and whether these are as the promises need them.

use std::collections::HashMap;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::types::RDKafkaErrorCode;

use super::super::cause::{Asking, explain};
use super::super::client::ASK_TIMEOUT;
use super::super::client::ClientSettings;
use super::super::native::ask::{TopicThere, describe_topics};
use super::connect;
use super::promises::{self, Found, LOOKED_AT};
use crate::{Names, Topic, TopicDescription, TopicProperties, TopicsConfig, TopicsError};

/// How old the oldest record of a topic is that its group has not applied, in milliseconds, where it is known.
pub(in crate::kafka) type OldestUnapplied<'a> = &'a dyn Fn(Topic) -> Option<i64>;

/// All topics as they are.
pub(in crate::kafka) fn describe(
    settings: &ClientSettings,
    names: &Names,
    config: &TopicsConfig,
    oldest_unapplied: OldestUnapplied<'_>,
) -> Result<Vec<TopicDescription>, TopicsError> {
    describe_with(&connect(settings)?, settings, names, config, oldest_unapplied)
}

pub(super) fn describe_with(
    admin: &AdminClient<Asking>,
    settings: &ClientSettings,
    names: &Names,
    config: &TopicsConfig,
    oldest_unapplied: OldestUnapplied<'_>,
) -> Result<Vec<TopicDescription>, TopicsError> {
    let brokers = &settings.kafka.brokers;
    let there = there(admin, names)?;
    let known: Vec<&str> =
        there.iter().filter(|topic| topic.partitions.is_ok()).map(|topic| topic.name.as_str()).collect();
    let mut properties = properties(admin, &known);
    let describe = |topic: Topic| {
        let name = names.topic(topic).to_owned();
        let found = there.iter().find(|there| there.name == name).map(|there| &there.partitions);
        let partitions = match found {
            Some(Ok(partitions)) => partitions.clone(),
            None | Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                return TopicDescription::missing(name);
            }
            Some(Err(code)) => {
                let error = rdkafka::error::KafkaError::MetadataFetch(*code);
                let trouble = explain(admin.inner(), &error);
                return TopicDescription { trouble: Some(trouble), ..TopicDescription::missing(name) };
            }
        };
        let properties =
            properties.remove(&name).unwrap_or_else(|| Err("the cluster does not tell them".to_owned()));
        let found = Found {
            topic,
            name: &name,
            properties: properties.as_ref().ok(),
            partitions: &partitions,
            oldest_unapplied_ms: oldest_unapplied(topic),
        };
        let findings = promises::findings(&found, config, brokers);
        let shown = |properties: HashMap<String, String>| -> Vec<(String, String)> {
            let value = |name: &&str| Some(((*name).to_owned(), properties.get(*name)?.clone()));
            LOOKED_AT.iter().filter_map(value).collect()
        };
        let properties = match properties {
            Ok(properties) => TopicProperties::Are(shown(properties)),
            Err(reason) => TopicProperties::NotChecked(reason),
        };
        TopicDescription { name, partitions: Some(partitions), trouble: None, properties, findings }
    };
    Ok(Topic::ALL.map(describe).into())
}

/// Whether the cleaner removes records of this topic by key.
pub(in crate::kafka) fn is_compacted(settings: &ClientSettings, name: &str) -> Result<bool, TopicsError> {
    let unknown = |reason: &str| TopicsError(format!("cleanup.policy of {name} cannot be read: {reason}"));
    let found = properties(&connect(settings)?, &[name]).remove(name);
    let found = found.ok_or_else(|| unknown("no answer"))?.map_err(|reason| unknown(&reason))?;
    let policy = found.get("cleanup.policy").ok_or_else(|| unknown("the brokers do not tell it"))?;
    Ok(policy.split(',').any(|word| word.trim() == "compact"))
}

/// What there is of each topic.
pub(super) fn there(admin: &AdminClient<Asking>, names: &Names) -> Result<Vec<TopicThere>, TopicsError> {
    describe_topics(admin.inner(), &names.all_topics(), ASK_TIMEOUT)
        .map_err(|error| TopicsError(explain(admin.inner(), &error)))
}

/// Each topic's properties, or why they are not told: many clusters do not let everyone see them.
fn properties(
    admin: &AdminClient<Asking>,
    topics: &[&str],
) -> HashMap<String, Result<HashMap<String, String>, String>> {
    let wanted: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    let told = futures_executor::block_on(admin.describe_configs(&wanted, &options));
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            let reason = explain(admin.inner(), &error);
            return topics.iter().map(|name| ((*name).to_owned(), Err(reason.clone()))).collect();
        }
    };
    // the answers come in the order of the questions
    let of_topic = topics.iter().zip(told).map(|(name, told)| {
        let properties = told.map(|resource| {
            let value = |entry: rdkafka::admin::ConfigEntry| Some((entry.name, entry.value?));
            resource.entries.into_iter().filter_map(value).collect()
        });
        let denied = |code: RDKafkaErrorCode| match code {
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                "the permission DESCRIBE_CONFIGS on the topic is denied".to_owned()
            }
            code => code.to_string(),
        };
        ((*name).to_owned(), properties.map_err(denied))
    });
    of_topic.collect()
}
