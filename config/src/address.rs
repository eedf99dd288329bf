//! Addresses that may hold a password: `scheme://[user[:password]@]host[:port][/path][?name=value&…]`.
//!
//! Whoever copies a password into an address does not think of percent-encoding, and what a library makes of a raw `/`, `@` or `?`
//! is worse than an error: the end of the password becomes a name that is looked up, or a parameter that is logged as unknown. So
//! an address is read here before any library sees it, and handed on as it should have been written.
//!
//! * The password ends at the last `@` in front of the parameters, and holds whatever stands there. What can be read in two ways is
//!   refused.
//! * Parameters are those that are known by name. The first `?` behind which there are only such ends what stands in front of them.
//! * *Nothing of an address that was not understood is ever told*, and of one that was neither a password.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::mask::MASK;
use crate::near;

/// What needs no encoding anywhere.
const SPECIAL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What needs none in a path, or behind a parameter's name.
const SPECIAL_BEHIND: &AsciiSet = &SPECIAL.remove(b'/').remove(b':').remove(b',');

/// The parameter that is a secret.
const PASSWORD: &str = "password";

/// An address that was understood. Shown without its password.
#[derive(Clone)]
pub struct Address {
    /// In small letters.
    pub scheme: String,
    /// Who asks; may be empty beside a password.
    pub user: Option<String>,
    /// With which password.
    pub password: Option<SecretString>,
    /// Where, in the order in which they are written.
    pub hosts: Vec<Host>,
    /// What stands behind the first `/`, if there is one.
    pub path: Option<String>,
    parameters: Vec<(String, SecretString)>,
}

/// A host, or the path of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Without brackets.
    pub name: String,
    /// If it is said.
    pub port: Option<u16>,
}

impl Address {
    /// Reads an address that may have these parameters; one that ends with `[` stands for all that begin so.
    ///
    /// # Errors
    /// What is wrong with it, to be read behind its key. Holds nothing of the address.
    pub fn read(text: &str, parameters: &[&str]) -> Result<Self, String> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err("holds a control character, such as the end of a line".to_owned());
        }
        let (scheme, rest) = text.split_once("://").ok_or("has no `://`")?;
        let (rest, query) = split_query(rest, parameters)?;
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        if place.contains('#') {
            return Err("holds a `#`, which is written %23".to_owned());
        }
        let (user, password) = credentials.map(split_credentials).transpose()?.unwrap_or_default();
        let (hosts, path) = match place.split_once('/') {
            Some((hosts, path)) => (hosts, Some(decoded(path)?)),
            None => (place, None),
        };
        let hosts = match hosts {
            "" => Vec::new(),
            hosts => hosts.split(',').map(Host::read).collect::<Result<_, _>>()?,
        };
        let parameters = query.map(read_parameters).transpose()?.unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { scheme, user, password: password.map(Into::into), hosts, path, parameters })
    }

    /// What a parameter says.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(known, _)| known == name)?;
        Some(value.expose_secret())
    }

    /// Whole, and percent-encoded where that is needed: for the library that connects.
    pub fn encoded(&self) -> SecretString {
        self.text(|secret| utf8_percent_encode(secret, SPECIAL).to_string()).into()
    }

    fn text(&self, secret: impl Fn(&str) -> String) -> String {
        let plain = |text: &str| utf8_percent_encode(text, SPECIAL).to_string();
        let behind = |text: &str| utf8_percent_encode(text, SPECIAL_BEHIND).to_string();
        let user = self.user.as_deref().map(plain);
        let password =
            self.password.as_ref().map(|password| format!(":{}", secret(password.expose_secret())));
        let credentials = match (user, password) {
            (None, None) => String::new(),
            (user, password) => format!("{}{}@", user.unwrap_or_default(), password.unwrap_or_default()),
        };
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        let path = self.path.as_deref().map(|path| format!("/{}", behind(path))).unwrap_or_default();
        let parameters = self.parameters.iter().map(|(name, value)| match name.as_str() {
            PASSWORD => format!("{name}={}", secret(value.expose_secret())),
            name => format!("{}={}", plain(name), behind(value.expose_secret())),
        });
        let query = parameters.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}://{credentials}{}{path}{mark}{query}", self.scheme, hosts.join(","))
    }
}

