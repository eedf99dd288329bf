//! What the log says to whoever parses it, and nothing in what is printed that anybody wrote misleads whoever reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::discriminant;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::support::answers::accepted;
use crate::support::client::Ask;
use crate::support::node::Node;
use crate::support::topic::Topics;
use crate::support::world::{READY, Servers, World, run};

/// A line of the log, in which no name may be twice.
struct Line(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{name} is there twice")));
                    }
                }
                Ok(Line(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Line {
    fn says(&self, needle: &str) -> bool {
        self.0["message"].as_str().is_some_and(|message| message.contains(needle))
    }

    fn is_number(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_number)
    }
}

/// All lines that a node logged, each of which must be one object with one message, and partitions and offsets that are numbers.
fn log(node: &Node) -> Result<Vec<Line>> {
    let text = node.process().stderr();
    let lines = text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    let lines: Vec<Line> = lines.collect::<Result<_>>()?;
    for Line(line) in &lines {
        ensure!(line.get("message").is_some_and(Value::is_string), "{line:?}");
        let numbers = ["partition", "offset", "from", "events"].map(|name| line.get(name));
        ensure!(numbers.into_iter().flatten().all(|value| !value.is_string()), "{line:?}");
    }
    // a name is of one type in all of them
    let mut types = BTreeMap::new();
    for (name, value) in lines.iter().flat_map(|Line(line)| line) {
        let first = types.entry(name).or_insert(value);
        ensure!(discriminant(*first) == discriminant(value), "{name} is {first} and {value}");
    }
    Ok(lines)
}

/// A like whose row the database does not take for now.
fn like(serve: &Node) -> Result<()> {
    accepted(&serve.ask(&Ask::new("PUT", "/api/v6/characters/star/likes/ann"))?).map(drop)
}

#[test]
fn lines_of_the_log_can_be_parsed_and_say_which_record_they_are_about() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?.hurried();
        let url = world.setting("store.url");
        let consume = world.start(&["consume"])?;
        let new = log(&consume)?.iter().filter(|line| line.says("nothing committed yet")).count();
        ensure!(new == 1, "{new} lines say that nothing is committed yet\n{}", consume.process().stderr());
        let assigned = log(&consume)?.into_iter().filter(|line| line.says("partitions assigned"));
        let is_list =
            |line: Line| line.0["partitions"].as_array().is_some_and(|list| list.iter().all(Value::is_u64));
        ensure!(assigned.map(is_list).collect::<Vec<_>>().contains(&true), "{}", consume.process().stderr());

        let serve = world.start(&["serve"])?;
        postgres.psql(&url, "ALTER TABLE likes RENAME TO gone")?;
        like(&serve)?;
        consume.process().wait_for_log("trying again", READY)?;
        postgres.psql(&url, "ALTER TABLE gone RENAME TO likes")?;
        let (_, offset) =
            Topics::of(&world).put(&world.named("floodgate.like.v1"), b"k", b"no event", ("h", "v"))?;
        consume.process().wait_for_log("dead-lettered", READY)?;
        let lines = log(&consume)?;
        let tried = lines.iter().filter(|line| line.says("trying again")).collect::<Vec<_>>();
        for line in tried.iter().filter(|line| line.says("not applied")) {
            let group = line.0.get("group").and_then(Value::as_str);
            ensure!(group == Some(&world.named("floodgate.like")), "{:?}", line.0);
            ensure!(line.is_number("partition") && line.0["offset"] == 0, "{:?}", line.0);
        }
        ensure!(tried.iter().any(|line| line.says("not applied")), "{}", consume.process().stderr());
        let letter = lines.iter().find(|line| line.says("dead-lettered")).context("no letter")?;
        ensure!(letter.is_number("partition") && letter.0["offset"] == offset, "{:?}", letter.0);
        ensure!(letter.0["detail"].is_string() && letter.0["reason"] == "not-avro", "{:?}", letter.0);
        consume.stop()?;
        log(&consume).map(drop)
    });
}

/// Ids may hold what orders and hides its neighbours, as names in some languages and pictures do.
#[test]
fn nothing_that_a_command_prints_hides_or_turns_around() {
    let Servers { kafka, postgres } = Servers::shared();
    run(|| {
        let world = World::ready(kafka, postgres)?.hurried();
        let target = "st\u{202e}ar\u{200b}\u{e0041}";
        let (topic, key) = (world.named("floodgate.like.v1"), format!("{target}\u{1f}a\u{2066}nn"));
        Topics::of(&world).put(&topic, key.as_bytes(), b"no event", ("\u{202e}h", "\u{feff}v"))?;
        let consume = world.start(&["consume"])?;
        wait::until("a dead letter", READY, || {
            world.succeed(&["dlq", "list"]).is_ok_and(|list| list.contains("1 open")).then_some(())
        })?;
        consume.stop()?;
        let list = world.succeed(&["dlq", "list", "--json"])?;
        let letter: Value = serde_json::from_str(list.lines().next().context("no letter")?)?;
        ensure!(letter["key"] == key, "JSON keeps its meaning: {list}");
        let place = |origin: &Value| {
            Some(format!("{}/{}/{}", origin["topic"].as_str()?, origin["partition"], origin["offset"]))
        };
        let origin = place(&letter["origin"]).context("no origin")?;
        let commands: &[&[&str]] = &[
            &["dlq", "list"],
            &["dlq", "list", "--json"],
            &["dlq", "show", &origin],
            &["dlq", "show", &origin, "--json"],
            &["where", "--type", "like", "--key", &key],
            &["where", "--type", "like", "--key", &key, "--json"],
            &["row", "show", "like", target, "a\u{2066}nn"],
            &["verify"],
            &["verify", "--json"],
            &["lag", "--all", "--over", "0"],
            &["schema", "check", target],
            &["lag", target],
            &["--config", target, "config"],
            &["key", "new", "--id", target, "--scope", "read"],
        ];
        for args in commands {
            let ended = world.command(args)?;
            let said = ended.stdout + &ended.stderr;
            let is_hidden =
                |c: char| matches!(c, '\u{200b}' | '\u{202e}' | '\u{2066}' | '\u{feff}' | '\u{e0041}');
            ensure!(!said.is_empty() && !said.contains(is_hidden), "{args:?}: {said:?}");
        }
        // a key can be given back as it is shown
        let shown = "st\\u{202e}ar\\u{200b}\\u{e0041}\\x1fa\\u{2066}nn";
        let table = world.succeed(&["dlq", "list", "--key", shown])?;
        ensure!(table.contains("1 open"), "{table}");
        Ok(())
    });
}
