//! Whether records can be stored now: what readiness says.
//!
//! *Ready* has to mean that a record sent now would be acknowledged, also while nobody sends any: behind a load balancer
//! nothing comes to a publisher that was found unready, and it has to find out for itself when that is over. So the probe
//! asks for what a delivery needs, in its order: the topics by name, with what this client may do there; their leaders, each
//! by a question that only it answers, over the connections that records take; the properties that promises rest on
//! ([`super::topics`], every few minutes); whether the producers live; and at last what became of the deliveries themselves
//! ([`super::health`]), which knows of causes nobody thought of.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::client::ASK_TIMEOUT;
use super::generation::Generation;
use super::health::{Deliveries, Standing};
use super::native::ask::{TopicThere, describe_topics};
use super::native::producer::Context;
use super::producing::Producing;
use super::topics;
use crate::{PartitionDescription, Topic, TopicDescription, TopicFinding, TopicProperties};

/// How often readiness is asked of the cluster while it is good, and while it is not.
const INTERVAL_READY: Duration = Duration::from_secs(5);
const INTERVAL_UNREADY: Duration = Duration::from_millis(500);

/// How long one leader may take, which holds up the others.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the topics' properties are looked at, and while something is wrong with them or deliveries fail.
const TOPICS_INTERVAL: Duration = Duration::from_secs(300);
const TOPICS_INTERVAL_TROUBLED: Duration = Duration::from_secs(2);

/// What the probe remembers from look to look.
pub(super) struct Probe {
    standing: Standing,
    /// The last reason that was told; `None` once all is well.
    told: Option<String>,
    has_been_ready: bool,
    /// The cluster or the producers were in trouble at the last look.
    in_trouble: bool,
    /// Leaders that cannot be reached, while others can.
    partly: Option<String>,
    topics: Topics,
}

/// What was found of the topics' properties.
struct Topics {
    next: Instant,
    /// `None` before the first look.
    found: Option<Vec<TopicFinding>>,
    not_checked: Option<String>,
}

impl Default for Probe {
    fn default() -> Self {
        let topics = Topics { next: Instant::now(), found: None, not_checked: None };
        Self {
            standing: Standing::default(),
            told: None,
            has_been_ready: false,
            in_trouble: false,
            partly: None,
            topics,
        }
    }
}

impl Probe {
    /// Looks again and again until the publisher is gone.
    pub(super) fn run(&mut self, publisher: &Weak<Producing>, deliveries: &Deliveries) {
        while let Some(alive) = publisher.upgrade() {
            #[cfg(test)]
            alive.planted.meet(super::planted::Part::Probe);
            let found = self.look(&alive);
            self.tell(&found, &alive.settings.kafka.brokers);
            let is_well = found.is_ok() && deliveries.failing().is_none();
            *alive.health.lock() = found;
            drop(alive);
            deliveries.wait(if is_well { INTERVAL_READY } else { INTERVAL_UNREADY });
        }
    }

    fn tell(&mut self, found: &Result<(), String>, brokers: &str) {
        match found {
            Err(reason) if self.told.as_ref() != Some(reason) => {
                tracing::warn!("cannot take events: {reason}");
                self.told = Some(reason.clone());
            }
            // records that get another try have not come through yet
            Ok(()) if (self.told.is_some() || !self.has_been_ready) && !self.standing.tries() => {
                tracing::info!(%brokers, "Kafka can take events");
                self.told = None;
                self.has_been_ready = true;
            }
            _ => {}
        }
    }

    fn look(&mut self, publisher: &Producing) -> Result<(), String> {
        let current = Arc::clone(&publisher.current.read());
        let asked = self
            .ask(publisher, &current)
            .and_then(|()| self.topics.look(publisher, false))
            .and_then(|()| producers(publisher, &current));
        let deliveries = &publisher.deliveries;
        let was_in_trouble = std::mem::replace(&mut self.in_trouble, asked.is_err());
        asked?;
        if was_in_trouble {
            // the cause is gone: what failed meanwhile says nothing about now
            self.standing.excuse(deliveries.now());
            publisher.rebuilds.lock().hurry();
        }
        let failing = self.standing.judge(deliveries.now(), deliveries.failing(), deliveries.has_stored());
        if let Some(code) = failing {
            if code == RDKafkaErrorCode::MessageTimedOut && self.topics.not_checked.is_none() {
                // perhaps too few replicas are in sync
                self.topics.look(publisher, true)?;
            }
            return Err(self.deliveries_fail(publisher, code));
        }
        publisher.heard.forget();
        Ok(())
    }

