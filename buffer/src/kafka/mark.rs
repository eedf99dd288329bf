//! What a commit of ours carries in its metadata: the id of the topic that it is of, and why its partition does not go on,
//! if it does not.

use crate::share::place::CommitMark;
use crate::{LogId, Word};

/// What clusters give topics that have no id.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The log of a topic with this id; `None` where the cluster gives none.
pub(crate) fn log_of(topic_id: &str) -> Option<LogId> {
    let is_id = !topic_id.is_empty() && topic_id.trim_end_matches('=') != NO_ID;
    is_id.then(|| LogId::new(topic_id))
}

/// Before the topic's id in a commit's metadata.
const METADATA_PREFIX: &str = "floodgate:";

/// Brokers take 4096 bytes of metadata (`offset.metadata.max.bytes`) unless they are told otherwise; a sentence or two are
/// enough.
const WORD_MAX_BYTES: usize = 1000;

/// What a commit of ours carries.
pub(crate) fn metadata(topic: Option<&LogId>, word: Option<&Word>) -> String {
    let id = topic.map_or(String::new(), LogId::to_string);
    match word {
        None => format!("{METADATA_PREFIX}{id}"),
        Some(word) => format!("{METADATA_PREFIX}{id} {}", word.text(WORD_MAX_BYTES)),
    }
}

/// Whose a commit is, and what was said with it.
pub(crate) fn mark(metadata: &[u8]) -> (CommitMark, Option<Word>) {
    let ours = std::str::from_utf8(metadata).ok().and_then(|text| text.strip_prefix(METADATA_PREFIX));
    let Some(ours) = ours else { return (CommitMark::Foreign, None) };
    let (id, word) = ours.split_once(' ').unwrap_or((ours, ""));
    (CommitMark::Ours(log_of(id)), Word::read(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<LogId> {
        log_of(text)
    }

    #[test]
    fn commits_are_marked() {
        for topic in [id("Zm9v"), None] {
            for word in [None, Some(Word::held("bad records: 용사")), Some(Word::trouble("away"))] {
                let read = mark(metadata(topic.as_ref(), word.as_ref()).as_bytes());
                assert_eq!(read, (CommitMark::Ours(topic.clone()), word));
            }
        }
        for foreign in [&b""[..], b"flood", b"\xff\xfe", b"NULL"] {
            assert_eq!(mark(foreign), (CommitMark::Foreign, None));
        }
        let long = metadata(id("Zm9v").as_ref(), Some(&Word::held("용".repeat(2000))));
        assert!(long.len() < 1100 && mark(long.as_bytes()).1.is_some_and(|word| word.why.len() > 900));
        assert_eq!(id("AAAAAAAAAAAAAAAAAAAAAA"), None, "what clusters give topics that have none");
    }
}