/// For people.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(|_| MASK.to_owned()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Host {
    fn read(text: &str) -> Result<Self, String> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or("has a `[` without its `]`")?;
                name.parse::<Ipv6Addr>()
                    .map_err(|_| "has something else than an IPv6 address in brackets")?;
                (name.to_owned(), port)
            }
            None if text.matches(':').count() > 1 => {
                return Err("has more than one `:` in its host: an IPv6 address stands in brackets, as in [::1]:5432, and \
                            special characters of a password are percent-encoded"
                    .to_owned());
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (decoded(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(port) => {
                Some(port.parse().ok().filter(|port| *port > 0).ok_or("has no port number behind its host")?)
            }
            None => return Err("has something else than a port behind its brackets".to_owned()),
        };
        let is_name = |name: &str| {
            let of_name = |c: char| c.is_alphanumeric() || "._-:".contains(c);
            !name.is_empty() && (name.starts_with('/') || name.chars().all(of_name))
        };
        match is_name(&name) {
            true => Ok(Self { name, port }),
            false => Err("has no host's name where one should be".to_owned()),
        }
    }

    /// Whether nobody is on the way there but this machine.
    pub fn is_this_machine(&self) -> bool {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        self.name.starts_with('/')
            || self.name.eq_ignore_ascii_case("localhost")
            || self.name.parse().is_ok_and(is_loopback)
    }
}

/// As it stands in an address.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]", self.name)?,
            false => utf8_percent_encode(&self.name, SPECIAL).fmt(f)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// What stands in front of the parameters, and they.
fn split_query<'t>(text: &'t str, known: &[&str]) -> Result<(&'t str, Option<&'t str>), String> {
    let is_known = |name: &str| {
        known.iter().any(|known| name == *known || (known.ends_with('[') && name.starts_with(known)))
    };
    let is_query = |query: &str| {
        query
            .split('&')
            .all(|part| part.is_empty() || part.split_once('=').is_some_and(|(name, _)| is_known(name)))
    };
    let mut marks = text.match_indices('?').map(|(at, _)| (&text[..at], &text[at + 1..]));
    if let Some((front, query)) = marks.clone().find(|(_, query)| is_query(query)) {
        return Ok((front, Some(query)));
    }
    match marks.next_back() {
        // not in the password
        Some((_, query)) if !query.contains('@') => Err(unknown_parameter(query, known)),
        _ => Ok((text, None)),
    }
}

/// Its name is not told: it may be the end of a password.
fn unknown_parameter(query: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "has parameters (behind a `?`), and takes none".to_owned();
    }
    let names = query.split('&').map(|part| part.split('=').next().unwrap_or_default());
    let meant = names.filter(|name| !known.contains(name)).find_map(|name| near(known.iter().copied(), name));
    let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    let known: Vec<_> = known.iter().copied().filter(|name| !name.ends_with('[')).collect();
    format!("has a parameter that is none of {}{hint}", known.join(", "))
}

fn split_credentials(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    // ann:5432/x@y may be a password, or a port and a path
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_unclear = user.contains(['/', '?', '#'])
        || password.and_then(|password| password.split_once('/')).is_some_and(|(front, _)| is_port(front));
    if is_unclear {
        return Err("can be read in two ways: percent-encode special characters of names and passwords (`@` is %40, `/` is \
                    %2F, `?` is %3F, `#` is %23)"
            .to_owned());
    }
    Ok((Some(decoded(user)?), password.map(decoded).transpose()?))
}

fn read_parameters(query: &str) -> Result<Vec<(String, SecretString)>, String> {
    let mut read: Vec<(String, SecretString)> = Vec::new();
    for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        if read.iter().any(|(known, _)| known == name) {
            return Err(format!("says `{name}` twice"));
        }
        read.push((name.to_owned(), decoded(value)?.into()));
    }
    Ok(read)
}

