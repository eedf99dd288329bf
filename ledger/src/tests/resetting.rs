//! A row is set back, and everything is accounted for afterwards.

use floodgate_schemas::dead_letter::ROW_RESET;
use floodgate_schemas::examples::expectation;
use floodgate_store::{RowKey, RowRank};

use super::whole::Shared;
use super::*;
use crate::{ResetReport, RowReset};

impl Bench {
    async fn reset(&self, strategy: &Shared, row: &RowKey, above: i64) -> Result<ResetReport, VerifyError> {
        let (strategy, store) = (Arc::new(strategy.clone()), Arc::clone(&self.store));
        RowReset {
            strategy,
            store,
            row: row.clone(),
            above,
            clock: Arc::clone(&self.clock),
            codecs: Codecs::builtin(),
        }
        .run()
        .await
    }
}

/// Reads the reasons of all dead letters.
fn reasons(bench: &Bench) -> Vec<String> {
    let mut log = bench.strategy.logs().unwrap().open(Topic::DeadLetters).unwrap();
    let (partition, range) = log.bounds().unwrap().known.remove(0);
    let chunk = log.read(partition, range, 100).unwrap();
    let reason = |letter: floodgate_buffer::Received<'_>| {
        let header = letter.headers.iter().find(|(name, _)| *name == b"floodgate-dlq-reason");
        String::from_utf8(header.and_then(|(_, value)| *value).unwrap_or_default().to_vec()).unwrap()
    };
    chunk.batch.iter().map(reason).collect()
}

/// Of a row's events those above the bound become dead letters, and the greatest of the others stands; everything is accounted
/// for afterwards, and doing it again changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_set_back_to_the_greatest_event_that_counts() {
    let bench = Bench::new().await;
    let events = [
        like(1, "t", "a", On, 10),
        like(2, "t", "a", Off, 1000),
        like(3, "t", "a", On, 20),
        like(4, "t", "a", Off, 15),
        // of other rows
        like(5, "t", "b", On, 2000),
        like(6, "u", "a", On, 2000),
    ];
    bench.publish(&events).await;
    bench.store.apply(&events, at(0)).await.unwrap();
    let row = RowKey::Like("t".to_owned().try_into().unwrap(), "a".to_owned().try_into().unwrap());
    let (above, rank) = (at(20).as_micros(), |number, micros| {
        Some(RowRank { micros: at(micros).as_micros(), event_id: event_id(number) })
    });

    // the group may still put on the row what it has not committed
    let refused = bench.reset(&bench.shared(Some(1)), &row, above).await;
    assert!(
        matches!(&refused, Err(VerifyError::Unavailable(reason)) if reason.contains("offset 1")),
        "{refused:?}"
    );
    assert_eq!((bench.store.rank(&row).await.unwrap(), reasons(&bench).len()), (rank(2, 1000), 0));

    let all = bench.shared(Some(6));
    let done = bench.reset(&all, &row, above).await.unwrap();
    let wanted = ResetReport {
        before: rank(2, 1000),
        was_reset: true,
        dead_lettered: vec!["x.floodgate.like.v1/0/1".to_owned()],
        after: rank(3, 20),
    };
    assert_eq!(done, wanted);
    assert_eq!(reasons(&bench), [ROW_RESET]);
    let report = bench.report(&all).await;
    assert_eq!((report.verdict, report.types[2].tally.dead_lettered), (Verdict::Balanced, 1), "{report:?}");
    // a rank at the bound counts
    let again = bench.reset(&all, &row, above).await.unwrap();
    assert_eq!((again.was_reset, again.before, again.after), (false, rank(3, 20), rank(3, 20)));
    // a run that died behind the lowered row is made good by the next one, and letters are not written twice
    bench.store.lower(&row, i64::MIN).await.unwrap();
    let again = bench.reset(&all, &row, above).await.unwrap();
    assert_eq!((again.was_reset, again.after, again.dead_lettered.len()), (true, rank(3, 20), 0));
    assert_eq!(reasons(&bench).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_expectations_is_set_back_as_well() {
    let bench = Bench::new().await;
    let events = [
        expectation(1, 7, 1, 10),
        expectation(2, 7, 1, 1000),
        expectation(3, 7, 2, 1000),
        expectation(4, 8, 1, 1000),
    ];
    bench.publish(&events).await;
    bench.store.apply(&events, at(0)).await.unwrap();
    let row = RowKey::Expectation(7.try_into().unwrap(), 1.try_into().unwrap());
    let done = bench.reset(&bench.shared(None), &row, 999).await.unwrap();
    assert_eq!(done.dead_lettered, ["x.floodgate.expectation.v1/0/1"]);
    assert_eq!(done.after, Some(RowRank { micros: 10, event_id: event_id(1) }));
    // inside the running process there is no log to look into: the row waits for the next write
    bench.store.apply(&[expectation(5, 7, 1, 2000)], at(0)).await.unwrap();
    let (strategy, store) = (Arc::clone(&bench.strategy), Arc::clone(&bench.store));
    let done = RowReset {
        strategy,
        store,
        row: row.clone(),
        above: 999,
        clock: Arc::clone(&bench.clock),
        codecs: Codecs::builtin(),
    }
    .run()
    .await
    .unwrap();
    assert_eq!((done.was_reset, done.dead_lettered.len(), done.after.unwrap().micros), (true, 0, i64::MIN));
    // there is nothing to set back
    let nobody = RowKey::Expectation(9.try_into().unwrap(), 1.try_into().unwrap());
    let done = bench.reset(&bench.shared(None), &nobody, 999).await.unwrap();
    assert_eq!((done.before, done.was_reset), (None, false));
}
