//! A world with house rules: some rows are refused by its database, until the rules are dropped.

use anyhow::Result;
use floodgate_schemas::LikeAction;
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::like;
use serde_json::Value;

use super::rule::{refuse, take};
use super::topic::{Found, Topics};
use super::world::{DRAINED, Servers, World};

pub const LIKES: &str = "floodgate.like.v1";
pub const DEAD_LETTERS: &str = "floodgate.dlq.v1";

/// A world in which likes by `forbidden…` and expectations of character 666 are bad rows.
pub struct House {
    pub servers: &'static Servers,
    pub world: World,
}

impl House {
    pub fn new() -> House {
        let servers = Servers::shared();
        let world = World::ready(&servers.kafka, &servers.postgres).unwrap().hurried();
        let house = House { servers, world };
        house.sql(&refuse("house_rule", "likes", "new.liker_account_id LIKE 'forbidden%'"));
        house.sql(&refuse("house_rule", "expectations", "new.character_id = 666"));
        house
    }

    pub fn sql(&self, statement: &str) -> String {
        self.servers.postgres.psql(&self.world.setting("store.url"), statement).unwrap()
    }

    pub fn drop_rules(&self) {
        self.sql(&take("house_rule", "likes"));
        self.sql(&take("house_rule", "expectations"));
    }

    /// Puts bytes on a topic and says where they are.
    pub fn put(&self, topic: &str, key: &str, value: &[u8]) -> Result<(i32, i64)> {
        let header = ("trace", "a\tb");
        Topics::of(&self.world).put(&self.world.named(topic), key.as_bytes(), value, header)
    }

    /// Puts a like of `star` on its topic.
    pub fn put_like(&self, number: u64, liker: &str) -> Result<(i32, i64)> {
        let mut value = Vec::new();
        encode(&like(number, "star", liker, LikeAction::Like, 0), &mut value);
        self.put(LIKES, &format!("star\u{1f}{liker}"), &value)
    }

    pub fn topic(&self, topic: &str) -> Result<Vec<Found>> {
        Topics::of(&self.world).read_all(&self.world.named(topic))
    }

    pub fn origin(&self, topic: &str, (partition, offset): (i32, i64)) -> String {
        format!("{}/{partition}/{offset}", self.world.named(topic))
    }

    /// Applies, or dead-letters, all there is.
    pub fn consume(&self) -> Result<()> {
        let consume = self.world.start(&["consume"])?;
        self.world.wait_drained(DRAINED)?;
        consume.stop()
    }

    /// The likers of `star`, and their count.
    pub fn stars_likers(&self) -> (Vec<String>, String) {
        let likers =
            self.sql("SELECT liker_account_id FROM likes WHERE target_ocid = 'star' AND liked ORDER BY 1");
        let count = self.sql("SELECT count FROM like_counts WHERE target_ocid = 'star'");
        (likers.lines().map(str::to_owned).collect(), count.trim().to_owned())
    }

    /// `floodgate dlq …` that must not fail.
    pub fn dlq(&self, args: &[&str]) -> Result<String> {
        self.world.succeed(&[&["dlq"], args].concat())
    }

    /// `floodgate dlq list --json …`
    pub fn list(&self, args: &[&str]) -> Result<Vec<Value>> {
        let lines = self.dlq(&[&["list", "--json"], args].concat())?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}
