//! What `floodgate lag --json` and `/lag` tell, read.

use serde_json::Value;

/// All groups' lag together.
pub fn lag_records(report: &Value) -> i64 {
    partitions(report).map(|(_, partition)| partition["lag"].as_i64().unwrap()).sum()
}

/// What waits in the fallback; none where there is none.
pub fn spilled(report: &Value) -> i64 {
    report["spill"]["waiting"].as_i64().unwrap_or_default()
}

/// Every partition of every group, with the group's name.
pub fn partitions(report: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let groups = report["groups"].as_array().into_iter().flatten();
    groups.flat_map(|group| {
        let name = group["group"].as_str().unwrap_or_default();
        let topics = group["topics"].as_array().into_iter().flatten();
        let partitions = topics.flat_map(|topic| topic["partitions"].as_array().into_iter().flatten());
        partitions.map(move |partition| (name, partition))
    })
}

/// The partitions that are behind, for people.
pub fn lagging(report: &Value) -> String {
    let behind = partitions(report).filter(|(_, partition)| partition["lag"] != 0);
    let told = behind.map(|(group, partition)| {
        let [number, committed, end] =
            ["partition", "committedOffset", "endOffset"].map(|name| &partition[name]);
        format!("{group} partition {number} at {committed} of {end}")
    });
    told.collect::<Vec<_>>().join(", ")
}
