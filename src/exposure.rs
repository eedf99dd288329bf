//! Listeners that others than this machine can reach. None is opened with nobody asked who they are, unless the configuration says
//! that this is meant: a service that runs open by mistake looks just as one that works.

use std::net::{IpAddr, SocketAddr};

use floodgate_admin::AdminConfig;
use floodgate_producer::AuthMode;

use crate::settings::Settings;

/// A listener as it is configured.
#[derive(Debug, Clone, Copy)]
struct Listener {
    section: &'static str,
    listen: SocketAddr,
    /// Whether those who come have to say who they are.
    is_guarded: bool,
    allow_open: bool,
    /// What would make them.
    guard: &'static str,
}

/// Which of them a command opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    Both,
    /// A consumer may share its configuration with an ingress, whose clients' listener is not its own.
    Operators,
    Neither,
}

impl Opens {
    /// What stands against opening these.
    pub(crate) fn problems(self, settings: &Settings) -> Vec<String> {
        let Settings { http, auth, admin, .. } = settings;
        let clients = Listener {
            section: "http",
            listen: http.listen,
            is_guarded: auth.mode != AuthMode::Off,
            allow_open: http.allow_open,
            guard: "set auth.mode",
        };
        let operators = Listener {
            section: "admin",
            listen: admin.listen,
            is_guarded: admin.token.is_some(),
            allow_open: admin.allow_open,
            guard: "set admin.token (FLOODGATE__ADMIN__TOKEN)",
        };
        let (clients, operators) = (clients.problem(), operators.problem());
        match self {
            Opens::Both => clients.into_iter().chain(operators).collect(),
            Opens::Operators => operators.into_iter().collect(),
            Opens::Neither => Vec::new(),
        }
    }
}

/// What is worth a word of the clients' listener though it is allowed: what whoever is on the way can read, or put there.
pub(crate) fn clients_warnings(settings: &Settings) -> Vec<String> {
    let Settings { http, auth, .. } = settings;
    let is_plain = http.tls.cert_file.as_os_str().is_empty();
    let shown = (auth.mode != AuthMode::Off && is_plain && !is_this_machine(http.listen.ip())).then(|| {
        format!(
            "keys and tokens come in the clear to http.listen = {}: set http.tls, unless what stands in front of it ends TLS",
            http.listen
        )
    });
    let made_up = (auth.mode == AuthMode::Jwt && auth.jwt.comes_in_the_clear()).then(|| {
        format!(
            "the issuer's keys come in the clear from auth.jwt.jwks_url = {}: whoever is on the way can put others there, and let \
             anybody in; use https://",
            auth.jwt.place()
        )
    });
    shown.into_iter().chain(made_up).collect()
}

/// And of the operators'.
pub(crate) fn operators_warning(settings: &Settings) -> Option<String> {
    let AdminConfig { listen, token, .. } = &settings.admin;
    (token.is_some() && !is_this_machine(listen.ip())).then(|| {
        format!(
            "the operators' token and their sessions come in the clear to admin.listen = {listen}, unless what stands in front of it \
             ends TLS and nobody else reaches it"
        )
    })
}

impl Listener {
    fn problem(&self) -> Option<String> {
        let Self { section, listen, is_guarded, allow_open, guard } = self;
        if is_this_machine(listen.ip()) || *is_guarded || *allow_open {
            return None;
        }
        Some(format!(
            "{section}.listen = {listen} can be reached from other machines, and nobody there has to say who they are: {guard}, or \
             listen on 127.0.0.1:{port}; {section}.allow_open = true (FLOODGATE__{upper}__ALLOW_OPEN=true) opens it as it is",
            port = listen.port(),
            upper = section.to_ascii_uppercase(),
        ))
    }
}

/// Unspecified addresses are all of the machine's, and so not.
fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OPEN: Listener = Listener {
        section: "admin",
        listen: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9600),
        is_guarded: false,
        allow_open: false,
        guard: "set admin.token",
    };

    #[test]
    fn only_loopback_is_this_machine() {
        for (listen, is_refused) in [
            ("127.0.0.1:9600", false),
            ("127.8.9.10:9600", false),
            ("[::1]:9600", false),
            ("[::ffff:127.0.0.1]:9600", false),
            ("0.0.0.0:9600", true),
            ("[::]:9600", true),
            ("[::ffff:0.0.0.0]:9600", true),
            ("10.0.0.7:9600", true),
            ("[::ffff:10.0.0.7]:9600", true),
            ("169.254.1.1:9600", true),
            ("[fe80::1]:9600", true),
            ("[fd00::1]:9600", true),
            ("203.0.113.5:9600", true),
        ] {
            let listener = Listener { listen: listen.parse().unwrap(), ..OPEN };
            assert_eq!(listener.problem().is_some(), is_refused, "{listen}");
        }
    }

    #[test]
    fn what_goes_over_a_network_in_the_clear_is_told() {
        let set = |layers: &[(&str, &str)]| {
            let layers =
                layers.iter().map(|(name, value)| (format!("FLOODGATE__{name}"), (*value).to_owned()));
            let settings = Settings::from_layers(None, layers).unwrap();
            let clients = clients_warnings(&settings);
            let told = |word: &str| clients.iter().any(|warning| warning.contains(word));
            (told("http.listen"), told("jwks_url"), operators_warning(&settings).is_some())
        };
        let tokens = |jwks_url| {
            let jwt = [("AUTH__MODE", "jwt"), ("AUTH__JWT__ISSUER", "i"), ("AUTH__JWT__AUDIENCE", "a")];
            [&jwt[..], &[("AUTH__JWT__JWKS_URL", jwks_url)]].concat()
        };
        let (here, there) = ("http://127.0.0.1:1/jwks", "http://10.0.0.7/jwks");
        let http = [("HTTP__LISTEN", "0.0.0.0:8080")];
        assert_eq!(set(&[]), (false, false, false));
        assert_eq!(set(&tokens(here)), (false, false, false));
        assert_eq!(set(&tokens(there)), (false, true, false));
        assert_eq!(set(&[&tokens(here)[..], &http].concat()), (true, false, false));
        let secured = [("HTTP__TLS__CERT_FILE", "c.pem"), ("HTTP__TLS__KEY_FILE", "k.pem")];
        assert_eq!(set(&[&tokens(here)[..], &http, &secured].concat()), (false, false, false));
        let token = [("ADMIN__TOKEN", "a-token-of-operators")];
        assert_eq!(set(&token), (false, false, false));
        let admin = [("ADMIN__LISTEN", "0.0.0.0:9600")];
        assert_eq!(set(&[&token[..], &admin].concat()), (false, false, true));
    }

    #[test]
    fn who_is_asked_or_meant_may_come() {
        let told = OPEN.problem().unwrap();
        for part in ["0.0.0.0:9600", "set admin.token", "127.0.0.1:9600", "FLOODGATE__ADMIN__ALLOW_OPEN=true"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(Listener { is_guarded: true, ..OPEN }.problem(), None);
        assert_eq!(Listener { allow_open: true, ..OPEN }.problem(), None);
    }
}
