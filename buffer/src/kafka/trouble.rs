//! What a consumer's errors mean. Each is known to pass, or is told: an error that nobody thought of makes its partition
//! stand, in plain sight, and never goes by in silence.

use rdkafka::types::RDKafkaErrorCode;

use super::cause::said_by_the_broker;
use super::native::poll::Trouble;
use crate::{Offset, Partition};

/// What follows from an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// librdkafka recovers by itself, and what it does meanwhile is no loss.
    Passes,
    /// The partition does not go on, for this reason, which is about this offset where one is known.
    Stands(Partition, Option<Offset>, String),
    /// The partition's log is not the one that was read, as it is said here.
    AnotherLog(Partition, String),
    /// The member is of no more use.
    Fails(String),
}

/// Errors that pass: brokers that come and go, leaders and coordinators that move, rebalances, polls that came late.
const PASSING: &[RDKafkaErrorCode] = {
    use RDKafkaErrorCode::*;
    &[
        AllBrokersDown,
        Authentication,
        BrokerNotAvailable,
        BrokerTransportFailure,
        CoordinatorLoadInProgress,
        CoordinatorNotAvailable,
        FencedLeaderEpoch,
        IllegalGeneration,
        KafkaStorageError,
        LeaderNotAvailable,
        MemberIdRequired,
        NetworkException,
        NoOffset,
        NotCoordinator,
        NotEnoughReplicas,
        NotLeaderForPartition,
        OffsetNotAvailable,
        OperationTimedOut,
        PartitionEOF,
        PollExceeded,
        PreferredLeaderNotAvailable,
        RebalanceInProgress,
        ReplicaNotAvailable,
        RequestTimedOut,
        Resolve,
        SSL,
        ThrottlingQuotaExceeded,
        UnknownLeaderEpoch,
        UnknownMemberId,
        WaitingForCoordinator,
    ]
};

/// Errors that mean that bytes are not what was written.
const DAMAGE: &[RDKafkaErrorCode] = {
    use RDKafkaErrorCode::*;
    &[BadMessage, BadCompression, InvalidMessage, NotImplemented, Underflow]
};

/// What operators can do about damage.
pub(super) const MEND_DAMAGE: &str =
    "restore the log from a good copy, or move the group's offset past the damage if there is none";

/// Whether an error says that a record, or the batch around it, is damaged.
pub(super) fn is_damage(code: RDKafkaErrorCode) -> bool {
    DAMAGE.contains(&code)
}

/// What an error means for the member of `group` that reads `topic`.
pub(super) fn judge(trouble: &Trouble, group: &str, topic: &str) -> Judgement {
    use RDKafkaErrorCode::*;
    let Trouble { code, reason, .. } = trouble;
    if trouble.is_fatal {
        return Judgement::Fails(format!("the consumer of group {group} cannot go on: {reason} ({code})"));
    }
    match (code, trouble.at) {
        (UnknownTopic | UnknownTopicOrPartition | UnknownPartition | UnknownTopicId, _) => {
            Judgement::Fails(format!("topic {topic} is missing in Kafka; run `floodgate topics create`"))
        }
        // the log was cut and written anew under the position, which its bounds would not tell
        (AutoOffsetReset | LogTruncation, Some((partition, _)))
            if reason.contains("truncat") || reason.contains("epoch") =>
        {
            Judgement::AnotherLog(partition, reason.clone())
        }
        // the log moved under the position: subscribing anew reads bounds and commits again
        (AutoOffsetReset | OffsetOutOfRange | LogTruncation, _) => {
            Judgement::Fails(format!("a position in {topic} is outside the log: {reason}"))
        }
        (TopicAuthorizationFailed | GroupAuthorizationFailed | ClusterAuthorizationFailed, _) => {
            let said = said_by_the_broker(*code).map_or_else(|| code.to_string(), str::to_owned);
            Judgement::Fails(format!("Kafka denies group {group} to read {topic}: {said}"))
        }
        (InvalidSessionTimeout, _) => Judgement::Fails(
            "the brokers do not allow buffer.kafka.session_timeout_ms: it must lie between their \
             group.min.session.timeout.ms and group.max.session.timeout.ms (6000 and 1800000 by default)"
                .to_owned(),
        ),
        (InconsistentGroupProtocol, _) => Judgement::Fails(format!(
            "group {group} has members of another program, which assign partitions in another way"
        )),
        (GroupMaxSizeReached, _) => Judgement::Fails(format!(
            "group {group} has as many members as the brokers allow (group.max.size)"
        )),
        (code, Some((partition, offset))) if is_damage(*code) => Judgement::Stands(
            partition,
            offset,
            format!(
                "what the broker sends of it is damaged ({reason}): nothing of it is applied; {MEND_DAMAGE}"
            ),
        ),
        (code, _) if PASSING.contains(code) => Judgement::Passes,
        (code, Some((partition, offset))) => {
            Judgement::Stands(partition, offset, format!("the Kafka client met an error: {reason} ({code})"))
        }
        (code, None) => {
            Judgement::Fails(format!("the consumer of group {group} met an error: {reason} ({code})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: RDKafkaErrorCode, reason: &str, at: Option<(Partition, Option<Offset>)>) -> Judgement {
        judge(&Trouble { code, is_fatal: false, reason: reason.to_owned(), at }, "g", "t")
    }

    #[test]
    fn every_error_passes_or_is_told() {
        use RDKafkaErrorCode::*;
        let here = Some((Partition(3), Some(Offset(7))));
        assert_eq!(judged(BrokerTransportFailure, "", None), Judgement::Passes);
        assert_eq!(judged(NotLeaderForPartition, "", here), Judgement::Passes);
        for damaged in DAMAGE {
            let Judgement::Stands(partition, offset, reason) = judged(*damaged, "failed CRC32C check", here)
            else {
                panic!("{damaged:?}");
            };
            assert_eq!((partition, offset), (Partition(3), Some(Offset(7))));
            assert!(reason.contains("damaged") && reason.contains("CRC32C"), "{reason}");
        }
        // one that no list has
        for (at, stands) in [(here, true), (None, false)] {
            let judged = judged(UnsupportedCompressionType, "zstd is not built in", at);
            match (&judged, stands) {
                (Judgement::Stands(_, _, reason), true) | (Judgement::Fails(reason), false) => {
                    assert!(reason.contains("zstd is not built in"), "{reason}");
                }
                _ => panic!("{judged:?}"),
            }
        }
        let cut = "Partition log truncation detected at offset 7 (leader epoch 1)";
        assert_eq!(judged(AutoOffsetReset, cut, here), Judgement::AnotherLog(Partition(3), cut.to_owned()));
        assert!(matches!(judged(AutoOffsetReset, "fetch failed", here), Judgement::Fails(_)));
        let fatal =
            Trouble { code: NotLeaderForPartition, is_fatal: true, reason: "fenced".to_owned(), at: None };
        assert!(matches!(judge(&fatal, "g", "t"), Judgement::Fails(reason) if reason.contains("fenced")));
    }
}
