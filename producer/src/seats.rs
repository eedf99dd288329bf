//! Places for connections, and what becomes of those for which there is none.
//!
//! Of all places a client may have its part ([`crate::holders`]), and no more of them than is configured for each. Who gets none *stands*: a
//! few connections are served beside those that have places, of each one request. Whoever asks how the process is gets an answer there,
//! however many connections there are. Others wait there until a place is free, where all are taken, or are told to come back, where
//! it is only that their client has its part already.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floodgate_observe::HttpMetrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::admission::Peer;
use crate::holders::{Common, Holder};
use crate::paths::PROBES;
use crate::problem::Problem;

/// How many connections stand at once, and how many of them wait for a place: probes find one of the others.
const STANDING_MAX: usize = 64;
const WAITING_MAX: usize = 32;

/// How long who stands may take to say what it wants, and to take the answer.
pub(crate) const STANDS_FOR: Duration = Duration::from_secs(1);

/// All places.
pub(crate) struct Seats {
    places: (Common, usize),
    free: Arc<Semaphore>,
    /// Of one client; 0: its part.
    of_one_max: usize,
    standing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    patience: Duration,
    metrics: HttpMetrics,
}

/// Where a connection is.
pub(crate) enum Seat {
    /// It has a place.
    Taken { _place: OwnedSemaphorePermit, _of_client: Counted },
    /// It stands.
    Standing { has_its_part: bool, _room: OwnedSemaphorePermit },
}

impl Seat {
    pub(crate) fn stands(&self) -> bool {
        matches!(self, Self::Standing { .. })
    }
}

/// A connection among those of its client, until it is dropped.
pub(crate) struct Counted(Arc<Holder>);

impl Counted {
    /// Counts one more, if there may be.
    fn new(holder: &Arc<Holder>, may: impl FnOnce(usize) -> bool) -> Option<Self> {
        let before = holder.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Self(Arc::clone(holder));
        may(before).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seats {
    /// So many places, of which a client may have so many (0: its part). Who waits for one is patient for so long.
    pub(crate) fn new(
        (max, of_one_max): (usize, usize),
        patience: Duration,
        metrics: HttpMetrics,
    ) -> Arc<Self> {
        let [free, standing, waiting] =
            [max, STANDING_MAX, WAITING_MAX].map(|count| Arc::new(Semaphore::new(count)));
        let places = (Common::count(max), max);
        Arc::new(Self { places, free, of_one_max, standing, waiting, patience, metrics })
    }

    /// A place for a connection that was accepted, or room to stand. `None` where it is to be closed. A proxy has many behind it, and
    /// as many places as there are.
    pub(crate) async fn take(&self, peer: &Peer, is_proxy: bool) -> Option<Seat> {
        let (places, max) = self.places;
        let left = self.free.available_permits();
        let may = |own: usize| is_proxy || places.may_take(own, 1, max - left);
        let own = peer.holder.connections.load(Ordering::Relaxed);
        if !is_proxy && self.of_one_max > 0 && own >= self.of_one_max {
            self.metrics.connections_refused.with_label_values(&["client"]).inc();
            return None;
        }
        if let Some(_of_client) = Counted::new(&peer.holder, may)
            && let Ok(_place) = Arc::clone(&self.free).try_acquire_owned()
        {
            return Some(Seat::Taken { _place, _of_client });
        }
        let has_its_part = left > 0;
        let room = match has_its_part {
            true => {
                self.metrics.connections_refused.with_label_values(&["client"]).inc();
                Arc::clone(&self.standing).try_acquire_owned().ok()
            }
            false => {
                tracing::debug!("http.connections_max is reached: more connections wait for a place");
                self.metrics.connections_full.inc();
                Arc::clone(&self.standing).acquire_owned().await.ok()
            }
        };
        room.map(|_room| Seat::Standing { has_its_part, _room })
    }

    /// Whether a request may be answered that comes by such a connection. A place that it waited for is its own until it is answered.
    ///
    /// # Errors
    /// 503 for who stands and is no probe.
    pub(crate) async fn admit(
        &self,
        seat: &Seat,
        path: &str,
    ) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let &Seat::Standing { has_its_part, .. } = seat else { return Ok(None) };
        if PROBES.contains(&path) {
            return Ok(None);
        }
        if has_its_part {
            return Err(Problem::too_many_connections());
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Err(Problem::too_many_connections()) };
        let place = timeout(self.patience, Arc::clone(&self.free).acquire_owned()).await;
        place.ok().and_then(Result::ok).map(Some).ok_or_else(Problem::too_many_connections)
    }
}

#[cfg(test)]
mod tests {
    use floodgate_observe::Metrics;

