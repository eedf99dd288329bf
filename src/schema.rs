//! `floodgate schema`: the schemas of events, in this build and in the registry, and whether another could take their place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use floodgate_buffer::Strategy;
use floodgate_observe::Metrics;
use floodgate_registry::{Registry, Version};
use floodgate_schemas::EventType;
use floodgate_schemas::codec::{are_the_same, builtin, losses, schema_of, type_of, unfit};
use serde_json::{Value, json};

use crate::arguments::event_type;
use crate::exit::{Exit, say};
use crate::registry::{self, subject_of};
use crate::roles::open_strategy;
use crate::settings::Settings;

#[derive(Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print the Avro schema that this build writes a type of event with
    #[command(after_help = "Examples:\n  floodgate schema show like > like.avsc")]
    Show(ShowArgs),
    /// List the schemas that events are written with, and whether this build reads them
    ///
    /// Those that are built in, and with a registry all versions that it has of our topics' subjects.
    #[command(after_help = "Examples:\n  floodgate schema list\n  floodgate schema list --json")]
    List(ListArgs),
    /// Would events written with another schema be read by this build, and the other way round?
    ///
    /// Exit code 0 if so, 1 with the reasons in words if not. Stricter than registries: a decimal of another scale, or
    /// milliseconds in the place of microseconds, are other values, and no fit. With a registry every version it has counts as
    /// written, and it is asked whether it would take the schema.
    #[command(
        after_help = "Examples:\n  floodgate schema check next.avsc\n  floodgate schema check other.avsc --type like"
    )]
    Check(CheckArgs),
    /// Register the schemas of this build, or another one that fits
    ///
    /// What is registered already stays as it is. Exit code 1 when one does not fit, or the registry does not take it.
    #[command(
        after_help = "Examples:\n  floodgate schema register\n  floodgate schema register next.avsc --type like"
    )]
    Register(RegisterArgs),
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// Of which type of event
    #[arg(value_name = "TYPE", value_parser = event_type())]
    of: EventType,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// An Avro schema (.avsc)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which type of event it is for [default: by its record's name]
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type())]
    of: Option<EventType>,
}

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// An Avro schema (.avsc) [default: those of this build]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which type of event it is for [default: by its record's name]
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type(), requires = "file")]
    of: Option<EventType>,
}

pub(crate) async fn schema(settings: &Settings, command: &SchemaCommand) -> Result<(), Exit> {
    match command {
        SchemaCommand::Show(ShowArgs { of }) => say(schema_of(*of).trim_end()),
        SchemaCommand::List(args) => list(settings, args).await,
        SchemaCommand::Check(CheckArgs { file, of }) => {
            let Candidate { of, text, name } = Candidate::read(file, *of)?;
            fits(&Desk::open(settings)?, of, &text, &name).await?;
            say(format_args!("{name}: could be the next schema of {of} events"))
        }
        SchemaCommand::Register(args) => register(settings, args).await,
    }
}

/// The registry, if there is one, and what its subjects are called.
struct Desk {
    registry: Option<Arc<Registry>>,
    strategy: Arc<dyn Strategy>,
}

impl Desk {
    fn open(settings: &Settings) -> Result<Self, Exit> {
        let strategy = open_strategy(settings)?;
        let metrics = Metrics::new().map_err(Exit::failed)?.schema_registry;
        let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
        let registry = registry::open(settings, &*strategy, &store, &metrics)?;
        Ok(Self { registry, strategy })
    }

    fn subject(&self, of: EventType) -> String {
        subject_of(&*self.strategy, of)
    }

    /// What the registry has of a type; nothing without one.
    async fn versions(&self, of: EventType) -> Result<Vec<Version>, Exit> {
        match &self.registry {
            Some(registry) => registry.versions(&self.subject(of)).await.map_err(Exit::failed),
            None => Ok(Vec::new()),
        }
    }
}

/// A schema in a file.
struct Candidate {
    of: EventType,
    text: String,
    name: String,
}

