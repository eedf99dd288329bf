//! Moving from one strategy to where another publishes, without servers.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodgate_buffer::{Drain, NotTaken, Outcome, Publish, Refused, Strategy, contract};
use floodgate_schemas::EventType;
use floodgate_testkit::wait;
use tokio::sync::watch;

const OF: EventType = EventType::Like;
const DEADLINE: Duration = Duration::from_secs(60);

type Arrived = Arc<Mutex<Vec<String>>>;

/// Takes records, but for those whose value begins so.
fn target(refuses: &'static str, reason: Refused) -> (Arc<dyn Publish>, Arrived) {
    let arrived = Arrived::default();
    let kept = Arc::clone(&arrived);
    let publisher = contract::PublishAs::new(move |record, receipt| {
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        if !refuses.is_empty() && value.starts_with(refuses) {
            return Err(NotTaken { reason: reason.clone(), receipt });
        }
        kept.lock().unwrap().push(value);
        if let Some(wake) = receipt.complete(Outcome::Stored) {
            wake.wake();
        }
        Ok(())
    });
    (Arc::new(publisher), arrived)
}

async fn source() -> Arc<dyn Strategy> {
    let source = contract::in_memory(10, 10_000, "");
    contract::publish(&*source.publisher().unwrap(), 20, 400).await;
    source
}

fn members(source: &Arc<dyn Strategy>) -> Option<usize> {
    source.lag(OF).unwrap().members
}

/// All of it arrives in the order of its keys. Whoever cannot publish has no partition, and keeps none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_moved_by_those_who_can_publish() {
    let source = source().await;
    let (to, arrived) = target("", Refused::Full);
    let (stop, stopped) = watch::channel(false);
    let drain = Drain::new(Arc::clone(&source), to, stopped);
    let (takes, moved) = (Arc::new(AtomicBool::new(false)), drain.moved());
    let asked = Arc::clone(&takes);
    let moving = tokio::spawn(async move { drain.run(OF, || asked.load(Ordering::Acquire)).await });
    assert_eq!((members(&source), moved.total()), (Some(0), 0));
    takes.store(true, Ordering::Release);
    let is_moved = async || (moved.total() == 400).then_some(());
    wait::until_async("all to be moved", DEADLINE, is_moved).await.unwrap();
    contract::assert_complete_in_key_order(&arrived.lock().unwrap(), 20, 400);
    assert_eq!((members(&source), source.lag(OF).unwrap().waiting()), (Some(1), 0));
    takes.store(false, Ordering::Release);
    let has_left = async || (members(&source) == Some(0)).then_some(());
    wait::until_async("the member to leave", DEADLINE, has_left).await.unwrap();
    stop.send_replace(true);
    assert_eq!(moving.await.unwrap(), Ok(()));
}

/// A record that is never taken ends it with its place; what is in other partitions, and before it, is moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_never_taken_is_named() {
    let source = source().await;
    let (to, arrived) = target("7:10", Refused::TooLarge);
    let (_stop, stopped) = watch::channel(false);
    let drain = Drain::new(source, to, stopped);
    let ended = tokio::time::timeout(DEADLINE, drain.run(OF, || true)).await.unwrap();
    let told = ended.unwrap_err().0;
    assert!(told.contains("in-memory floodgate.like.v1/") && told.contains("larger"), "{told}");
    let arrived = arrived.lock().unwrap();
    assert!(
        arrived.contains(&"7:9".to_owned())
            && !arrived.iter().any(|value| value.starts_with("7:1") && value.len() > 3)
    );
    assert!(arrived.len() > 200, "{}", arrived.len());
}

/// A partition whose records are refused for now stands, and others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_refused_keeps_no_other() {
    let source = source().await;
    let (to, arrived) = target("7:", Refused::Unavailable("no leader".to_owned()));
    let (stop, stopped) = watch::channel(false);
    let drain = Drain::new(Arc::clone(&source), to, stopped);
    let moved = drain.moved();
    let moving = tokio::spawn(async move { drain.run(OF, || true).await });
    // those of one partition of ten may be left: the keys that share it
    let others = async || {
        (source.lag(OF).unwrap().partitions.iter().filter(|p| p.lag() > 0).count() == 1).then_some(())
    };
    wait::until_async("all other partitions to be moved", DEADLINE, others).await.unwrap();
    assert!(moved.total() >= 200 && !arrived.lock().unwrap().iter().any(|value| value.starts_with("7:")));
    stop.send_replace(true);
    assert_eq!(moving.await.unwrap(), Ok(()));
}
