use floodgate_buffer::{EventOrigin, Offset, Partition};
use floodgate_schemas::EventType;
use floodgate_schemas::examples::at;

use super::*;

fn summed_up(report: Report) -> (u64, Verdict, bool) {
    let report = report.summed_up();
    (report.violations, report.verdict, report.balanced)
}

fn of_type(tally: Tally, unreadable: Unreadable) -> TypeReport {
    let (of, topic) = ("like", "t".to_owned());
    TypeReport { of, topic, records: 0, events: 0, tally, unreadable, unchecked: Vec::new() }
}

#[test]
fn all_violations_count_and_doubt_is_a_result_of_its_own() {
    let doubt = Doubt {
        kind: "kind",
        of: "like",
        topic: "t".to_owned(),
        group: "g".to_owned(),
        count: 1,
        range: None,
        event_id: None,
        key: None,
        detail: String::new(),
        mend: String::new(),
    };
    let range = OffsetRange { partition: 0, from_offset: 0, until_offset: 9 };
    let lost = Lost {
        kind: "compacted",
        of: "like",
        topic: "t".to_owned(),
        range,
        group: "g".to_owned(),
        records: 9,
        mend: String::new(),
    };
    let new = || Report::new(at(0));
    assert_eq!(summed_up(new()), (0, Verdict::Balanced, true));
    let in_doubt = Report { cannot_tell: vec![doubt.clone()], ..new() };
    assert_eq!(summed_up(in_doubt), (0, Verdict::CannotTell, false));
    let tally = Tally { current: 100, missing: 2, differing: 3, ..Tally::default() };
    let unreadable = Unreadable { missing: 5, in_flight: 100, ..Unreadable::default() };
    let all = Report {
        types: vec![of_type(tally, unreadable), of_type(tally, Unreadable::default())],
        lost: vec![lost],
        discrepancy_count: 20,
        cannot_tell: vec![doubt],
        ..new()
    };
    assert_eq!(summed_up(all), (2 * 2 + 2 * 3 + 5 + 9 + 20, Verdict::Violations, false));
    // a violation of one kind alone is one
    let only = Report { discrepancy_count: 1, ..new() };
    assert_eq!(summed_up(only), (1, Verdict::Violations, false));
}

#[test]
fn ranges_and_differences_are_told_in_words() {
    let range = |from_offset, until_offset| OffsetRange { partition: 2, from_offset, until_offset };
    assert_eq!(range(7, 8).to_string(), "partition 2 offset 7");
    assert_eq!(range(7, 10).to_string(), "partition 2 offsets 7 to 9");
    assert_eq!((range(7, 10).offsets(), range(7, 7).offsets(), range(8, 7).offsets()), (3, 0, 0));
    let column = |column: &str, expected: &str, found: &str| Column {
        column: column.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    let origin = EventOrigin { of: EventType::Like, partition: Partition(2), offset: Offset(7) };
    let strategy = floodgate_buffer::contract::in_memory(1, 1, "x.");
    let record = RecordReport {
        of: "like",
        partition: 2,
        offset: 7,
        origin: strategy.names().clone().named(origin),
        event_id: None,
        key: None,
        key_escaped: None,
    };
    let columns = vec![column("a", "1", "2"), column("b", "\n", "")];
    let difference = DifferenceReport { record, columns, mend: "mend".to_owned() };
    assert_eq!(
        difference.to_string(),
        "like x.floodgate.like.v1/2/7: a record that is no event, no key, differs: a is 2 and should be 1, b is  and should \
         be \\x0a; mend"
    );
}

/// What this build can read is no matter of schemas.
#[test]
fn unknown_schemas_are_told_only_where_there_are_some() {
    let json = |unknown_schema| {
        serde_json::to_value(Unreadable { unknown_schema, ..Unreadable::default() }).unwrap()
    };
    assert_eq!((json(0).get("unknownSchema"), json(2)["unknownSchema"].as_u64()), (None, Some(2)));
}
