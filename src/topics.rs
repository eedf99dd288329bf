//! `floodgate topics`: what the strategy keeps events in.

use clap::Subcommand;
use floodgate_buffer::{
    Absent, Strategy, TopicDescription, TopicFinding, TopicProperties, TopicReport, TopicState, Topics,
};

use crate::exit::{Exit, say};
use crate::roles::open_strategy;
use crate::settings::Settings;

#[derive(Subcommand)]
pub(crate) enum TopicsCommand {
    /// Create the topics that are missing; one that breaks a promise or has another partition count is an error
    #[command(
        after_help = "Examples:\n  floodgate topics create\n  FLOODGATE__TOPICS__PARTITIONS=24 FLOODGATE__TOPICS__REPLICATION_FACTOR=3 floodgate topics create"
    )]
    Create,
    /// Show partitions, leaders, replicas and the properties that promises rest on; one that breaks a promise is an error
    #[command(after_help = "Examples:\n  floodgate topics describe")]
    Describe,
}

pub(crate) fn topics(settings: &Settings, command: &TopicsCommand) -> Result<(), Exit> {
    match command {
        TopicsCommand::Create => create(settings),
        TopicsCommand::Describe => describe(settings),
    }
}

fn create(settings: &Settings) -> Result<(), Exit> {
    let strategy = open_strategy(settings)?;
    let Some(topics) = topics_of(&*strategy)? else { return Ok(()) };
    let mut wrong = Vec::new();
    for TopicReport { state, description } in topics.create().map_err(Exit::failed)? {
        let name = &description.name;
        match state {
            TopicState::Created => say(format_args!("{name}: created"))?,
            TopicState::Existed => say(format_args!("{name}: exists"))?,
            TopicState::Differs { has, wanted } => wrong.push(format!(
                "{name} has {has} partitions, topics.partitions is {wanted}. Left as it is, since adding partitions moves \
                 keys to other partitions and breaks their order: change the configuration, or drain the topic and make \
                 it anew"
            )),
        }
        let differs = matches!(state, TopicState::Differs { .. });
        // told already, with more words
        tell(&description, &mut wrong, |finding| !(differs && finding.property == "partitions"))?;
    }
    judge(wrong)
}

fn describe(settings: &Settings) -> Result<(), Exit> {
    let strategy = open_strategy(settings)?;
    let Some(topics) = topics_of(&*strategy)? else { return Ok(()) };
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for topic in topics.describe().map_err(Exit::failed)? {
        let Some(partitions) = &topic.partitions else {
            match topic.trouble {
                Some(trouble) => {
                    say(format_args!("{}: not to be seen", topic.name))?;
                    wrong.push(format!("topic {}: {trouble}", topic.name));
                }
                None => {
                    say(format_args!("{}: missing", topic.name))?;
                    missing.push(topic.name);
                }
            }
            continue;
        };
        say(format_args!("{}: {} partitions", topic.name, partitions.len()))?;
        for partition in partitions {
            say(format_args!(
                "  {:>4}  leader {:>3}  replicas {:?}  in sync {:?}",
                partition.partition, partition.leader, partition.replicas, partition.in_sync
            ))?;
        }
        if let TopicProperties::Are(properties) = &topic.properties {
            properties.iter().try_for_each(|(name, value)| say(format_args!("  {name} = {value}")))?;
        }
        tell(&topic, &mut wrong, |_| true)?;
    }
    if !missing.is_empty() {
        wrong.push(format!("{} missing; run `floodgate topics create`", missing.join(", ")));
    }
    judge(wrong)
}

/// A strategy without topics needs none: that is said, and is no failure.
fn topics_of(strategy: &dyn Strategy) -> Result<Option<&dyn Topics>, Exit> {
    match strategy.topics() {
        Ok(topics) => Ok(Some(topics)),
        Err(Absent(reason)) => say(format_args!("{reason}")).map(|()| None),
    }
}

/// Shows what is wrong with a topic; what breaks a promise is also put to what the command fails with.
fn tell(
    topic: &TopicDescription,
    wrong: &mut Vec<String>,
    is_news: impl Fn(&TopicFinding) -> bool,
) -> Result<(), Exit> {
    if let TopicProperties::NotChecked(reason) = &topic.properties {
        say(format_args!("  properties not checked: {reason}"))?;
    }
    for finding in topic.findings.iter().filter(|finding| is_news(finding)) {
        if finding.breaks {
            say(format_args!("  breaks a promise: {finding}"))?;
            wrong.push(finding.to_string());
        } else {
            say(format_args!("  warning: {finding}"))?;
        }
    }
    Ok(())
}

fn judge(wrong: Vec<String>) -> Result<(), Exit> {
    if wrong.is_empty() { Ok(()) } else { Err(Exit::failed(wrong.join("\n"))) }
}
