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

/// The same where a word follows. Builds that know of no words take such a commit for another program's, keep its offset and say so;
/// behind the usual prefix they would take the word for a part of the id, and read the whole log again.
const WITH_WORD_PREFIX: &str = "floodgate+word:";

/// What a commit of ours carries.
pub(crate) fn metadata(topic: Option<&LogId>, word: Option<&Word>) -> String {
    let id = topic.map_or(String::new(), LogId::to_string);
    match word {
        None => format!("{METADATA_PREFIX}{id}"),
        Some(word) => format!("{WITH_WORD_PREFIX}{id} {}", word.text()),
    }
}

/// Whose a commit is, and what was said with it.
pub(crate) fn mark(metadata: &[u8]) -> (CommitMark, Option<Word>) {
    let text = std::str::from_utf8(metadata).unwrap_or_default();
    if let Some(id) = text.strip_prefix(METADATA_PREFIX) {
        return (CommitMark::Ours(log_of(id)), None);
    }
    match text.strip_prefix(WITH_WORD_PREFIX).and_then(|ours| ours.split_once(' ')) {
        Some((id, word)) => (CommitMark::Ours(log_of(id)), Word::read(word)),
        None => (CommitMark::Foreign, None),
    }
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
        // as builds before words read it
        let before = |metadata: String| metadata.strip_prefix("floodgate:").map(str::to_owned);
        assert_eq!(
            before(metadata(id("Zm9v").as_ref(), Some(&Word::held("x")))),
            None,
            "it is another program's"
        );
        assert_eq!(before(metadata(id("Zm9v").as_ref(), None)).as_deref(), Some("Zm9v"));
        for foreign in [&b""[..], b"flood", b"\xff\xfe", b"NULL"] {
            assert_eq!(mark(foreign), (CommitMark::Foreign, None));
        }
        let long = metadata(id("Zm9v").as_ref(), Some(&Word::held("용".repeat(2000))));
        assert!(long.len() < 1100 && mark(long.as_bytes()).1.is_some_and(|word| word.why.len() > 900));
        assert_eq!(id("AAAAAAAAAAAAAAAAAAAAAA"), None, "what clusters give topics that have none");
    }
}
