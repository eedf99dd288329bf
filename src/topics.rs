//! `floodgate topics`: what the strategy keeps events in.

use clap::Subcommand;
use floodgate_buffer::TopicState;

use crate::roles::open_strategy;
use crate::settings::Settings;
use crate::{Exit, say};

#[derive(Subcommand)]
pub(crate) enum TopicsCommand {
    /// Create the topics that are missing; a differing partition count is an error
    Create,
    /// Show partitions, leaders and replicas
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
    let reports = strategy.create_topics().map_err(Exit::failed)?;
    let mut differing = Vec::new();
    for report in reports {
        let name = &report.name;
        match report.state {
            TopicState::Created => say(format_args!("{name}: created"))?,
            TopicState::Existed => say(format_args!("{name}: exists"))?,
            TopicState::NotNeeded => {
                say(format_args!("{name}: kept by the {} strategy itself", strategy.name()))?
            }
            TopicState::Differs { has, wanted } => {
                differing.push(format!("{name} has {has} partitions, topics.partitions is {wanted}"));
            }
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(Exit::failed(format!(
        "{}. Left as it is, since adding partitions moves keys to other partitions and breaks their order: \
         change the configuration, or drain the topic and make it anew",
        differing.join("; ")
    )))
}

fn describe(settings: &Settings) -> Result<(), Exit> {
    let strategy = open_strategy(settings)?;
    let mut missing = Vec::new();
    for topic in strategy.describe_topics().map_err(Exit::failed)? {
        let Some(partitions) = topic.partitions else {
            say(format_args!("{}: missing", topic.name))?;
            missing.push(topic.name);
            continue;
        };
        say(format_args!("{}: {} partitions", topic.name, partitions.len()))?;
        for partition in partitions {
            say(format_args!(
                "  {:>4}  leader {:>3}  replicas {:?}  in sync {:?}",
                partition.partition, partition.leader, partition.replicas, partition.in_sync
            ))?;
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Exit::failed(format!("{} missing; run `floodgate topics create`", missing.join(", "))))
}
