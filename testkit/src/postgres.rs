//! PostgreSQL: one server with a data folder of its own, its durability settings untouched, since crashes are tested.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Certificates, Process, ScratchDir, ports, process, wait};

/// The superuser, whose password is the same.
pub(crate) const USER: &str = "testkit";
/// Crash recovery included.
const START_DEADLINE: Duration = Duration::from_secs(180);
const STOP_DEADLINE: Duration = Duration::from_secs(180);
const SQL_DEADLINE: Duration = Duration::from_secs(180);

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Lines of `postgresql.conf`; they win over those of this crate.
    pub settings: Vec<(String, String)>,
    /// The size of the write-ahead log's files, a power of two; 16 otherwise.
    pub wal_segment_mb: Option<u32>,
}

/// A server. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    process: Mutex<Option<Arc<Process>>>,
    programs: Programs,
    port: u16,
    databases: AtomicU32,
    scratch: ScratchDir,
}

impl Postgres {
    /// Makes a data folder, starts a server on it and waits until it accepts connections.
    pub fn start(options: PostgresOptions) -> Result<Postgres> {
        let programs = Programs::find()?;
        let scratch = ScratchDir::new("postgres")?;
        let port = ports::free_port()?;
        let databases = AtomicU32::new(1);
        let postgres = Postgres { process: Mutex::new(None), programs, port, databases, scratch };
        postgres.init(&options)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    /// The URL of a database. `postgres` exists from the start.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database that no other caller gets, and returns its URL.
    pub fn create_database(&self) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs SQL in the database of this name or URL and returns the rows: a line each, columns separated by `|`. Several
    /// statements in one call are one transaction.
    pub fn psql(&self, url_or_database: &str, sql: &str) -> Result<String> {
        let url = match url_or_database.contains("://") {
            true => url_or_database.to_owned(),
            false => self.url(url_or_database),
        };
        let mut command = Command::new(self.programs.folder.join("psql"));
        command.args(["-AtqX", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql]);
        process::run("psql", command, self.scratch.path(), SQL_DEADLINE)
    }

    /// Opens a session that runs `statements` in a transaction, and then keeps it open with all its locks until it is
    /// dropped. Returns once it has them.
    pub fn hold(&self, url: &str, statements: &str) -> Result<Held<'_>> {
        static HELD: AtomicU32 = AtomicU32::new(1);
        let name = format!("held-{}", HELD.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(self.programs.folder.join("psql"));
        let holding = format!("BEGIN; {statements}; \\echo held");
        command.args(["-AtqX", "-v", "ON_ERROR_STOP=1", "-d", url]).env("PGAPPNAME", &name);
        // statement by statement, so that what was echoed is also done
        for part in holding.split("; ").chain(["SELECT pg_sleep(3600)"]) {
            command.args(["-c", part]);
        }
        let process = Process::spawn(&name, command, self.scratch.path())?;
        process.wait_for_log("held", SQL_DEADLINE)?;
        Ok(Held { postgres: self, name, _process: process })
    }

    /// From here on it takes connections by TLS, too, with the certificate of these, for `localhost`.
    pub fn secure(&self) -> Result<Certificates> {
        let (folder, home) = (self.scratch.path().join("tls"), self.scratch.path().join("server"));
        std::fs::create_dir(&folder)?;
        let made = Certificates::make(&folder)?;
        for (made, setting) in [(&made.certificate, "ssl_cert_file"), (&made.key, "ssl_key_file")] {
            let own = home.join(made.file_name().context("no file")?);
            std::fs::copy(made, &own)?;
            std::fs::set_permissions(&own, Permissions::from_mode(0o600))?;
            if let Some(user) = &self.programs.run_as {
                std::os::unix::fs::chown(&own, Some(user.uid), Some(user.gid))?;
            }
            self.psql("postgres", &format!("ALTER SYSTEM SET {setting} = '{}'", own.display()))?;
        }
        self.psql("postgres", "ALTER SYSTEM SET ssl = on")?;
        self.psql("postgres", "SELECT pg_reload_conf()")?;
        let is_on = || self.psql("postgres", "SHOW ssl").ok().filter(|ssl| ssl.trim() == "on");
        wait::until("PostgreSQL to read its certificate", START_DEADLINE, is_on)?;
        Ok(made)
    }

    /// The process that was started last.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.slot().clone().context("the server was never started")
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process()?.pid())
    }

    /// Kills all its processes at once (SIGKILL), as a power cut would.
    pub fn crash(&self) -> Result<()> {
        self.process()?.kill()
    }

    /// Stops it in an orderly way: transactions are rolled back, connections closed ("fast" shutdown).
    pub fn stop(&self) -> Result<()> {
        let process = self.process()?;
        process.signal(libc::SIGINT)?;
        process.wait_exit(STOP_DEADLINE).map(drop)
    }

    /// Stops all its processes where they are (SIGSTOP): connections stay open and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.process()?.freeze()
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<()> {
        self.process()?.thaw()
    }

    /// Lets it write no file beyond this size from here on, in sessions that begin later as well: its writes fail, as on
    /// a disk that is full. Only a new start lifts this.
    pub fn limit_file_size(&self, bytes: u64) -> Result<()> {
        // as the server's own user: others may not, unless the machine allows root everything
        let mut command = self.programs.as_server("prlimit");
        command.arg(format!("--pid={}", self.pid()?)).arg(format!("--fsize={bytes}"));
        process::run("prlimit", command, self.scratch.path(), START_DEADLINE).map(drop)
    }

    /// Starts it again on its port and data, and waits until it accepts connections.
    pub fn start_again(&self) -> Result<()> {
        let process = {
            let mut slot = self.slot();
            if let Some(process) = slot.as_ref() {
                ensure!(process.exit_status().is_some(), "the server runs already");
            }
            let mut command = self.programs.command("postgres");
            command.arg("-D").arg(self.data()).current_dir(self.data());
            slot.insert(Arc::new(Process::spawn("postgres", command, self.scratch.path())?)).clone()
        };
        process.wait_for_log("database system is ready to accept connections", START_DEADLINE)?;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        wait::until("PostgreSQL to accept a connection", START_DEADLINE, connect)
            .with_context(|| process.log_tail())?;
        Ok(())
    }

    /// Makes the data folder and its configuration.
    fn init(&self, options: &PostgresOptions) -> Result<()> {
        let scratch = self.scratch.path();
        // The server's user owns this folder and not ours with the logs in it, which others cannot read then.
        let home = scratch.join("server");
        std::fs::create_dir(&home)?;
        std::fs::write(home.join("password"), USER)?;
        if let Some(user) = &self.programs.run_as {
            for path in [&home, &home.join("password")] {
                std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
                    .with_context(|| format!("cannot give {} to another user", path.display()))?;
            }
        }
        let mut command = self.programs.command("initdb");
        command.args([
            "--username",
            USER,
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
        ]);
        command.args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"]);
        if let Some(size) = options.wal_segment_mb {
            command.arg(format!("--wal-segsize={size}"));
        }
        command.arg("--pwfile").arg(home.join("password")).arg("-D").arg(self.data()).current_dir(&home);
        process::run("initdb", command, scratch, START_DEADLINE)?;

        let mut settings = format!(
            "\nlisten_addresses = '127.0.0.1'\n\
             port = {}\n\
             unix_socket_directories = '{}'\n\
             max_connections = 200\n\
             # In the data folder, where it goes when the folder goes, also after a kill.\n\
             dynamic_shared_memory_type = mmap\n",
            self.port,
            home.display()
        );
        for (name, value) in &options.settings {
            let _ = writeln!(settings, "{name} = '{}'", value.replace('\'', "''"));
        }
        let file = self.data().join("postgresql.conf");
        let defaults = std::fs::read_to_string(&file)?;
        std::fs::write(&file, defaults + &settings).context("cannot write postgresql.conf")
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("server/data")
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that holds locks. Dropping it gives them back.
#[derive(Debug)]
pub struct Held<'s> {
    postgres: &'s Postgres,
    name: String,
    _process: Process,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // the server does not look at its client while it sleeps
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
            self.name
        );
        if let Err(error) = self.postgres.psql("postgres", &sql) {
            eprintln!("testkit: {error:#}");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(process) = self.slot().take() else {
            return;
        };
        // Asked to end at once, it gives its System V shared memory back, as it cannot when killed.
        if process.exit_status().is_none() {
            let _ = process.thaw();
            let _ = process.signal(libc::SIGQUIT);
            let _ = process.wait_exit(Duration::from_secs(10));
        }
        if let Err(error) = process.kill() {
            eprintln!("testkit: {error:#}");
        }
    }
}