    fn ask(&mut self, publisher: &Producing, current: &Generation) -> Result<(), String> {
        let Some(client) = current.clients().next() else { return Ok(()) };
        let explain = |error: KafkaError| publisher.explain(&error);
        let topics = describe_topics(client, &publisher.names.all_topics(), ASK_TIMEOUT).map_err(explain)?;
        permitted(publisher, &topics)?;
        // what the other producers know of the cluster is kept fresh besides
        for client in current.clients().skip(1) {
            client.fetch_metadata(None, ASK_TIMEOUT).map_err(explain)?;
        }
        let partly = leaders(publisher, client, &topics)?;
        if self.partly != partly {
            match &partly {
                Some(partly) => tracing::warn!("events of some keys are not taken: {partly}"),
                None => tracing::info!("all leaders can be reached again"),
            }
            self.partly = partly;
        }
        Ok(())
    }

    /// Everything that was asked is well, and yet.
    fn deliveries_fail(&self, publisher: &Producing, code: RDKafkaErrorCode) -> String {
        let brokers = &publisher.settings.kafka.brokers;
        if code != RDKafkaErrorCode::MessageTimedOut {
            let reason = publisher.explain(&KafkaError::MessageProduction(code));
            return format!("the last events were not stored: {reason}");
        }
        let finding =
            self.topics.found.iter().flatten().find(|finding| finding.property == "replicas in sync");
        let why = finding.map_or(String::new(), |finding| format!(": {finding}"));
        format!(
            "the last events were not acknowledged within buffer.kafka.message_timeout_ms by Kafka at {brokers}{why}"
        )
    }
}

/// Whether the topics are there and this client may write to them.
fn permitted(publisher: &Producing, topics: &[TopicThere]) -> Result<(), String> {
    let brokers = &publisher.settings.kafka.brokers;
    let named = |is: &dyn Fn(&TopicThere) -> bool| -> Vec<String> {
        topics.iter().filter(|topic| is(topic)).map(|topic| topic.name.clone()).collect()
    };
    // an ingress needs no right on the dead letters; a consumer that lacks it says so when there is one
    let letters = publisher.names.topic(Topic::DeadLetters);
    let denied = named(&|topic| {
        let is_hidden = matches!(topic.partitions, Err(RDKafkaErrorCode::TopicAuthorizationFailed));
        topic.name != letters && (is_hidden || topic.may_write == Some(false))
    });
    if !denied.is_empty() {
        return Err(format!(
            "Kafka at {brokers} denies writing to {}: grant this client's principal WRITE on the topics \
             (TOPIC_AUTHORIZATION_FAILED)",
            denied.join(", ")
        ));
    }
    let missing = named(&|topic| {
        use RDKafkaErrorCode::{UnknownTopic, UnknownTopicOrPartition};
        matches!(topic.partitions, Err(UnknownTopic | UnknownTopicOrPartition))
    });
    if !missing.is_empty() {
        return Err(format!(
            "topics missing in Kafka: {}; run `floodgate topics create`",
            missing.join(", ")
        ));
    }
    let trouble = topics.iter().filter(|topic| topic.name != letters);
    let trouble =
        trouble.filter_map(|topic| topic.partitions.as_ref().err().map(|code| (&topic.name, *code)));
    let Some((name, code)) = trouble.into_iter().next() else { return Ok(()) };
    Err(format!("topic {name}: {}", publisher.explain(&KafkaError::MetadataFetch(code))))
}

