//! From the URL to the driver's options.
//!
//! * **What goes to the database goes over TLS**, to a server whose certificate proves that it is the one the URL names, unless
//!   nobody but this machine is on the way or `sslmode` says otherwise. The driver's own default would send password and rows in
//!   the clear to whatever declines TLS.
//! * **The driver says nothing while it reads**: it would log parameters it does not know, and lines of `~/.pgpass` that it cannot
//!   read, with the passwords in them.
//! * Where the URL says nothing of user, password, database, certificates or options, the driver takes `PGUSER`, `PGPASSWORD` and so
//!   on from the environment, or a password from `~/.pgpass`. Host, port and `sslmode` are the URL's alone.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::str::FromStr;

use floodgate_config::address::{Address, Host};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Error};
use tracing::dispatcher::{self, Dispatch};

use crate::OpenError;

/// Those that do something.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[",
    "statement-cache-capacity",
];

/// PostgreSQL's own.
const PORT: u16 = 5432;

/// How connections are secured, by the names that PostgreSQL's own clients have for it.
const MODES: [(&str, PgSslMode); 5] = [
    ("disable", PgSslMode::Disable),
    ("prefer", PgSslMode::Prefer),
    ("require", PgSslMode::Require),
    ("verify-ca", PgSslMode::VerifyCa),
    ("verify-full", PgSslMode::VerifyFull),
];

/// What stands behind the scheme, for people.
pub(super) fn shown(place: &str) -> Option<String> {
    read(place).ok().map(|address| address.to_string())
}

/// What whoever is on the way to the server may read or take; `None` where nobody is, or the server has to prove who it is.
pub(super) fn in_the_clear(place: &str) -> Option<String> {
    let address = read(place).ok()?;
    let host = host(&address).ok().filter(|host| !host.is_this_machine())?;
    let why = match mode(&address, &host).ok()? {
        PgSslMode::Disable => "go to another machine in the clear (sslmode=disable)",
        PgSslMode::Prefer | PgSslMode::Allow => {
            "go to another machine in the clear where the server, or whoever is on the way, declines TLS (sslmode=prefer)"
        }
        PgSslMode::Require => {
            "go by TLS to whoever answers for another machine: nobody looks at the certificate (sslmode=require)"
        }
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => return None,
    };
    Some(format!("the password and rows of store.url {why}: use sslmode=verify-full, which is the default"))
}

fn read(place: &str) -> Result<Address, String> {
    Address::read(&format!("postgres://{place}"), PARAMETERS)
}

/// How to connect to what the URL names.
pub(super) fn options(place: &str) -> Result<PgConnectOptions, OpenError> {
    connect_options(place).map_err(|reason| OpenError::new("url", reason))
}

/// The file of the key to the certificate that it names.
pub(super) fn key_file(place: &str) -> Option<PathBuf> {
    read(place).ok()?.parameter("sslkey").map(PathBuf::from)
}

fn connect_options(place: &str) -> Result<PgConnectOptions, String> {
    let address = read(place)?;
    let host = host(&address)?;
    let port = match address.parameter("port") {
        Some(_) if host.port.is_some() => return Err(twice("port")),
        Some(port) => port.parse().map_err(|_| "has something else than a number as its `port`")?,
        None => host.port.unwrap_or(PORT),
    };
    let path = address.path.as_deref().unwrap_or_default();
    let said = [
        (address.user.as_deref().is_some_and(|user| !user.is_empty()), "user"),
        (address.password.is_some(), "password"),
        (!path.is_empty(), "dbname"),
    ];
    if let Some((_, name)) =
        said.into_iter().find(|(is_said, name)| *is_said && address.parameter(name).is_some())
    {
        return Err(twice(name));
    }
    if path.contains('/') {
        return Err("has more than a database's name behind its host: a `/` in it is written %2F".to_owned());
    }
    if address.parameter("sslcert").is_some() != address.parameter("sslkey").is_some() {
        return Err("has one of `sslcert` and `sslkey` without the other".to_owned());
    }
    let mode = mode(&address, &host)?;
    let encoded = address.encoded();
    let read = || PgConnectOptions::from_str(encoded.expose_secret());
    // its words may hold what it did not understand
    let options = dispatcher::with_default(&Dispatch::none(), read)
        .map_err(|_| "cannot be read: percent-encode what is no letter, digit, `-`, `.`, `_` or `~`")?;
    let options = match host.name.starts_with('/') {
        true => options.socket(&host.name),
        false => options.host(&host.name),
    };
    let options = options.port(port).ssl_mode(mode).disable_statement_logging();
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("floodgate"),
    })
}

