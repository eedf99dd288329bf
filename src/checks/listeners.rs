//! Where clients and operators connect.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::check::Check;
use crate::exposure::{self, Opens};
use crate::roles::files_needed;
use crate::settings::Settings;

pub(super) fn of(settings: &Settings) -> Check {
    let (http, admin) = (settings.http.listen, settings.admin.listen);
    let mut check = Check::of("listeners", format!("clients {http}, operators {admin}"));
    for problem in Opens::Both.problems(settings) {
        check.wrong(problem, "say who may come, or listen on this machine alone");
    }
    for warning in
        exposure::clients_warnings(settings).into_iter().chain(exposure::operators_warning(settings))
    {
        check.told(warning, "set http.tls, or let what stands in front of it end TLS");
    }
    [("http", http), ("admin", admin)]
        .into_iter()
        .for_each(|(section, listen)| bind(section, listen, &mut check));
    let needed = files_needed(settings.http.connections_max);
    match rlimit::getrlimit(rlimit::Resource::NOFILE) {
        Ok((_, hard)) if hard < needed => check.told(
            format!("the system allows {hard} open files, and http.connections_max needs {needed}"),
            "raise it (ulimit -Hn, LimitNOFILE), or lower http.connections_max",
        ),
        _ => {}
    }
    check
}

/// Whether somebody could listen there. Nobody is let in.
fn bind(section: &str, listen: SocketAddr, check: &mut Check) {
    match TcpListener::bind(listen) {
        Ok(_) => {}
        // what runs already is looked at like this, too
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            check
                .well(format!("{listen} is in use: by a floodgate that runs already, or by another program"));
        }
        Err(error) => check.away(
            format!("{section}.listen = {listen}: {error}"),
            "listen on an address of this machine, and on a port that this user may use",
        ),
    }
}
