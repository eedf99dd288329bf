//! What is compared: another strategy is another row of [`CASES`], and its server another of [`Server`].

/// Where events wait, if not in the process that takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Kafka,
    /// Redis that syncs its append-only file once a second.
    Redis,
    /// Redis that syncs it before it answers.
    SyncedRedis,
}

/// One row.
pub struct Case {
    /// As the table calls it.
    pub name: &'static str,
    /// What floodgate is told, but for where its servers are.
    pub settings: &'static [(&'static str, &'static str)],
    /// Its servers, of which the last is killed. Without any, one process does everything.
    pub servers: &'static [Server],
    /// Whether the first of them is away in the midst of every load.
    pub outage: bool,
}

impl Case {
    pub fn is_one_process(&self) -> bool {
        self.servers.is_empty()
    }
}

pub const CASES: [Case; 5] = [
    Case { name: "in-memory", settings: &[("buffer.strategy", "in-memory")], servers: &[], outage: false },
    Case {
        name: "redis, ack = memory",
        settings: &[("buffer.strategy", "redis"), ("buffer.redis.ack", "memory")],
        servers: &[Server::Redis],
        outage: false,
    },
    Case {
        name: "redis, ack = fsync",
        settings: &[("buffer.strategy", "redis"), ("buffer.redis.ack", "fsync")],
        servers: &[Server::SyncedRedis],
        outage: false,
    },
    Case {
        name: "kafka",
        settings: &[("buffer.strategy", "kafka")],
        servers: &[Server::Kafka],
        outage: false,
    },
    Case {
        name: "kafka, fallback = redis, Kafka away",
        // what comes in a minute of as fast as it goes may be more than the million that may wait by default
        settings: &[
            ("buffer.strategy", "kafka"),
            ("buffer.fallback", "redis"),
            ("buffer.redis.max_events", "10000000"),
        ],
        servers: &[Server::Kafka, Server::Redis],
        outage: true,
    },
];