/// Asks each leader of an event topic. None that answers is an error; some that do not are told.
fn leaders(
    publisher: &Producing,
    client: &Client<Context>,
    topics: &[TopicThere],
) -> Result<Option<String>, String> {
    let letters = publisher.names.topic(Topic::DeadLetters);
    let mut leaders: BTreeMap<i32, (&str, &PartitionDescription, usize)> = BTreeMap::new();
    let mut without_leader = 0;
    for topic in topics.iter().filter(|topic| topic.name != letters) {
        for partition in topic.partitions.iter().flatten() {
            match partition.leader {
                ..0 => without_leader += 1,
                leader => leaders.entry(leader).or_insert((&topic.name, partition, 0)).2 += 1,
            }
        }
    }
    let mut unreached = Vec::new();
    for (leader, (topic, partition, count)) in &leaders {
        if let Err(error) = client.fetch_watermarks(topic, partition.partition, LEADER_TIMEOUT)
            && !is_answer(&error)
        {
            unreached.push((leader, count, error));
        }
    }
    if leaders.is_empty() {
        return Err(format!(
            "no partition of the topics in Kafka at {} has a leader; are all brokers up?",
            publisher.settings.kafka.brokers
        ));
    }
    let Some((_, _, error)) = unreached.first() else {
        return Ok((without_leader > 0)
            .then(|| format!("{without_leader} partitions have no leader; are all brokers up?")));
    };
    let explained = publisher.explain(error);
    if unreached.len() == leaders.len() {
        return Err(explained);
    }
    let told =
        unreached.iter().map(|(leader, count, _)| format!("broker {leader}, leader of {count} partitions"));
    Ok(Some(format!("{} cannot be reached: {explained}", told.collect::<Vec<_>>().join(", "))))
}

/// Whether a broker was reached, whatever it said.
fn is_answer(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        LeaderNotAvailable, NotLeaderForPartition, TopicAuthorizationFailed, UnknownTopicOrPartition,
    };
    let answers =
        [NotLeaderForPartition, LeaderNotAvailable, UnknownTopicOrPartition, TopicAuthorizationFailed];
    error.rdkafka_error_code().is_some_and(|code| answers.contains(&code))
}

/// Whether the present producers can send.
fn producers(publisher: &Producing, current: &Generation) -> Result<(), String> {
    let is_broken = current.fatal_error().is_some();
    let rebuilds = publisher.rebuilds.lock();
    let Some((code, reason)) = rebuilds.doubt(Instant::now(), is_broken) else { return Ok(()) };
    let explained = publisher.explain(&KafkaError::Global(code));
    Err(format!("Kafka gives no producer that can send: {explained} ({reason})"))
}

impl Topics {
    fn look(&mut self, publisher: &Producing, is_urgent: bool) -> Result<(), String> {
        let now = Instant::now();
        if now >= self.next || is_urgent && now + TOPICS_INTERVAL > self.next + TOPICS_INTERVAL_TROUBLED {
            let described =
                topics::describe(&publisher.settings, &publisher.names, &publisher.topics, &|_| None);
            match described {
                Ok(topics) => self.found(publisher, topics),
                // what was found before stays; that the cluster answers was asked already
                Err(error) if self.found.is_some() => tracing::debug!(%error, "topics not looked at"),
                Err(error) => return Err(error.to_string()),
            }
            let breaks = self.found.iter().flatten().any(|finding| finding.breaks);
            self.next = now + if breaks { TOPICS_INTERVAL_TROUBLED } else { TOPICS_INTERVAL };
        }
        let broken = self.found.iter().flatten().find(|finding| finding.breaks);
        broken.map_or(Ok(()), |finding| Err(finding.to_string()))
    }

    fn found(&mut self, publisher: &Producing, topics: Vec<TopicDescription>) {
        let not_checked = topics.iter().find_map(|topic| match &topic.properties {
            TopicProperties::NotChecked(reason) => Some(reason.clone()),
            TopicProperties::Are(_) => None,
        });
        if let Some(reason) = not_checked.as_ref().filter(|_| not_checked != self.not_checked) {
            tracing::warn!("the topics' properties are not checked: {reason}");
        }
        self.not_checked = not_checked;
        for (refuses, topic) in publisher.refuses.iter().zip(&topics) {
            refuses.store(topic.findings.iter().any(|finding| finding.breaks), Ordering::Relaxed);
        }
        let found: Vec<_> = topics.into_iter().flat_map(|topic| topic.findings).collect();
        let before = self.found.as_deref().unwrap_or_default();
        for finding in found.iter().filter(|finding| !before.contains(finding)) {
            match finding.breaks {
                true => tracing::error!("a promise cannot be kept: {finding}"),
                false => tracing::warn!("{finding}"),
            }
        }
        *publisher.findings.lock() = found.clone();
        self.found = Some(found);
    }
}
