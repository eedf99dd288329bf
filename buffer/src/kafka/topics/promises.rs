//! What the promises rest on: every property of a topic that they need, and what is wrong with it.
//!
//! A 202 says that an event will be applied. That is kept by the log, and whoever made the topic decided what the log keeps:
//! a compacted one drops all but the last event of a key, a short retention drops what nobody read yet, an unclean election
//! drops what was acknowledged. So each property is looked at, whoever set it. A finding either *breaks a promise*, then
//! nothing is accepted on the topic; or it makes a margin smaller or a failure likelier, and is told.
//!
//! The rules are functions of what was read, and know neither the cluster nor the time.

use std::collections::HashMap;

use super::super::client::{DEAD_LETTER_MAX_BYTES, EVENT_MAX_BYTES};
use crate::{PartitionDescription, Topic, TopicFinding, TopicsConfig};

/// Properties that are looked at, in the order they are shown.
pub(super) const LOOKED_AT: [&str; 9] = [
    CLEANUP,
    RETENTION_MS,
    RETENTION_BYTES,
    MIN_IN_SYNC,
    UNCLEAN,
    TIMESTAMP_TYPE,
    TIMESTAMP_BEFORE,
    TIMESTAMP_AFTER,
    MAX_BYTES,
];

const CLEANUP: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const MIN_IN_SYNC: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const TIMESTAMP_BEFORE: &str = "message.timestamp.before.max.ms";
const TIMESTAMP_AFTER: &str = "message.timestamp.after.max.ms";
const MAX_BYTES: &str = "max.message.bytes";

/// A broker's clock and ours may differ by this much without trouble.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// Under this much a retention is shorter than an outage that nobody would call long: what expires then expires unread.
const RETENTION_LEAST_MS: i64 = 3_600_000;

/// A topic as it was found.
pub(super) struct Found<'a> {
    pub(super) topic: Topic,
    pub(super) name: &'a str,
    /// `None` where the cluster does not tell.
    pub(super) properties: Option<&'a HashMap<String, String>>,
    pub(super) partitions: &'a [PartitionDescription],
    /// How old the oldest record is that its group has not applied.
    pub(super) oldest_unapplied_ms: Option<i64>,
}

/// Durable defaults, spelled out so that a cluster's own defaults do not decide.
pub(super) fn wanted(topic: Topic, config: &TopicsConfig) -> Vec<(&'static str, String)> {
    vec![
        (MIN_IN_SYNC, min_in_sync(config).to_string()),
        (UNCLEAN, "false".to_owned()),
        (CLEANUP, "delete".to_owned()),
        (RETENTION_MS, retention_ms(topic, config).to_string()),
        (RETENTION_BYTES, "-1".to_owned()),
        (MAX_BYTES, max_bytes(topic).to_string()),
        (TIMESTAMP_TYPE, "CreateTime".to_owned()),
    ]
}

/// With three copies two must have a record before it is acknowledged; with fewer, one more loss of a broker would stop all
/// writes.
fn min_in_sync(config: &TopicsConfig) -> usize {
    if config.replication_factor >= 3 { 2 } else { 1 }
}

fn retention_ms(topic: Topic, config: &TopicsConfig) -> i64 {
    let hours = match topic {
        Topic::Events(_) => config.retention_hours,
        Topic::DeadLetters => config.dead_letter_retention_hours,
    };
    i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(3_600_000)
}

fn max_bytes(topic: Topic) -> usize {
    match topic {
        Topic::Events(_) => EVENT_MAX_BYTES,
        Topic::DeadLetters => DEAD_LETTER_MAX_BYTES,
    }
}