/// A `%` that encodes nothing stands for itself.
fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "has percent-encoded bytes that are no text (UTF-8)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["sslmode", "host", PASSWORD, "options["];

    fn read(text: &str) -> Result<Address, String> {
        Address::read(text, &KNOWN)
    }

    fn password(of: &Address) -> &str {
        of.password.as_ref().unwrap().expose_secret()
    }

    #[test]
    fn an_address_has_its_parts() {
        let address = read("Postgres://ann:p%40ss@[::1]:5433/a%20b?sslmode=require&options[x]=1").unwrap();
        assert_eq!((address.scheme.as_str(), address.user.as_deref()), ("postgres", Some("ann")));
        assert_eq!((password(&address), address.path.as_deref()), ("p@ss", Some("a b")));
        assert_eq!(address.hosts, [Host { name: "::1".into(), port: Some(5433) }]);
        assert_eq!(
            (address.parameter("sslmode"), address.parameter("options[x]")),
            (Some("require"), Some("1"))
        );
        assert_eq!(
            address.to_string(),
            "postgres://ann:***@[::1]:5433/a%20b?sslmode=require&options%5Bx%5D=1"
        );
        let address = read("postgres://db").unwrap();
        assert_eq!((address.user, address.path, address.hosts[0].port), (None, None, None));
        let address = read("postgres:///x?host=/var/run").unwrap();
        assert_eq!((address.hosts.len(), address.to_string().as_str()), (0, "postgres:///x?host=/var/run"));
        let hosts = read("postgres://one,two:2,%2Fvar%2Frun").unwrap().hosts;
        let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "/var/run"]);
    }

    /// Whoever connects finds it as it should have been written, and nobody is shown any of it.
    #[test]
    fn a_password_may_hold_anything_raw() {
        for secret in [
            "se@cret",
            "se/cret",
            "se?cret",
            "se#cret",
            "se:cret",
            "se%cret",
            "se%2",
            "se cret",
            "se[cret]",
            "se&c=ret",
            "se\\cret",
            "sé\"cret",
            "@/?#:",
            "se^cret|",
            "se?a@b&c/d",
            "se+cret",
        ] {
            for (front, user) in [("ann", Some("ann")), ("", Some(""))] {
                let text = format!(" postgres://{front}:{secret}@db:5432/x?sslmode=require\n");
                let address = read(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
                assert_eq!((password(&address), address.user.as_deref()), (secret, user));
                assert_eq!(address.hosts, [Host { name: "db".into(), port: Some(5432) }], "{text}");
                assert_eq!(address.to_string(), format!("postgres://{front}:***@db:5432/x?sslmode=require"));
                assert_eq!(format!("{address:?}"), address.to_string());
                // what every parser understands alike
                let again = read(address.encoded().expose_secret()).unwrap();
                assert_eq!(password(&again), secret);
                assert!(
                    !address.encoded().expose_secret()[11..].contains(['#', ' ', '"', '\\', '^']),
                    "{text}"
                );
            }
            let text = format!("postgres://ann@db/x?sslmode=require&password={secret}");
            if secret.contains('&') {
                assert!(!read(&text).unwrap_err().contains("cret"), "{text}");
                continue;
            }
            let address = read(&text).unwrap();
            assert_eq!(address.parameter(PASSWORD), Some(secret));
            assert_eq!(address.to_string(), "postgres://ann@db/x?sslmode=require&password=***");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_and_nothing_of_it_told() {
        for (text, why) in [
            ("secret", "no `://`"),
            ("postgres://ann:sec\nret@db/x", "control character"),
            ("postgres://ann:123/secret@db/x", "two ways"),
            ("postgres://db/x@secret", "two ways"),
            ("postgres://ann@db/x?password=se@cret&secret=1", "two ways"),
            ("postgres://ann:secret@db#x", "%23"),
            ("postgres://ann:secret@d b/x", "no host's name"),
            ("postgres://ann:secret@/x,y", ""),
            ("postgres://ann:secret@,/x", "no host's name"),
            ("postgres://ann:secret@db:secret/x", "no port number"),
            ("postgres://ann:secret", "no port number"),
            ("postgres://ann:secret@db:0/x", "no port number"),
            ("postgres://ann:secret@::1/x", "stands in brackets"),
            ("postgres://ann:secret@[::1/x", "without its `]`"),
            ("postgres://ann:secret@[secret]/x", "IPv6"),
            ("postgres://ann:secret@[::1]secret/x", "behind its brackets"),
            ("postgres://ann:%ffsecret@db/x", "no text"),
            ("postgres://ann:secret@db/x?sslmod=secret", "did you mean `sslmode`?"),
            ("postgres://ann:secret@db/x?secret=1", "none of sslmode, host, password"),
            ("postgres://ann:secret@db/x?passwd=secret", "did you mean `password`?"),
            ("postgres://ann:secret@db/x?host=a&host=b", "says `host` twice"),
        ] {
            match read(text) {
                Ok(address) => {
                    assert!(why.is_empty() && !address.to_string().contains("secret"), "{text}: {address}")
                }
                Err(told) => assert!(told.contains(why) && !told.contains("secret"), "{text}: {told}"),
            }
        }
        assert!(Address::read("redis://h/?x=secret", &[]).unwrap_err().contains("takes none"));
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (host, is_here) in [
            ("localhost", true),
            ("LocalHost:5432", true),
            ("127.0.0.1", true),
            ("127.9.8.7:1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("%2Fvar%2Frun", true),
            ("localhost.example", false),
            ("10.0.0.7", false),
            ("[::]", false),
            ("0.0.0.0", false),
            ("db", false),
        ] {
            let address = read(&format!("postgres://{host}/x")).unwrap();
            assert_eq!(address.hosts[0].is_this_machine(), is_here, "{host}");
        }
    }
}
