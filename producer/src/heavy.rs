//! Work that takes so long that other requests would wait for it.
//!
//! A thread that serves requests does one thing at a time: a body of ten thousand events, worked off there, would be tens of
//! milliseconds in which nobody else on it is answered. Such work is done on threads of its own, at most half as many at a
//! time as there are cores, so that whatever is small always finds a core; what is more waits in the order it came.

use std::num::NonZero;
use std::thread;

use tokio::sync::Semaphore;

/// From how many bytes on work is done elsewhere: some hundred events, about a millisecond.
const HEAVY_BYTES: usize = 64 << 10;

/// Where heavy work is done.
pub(crate) struct Heavy {
    places: Semaphore,
}

impl Heavy {
    pub(crate) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { places: Semaphore::new((cores / 2).max(1)) }
    }

    /// Does `work` on so many bytes, here or elsewhere. A panic in it goes on here.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= HEAVY_BYTES {
            return work();
        }
        // it is never closed: an error would only mean that nobody has to wait
        let _place = self.places.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_heavy_work_is_done_elsewhere() {
        let heavy = Heavy::new();
        let here = thread::current().id();
        assert_eq!(heavy.run(HEAVY_BYTES, || thread::current().id()).await, here);
        assert_ne!(heavy.run(HEAVY_BYTES + 1, || thread::current().id()).await, here);
        let panicked =
            AssertUnwindSafe(heavy.run(HEAVY_BYTES + 1, || panic!("planted"))).catch_unwind().await;
        assert!(panicked.is_err_and(|panic| panic.is::<&str>()));
        assert_ne!(
            heavy.run(HEAVY_BYTES + 1, || thread::current().id()).await,
            here,
            "its place is free again"
        );
    }

    #[tokio::test]
    async fn never_more_is_done_at_a_time_than_there_are_places() {
        let heavy = Arc::new(Heavy { places: Semaphore::new(2) });
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let works = (0..20).map(|_| {
            let (heavy, now, most) = (Arc::clone(&heavy), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                heavy.run(HEAVY_BYTES + 1, work).await;
            })
        });
        futures_util::future::join_all(works).await.into_iter().for_each(|ended| ended.unwrap());
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}
