//! Waiting for a condition with a deadline: a test never sleeps for a while and hopes.

use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What was waited for did not happen in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waited {waited:.1?} for {what}, and it did not happen")]
pub struct TimedOut {
    /// What was waited for, in the words of the caller.
    pub what: String,
    /// For how long.
    pub waited: Duration,
}

/// Calls `probe` until it returns something, every 10 ms at first and every 100 ms later on, and at least once.
pub fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T, TimedOut> {
    let start = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        let left = deadline.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(TimedOut { what: what.into(), waited: start.elapsed() });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 5 / 4).min(PAUSE_MAX);
    }
}

/// As [`until`], for a probe that waits itself. A probe that hangs is dropped at the deadline.
pub async fn until_async<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let start = tokio::time::Instant::now();
    let polling = async {
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(PAUSE_MAX);
        }
    };
    let timed_out = |_| TimedOut { what: what.into(), waited: start.elapsed() };
    tokio::time::timeout(deadline, polling).await.map_err(timed_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_time_is_returned() {
        let mut calls = 0;
        let found = until("the third call", Duration::from_secs(10), || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(found, Ok(3));
    }

    #[test]
    fn the_error_names_what_was_waited_for_and_how_long() {
        let error =
            until("rain", Duration::from_millis(120), || None::<()>).map_err(|error| error.to_string());
        let text = error.err().unwrap_or_default();
        assert!(text.starts_with("waited 12") && text.contains("ms for rain"), "{text}");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_off() {
        let error = until_async("an answer", Duration::from_millis(20), async || {
            std::future::pending::<()>().await;
            Some(())
        });
        assert_eq!(error.await.map_err(|error| error.what), Err("an answer".into()));
    }

    #[tokio::test]
    async fn an_async_probe_may_borrow() {
        let mut calls = 0;
        let found = until_async("the third call", Duration::from_secs(10), async || {
            calls += 1;
            tokio::task::yield_now().await;
            (calls == 3).then_some(calls)
        });
        assert_eq!(found.await, Ok(3));
    }
}
