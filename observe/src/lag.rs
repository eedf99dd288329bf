//! The metrics of groups.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use crate::make::Make;

/// The groups' positions, under our names and under those Kafka dashboards query already.
#[derive(Debug, Clone)]
pub struct LagGauges {
    /// `floodgate_lag_records{group,topic,partition}`.
    pub records: IntGaugeVec,
    /// `floodgate_lag_seconds{group,topic,partition}`: age of the oldest unapplied record.
    pub seconds: GaugeVec,
    /// `floodgate_missing_records{group,topic,partition}`: expired before they were read.
    pub missing: IntGaugeVec,
    /// `floodgate_committed_offset_rewinds_total{group,topic,partition}`: how often a committed offset was found behind
    /// where it had been, or gone.
    pub rewinds: IntCounterVec,
    /// `floodgate_committed_offset_skips_total{group,topic,partition}`: how often another program was found to have moved a
    /// committed offset forward.
    pub skips: IntCounterVec,
    /// `floodgate_lag_unreadable_records{group,topic,partition}`: those of the lag behind an open transaction of another program.
    pub unreadable: IntGaugeVec,
    /// `floodgate_group_foreign_members{group}`: members of the group that are not this program's.
    pub foreign_members: IntGaugeVec,
    /// `floodgate_group_status{group,status}`: 1 for how the group stands, 0 for the others.
    pub status: IntGaugeVec,
    /// `floodgate_group_members{group}`.
    pub members: IntGaugeVec,
    /// `floodgate_lag_unknown_partitions{group}`: those that nobody can read.
    pub unknown_partitions: IntGaugeVec,
    /// `floodgate_desired_consumers{group}`: how many members it should have, steadily.
    pub desired_consumers: IntGaugeVec,
    /// `floodgate_seconds_to_catch_up{group}`: without a value where it never will, or nothing is known.
    pub seconds_to_catch_up: GaugeVec,
    /// `floodgate_spill_waiting`: what waits in the fallback until it is stored where it belongs; without a value where there is no
    /// fallback.
    pub spill_waiting: IntGaugeVec,
    /// `floodgate_spill_waiting_max`: how many may; without a value where this process stores none there.
    pub spill_waiting_max: IntGaugeVec,
    /// `floodgate_lag_as_of_seconds`: when the positions were read, in Unix time; without a value where they were not.
    pub as_of: GaugeVec,
    /// `kafka_consumergroup_lag{consumergroup,topic,partition}`.
    pub kafka_lag: IntGaugeVec,
    /// `kafka_consumergroup_current_offset{consumergroup,topic,partition}`: the committed offset.
    pub kafka_group_offset: IntGaugeVec,
    /// `kafka_topic_partition_current_offset{topic,partition}`: the end offset.
    pub kafka_end_offset: IntGaugeVec,
}

impl LagGauges {
    pub(crate) fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        let group = &["group", "topic", "partition"];
        let kafka_group = &["consumergroup", "topic", "partition"];
        Ok(Self {
            records: make.gauges("floodgate_lag_records", "Records a group has not applied", group)?,
            seconds: make.float_gauges(
                "floodgate_lag_seconds",
                "Age of the oldest record that a group has not applied, in seconds",
                group,
            )?,
            missing: make.gauges(
                "floodgate_missing_records",
                "Records that expired before a group read them",
                group,
            )?,
            rewinds: make.counters(
                "floodgate_committed_offset_rewinds_total",
                "How often a group's committed offset was found behind where it had been, or gone",
                group,
            )?,
            skips: make.counters(
                "floodgate_committed_offset_skips_total",
                "How often another program was found to have moved a group's committed offset forward",
                group,
            )?,
            unreadable: make.gauges(
                "floodgate_lag_unreadable_records",
                "Records of the lag that cannot be read yet, behind an open transaction of another program",
                group,
            )?,
            foreign_members: make.gauges(
                "floodgate_group_foreign_members",
                "Members of a consumer group that are of another program",
                &["group"],
            )?,
            status: make.gauges(
                "floodgate_group_status",
                "1 for the status that a consumer group has, 0 for the other statuses",
                &["group", "status"],
            )?,
            members: make.gauges(
                "floodgate_group_members",
                "Members of a consumer group, wherever they are",
                &["group"],
            )?,
            unknown_partitions: make.gauges(
                "floodgate_lag_unknown_partitions",
                "Partitions of a group's topic whose positions nobody can read",
                &["group"],
            )?,
            desired_consumers: make.gauges(
                "floodgate_desired_consumers",
                "How many members a consumer group should have, for autoscalers",
                &["group"],
            )?,
            seconds_to_catch_up: make.float_gauges(
                "floodgate_seconds_to_catch_up",
                "After how many seconds nothing waits for a group any more, at the present rates",
                &["group"],
            )?,
            spill_waiting: make.gauges(
                "floodgate_spill_waiting",
                "Events that wait in the fallback strategy, until they are stored where they belong",
                &[],
            )?,
            spill_waiting_max: make.gauges(
                "floodgate_spill_waiting_max",
                "How many events may wait in the fallback strategy",
                &[],
            )?,
            as_of: make.float_gauges(
                "floodgate_lag_as_of_seconds",
                "When groups' positions were read, in seconds of Unix time",
                &[],
            )?,
            kafka_lag: make.gauges(
                "kafka_consumergroup_lag",
                "Records a group has not applied",
                kafka_group,
            )?,
            kafka_group_offset: make.gauges(
                "kafka_consumergroup_current_offset",
                "A consumer group's committed offset",
                kafka_group,
            )?,
            kafka_end_offset: make.gauges(
                "kafka_topic_partition_current_offset",
                "The offset that the next record of a partition will get",
                &["topic", "partition"],
            )?,
        })
    }
}
