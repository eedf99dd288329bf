//! Work that takes so long that other requests would wait for it.
//!
//! A thread that serves requests does one thing at a time: a body of ten thousand events, worked off there, would be tens of
//! milliseconds in which nobody else on it is answered. Such work is done on threads of its own, at most half as many at a
//! time as there are cores, so that whatever is small always finds a core; what is more waits in the order it came, and not
//! for ever. Of one client no more stands in that line than there are places, and the rest behind these: whoever comes with one body
//! waits for a few of another's, and not for its thousand. What is read of one event is small unless somebody makes it large: then the thread stays with it, and whatever else it had
//! to do goes to another one.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::holders::Holder;
use crate::problem::Problem;

/// Bodies that are larger would keep others waiting: a millisecond and more.
pub(crate) const LIGHT_BYTES: usize = 64 << 10;

/// More events would, too.
pub(crate) const LIGHT_EVENTS: usize = 256;

/// Clients whose work is done are forgotten once there are so many.
const FORGET_FROM: usize = 1024;

/// What operators are told where there was none for long.
const NO_PLACE: &str =
    "bodies of many events, or large ones, are not worked off within half of http.request_deadline_ms";

/// Where heavy work is done.
pub(crate) struct Heavy {
    places: Arc<Semaphore>,
    count: usize,
    /// Who may stand in line for them, of each client that has work.
    turns: Mutex<HashMap<u64, Arc<Semaphore>>>,
    patience: Duration,
}

/// A place, and its client's turn.
struct Place {
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Heavy {
    /// Work waits so long for a place.
    pub(crate) fn new(patience: Duration) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::with((cores / 2).max(1), patience)
    }

    fn with(count: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(count)), count, turns: Mutex::default(), patience }
    }

    /// Does `work` of this client elsewhere, once there is a place. A panic in it goes on here.
    ///
    /// # Errors
    /// 503 when there was no place for long: nothing was done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        of: &Holder,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.place(of).await?;
        // kept until the work is done, also when whoever wanted it has gone away meanwhile
        Ok(elsewhere(move || {
            let _place = place;
            work()
        })
        .await)
    }

    /// Does `work` on a body of so many bytes of this client here, at once if it is small, and else once there is a place, in nobody's
    /// way.
    ///
    /// # Errors
    /// 503 when there was no place for long: nothing was done.
    pub(crate) async fn read<T>(
        &self,
        of: &Holder,
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> Result<T, Problem> {
        if bytes <= LIGHT_BYTES {
            return Ok(work());
        }
        // boxed, or all requests would carry its room around
        let _place = Box::pin(self.place(of)).await?;
        Ok(aside(work))
    }

    async fn place(&self, of: &Holder) -> Result<Place, Problem> {
        let turns = self.turns_of(of);
        let place = async {
            let turn = turns.acquire_owned().await.ok()?;
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            Some(Place { _turn: turn, _place: place })
        };
        tokio::time::timeout(self.patience, place)
            .await
            .ok()
            .flatten()
            .ok_or_else(|| Problem::busy().because(NO_PLACE))
    }

    fn turns_of(&self, of: &Holder) -> Arc<Semaphore> {
        let mut turns = self.turns.lock();
        if turns.len() >= FORGET_FROM {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(of.id).or_insert_with(|| Arc::new(Semaphore::new(self.count))))
    }
}

/// Does `work` on so many events, or what is known of them, here: in nobody's way if they are many. It waits for no place, which is for
/// what may no more be refused.
pub(crate) fn in_nobodys_way<T>(events: usize, work: impl FnOnce() -> T) -> T {
    if events <= LIGHT_EVENTS { work() } else { aside(work) }
}

/// The thread stays with `work`, and whatever else it had to do goes to another one.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    // where there is one thread for all there is no other one to go to
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
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
        Heavy::with(places, patience)
    }

    fn client(id: u64) -> Holder {
        Holder::known_as(id)
    }

    /// Whoever comes with one piece of work waits for one of another's, however many that has.
    #[tokio::test]
    async fn many_of_one_client_leave_places_to_others() {
        let heavy = Arc::new(heavy(1, Duration::from_secs(60)));
        let (end, ends) = channel::<()>();
        let (done, order) = channel();
        let work = |of: u64| {
            let (heavy, done) = (Arc::clone(&heavy), done.clone());
            tokio::spawn(async move { heavy.run(&client(of), move || done.send(of).unwrap()).await })
        };
        let first = Arc::clone(&heavy);
        let first = tokio::spawn(async move { first.run(&client(1), move || ends.recv()).await });
        while heavy.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let mut all: Vec<_> = (0..10).map(|_| work(1)).collect();
        tokio::task::yield_now().await;
        all.extend([work(2), work(3)]);
        tokio::task::yield_now().await;
        drop(end);
        assert!(first.await.unwrap().is_ok());
        for work in all {
            work.await.unwrap().unwrap();
        }
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order.len(), 12);
        assert!([2, 3].iter().all(|of| order[..4].contains(of)), "{order:?}");
    }

    #[tokio::test]
    async fn clients_whose_work_is_done_are_forgotten() {
        let heavy = heavy(1, Duration::from_secs(60));
        for number in 0..3 * FORGET_FROM as u64 {
            heavy.run(&client(number), || ()).await.unwrap();
        }
        assert!(heavy.turns.lock().len() <= FORGET_FROM);
    }

    #[tokio::test]
    async fn work_is_done_elsewhere_and_frees_its_place() {
        let heavy = heavy(1, Duration::from_secs(60));
        let here = thread::current().id();
        assert_ne!(heavy.run(&client(1), || thread::current().id()).await.unwrap(), here);
        let panicked = AssertUnwindSafe(heavy.run(&client(1), || panic!("planted"))).catch_unwind().await;
        assert!(panicked.is_err_and(|panic| panic.is::<&str>()));
        assert_ne!(
            heavy.run(&client(1), || thread::current().id()).await.unwrap(),
            here,
            "its place is free again"
        );
    }

    /// While a thread reads what is large others do what it had to do besides.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_large_is_read_in_nobodys_way() {
        let heavy = heavy(1, Duration::from_secs(60));
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = channel::<()>();
        let of = client(1);
        let reading = async {
            let read = heavy.read(&of, LIGHT_BYTES + 1, || {
                begun.send(()).unwrap();
                ends.recv().unwrap();
                7
            });
            read.await.unwrap()
        };
        let reading = std::pin::pin!(reading);
        // the other one runs only if the first does not keep the only thread
        let other = tokio::spawn(async move {
            begins.await.unwrap();
            end.send(()).unwrap();
        });
        assert_eq!(reading.await, 7);
        other.await.unwrap();
        assert_eq!(heavy.read(&of, LIGHT_BYTES, || 8).await.unwrap(), 8);
    }

    /// A client that goes away leaves its work behind, which still takes a place.
    #[tokio::test]
    async fn a_place_is_taken_until_the_work_is_done() {
        let heavy = heavy(1, Duration::from_millis(1));
        let (begun, begins) = channel();
        let (end, ends) = channel::<()>();
        let of = client(1);
        let work = heavy.run(&of, move || {
            begun.send(()).unwrap();
            let _ = ends.recv();
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err(), "it gives up waiting");
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        let busy = heavy.run(&of, || ()).await.unwrap_err();
        assert_eq!((busy.name(), busy.cause()), ("busy", NO_PLACE));
        drop(end);
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while heavy.run(&of, || ()).await.is_err() {
            assert!(std::time::Instant::now() < until, "the place is not free again");
        }
    }
}
