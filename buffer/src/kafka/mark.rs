//! What a commit of ours carries in its metadata: the id of the topic that it is of.

use crate::LogId;
use crate::share::place::CommitMark;

/// What clusters give topics that have no id.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The log of a topic with this id; `None` where the cluster gives none.
pub(crate) fn log_of(topic_id: &str) -> Option<LogId> {
    let is_id = !topic_id.is_empty() && topic_id.trim_end_matches('=') != NO_ID;
    is_id.then(|| LogId::new(topic_id))
}

/// Before the topic's id in a commit's metadata.
const METADATA_PREFIX: &str = "floodgate:";

/// What a commit of ours carries.
pub(crate) fn metadata(topic: Option<&LogId>) -> String {
    format!("{METADATA_PREFIX}{}", topic.map_or(String::new(), LogId::to_string))
}

pub(crate) fn mark(metadata: &[u8]) -> CommitMark {
    let id = std::str::from_utf8(metadata).ok().and_then(|text| text.strip_prefix(METADATA_PREFIX));
    id.map_or(CommitMark::Foreign, |id| CommitMark::Ours(log_of(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<LogId> {
        log_of(text)
    }

    #[test]
    fn commits_are_marked() {
        assert_eq!(mark(metadata(id("Zm9v").as_ref()).as_bytes()), CommitMark::Ours(id("Zm9v")));
        assert_eq!(mark(metadata(None).as_bytes()), CommitMark::Ours(None));
        for foreign in [&b""[..], b"flood", b"\xff\xfe", b"NULL"] {
            assert_eq!(mark(foreign), CommitMark::Foreign);
        }
        assert_eq!(id("AAAAAAAAAAAAAAAAAAAAAA"), None, "what clusters give topics that have none");
    }
}
