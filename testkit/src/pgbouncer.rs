//! PgBouncer: a pooler before a [`Postgres`], in transaction mode.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::postgres::{Programs, USER};
use crate::{Postgres, Process, ScratchDir, ports, process, wait};

const START_DEADLINE: Duration = Duration::from_secs(60);

/// A pooler. Dropping it stops it.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    process: Process,
    _scratch: ScratchDir,
}

impl PgBouncer {
    /// Starts one before a server, that leads to each of its databases. The settings are those of `pgbouncer.ini`; they win
    /// over those of this crate.
    pub fn start(postgres: &Postgres, settings: &[(&str, &str)]) -> Result<PgBouncer> {
        let scratch = ScratchDir::new("pgbouncer")?;
        let port = ports::free_port()?;
        let users = scratch.path().join("users.txt");
        std::fs::write(&users, format!("\"{USER}\" \"{USER}\"\n"))?;
        let mut text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = scram-sha-256\n\
             auth_file = {}\n\
             pool_mode = transaction\n\
             default_pool_size = 2\n\
             server_idle_timeout = 5\n\
             max_client_conn = 500\n",
            postgres.port(),
            users.display()
        );
        for (name, value) in settings {
            let _ = writeln!(text, "{name} = {value}");
        }
        let file = scratch.path().join("pgbouncer.ini");
        std::fs::write(&file, text).context("cannot write pgbouncer.ini")?;

        let program = process::find_in_path("pgbouncer").map(|folder| folder.join("pgbouncer"));
        // Debian keeps it out of the PATH of users
        let program = program.unwrap_or_else(|| "/usr/sbin/pgbouncer".into());
        // as little as the server does it run as root
        let mut command = Programs::find()?.as_server(program);
        command.arg(&file);
        let process = Process::spawn("pgbouncer", command, scratch.path())
            .context("PgBouncer cannot be started: run ./scripts/setup")?;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        wait::until("PgBouncer to accept a connection", START_DEADLINE, connect)
            .with_context(|| process.log_tail())?;
        Ok(PgBouncer { port, process, _scratch: scratch })
    }

    /// The way to a database through it, instead of to the server.
    pub fn url(&self, url: &str) -> String {
        let database = url.rsplit('/').next().unwrap_or_default();
        format!("postgres://{USER}:{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// What it says.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