/// Where it is.
fn host(address: &Address) -> Result<Host, String> {
    let named = address.parameter("host").map(|name| Host { name: name.to_owned(), port: None });
    match (&address.hosts[..], named) {
        ([], Some(host)) if !host.name.is_empty() && !host.name.contains(',') => Ok(host),
        ([host], None) => Ok(host.clone()),
        ([_, ..], Some(_)) => Err(twice("host")),
        ([], None) => Err("names no host: postgres://user:password@host/database, or ?host=/var/run/postgresql for a \
                           socket"
            .to_owned()),
        _ => Err("names several hosts, and only one is connected to: name the primary, or an address that leads to it (of a \
                  proxy, or one that moves with it)"
            .to_owned()),
    }
}

fn twice(what: &str) -> String {
    format!("says twice what its `{what}` is")
}

/// How the connection is secured.
fn mode(address: &Address, host: &Host) -> Result<PgSslMode, String> {
    let Some(said) = address.parameter("sslmode") else {
        return Ok(match (host.name.starts_with('/'), host.is_this_machine()) {
            (true, _) => PgSslMode::Disable,
            (_, true) => PgSslMode::Prefer,
            _ => PgSslMode::VerifyFull,
        });
    };
    let Some((_, mode)) = MODES.into_iter().find(|(name, _)| *name == said) else {
        return Err(format!(
            "has an unknown `sslmode`: it is one of {}",
            MODES.map(|(name, _)| name).join(", ")
        ));
    };
    Ok(match mode {
        // there is no TLS on sockets of this machine
        _ if host.name.starts_with('/') => PgSslMode::Disable,
        // as PostgreSQL's own clients have it: an authority that is named is looked at
        PgSslMode::Require if address.parameter("sslrootcert").is_some() => PgSslMode::VerifyCa,
        mode => mode,
    })
}