impl Candidate {
    fn read(file: &Path, of: Option<EventType>) -> Result<Self, Exit> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| Exit::usage(format!("{name}: {error}")))?;
        floodgate_schemas::codec::check(&text).map_err(|error| Exit::usage(format!("{name}: {error}")))?;
        let of = of.or_else(|| type_of(&text)).ok_or_else(|| {
            Exit::usage(format!("{name}: not of an event by its record's name; say which with --type"))
        })?;
        Ok(Self { of, text, name })
    }
}

/// Fails with all reasons why a schema does not fit.
async fn fits(desk: &Desk, of: EventType, text: &str, name: &str) -> Result<(), Exit> {
    let versions = desk.versions(of).await?;
    let names: Vec<String> =
        versions.iter().map(|version| format!("version {} (id {})", version.version, version.id)).collect();
    let written: Vec<(&str, &str)> =
        names.iter().zip(&versions).map(|(name, version)| (name.as_str(), version.schema.as_str())).collect();
    let mut reasons = unfit(of, text, &written);
    if let Some(registry) = &desk.registry
        && !registry.would_take(&desk.subject(of), text).await.map_err(Exit::failed)?
    {
        reasons.push(format!("the registry would not take it as the next version of {}", desk.subject(of)));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = reasons.iter().map(|reason| format!("\n  - {reason}")).collect();
    Err(Exit::failed(format!("{name}: could not be the next schema of {of} events:{}", list.concat())))
}

async fn register(settings: &Settings, args: &RegisterArgs) -> Result<(), Exit> {
    let desk = Desk::open(settings)?;
    let Some(registry) = &desk.registry else {
        return Err(Exit::usage("there is no schema registry: set schema_registry.url"));
    };
    let candidates = match &args.file {
        Some(file) => vec![Candidate::read(file, args.of)?],
        None => EventType::ALL
            .map(|of| {
                let name = format!("the schema of {of} events of this build");
                Candidate { of, text: schema_of(of).to_owned(), name }
            })
            .into(),
    };
    for Candidate { of, text, name } in candidates {
        // what is there already is only told
        if !desk.versions(of).await?.iter().any(|version| are_the_same(&version.schema, &text)) {
            fits(&desk, of, &text, &name).await?;
        }
        let subject = desk.subject(of);
        let id = registry.register(&subject, &text).await.map_err(Exit::failed)?;
        say(format_args!("{subject}: {name} has id {id}"))?;
    }
    Ok(())
}

/// How this build takes a schema.
fn state(of: EventType, schema: &str) -> (&'static str, Vec<String>) {
    if are_the_same(schema, schema_of(of)) {
        return ("written", Vec::new());
    }
    match losses(of, schema) {
        Ok(losses) if losses.is_empty() => ("read", losses),
        Ok(losses) => ("read in part", losses),
        Err(incompatible) => ("unreadable", incompatible.reasons),
    }
}

async fn list(settings: &Settings, args: &ListArgs) -> Result<(), Exit> {
    let desk = Desk::open(settings)?;
    let mut all = Vec::new();
    for of in EventType::ALL {
        for (fingerprint, schema) in builtin(of) {
            let (state, reasons) = state(of, schema);
            let name = format!("fingerprint {fingerprint:016x}");
            all.push(json!({ "type": of.name(), "name": name, "state": state, "reasons": reasons, "schema": schema }));
        }
        for Version { version, id, schema } in desk.versions(of).await? {
            let (state, reasons) = state(of, &schema);
            let name = format!("version {version}, id {id}");
            all.push(json!({
                "type": of.name(), "name": name, "subject": desk.subject(of), "version": version, "id": id, "state": state,
                "reasons": reasons, "schema": schema,
            }));
        }
    }
    if args.json {
        return say(Value::from(all));
    }
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    for row in &all {
        say(format_args!("{:<12} {:<30} {}", word(row, "type"), word(row, "name"), word(row, "state")))?;
        for reason in row["reasons"].as_array().into_iter().flatten() {
            say(format_args!("    - {}", reason.as_str().unwrap_or_default()))?;
        }
    }
    Ok(())
}
