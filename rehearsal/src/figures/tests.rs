use super::*;

fn record(due_us: u64, answered_us: u64) -> Record {
    let (asked_us, fate) = (due_us, Fate::Accepted);
    Record { number: 0, due_us, asked_us, answered_us, tries: 1, instance: 0, fate }
}

#[test]
fn latency_counts_from_when_a_request_was_due() {
    let records: Vec<Record> = (1..=1000).map(|ms| record(5_000_000, 5_000_000 + ms * 1000)).collect();
    let Latency { p50, p95, p99, max } = latency(&records);
    for (found, wanted) in [(p50, 500.0), (p95, 950.0), (p99, 990.0), (max, 1000.0)] {
        assert!((found - wanted).abs() / wanted < 0.002, "{found} instead of {wanted}");
    }
    assert_eq!(latency(&[]), Latency::default());
}