/// What helps where no connection comes about.
pub(super) fn help(error: &Error) -> Option<&'static str> {
    match error {
        Error::Tls(why) if why.to_string().contains("does not support TLS") => Some(
            "it declines TLS, and so was sent neither a name nor a password: turn TLS on there (ssl = on), or, where nobody \
             else is on the way, say so with ?sslmode=disable in [store] url",
        ),
        Error::Io(why) if why.kind() == ErrorKind::InvalidData => Some(
            "its certificate does not prove that it is the server in [store] url, and so it was sent neither a name nor a \
             password: name the certificate's authority with ?sslrootcert=FILE, and the host as the certificate has it; \
             ?sslmode=require takes any certificate",
        ),
        Error::Io(why) if why.kind() == ErrorKind::NotFound => {
            Some("a file that [store] url names is not there: a socket, sslrootcert, sslcert or sslkey")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(place: &str) -> String {
        options(place).map_or_else(|error| error.reason, |options| format!("{:?}", options.get_ssl_mode()))
    }

    #[test]
    fn the_file_of_a_key_is_known() {
        assert_eq!(key_file("ann@db/x?sslcert=a.pem&sslkey=a%2Fb.key"), Some("a/b.key".into()));
        assert_eq!((key_file("ann@db/x"), key_file("db:x:y/z")), (None, None));
    }

    #[test]
    fn tls_is_verified_unless_nobody_is_on_the_way_or_the_url_says_otherwise() {
        for (place, mode) in [
            ("ann:secret@db/x", "VerifyFull"),
            ("ann:secret@10.0.0.7/x", "VerifyFull"),
            ("[fd00::1]/x", "VerifyFull"),
            ("db/x?sslrootcert=/etc/ca.pem", "VerifyFull"),
            ("/x?host=db", "VerifyFull"),
            ("localhost/x", "Prefer"),
            ("127.0.0.1/x", "Prefer"),
            ("[::1]/x", "Prefer"),
            ("%2Fvar%2Frun/x", "Disable"),
            ("/x?host=/var/run", "Disable"),
            ("/x?host=/var/run&sslmode=require", "Disable"),
            ("db/x?sslmode=disable", "Disable"),
            ("db/x?sslmode=prefer", "Prefer"),
            ("db/x?sslmode=require", "Require"),
            ("db/x?sslmode=require&sslrootcert=ca.pem", "VerifyCa"),
            ("db/x?sslmode=verify-ca", "VerifyCa"),
            ("localhost/x?sslmode=verify-full", "VerifyFull"),
        ] {
            assert_eq!(mode_of(place), mode, "{place}");
        }
        for unknown in ["allow", "secret", ""] {
            let told = mode_of(&format!("db/x?sslmode={unknown}"));
            assert!(told.contains("verify-ca, verify-full") && !told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn what_others_on_the_way_may_read_is_told() {
        for (place, told) in [
            ("ann:secret@db/x?sslmode=disable", "sslmode=disable"),
            ("ann:secret@db/x?sslmode=prefer", "declines TLS"),
            ("ann:secret@db/x?sslmode=require", "nobody looks at the certificate"),
            ("/x?host=10.0.0.7&sslmode=disable", "sslmode=disable"),
            ("ann:secret@db/x?sslmode=require&sslrootcert=ca.pem", ""),
            ("ann:secret@db/x?sslmode=verify-ca", ""),
            ("ann:secret@db/x", ""),
            ("ann:secret@localhost/x?sslmode=disable", ""),
            ("ann:secret@127.0.0.1/x", ""),
            ("/x?host=/var/run", ""),
        ] {
            let said = in_the_clear(place).unwrap_or_default();
            assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{place}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn hosts_are_what_connections_are_made_to() {
        let host = |place: &str| {
            let options = options(place).unwrap();
            (options.get_host().to_owned(), options.get_port(), options.get_socket().cloned())
        };
        assert_eq!(host("ann@[::1]/x"), ("::1".into(), 5432, None));
        assert_eq!(host("ann@db:5433/x"), ("db".into(), 5433, None));
        assert_eq!(host("/x?host=db&port=5433"), ("db".into(), 5433, None));
        assert_eq!(host("%2Fvar%2Frun/x").2, Some("/var/run".into()));
        assert_eq!(host("/x?host=/var/run").2, Some("/var/run".into()));
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused_in_words() {
        for (place, why) in [
            ("ann:secret@one,two/x", "several hosts"),
            ("/x?host=one,two", "several hosts"),
            ("ann:secret@/x", "names no host"),
            ("ann:secret@db/x?host=two", "twice what its `host`"),
            ("db:1/x?port=2", "twice what its `port`"),
            ("db/x?port=secret", "`port`"),
            ("ann:secret@db/x?user=bob", "twice what its `user`"),
            ("ann:secret@db/x?password=secret", "twice what its `password`"),
            ("db/x?dbname=y", "twice what its `dbname`"),
            ("db/x/secret", "%2F"),
            ("db/x?sslcert=secret", "`sslkey`"),
            ("db/x?statement-cache-capacity=secret", "cannot be read"),
            ("db/x?target_session_attrs=secret", "none of sslmode"),
        ] {
            let told = options(place).map(drop).unwrap_err().reason;
            assert!(told.contains(why) && !told.contains("secret"), "{place}: {told}");
        }
    }
}
