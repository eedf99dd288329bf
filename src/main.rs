//! The command line: reads the configuration, wires the crates together, decides nothing else.

#![allow(missing_docs, reason = "a binary has no public interface but its command line")]

mod arguments;
mod burst;
mod checks;
mod clear;
mod config_file;
mod consume;
mod coupon;
mod dlq;
mod doctor;
mod drain;
mod exit;
mod exposure;
mod finder;
mod idle;
mod key;
mod lag;
mod layers;
mod manual;
mod masks;
mod measure;
mod migrate;
mod origins;
mod owners;
mod progress;
mod reapply;
mod registry;
mod roles;
mod row;
mod run;
mod schema;
mod serve;
mod settings;
mod signals;
mod topics;
mod traces;
mod variables;
mod verify;
mod whereabouts;

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use floodgate_observe::logs::{self, StartError};
use floodgate_observe::printable;

use exit::Exit;
use exposure::Opens;
use settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AFTER_HELP: &str = "\
Examples:
  floodgate                                            all of it; try http://127.0.0.1:8080/docs
  FLOODGATE__BUFFER__STRATEGY=kafka floodgate serve    an ingress, with a broker on 127.0.0.1:9092
  floodgate --config floodgate.toml consume            consumers, configured by a file
  floodgate lag                                        how each group stands, and why
  floodgate config                                     what is in force, with every key

Without a command it is `run`: every role in this process, events in memory, rows in ./floodgate.db.
Every configuration key can be set in the environment: FLOODGATE__BUFFER__STRATEGY=kafka.
Results go to stdout, logs to stderr. Exit codes: 0 done, 1 failed, 2 usage or configuration; of \
`verify`, `where` and `dlq` also 3, cannot tell.";

/// Takes bursts of writes over HTTP, lays them on partitioned Kafka topics, and lets consumer groups batch them
/// into a database exactly once.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    /// A TOML file with the keys that differ from the default (see `floodgate config`)
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run every role in one process (the default)
    #[command(
        after_help = "Examples:\n  floodgate run\n  FLOODGATE__STORE__URL=postgres://ann:secret@db/floodgate floodgate run"
    )]
    Run,
    /// Run the ingress: HTTP in, events out
    #[command(
        after_help = "Examples:\n  FLOODGATE__BUFFER__STRATEGY=kafka FLOODGATE__BUFFER__KAFKA__BROKERS=kafka:9092 floodgate serve"
    )]
    Serve,
    /// Run consumers: events in, rows out
    Consume(consume::ConsumeArgs),
    /// Show how far each consumer group is behind
    Lag(lag::LagArgs),
    /// Find an event: which record it is, and what has become of it
    Where(whereabouts::WhereArgs),
    /// List, show, replay and dismiss dead letters: events that could not be applied
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Show one row, and set it back when no write counts on it any more
    #[command(subcommand)]
    Row(row::RowCommand),
    /// Move what waits in another strategy to the configured one
    ///
    /// Runs beside everything else, may be stopped and run again, and changes no row twice. Exit code 0 when nothing is left
    /// there.
    Drain(drain::DrainArgs),
    /// Create or describe the topics
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// Show, list, check and register the schemas of events
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Make keys that clients show who they are by
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Bring the database's schema up to date
    #[command(
        after_help = "Examples:\n  FLOODGATE__STORE__URL=postgres://ann:secret@db/floodgate floodgate migrate"
    )]
    Migrate,
    /// Check that every event of the log is in the database, among the dead letters or on its way
    ///
    /// Exit codes: 0 balanced, 1 violations (or no result), 2 usage or configuration, 3 no violation is known, but of
    /// something nobody can tell.
    Verify(verify::VerifyArgs),
    /// Bring events from the log to their rows again: what `verify` names as missing
    ///
    /// Events take effect once, so a row that is right stays as it is. Exit code 0 when every event asked for is applied,
    /// superseded or decided.
    Reapply(reapply::ReapplyArgs),
    /// Rehearse a burst: drive running ingresses, and judge what becomes of every request
    Burst(Box<burst::BurstArgs>),
    /// Print the effective configuration as TOML, secrets masked
    #[command(
        after_help = "Examples:\n  floodgate config > floodgate.toml\n  floodgate --config floodgate.toml config --check\n  floodgate config --origins"
    )]
    Config(doctor::ConfigArgs),
    /// Look at everything that the configuration names, and list what works, what does not, and what to do next
    ///
    /// Changes nothing. To be run where floodgate runs, as its user and with its environment. Exit codes: 0 all is well, 1 something
    /// is not, 2 the configuration cannot be read.
    #[command(after_help = "Examples:\n  floodgate --config floodgate.toml doctor")]
    Doctor,
    /// Print what a shell completes arguments by
    Completions(manual::CompletionsArgs),
    /// Print a page for man(1), or write those of all commands
    Man(manual::ManArgs),
}

