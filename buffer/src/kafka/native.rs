//! The parts of librdkafka that rust-rdkafka does not offer; all `unsafe` of this crate is here.
//!
//! Three things are needed that `BaseProducer` and `FutureProducer` hide: the *persistence status* of a
//! failed message (which tells "certainly not stored" from "perhaps stored"), the end of a delivery-report
//! event (so that requests are woken after it, not in its midst), and topic handles that are looked up once
//! instead of for every record. Creation, TLS, logging and configuration stay rust-rdkafka's.
//!
//! Ownership across the C boundary: every queued record carries a `Box<InFlight>` as its opaque pointer.
//! librdkafka hands it back in exactly one delivery report, also when the queue is purged or the message
//! times out; it is freed there. If queuing fails, no report comes and the box is taken back at once.
//!
//! **Success without an offset is no success.** A broker that knows nothing of a producer in a partition takes
//! its first batch with any sequence number. If the producer's batch *A* is refused (the broker is just
//! becoming the leader of a new or moved partition) and *B*, already under way, is taken, then *A* can never be
//! written under its sequence number. librdkafka concludes from *B*'s acknowledgement that *A* must be in the
//! log too and reports it as delivered (an *implicit acknowledgement*), though it is lost:
//! [KAFKA-15591](https://issues.apache.org/jira/browse/KAFKA-15591),
//! [confluent-kafka-go#921](https://github.com/confluentinc/confluent-kafka-go/issues/921). Such a report has
//! no offset, as the broker never answered for the batch, and is read as [`crate::Outcome::Unknown`].

pub(super) mod ask;
pub(super) mod commit;
pub(super) mod group;
pub(super) mod poll;
pub(super) mod producer;
mod raw;