    use super::*;

    fn seats(max: usize, of_one: usize) -> Arc<Seats> {
        Seats::new((max, of_one), Duration::from_secs(10), Metrics::new().unwrap().http)
    }

    fn peer() -> Peer {
        Peer { address: [127, 0, 0, 1].into(), holder: Arc::default() }
    }

    async fn taken(seats: &Seats, peer: &Peer, count: usize) -> Vec<Seat> {
        let mut taken = Vec::new();
        for _ in 0..count {
            match seats.take(peer, false).await {
                Some(seat) if !seat.stands() => taken.push(seat),
                _ => break,
            }
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_its_part_leaves_places_to_others() {
        let seats = seats(1000, 0);
        let (many, few) = (peer(), peer());
        let all = taken(&seats, &many, 1000).await;
        assert_eq!(all.len(), 750);
        assert_eq!(many.holder.connections.load(Ordering::Relaxed), 750);
        assert!(taken(&seats, &few, 1000).await.len() >= 180);
        // who stands is told to come back, but for probes
        let standing = seats.take(&many, false).await.unwrap();
        assert!(standing.stands());
        assert!(seats.admit(&standing, "/healthz").await.is_ok());
        let refused = seats.admit(&standing, "/api/v6/events").await.map(drop);
        assert_eq!(refused.map_err(|problem| problem.name()), Err("busy"));
        drop((all, standing));
        assert_eq!(many.holder.connections.load(Ordering::Relaxed), 0);
        assert_eq!(taken(&seats, &peer(), 1000).await.len(), 750);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_taken_one_is_waited_for() {
        let seats = seats(2, 0);
        let mut all = taken(&seats, &peer(), 2).await;
        assert_eq!(all.len(), 2);
        let standing = seats.take(&peer(), false).await.unwrap();
        assert!(standing.stands() && seats.admit(&standing, "/readyz").await.is_ok());
        let waits = seats.admit(&standing, "/openapi.json");
        let frees = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            all.pop();
        };
        let (admitted, ()) = tokio::join!(waits, frees);
        assert!(admitted.is_ok_and(|place| place.is_some()));
        let late = seats.admit(&standing, "/openapi.json").await.map(drop);
        assert_eq!(late, Ok(()), "the place was given back");
        all.extend(taken(&seats, &peer(), 2).await);
        assert!(seats.admit(&standing, "/openapi.json").await.is_err(), "nobody goes");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_leave_room_for_probes() {
        let seats = seats(1, 0);
        let _all = taken(&seats, &peer(), 1).await;
        let mut standing = Vec::new();
        for _ in 0..WAITING_MAX {
            standing.push(seats.take(&peer(), false).await.unwrap());
        }
        let waiting = futures_util::future::join_all(standing.iter().map(|seat| seats.admit(seat, "/")));
        let beside = async {
            tokio::task::yield_now().await;
            let seat = seats.take(&peer(), false).await.unwrap();
            (seats.admit(&seat, "/").await.is_err(), seats.admit(&seat, "/healthz").await.is_ok())
        };
        let (refused, beside) = tokio::join!(waiting, beside);
        assert_eq!(beside, (true, true));
        assert!(refused.iter().all(Result::is_err));
    }

    #[tokio::test(start_paused = true)]
    async fn each_client_has_as_many_as_configured() {
        let seats = seats(100, 3);
        let one = peer();
        let mut all = taken(&seats, &one, 10).await;
        assert_eq!(all.len(), 3);
        assert!(seats.take(&one, false).await.is_none(), "it does not stand");
        assert!(seats.take(&one, true).await.is_some_and(|seat| !seat.stands()), "a proxy has more");
        all.pop();
        assert_eq!(taken(&seats, &one, 10).await.len(), 1);
    }
}