impl Command {
    fn opens(&self) -> Opens {
        match self {
            Command::Run | Command::Serve => Opens::Both,
            Command::Consume(_) => Opens::Operators,
            _ => Opens::Neither,
        }
    }

    fn reads_no_configuration(&self) -> bool {
        use Command::{Burst, Completions, Key, Man};
        matches!(self, Burst(_) | Completions(_) | Key(_) | Man(_))
    }

    /// Whether a signal finds something to put in order, and the command listens to it.
    fn stops_in_order(&self) -> bool {
        use Command::{Consume, Drain, Migrate, Reapply, Run, Serve, Verify};
        matches!(self, Run | Serve | Consume(_) | Drain(_) | Migrate | Verify(_) | Reapply(_))
    }
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| misused(&error));
    let code = match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::Failed(reason)) => ended(1, &reason),
        Err(Exit::Usage(reason)) => ended(2, &reason),
        Err(Exit::CannotTell(reason)) => ended(3, &reason),
    };
    logs::flush();
    code
}

/// Help, or what is wrong with the arguments, which may come from anywhere.
fn misused(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if let Cow::Owned(text) = printable(&text) {
        logs::say(text.trim_end());
        logs::flush();
        std::process::exit(error.exit_code());
    }
    error.exit()
}

fn ended(code: u8, reason: &str) -> ExitCode {
    logs::say(format_args!("floodgate: {reason}"));
    ExitCode::from(code)
}

/// A bug is one line of the log like anything else, with its place. What comes of it is told by whoever watches the part.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, ToString::to_string);
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(place, thread, %backtrace, "a bug: {}", panic.payload_as_str().unwrap_or("a panic without words"));
}

