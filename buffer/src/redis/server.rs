//! What the server is set to, and which of that breaks the promise of a 202. Told and not refused: whoever runs a Redis of others
//! may know better, and where `CONFIG` is forbidden nobody knows.

use std::collections::HashMap;

use ::redis::{Cmd, Value};

use super::config::Ack;
use super::link::Answer;

/// Settings that the promise rests on.
const ASKED: [&str; 4] = ["maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite"];

/// What is asked on every new connection.
pub(super) fn asked() -> Vec<Cmd> {
    let get = |name: &&str| ::redis::cmd("CONFIG").arg("GET").arg(*name).to_owned();
    ASKED.iter().map(get).collect()
}

/// What is to be told of the answers, in a sentence each.
pub(super) fn told(answers: &[Answer], ack: Ack) -> Vec<String> {
    if answers.iter().any(Result::is_err) {
        return vec![format!(
            "its settings cannot be seen (CONFIG GET is refused): {} are not checked",
            ASKED.join(", ")
        )];
    }
    let found: HashMap<&str, String> = ASKED
        .into_iter()
        .zip(answers)
        .filter_map(|(name, answer)| Some((name, setting(answer.as_ref().ok()?)?)))
        .collect();
    let is = |name: &str, value: &str| found.get(name).is_some_and(|found| found == value);
    let mut told = Vec::new();
    if let Some(policy) = found.get("maxmemory-policy").filter(|policy| *policy != "noeviction") {
        told.push(format!(
            "maxmemory-policy is {policy}: short of memory it gives up lists with events that were answered 202; set it to noeviction"
        ));
    }
    let rests_on_disk = ack != Ack::Replica;
    if rests_on_disk && is("appendonly", "no") {
        told.push(
            "appendonly is no: its restart loses every event that is not applied; set it to yes".to_owned(),
        );
    } else if ack == Ack::Memory && is("appendfsync", "everysec") {
        told.push(
            "appendfsync is everysec: its crash loses what came in the last second, or two while its disk is slow; \
             buffer.redis.ack = \"fsync\" or appendfsync always lose nothing"
                .to_owned(),
        );
    } else if rests_on_disk && is("appendfsync", "no") {
        told.push("appendfsync is no: its crash loses what the system had not written yet".to_owned());
    }
    if rests_on_disk && is("no-appendfsync-on-rewrite", "yes") {
        told.push(
            "no-appendfsync-on-rewrite is yes: while it rewrites its file a crash loses up to half a minute"
                .to_owned(),
        );
    }
    told
}

/// The value in an answer to `CONFIG GET`, which is a map or a list of names and values.
fn setting(answer: &Value) -> Option<String> {
    let value = match answer {
        Value::Map(pairs) => pairs.first().map(|(_, value)| value),
        Value::Array(parts) => parts.get(1),
        _ => None,
    };
    match value? {
        Value::BulkString(text) => Some(String::from_utf8_lossy(text).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(values: [&str; 4]) -> Vec<Answer> {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        ASKED
            .iter()
            .zip(values)
            .map(|(name, value)| Ok(Value::Map(vec![(text(name), text(value))])))
            .collect()
    }

    #[test]
    fn what_breaks_the_promise_is_told() {
        let safe = ["noeviction", "yes", "always", "no"];
        for ack in [Ack::Memory, Ack::Fsync, Ack::Replica] {
            assert_eq!(told(&answers(safe), ack), Vec::<String>::new());
        }
        let first = |values, ack| told(&answers(values), ack).first().cloned().unwrap_or_default();
        assert!(first(["allkeys-lru", "yes", "always", "no"], Ack::Replica).contains("noeviction"));
        assert!(first(["noeviction", "no", "always", "no"], Ack::Memory).starts_with("appendonly is no"));
        assert!(first(["noeviction", "yes", "everysec", "no"], Ack::Memory).contains("last second"));
        assert_eq!(first(["noeviction", "yes", "everysec", "no"], Ack::Fsync), "");
        assert!(first(["noeviction", "yes", "no", "no"], Ack::Fsync).starts_with("appendfsync is no"));
        assert!(first(["noeviction", "yes", "always", "yes"], Ack::Memory).contains("rewrite"));
        assert_eq!(first(["noeviction", "no", "no", "yes"], Ack::Replica), "");
        let mut refused = answers(safe);
        refused[2] = Err("NOPERM this user has no permissions".to_owned());
        assert!(told(&refused, Ack::Memory)[0].contains("not checked"));
    }
}
