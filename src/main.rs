//! The command line: reads the configuration, wires the crates together, decides nothing else.

#![allow(missing_docs, reason = "a binary has no public interface but its command line")]

mod burst;
mod consume;
mod coupon;
mod dlq;
mod drain;
mod exit;
mod exposure;
mod finder;
mod key;
mod lag;
mod layers;
mod migrate;
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
mod verify;
mod whereabouts;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use floodgate_observe::logs::{self, StartError};
use floodgate_schemas::EventType;
use floodgate_store::ReadError;

use exit::Exit;
use exposure::Opens;
use settings::{Settings, told};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AFTER_HELP: &str = "\
Without a command it is `run`: every role in this process, events in memory, rows in ./floodgate.db.
Every configuration key can be set in the environment: FLOODGATE__BUFFER__STRATEGY=kafka.
Results go to stdout, logs to stderr. Exit codes: 0 done, 1 failed, 2 usage or configuration; of `verify` also 3, cannot tell.";

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
    Run,
    /// Run the ingress: HTTP in, events out
    Serve,
    /// Run consumers: events in, rows out
    Consume(consume::ConsumeArgs),
    /// Show how far each consumer group is behind
    Lag(lag::LagArgs),
    /// Find an event: which record it is, and what has become of it
    Where(whereabouts::WhereArgs),
    /// List, show and replay dead letters: events that could not be applied
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
    Config(ConfigArgs),
}

impl Command {
    fn opens(&self) -> Opens {
        match self {
            Command::Run | Command::Serve => Opens::Both,
            Command::Consume(_) => Opens::Operators,
            _ => Opens::Neither,
        }
    }

    /// Whether a signal finds something to put in order, and the command listens to it.
    fn stops_in_order(&self) -> bool {
        use Command::{Consume, Drain, Migrate, Reapply, Run, Serve, Verify};
        matches!(self, Run | Serve | Consume(_) | Drain(_) | Migrate | Verify(_) | Reapply(_))
    }
}

#[derive(Args)]
struct ConfigArgs {
    /// Only check it, and the database if it can be reached: print nothing when all is well
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::Failed(reason)) => ended(1, &reason),
        Err(Exit::Usage(reason)) => ended(2, &reason),
        Err(Exit::CannotTell(reason)) => ended(3, &reason),
    };
    logs::flush();
    code
}

fn ended(code: u8, reason: &str) -> ExitCode {
    logs::say(format_args!("floodgate: {reason}"));
    ExitCode::from(code)
}

/// Opens what every section is about, as far as that needs nobody else to be there, and tells all that is wrong.
fn check_sections(settings: &Settings) -> Result<(), Exit> {
    let strategy = roles::open_strategy(settings).err().map(|exit| match exit {
        Exit::Failed(reason) | Exit::Usage(reason) | Exit::CannotTell(reason) => reason,
    });
    let store = floodgate_store::open(&settings.store).err().map(|error| error.to_string());
    let logs = logs::check(&settings.log).err().map(|error| error.to_string());
    let tls = settings.http.tls.check().err().map(|error| error.to_string());
    let exposed = Opens::Both.problems(settings);
    unless_any([strategy, store, logs, tls].into_iter().flatten().chain(exposed).collect())
}

fn unless_any(problems: Vec<String>) -> Result<(), Exit> {
    if problems.is_empty() { Ok(()) } else { Err(Exit::usage(told(&problems))) }
}

/// A bug is one line of the log like anything else, with its place. What comes of it is told by whoever watches the part.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, ToString::to_string);
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(place, thread, %backtrace, "a bug: {}", panic.payload_as_str().unwrap_or("a panic without words"));
}

/// Looks whether the database is one to apply events to. That it cannot be reached from here, or has no schema yet, is no
/// fault of the configuration: it is only told.
async fn check_database(settings: &Settings) -> Result<(), Exit> {
    let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
    let looked = async {
        let mut unfit = store.unfit(&EventType::ALL).await?;
        if settings.coupon.decisions_retention_days > 0 {
            unfit.extend(store.keeps_decisions().await?);
        }
        Ok::<_, ReadError>((unfit, consume::schema_trouble(&*store).await?))
    };
    let url = settings.store.masked_url();
    match looked.await {
        Ok((unfit, _)) if !unfit.is_empty() => Err(Exit::usage(format!("{url}: {}", told(&unfit)))),
        Ok((_, None)) => Ok(()),
        Ok((_, Some(missing))) => {
            eprintln!("floodgate: {url}: {missing}");
            Ok(())
        }
        Err(error) => {
            eprintln!("floodgate: the database was not checked: {url}: {error}");
            Ok(())
        }
    }
}

fn execute(cli: Cli) -> Result<(), Exit> {
    if cli.command.as_ref().is_some_and(|command| !command.stops_in_order()) {
        signals::end_the_first_process();
    }
    match &cli.command {
        // a key is made for a configuration that may not be right yet
        Some(Command::Key(command)) => return key::key(command),
        // a client has none
        Some(Command::Burst(args)) => return burst::burst(args),
        _ => {}
    }
    let settings = Settings::load(cli.config.as_deref())?;
    let command = cli.command.unwrap_or(Command::Run);
    if let Command::Config(args) = command {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Exit::failed)?;
        runtime.block_on(async { check_sections(&settings) })?;
        if !args.check {
            return exit::say(settings.masked()?.trim_end());
        }
        return runtime.block_on(check_database(&settings));
    }
    unless_any(command.opens().problems(&settings))?;
    logs::start(&settings.log).map_err(|error| match error {
        StartError::Level(error) => Exit::usage(error),
        error @ StartError::System(_) => Exit::failed(error),
    })?;
    std::panic::set_hook(Box::new(tell_panic));
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
        Command::Burst(_) | Command::Config(_) | Command::Key(_) => Ok(()),
    };
    drop(entered);
    // whatever is still blocked on the network must not keep a finished process alive
    runtime.shutdown_background();
    ended
}