fn execute(cli: Cli) -> Result<(), Exit> {
    if cli.command.as_ref().is_some_and(|command| !command.stops_in_order()) {
        signals::end_the_first_process();
    }
    if let (Some(command), Some(_)) = (&cli.command, &cli.config)
        && command.reads_no_configuration()
    {
        return Err(Exit::usage("--config does nothing here: this command reads no configuration"));
    }
    match &cli.command {
        // a key is made for a configuration that may not be right yet
        Some(Command::Key(command)) => return key::key(command),
        // a client has none
        Some(Command::Burst(args)) => return burst::burst(args),
        // it tells of one that cannot be read, too
        Some(Command::Doctor) => return doctor::doctor(cli.config.as_deref()),
        Some(Command::Completions(args)) => return manual::completions(args, Cli::command()),
        Some(Command::Man(args)) => return manual::man(args, Cli::command()),
        _ => {}
    }
    let settings = Settings::load(cli.config.as_deref())?;
    let command = cli.command.unwrap_or(Command::Run);
    if let Command::Config(args) = command {
        return doctor::config(&settings, &args);
    }
    doctor::unless_any(&command.opens().problems(&settings))?;
    logs::start(&settings.log).map_err(|error| match error {
        StartError::Level(error) => Exit::usage(error),
        error @ StartError::System(_) => Exit::failed(error),
    })?;
    std::panic::set_hook(Box::new(tell_panic));
    // what is drained has a section that is chosen no more
    let idle = settings.idle.iter().filter(|_| !matches!(command, Command::Drain(_)));
    settings.warnings.iter().chain(idle).for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.runtime.worker_threads())
        .enable_all()
        .build()
        .map_err(Exit::failed)?;
    // also for commands that block: what they open may need it
    let entered = runtime.enter();
    let ended = match command {
        Command::Run => runtime.block_on(run::run(&settings)),
        Command::Serve => runtime.block_on(serve::serve(&settings)),
        Command::Consume(args) => runtime.block_on(consume::consume(&settings, &args)),
        Command::Lag(args) => lag::lag(&settings, &args),
        Command::Where(args) => runtime.block_on(whereabouts::whereabouts(&settings, &args)),
        Command::Dlq(command) => dlq::dlq(&settings, &command, runtime.handle()),
        Command::Drain(args) => runtime.block_on(drain::drain(&settings, cli.config.as_deref(), &args)),
        Command::Row(command) => runtime.block_on(row::row(&settings, &command)),
        Command::Topics(command) => topics::topics(&settings, &command),
        Command::Schema(command) => runtime.block_on(schema::schema(&settings, &command)),
        Command::Migrate => runtime.block_on(migrate::migrate(&settings)),
        Command::Verify(args) => runtime.block_on(verify::verify(&settings, &args)),
        Command::Reapply(args) => runtime.block_on(reapply::reapply(&settings, &args)),
        Command::Burst(_)
        | Command::Config(_)
        | Command::Doctor
        | Command::Key(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    };
    drop(entered);
    // whatever is still blocked on the network must not keep a finished process alive
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(of: &clap::Command) -> Vec<&clap::Command> {
        match of.get_subcommands().count() {
            0 => vec![of],
            _ => of.get_subcommands().flat_map(leaves).collect(),
        }
    }

    #[test]
    fn every_command_says_how_it_is_used() {
        let all = Cli::command();
        all.clone().debug_assert();
        for command in leaves(&all).into_iter().chain([&all]) {
            let help = command.clone().render_long_help().to_string();
            // beyond them it is wrapped, into what is said of the line before
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in after.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.len() <= 100, "{line}");
            }
            let without_words = command.get_arguments().find(|arg| arg.get_help().is_none());
            assert!(without_words.is_none(), "{}: {without_words:?}", command.get_name());
            let name = command.get_name();
            assert!(help.contains("Examples:\n  ") && help.contains("floodgate"), "{name}: {help}");
            for line in help.lines().filter(|line| line.trim_start().starts_with("floodgate ")) {
                // what is shown is read
                let line = line.trim().split("  ").next().unwrap().split([';', '|', '>']).next().unwrap();
                let quoted = |(index, part): (usize, &'_ str)| -> Vec<String> {
                    match index % 2 {
                        0 => part.split_whitespace().map(|arg| arg.trim_matches('\'').to_owned()).collect(),
                        _ => vec![part.to_owned()],
                    }
                };
                let args: Vec<String> = line.split('"').enumerate().flat_map(quoted).collect();
                let read = Cli::try_parse_from(&args);
                assert!(read.is_ok(), "{name}: {line}: {}", read.err().unwrap());
            }
        }
    }

    #[test]
    fn what_may_be_said_is_told() {
        let told = |path: &[&str]| {
            let found =
                path.iter().fold(Cli::command(), |of, name| of.find_subcommand(name).unwrap().clone());
            found.clone().render_long_help().to_string()
        };
        for (path, values) in [
            (&["schema", "show"][..], "expectation, coupon, like"),
            (&["where"], "expectation, coupon, like"),
            (&["drain"], "in-memory, redis, kafka"),
            (&["key", "new"], "expectation:write, coupon:issue, coupon:create, like:write, read"),
            (&["dlq", "list"], "expectation, coupon, like"),
            (&["dlq", "replay"], "not-avro, unknown-schema, undecodable, bad-row, row-reset"),
            (&["dlq", "dismiss"], "not-avro, unknown-schema, undecodable, bad-row, row-reset"),
            (&["consume"], "expectation, coupon, like"),
            (&["burst"], "burst, pt-001, lt-001, st-001"),
            (&["completions"], "bash, elvish, fish, powershell, zsh"),
        ] {
            assert!(told(path).contains(&format!("[possible values: {values}]")), "{path:?}: {}", told(path));
        }
        for path in ["verify", "where", "doctor"]
            .map(|name| vec![name])
            .into_iter()
            .chain(["list", "show", "replay", "dismiss"].map(|name| vec!["dlq", name]))
        {
            let words = told(&path).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("Exit codes: 0 "), "{path:?}: {words}");
        }
    }
}
