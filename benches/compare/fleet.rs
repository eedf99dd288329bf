//! The servers, which all strategies share: each run has a database and topics of its own on them.

use anyhow::Result;
use floodgate_testkit::{Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisOptions, RedisVersion};

use crate::cases::Server;
use crate::support::world::Servers;

pub struct Fleet {
    pub postgres: Postgres,
    kafka: Kafka,
    redis: Redis,
    synced_redis: Redis,
}

impl Fleet {
    pub fn start() -> Result<Fleet> {
        let own = |settings: &[(&str, &str)]| -> Vec<(String, String)> {
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let kafka = KafkaOptions { quick_jit: false, heap_mb: 1024, ..KafkaOptions::default() };
        // a checkpoint is made before each run, none in its midst
        let settings = own(&[("max_wal_size", "16GB"), ("checkpoint_timeout", "1h")]);
        let postgres = PostgresOptions { settings, ..PostgresOptions::default() };
        let redis = |sync: &str| {
            Redis::start(RedisOptions {
                version: RedisVersion::V8_2,
                settings: own(&[("appendfsync", sync)]),
            })
        };
        let (redis, synced_redis) = (redis("everysec")?, redis("always")?);
        let Servers { kafka, postgres } = Servers::start(kafka, postgres)?;
        Ok(Fleet { postgres, kafka, redis, synced_redis })
    }

    /// The setting that says where a server is.
    pub fn place(&self, server: Server) -> (&'static str, String) {
        match server {
            Server::Kafka => ("buffer.kafka.brokers", self.kafka.bootstrap()),
            Server::Redis => ("buffer.redis.url", self.redis.url()),
            Server::SyncedRedis => ("buffer.redis.url", self.synced_redis.url()),
        }
    }

    pub fn pid(&self, server: Server) -> Result<u32> {
        match server {
            Server::Kafka => self.kafka.pid(0),
            Server::Redis => Ok(self.redis.process()?.pid()),
            Server::SyncedRedis => Ok(self.synced_redis.process()?.pid()),
        }
    }

    /// SIGKILL.
    pub fn kill(&self, server: Server) -> Result<()> {
        match server {
            Server::Kafka => self.kafka.kill(0),
            Server::Redis => self.redis.process()?.kill(),
            Server::SyncedRedis => self.synced_redis.process()?.kill(),
        }
    }

    pub fn start_again(&self, server: Server) -> Result<()> {
        match server {
            Server::Kafka => self.kafka.start_again(0),
            Server::Redis => self.redis.start_again(),
            Server::SyncedRedis => self.synced_redis.start_again(),
        }
    }

    /// Leaves nothing of a run for the next one to be slowed by.
    pub fn clear(&self, url: &str) -> Result<()> {
        let name = url.rsplit('/').next().unwrap_or_default();
        self.postgres.psql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"))?;
        self.postgres.psql("postgres", "CHECKPOINT")?;
        [&self.redis, &self.synced_redis].iter().try_for_each(|redis| redis.cli(&["FLUSHALL"]).map(drop))
    }
}