/// Where the server's programs are, and who runs them.
#[derive(Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
    /// PostgreSQL refuses to run as root. `None`: as ourselves.
    run_as: Option<User>,
}

#[derive(Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Programs {
    pub(crate) fn find() -> Result<Programs> {
        let folder = newest_folder().or_else(|| process::find_in_path("initdb")).context(
            "PostgreSQL's initdb is neither in /usr/lib/postgresql/*/bin nor in PATH: run ./scripts/setup",
        )?;
        // SAFETY: geteuid only returns a number.
        let root = unsafe { libc::geteuid() } == 0;
        let run_as = root.then(unprivileged_user).transpose()?;
        Ok(Programs { folder, run_as })
    }

    fn command(&self, program: &str) -> Command {
        self.as_server(self.folder.join(program))
    }

    /// A command that the server's user runs.
    pub(crate) fn as_server(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C.UTF-8");
        if let Some(user) = &self.run_as {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

/// Debian's place, with a folder per major version.
fn newest_folder() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((number(&entry.path())?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

/// The user that the package made for the server.
fn unprivileged_user() -> Result<User> {
    let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = || {
        let mut fields = accounts.lines().find_map(|line| line.strip_prefix("postgres:"))?.split(':').skip(1);
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    find().context("PostgreSQL does not run as root, and /etc/passwd has no user `postgres` to run it as")
}