/// Everything that is wrong with a topic, what breaks a promise first. `brokers` are those of the commands that mend it.
pub(super) fn findings(found: &Found<'_>, config: &TopicsConfig, brokers: &str) -> Vec<TopicFinding> {
    let look = Look { found, config, brokers };
    let rules = [
        look.cleanup(),
        look.copies(),
        look.min_in_sync(),
        look.in_sync(),
        look.unclean(),
        look.retention(),
        look.retention_bytes(),
        look.expiring(),
        look.max_bytes(),
        look.timestamps(),
        look.partitions(),
        look.clock(TIMESTAMP_BEFORE),
        look.clock(TIMESTAMP_AFTER),
    ];
    let mut all: Vec<_> = rules.into_iter().flatten().collect();
    all.sort_by_key(|finding| !finding.breaks);
    all
}

struct Look<'a> {
    found: &'a Found<'a>,
    config: &'a TopicsConfig,
    brokers: &'a str,
}

impl Look<'_> {
    fn text(&self, property: &str) -> Option<&str> {
        self.found.properties?.get(property).map(String::as_str)
    }

    fn number(&self, property: &str) -> Option<i64> {
        self.text(property)?.parse().ok()
    }

    /// The least copies that any partition has.
    fn replicas(&self) -> Option<usize> {
        self.found.partitions.iter().map(|partition| partition.replicas.len()).min()
    }

    fn finding(
        &self,
        breaks: bool,
        property: &'static str,
        (value, wanted): (String, String),
        why: &str,
    ) -> TopicFinding {
        let mend = format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config \
             {property}={wanted}",
            self.brokers, self.found.name
        );
        let topic = self.found.name.to_owned();
        TopicFinding { topic, property, value, wanted, breaks, why: why.to_owned(), mend }
    }

    fn cleanup(&self) -> Option<TopicFinding> {
        let value = self.text(CLEANUP).filter(|policy| policy.contains("compact"))?;
        let why = "compaction drops every event of a key but the last, also unread ones";
        Some(self.finding(true, CLEANUP, (value.to_owned(), "delete".to_owned()), why))
    }

    fn copies(&self) -> Option<TopicFinding> {
        let (has, wanted) = (self.replicas()?, self.config.replication_factor as usize);
        if has >= wanted {
            return None;
        }
        let why = "an acknowledged event has fewer copies than configured";
        let values = (has.to_string(), wanted.to_string());
        let finding = self.finding(true, "replication factor", values, why);
        let mend = format!(
            "kafka-reassign-partitions.sh --bootstrap-server {} with {wanted} replicas for each partition of {}, or set \
             topics.replication_factor to {has}",
            self.brokers, self.found.name
        );
        Some(TopicFinding { mend, ..finding })
    }

    fn min_in_sync(&self) -> Option<TopicFinding> {
        let (value, replicas) = (self.number(MIN_IN_SYNC)?, i64::try_from(self.replicas()?).ok()?);
        let wanted = i64::try_from(min_in_sync(self.config)).ok()?;
        let (breaks, why) = if value > replicas {
            (true, "more than there are replicas: no event can ever be acknowledged")
        } else if value < wanted {
            (true, "an event is acknowledged with a single copy, and lost with it")
        } else if value == replicas && replicas > 1 {
            (false, "as many as there are replicas: without any one broker nothing is accepted")
        } else {
            return None;
        };
        let wanted = wanted.min(replicas).to_string();
        Some(self.finding(breaks, MIN_IN_SYNC, (value.to_string(), wanted), why))
    }

    /// Not a property, but what one rests on: writes to such partitions are refused now.
    fn in_sync(&self) -> Option<TopicFinding> {
        let needed = usize::try_from(self.number(MIN_IN_SYNC)?).ok()?;
        let partitions = self.found.partitions;
        let few = partitions.iter().filter(|partition| partition.in_sync.len() < needed).count();
        let replicas = self.replicas()?;
        if few == 0 || needed > replicas {
            return None;
        }
        let why = format!("{few} of {} partitions take no events now", partitions.len());
        let least = partitions.iter().map(|partition| partition.in_sync.len()).min()?;
        let finding = self.finding(false, "replicas in sync", (least.to_string(), needed.to_string()), &why);
        Some(TopicFinding { mend: "bring the missing brokers back".to_owned(), ..finding })
    }

    fn unclean(&self) -> Option<TopicFinding> {
        let value = self.text(UNCLEAN).filter(|value| *value == "true")?;
        let breaks = self.replicas()? > 1;
        let why = match breaks {
            true => "a broker that lacks acknowledged events may become leader, and they are lost",
            false => "once there are more replicas acknowledged events may be lost",
        };
        Some(self.finding(breaks, UNCLEAN, (value.to_owned(), "false".to_owned()), why))
    }

    fn retention(&self) -> Option<TopicFinding> {
        let wanted = retention_ms(self.found.topic, self.config);
        let value = self.number(RETENTION_MS).filter(|ms| (0..wanted).contains(ms))?;
        let breaks = value < RETENTION_LEAST_MS;
        let why = match breaks {
            true => {
                "less than an hour: events expire unread in a short outage of the consumers or the database"
            }
            false => "shorter than configured: events expire unread sooner than expected",
        };
        Some(self.finding(breaks, RETENTION_MS, (value.to_string(), wanted.to_string()), why))
    }

    fn retention_bytes(&self) -> Option<TopicFinding> {
        let value = self.number(RETENTION_BYTES).filter(|bytes| *bytes >= 0)?;
        // a dead letter that goes is one that nobody looked at in time; an event that goes was promised
        let breaks = matches!(self.found.topic, Topic::Events(_));
        let why = "a burst larger than this drops events that nobody has read, whatever their age";
        Some(self.finding(breaks, RETENTION_BYTES, (value.to_string(), "-1".to_owned()), why))
    }

    /// What waits gets lost soon, whatever the configuration says.
    fn expiring(&self) -> Option<TopicFinding> {
        let (oldest, retention) = (self.found.oldest_unapplied_ms?, self.number(RETENTION_MS)?);
        if retention < 0 || oldest < retention / 2 {
            return None;
        }
        let why = format!(
            "the oldest event that is not applied is {} minutes old and expires at {} minutes",
            oldest / 60_000,
            retention / 60_000
        );
        let wanted = retention.saturating_mul(4).max(oldest.saturating_mul(4));
        Some(self.finding(false, RETENTION_MS, (retention.to_string(), wanted.to_string()), &why))
    }

    fn max_bytes(&self) -> Option<TopicFinding> {
        let wanted = i64::try_from(max_bytes(self.found.topic)).ok()?;
        let value = self.number(MAX_BYTES).filter(|bytes| *bytes < wanted)?;
        let (breaks, why) = match self.found.topic {
            Topic::Events(_) => (true, "requests full of events are larger: they are refused under load"),
            Topic::DeadLetters => (false, "a dead letter that is larger keeps its consumer waiting"),
        };
        Some(self.finding(breaks, MAX_BYTES, (value.to_string(), wanted.to_string()), why))
    }

    fn timestamps(&self) -> Option<TopicFinding> {
        let value = self.text(TIMESTAMP_TYPE).filter(|kind| *kind != "CreateTime")?;
        let why = "ages and retention count from the broker's time of writing";
        Some(self.finding(false, TIMESTAMP_TYPE, (value.to_owned(), "CreateTime".to_owned()), why))
    }

    fn clock(&self, property: &'static str) -> Option<TopicFinding> {
        let value = self.number(property).filter(|ms| *ms < CLOCKS_DIFFER_MS)?;
        let why = "events are refused when clocks differ by more";
        let wanted = match property {
            TIMESTAMP_BEFORE => i64::MAX,
            _ => RETENTION_LEAST_MS,
        };
        Some(self.finding(false, property, (value.to_string(), wanted.to_string()), why))
    }

    fn partitions(&self) -> Option<TopicFinding> {
        let (has, wanted) = (self.found.partitions.len(), self.config.partitions as usize);
        if has == wanted {
            return None;
        }
        let why = "requests are arranged by the configured number";
        let finding = self.finding(false, "partitions", (has.to_string(), wanted.to_string()), why);
        let mend = format!(
            "set topics.partitions to {has}, or drain the topic and make it anew; adding partitions moves keys"
        );
        Some(TopicFinding { mend, ..finding })
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::EventType;

    use super::*;

    const EVENTS: Topic = Topic::Events(EventType::Like);

    fn config(replication_factor: u32) -> TopicsConfig {
        TopicsConfig {
            partitions: 2,
            replication_factor,
            prefix: String::new(),
            retention_hours: 48,
            dead_letter_retention_hours: 72,
        }
    }

    fn partitions(count: i32, replicas: i32, in_sync: i32) -> Vec<PartitionDescription> {
        let partition = |partition| PartitionDescription {
            partition,
            leader: 0,
            replicas: (0..replicas).collect(),
            in_sync: (0..in_sync).collect(),
        };
        (0..count).map(partition).collect()
    }

    /// What `topics create` makes, with one property changed.
    fn of(topic: Topic, replication_factor: u32, change: Option<(&str, &str)>) -> HashMap<String, String> {
        let wanted = wanted(topic, &config(replication_factor));
        let mut properties: HashMap<_, _> =
            wanted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        properties.extend(change.map(|(name, value)| (name.to_owned(), value.to_owned())));
        properties
    }

    /// One topic per line: what was changed, how many brokers, and whether that breaks a promise, is told, or is well.
    #[test]
    fn every_property_is_judged() {
        let (breaks, told, well) = (Some(true), Some(false), None);
        for (topic, copies, property, value, judged) in [
            (EVENTS, 1, CLEANUP, "delete", well),
            (EVENTS, 1, CLEANUP, "compact", breaks),
            (EVENTS, 3, CLEANUP, "compact,delete", breaks),
            (Topic::DeadLetters, 1, CLEANUP, "compact", breaks),
            (EVENTS, 1, RETENTION_MS, "-1", well),
            (EVENTS, 1, RETENTION_MS, "604800000", well),
            (EVENTS, 1, RETENTION_MS, "172799999", told),
            (EVENTS, 1, RETENTION_MS, "3599999", breaks),
            (Topic::DeadLetters, 1, RETENTION_MS, "172800000", told),
            (EVENTS, 1, RETENTION_BYTES, "1073741824", breaks),
            (Topic::DeadLetters, 1, RETENTION_BYTES, "1073741824", told),
            (EVENTS, 3, MIN_IN_SYNC, "1", breaks),
            (EVENTS, 3, MIN_IN_SYNC, "2", well),
            (EVENTS, 3, MIN_IN_SYNC, "3", told),
            (EVENTS, 3, MIN_IN_SYNC, "4", breaks),
            (EVENTS, 2, MIN_IN_SYNC, "1", well),
            (EVENTS, 2, MIN_IN_SYNC, "2", told),
            (EVENTS, 1, MIN_IN_SYNC, "2", breaks),
            (EVENTS, 3, UNCLEAN, "true", breaks),
            (EVENTS, 1, UNCLEAN, "true", told),
            (EVENTS, 1, TIMESTAMP_TYPE, "LogAppendTime", told),
            (EVENTS, 1, TIMESTAMP_BEFORE, "1000", told),
            (EVENTS, 1, TIMESTAMP_AFTER, "1000", told),
            (EVENTS, 1, TIMESTAMP_AFTER, "3600000", well),
            (EVENTS, 1, MAX_BYTES, "999999", breaks),
            (EVENTS, 1, MAX_BYTES, "1048588", well),
            (Topic::DeadLetters, 1, MAX_BYTES, "1048588", told),
            (EVENTS, 1, "segment.bytes", "1", well),
        ] {
            let properties = of(topic, copies, Some((property, value)));
            let there = partitions(2, copies as i32, copies as i32);
            let found = Found {
                topic,
                name: "some",
                properties: Some(&properties),
                partitions: &there,
                oldest_unapplied_ms: None,
            };
            let findings = findings(&found, &config(copies), "b:1");
            let of_property: Vec<_> =
                findings.iter().filter(|finding| finding.property == property).collect();
            assert_eq!(
                of_property.first().map(|finding| finding.breaks),
                judged,
                "{property}={value}: {findings:?}"
            );
            assert!(findings.len() == of_property.len(), "{property}={value}: {findings:?}");
            let Some(finding) = of_property.first() else { continue };
            let text = finding.to_string();
            let wanted = format!("--entity-name some --add-config {property}={}", finding.wanted);
            for told in ["some", property, value, &finding.wanted, "--bootstrap-server b:1", &wanted] {
                assert!(text.contains(told), "{told} in {text}");
            }
            // the command does mend it
            let properties = of(topic, copies, Some((property, &finding.wanted)));
            let found = Found { properties: Some(&properties), ..found };
            let left = super::findings(&found, &config(copies), "b:1");
            assert!(left.iter().all(|finding| !finding.breaks), "{left:?}");
        }
    }

    #[test]
    fn partitions_copies_and_lag_are_judged() {
        let judge = |there: &[PartitionDescription], copies, oldest_unapplied_ms| {
            let properties = of(EVENTS, copies, None);
            let found = Found {
                topic: EVENTS,
                name: "some",
                properties: Some(&properties),
                partitions: there,
                oldest_unapplied_ms,
            };
            let all = findings(&found, &config(copies), "b:1");
            all.iter().map(|finding| (finding.property, finding.breaks)).collect::<Vec<_>>()
        };
        assert!(judge(&partitions(2, 3, 3), 3, None).is_empty());
        assert_eq!(judge(&partitions(3, 3, 3), 3, None), [("partitions", false)]);
        assert_eq!(judge(&partitions(2, 1, 1), 2, None), [("replication factor", true)]);
        assert_eq!(judge(&partitions(2, 3, 1), 3, None), [("replicas in sync", false)]);
        assert!(judge(&partitions(2, 3, 2), 3, None).is_empty());
        let hour = 3_600_000;
        assert!(judge(&partitions(2, 1, 1), 1, Some(23 * hour)).is_empty());
        assert_eq!(judge(&partitions(2, 1, 1), 1, Some(24 * hour)), [(RETENTION_MS, false)]);
    }

    /// A cluster that does not show its configuration still shows partitions and replicas.
    #[test]
    fn what_is_not_told_is_not_judged() {
        let there = partitions(3, 1, 1);
        let found = Found {
            topic: EVENTS,
            name: "some",
            properties: None,
            partitions: &there,
            oldest_unapplied_ms: Some(i64::MAX),
        };
        let all = findings(&found, &config(2), "b:1");
        let properties: Vec<_> = all.iter().map(|finding| finding.property).collect();
        assert_eq!(properties, ["replication factor", "partitions"]);
    }

    #[test]
    fn topics_are_durable_by_default() {
        let event = of(EVENTS, 3, None);
        assert_eq!(event[MIN_IN_SYNC], "2");
        assert_eq!(event[UNCLEAN], "false");
        assert_eq!(event[RETENTION_MS], (48 * 3_600_000).to_string());
        assert_eq!(of(EVENTS, 1, None)[MIN_IN_SYNC], "1");
        let letters = of(Topic::DeadLetters, 3, None);
        assert_eq!(letters[RETENTION_MS], (72 * 3_600_000).to_string());
        let bytes = |properties: &HashMap<String, String>| properties[MAX_BYTES].parse::<usize>().unwrap();
        assert!(bytes(&letters) > bytes(&event), "a dead letter carries its event and headers");
    }
}
