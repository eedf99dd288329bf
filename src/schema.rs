//! `floodgate schema`: the schemas of events, and whether another could take their place.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use floodgate_schemas::EventType;
use floodgate_schemas::codec::{schema_of, type_of, unfit};

use crate::exit::{Exit, say};

#[derive(Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print the Avro schema that this build writes a type of event with
    Show(ShowArgs),
    /// Would events written with another schema be read by this build, and the other way round?
    ///
    /// Exit code 0 if so, 1 with the reasons in words if not. Stricter than registries: a decimal of another scale, or
    /// milliseconds in the place of microseconds, are other values, and no fit.
    Check(CheckArgs),
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// expectation, coupon or like
    #[arg(value_name = "TYPE", value_parser = event_type)]
    of: EventType,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// An Avro schema (.avsc)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which type of event it is for [default: by its record's name]
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    of: Option<EventType>,
}

fn event_type(name: &str) -> Result<EventType, String> {
    let known = || EventType::ALL.map(EventType::name).join(", ");
    let found = EventType::ALL.into_iter().find(|of| of.name() == name);
    found.ok_or_else(|| format!("no such type of event; there are {}", known()))
}

pub(crate) fn schema(command: &SchemaCommand) -> Result<(), Exit> {
    match command {
        SchemaCommand::Show(ShowArgs { of }) => say(schema_of(*of).trim_end()),
        SchemaCommand::Check(args) => check(args),
    }
}

fn check(CheckArgs { file, of }: &CheckArgs) -> Result<(), Exit> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| Exit::usage(format!("{name}: {error}")))?;
    floodgate_schemas::codec::check(&text).map_err(|error| Exit::usage(format!("{name}: {error}")))?;
    let of = of.or_else(|| type_of(&text)).ok_or_else(|| {
        Exit::usage(format!("{name}: not of an event by its record's name; say which with --type"))
    })?;
    let reasons = unfit(of, &text);
    if reasons.is_empty() {
        return say(format_args!("{name}: could be the next schema of {of} events"));
    }
    let list: Vec<String> = reasons.iter().map(|reason| format!("\n  - {reason}")).collect();
    Err(Exit::failed(format!("{name}: could not be the next schema of {of} events:{}", list.concat())))
}
