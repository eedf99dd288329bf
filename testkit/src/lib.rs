//! Real servers for tests and benches: started on free ports in temporary folders, killed, frozen and started again at
//! will, and gone without a trace when the test process ends, however it ends. Development only.
//!
//! # How orphans are prevented
//!
//! `Drop` alone is not enough: it does not run when a test process is killed, aborts, leaves through
//! `std::process::exit`, or keeps a server in a `static`. So the first server (or folder) of a test process also starts
//! one **watchdog**, a small `sh` script (`watchdog.sh`) that reads its standard input. That is a pipe whose only
//! writing end belongs to the test process, so the kernel closes it when that process dies for whatever reason. The
//! watchdog reads the end of the file, kills what is still registered, removes the one folder that all scratch folders
//! of the process are in, and exits. Four details make this tight:
//!
//! - Both ends of the pipe are close-on-exec. A server that inherited the writing end would keep the watchdog waiting.
//! - A child registers *itself*, between fork and exec, by writing its process id to the pipe. There is no moment at
//!   which it runs and the watchdog does not know of it, even when we die in the middle of starting it.
//! - A child is struck off *before* it is reaped, while it is a zombie and its process id cannot be given to anyone
//!   else. The watchdog therefore never kills a stranger. Entries are known by a serial number and not by process id,
//!   so that a child whose exec failed can be struck off as well.
//! - The watchdog has a process group of its own and ignores the terminal's signals: Ctrl-C ends the test, and the
//!   watchdog then cleans up after it.
//!
//! Each child leads its own process group and is killed as a group *and* as a tree: PostgreSQL's backends, for one,
//! leave the group of the postmaster through `setsid`. Only descendants whose parents have exited *and* which have left
//! the group escape; no server here makes such.
//!
//! # What is here
//!
//! - [`process`]: one child process: its logs, signals, exit, memory and processor time.
//! - [`kafka`], [`postgres`] and [`redis`]: the servers. `scripts/setup` installs what they need.
//! - [`pgbouncer`]: a pooler before PostgreSQL.
//! - [`registry`]: a schema registry, Apicurio's.
//! - [`collector`]: an OpenTelemetry Collector, which takes traces.
//! - [`proxy`]: connections that are cut, silenced and throttled on demand.
//! - [`faults`]: seeds of fault scenarios, and their outcomes.
//! - [`ports`], [`scratch`], [`wait`]: free ports, temporary folders, waiting for a condition with a deadline.
//!
//! All functions but [`wait::until_async`] block the calling thread.

mod guard;
mod tree;

pub mod certificates;
pub mod collector;
pub mod faults;
pub mod kafka;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod registry;
pub mod scratch;
pub mod wait;

pub use certificates::Certificates;
pub use collector::Collector;
pub use kafka::{Kafka, KafkaOptions};
pub use pgbouncer::PgBouncer;
pub use postgres::{Held, Postgres, PostgresOptions};
pub use process::Process;
pub use proxy::{Link, Proxy};
pub use redis::{Redis, RedisCluster, RedisOptions, RedisVersion};
pub use registry::{RegistryIds, RegistryOptions, SchemaRegistry};
pub use scratch::ScratchDir;
