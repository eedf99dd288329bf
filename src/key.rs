//! `floodgate key`: keys that clients show who they are by.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use floodgate_producer::{KeyConfig, Scope, key_hash, new_key};
use floodgate_schemas::Timestamp;

use crate::exit::{Exit, say};
use crate::roles::chance;

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key: print it once, and the lines of the configuration that make it good
    ///
    /// The configuration keeps its hash alone, so whoever loses the key needs another. For rotation make another one of the same id,
    /// and take the old one out once nobody uses it.
    #[command(
        after_help = "Examples:\n  floodgate key new --id game --scope expectation:write --scope read\n  floodgate key new --id shop --scope coupon:create --expires 2027-01-01T00:00:00Z"
    )]
    New(NewArgs),
}

#[derive(Args)]
pub(crate) struct NewArgs {
    /// Who has it: what limits count by, and with auth.bind_user the only user it writes for
    #[arg(long)]
    id: String,
    /// What it is good for; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope())]
    scopes: Vec<Scope>,
    /// From when on it is good no more, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
}

fn scope() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::name))
        .try_map(|name| Scope::named(&name).ok_or("no such scope"))
}

pub(crate) fn key(command: &KeyCommand) -> Result<(), Exit> {
    let KeyCommand::New(NewArgs { id, scopes, expires }) = command;
    let key = new_key(&*chance());
    let config = KeyConfig {
        id: id.clone(),
        sha256: key_hash(&key),
        scopes: scopes.clone(),
        expires: expires.map(|expires| expires.to_string()),
    };
    let problem = config.problem();
    problem.map_or(Ok(()), |problem| Err(Exit::usage(problem)))?;
    say(format_args!("{key}\n"))?;
    say("# the key above is shown this once; these lines make it good, with auth.mode = \"keys\"")?;
    say("[[auth.keys]]")?;
    say(format_args!("id = {}", quoted(&config.id)))?;
    say(format_args!("sha256 = {}", quoted(&config.sha256)))?;
    let scopes: Vec<_> = config.scopes.iter().map(|scope| quoted(scope.name())).collect();
    say(format_args!("scopes = [{}]", scopes.join(", ")))?;
    config.expires.iter().try_for_each(|expires| say(format_args!("expires = {}", quoted(expires))))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
