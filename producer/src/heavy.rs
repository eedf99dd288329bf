//! Work that takes so long that other requests would wait for it.
//!
//! A thread that serves requests does one thing at a time: a body of ten thousand events, worked off there, would be tens of
//! milliseconds in which nobody else on it is answered. Such work is done on threads of its own, at most half as many at a
//! time as there are cores, so that whatever is small always finds a core; what is more waits in the order it came, and not
//! for ever.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Where heavy work is done.
pub(crate) struct Heavy {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Heavy {
    /// Work waits so long for a place.
    pub(crate) fn new(patience: Duration) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { places: Arc::new(Semaphore::new((cores / 2).max(1))), patience }
    }

    /// Does `work` elsewhere, once there is a place. A panic in it goes on here.
    ///
    /// # Errors
    /// 503 when there was no place for long: nothing was done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.places).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(self.patience, place).await else {
            return Err(Problem::busy());
        };
        // kept until the work is done, also when whoever wanted it has gone away meanwhile
        Ok(elsewhere(move || {
            let _place = place;
            work()
        })
        .await)
    }
}

/// Does `work` on another thread. A panic in it goes on here.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // the runtime ends, and this request with it
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::mpsc::channel;

    use futures_util::FutureExt;

    use super::*;

    fn heavy(places: usize, patience: Duration) -> Heavy {
        Heavy { places: Arc::new(Semaphore::new(places)), patience }
    }

    #[tokio::test]
    async fn work_is_done_elsewhere_and_frees_its_place() {
        let heavy = heavy(1, Duration::from_secs(60));
        let here = thread::current().id();
        assert_ne!(heavy.run(|| thread::current().id()).await.unwrap(), here);
        let panicked = AssertUnwindSafe(heavy.run(|| panic!("planted"))).catch_unwind().await;
        assert!(panicked.is_err_and(|panic| panic.is::<&str>()));
        assert_ne!(heavy.run(|| thread::current().id()).await.unwrap(), here, "its place is free again");
    }

    /// A client that goes away leaves its work behind, which still takes a place.
    #[tokio::test]
    async fn a_place_is_taken_until_the_work_is_done() {
        let heavy = heavy(1, Duration::from_millis(1));
        let (begun, begins) = channel();
        let (end, ends) = channel::<()>();
        let work = heavy.run(move || {
            begun.send(()).unwrap();
            let _ = ends.recv();
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err(), "it gives up waiting");
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        assert_eq!(heavy.run(|| ()).await.map_err(|problem| problem.name()), Err("busy"));
        drop(end);
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while heavy.run(|| ()).await.is_err() {
            assert!(std::time::Instant::now() < until, "the place is not free again");
        }
    }
}
