//! Places for connections, and what becomes of those for which there is none.
//!
//! Of all places a client may have its part ([`crate::holders`]), and no more of them than is configured for each. Where none is free, or
//! its part is less than others have, it takes the place of an idle connection of whoever has most ([`crate::yielding`]).
//!
//! Who gets none *stands*: a few connections are served beside those that have places, of each one request. Whoever asks how the process is
//! gets an answer there, however many connections there are. Others wait there until a place is free, where all are taken by requests in
//! work, or are told to come back, where it is only that their client has its part already. Room to stand, too, is shared: each client has
//! a little of it, and where there is none left whoever stands for longest goes, and not who comes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use floodgate_listener::Exchange;
use floodgate_observe::HttpMetrics;
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::admission::Peer;
use crate::holders::Common;
use crate::problem::Problem;
use crate::yielding::{Guest, Place, Yielding};

/// How many connections stand at once, and how many requests on them wait for a place: probes find one of the others. Of all, and of
/// one client.
const STANDING_MAX: usize = 64;
const STANDING_OF_ONE_MAX: usize = 16;
const WAITING_MAX: usize = 32;
const WAITING_OF_ONE_MAX: usize = 8;

/// How long who stands may take to say what it wants, and to take the answer.
pub(crate) const STANDS_FOR: Duration = Duration::from_secs(1);

/// Who waits for a place looks so often whether somebody has become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// All places.
pub(crate) struct Seats {
    places: (Common, usize),
    free: Arc<Semaphore>,
    taken: Arc<Yielding>,
    /// Of one client; 0: its part.
    of_one_max: usize,
    room: Arc<Semaphore>,
    standing: Arc<Yielding>,
    patience: Duration,
    metrics: HttpMetrics,
}

/// Where a connection is.
pub(crate) enum Seat {
    /// It has a place.
    Taken { _place: Place },
    /// It has one that is never taken back.
    OfProxy { _place: OwnedSemaphorePermit },
    /// It stands.
    Standing { has_its_part: bool, place: Place },
}

impl Seat {
    pub(crate) fn stands(&self) -> bool {
        matches!(self, Self::Standing { .. })
    }
}

impl Seats {
    /// So many places, of which a client may have so many (0: its part). Who waits for one is patient for so long.
    pub(crate) fn new(
        (max, of_one_max): (usize, usize),
        patience: Duration,
        metrics: HttpMetrics,
    ) -> Arc<Self> {
        let [free, room] = [max, STANDING_MAX].map(|count| Arc::new(Semaphore::new(count)));
        let (taken, standing) = (Yielding::new(Exchange::is_busy), Yielding::new(|_| false));
        let places = (Common::count(max), max);
        Arc::new(Self { places, free, taken, of_one_max, room, standing, patience, metrics })
    }

    /// A place for a connection that was accepted, or room to stand. `None` where it is to be closed. A proxy has many behind it, and
    /// as many places as there are.
    pub(crate) fn take(&self, peer: &Peer, is_proxy: bool, guest: &Guest) -> Option<Seat> {
        let client = peer.holder.id;
        let own = if is_proxy { 0 } else { self.taken.count(client) };
        if self.of_one_max > 0 && own >= self.of_one_max {
            self.metrics.connections_refused.with_label_values(&["client"]).inc();
            return None;
        }
        match self.place(own, is_proxy) {
            Some(_place) if is_proxy => return Some(Seat::OfProxy { _place }),
            Some(place) => {
                return Some(Seat::Taken { _place: self.taken.give(client, guest.clone(), place) });
            }
            None => {}
        }
        let has_its_part = self.free.available_permits() > 0;
        if has_its_part {
            self.metrics.connections_refused.with_label_values(&["client"]).inc();
        } else {
            tracing::debug!("http.connections_max is reached: more connections wait for a place");
            self.metrics.connections_full.inc();
        }
        let room = self.room_to_stand(client)?;
        Some(Seat::Standing { has_its_part, place: self.standing.give(client, guest.clone(), room) })
    }

    /// A place for who has so many: one that is free, if it may have that, or else one that is taken back.
    fn place(&self, own: usize, is_proxy: bool) -> Option<OwnedSemaphorePermit> {
        let (places, max) = self.places;
        let taken = max.saturating_sub(self.free.available_permits());
        let may_have = is_proxy || places.may_take(own, 1, taken);
        let free = if may_have { Arc::clone(&self.free).try_acquire_owned().ok() } else { None };
        free.or_else(|| self.taken_back(own))
    }

    /// Of who has two more, so that nobody takes it back in turn. Who has none may have anybody's.
    fn taken_back(&self, own: usize) -> Option<OwnedSemaphorePermit> {
        let place = self.taken.take_back(if own == 0 { 1 } else { own + 2 })?;
        self.metrics.connections_taken_back.inc();
        Some(place)
    }

    fn room_to_stand(&self, client: u64) -> Option<OwnedSemaphorePermit> {
        if self.standing.count(client) >= STANDING_OF_ONE_MAX {
            return self.standing.take_back_from(client);
        }
        let room = Arc::clone(&self.room).try_acquire_owned().ok();
        room.or_else(|| self.standing.take_back(1))
    }

    /// Whether a request that is no probe may be answered that comes by such a connection. A place that it waited for is its own until
    /// it is answered.
    ///
    /// # Errors
    /// 503 for who stands and gets none.
    pub(crate) async fn admit(&self, seat: &Seat) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let Seat::Standing { has_its_part, place } = seat else { return Ok(None) };
        if *has_its_part || !place.keep(WAITING_OF_ONE_MAX, WAITING_MAX) {
            return Err(Problem::too_many_connections());
        }
        let becomes_free = pin!(Arc::clone(&self.free).acquire_owned());
        let becomes_idle = pin!(async {
            loop {
                sleep(LOOK_AGAIN).await;
                if let Some(place) = self.taken_back(self.taken.count(place.client)) {
                    return place;
                }
            }
        });
        match timeout(self.patience, select(becomes_free, becomes_idle)).await {
            Ok(Either::Left((Ok(place), _)) | Either::Right((place, _))) => Ok(Some(place)),
            _ => Err(Problem::too_many_connections()),
        }
    }
}

#[cfg(test)]
mod tests {
    use floodgate_observe::Metrics;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::holders::Holder;

    fn seats(max: usize, of_one: usize) -> Arc<Seats> {
        Seats::new((max, of_one), Duration::from_secs(10), Metrics::new().unwrap().http)
    }

    fn peer(id: u64) -> Peer {
        Peer { address: [127, 0, 0, 1].into(), holder: Arc::new(Holder::known_as(id)) }
    }

    /// Another connection.
    fn guest() -> Guest {
        Guest::new(&CancellationToken::new())
    }

    fn taken(seats: &Seats, peer: &Peer, count: usize) -> Vec<(Guest, Seat)> {
        let take = || {
            let guest = guest();
            Some((guest.clone(), seats.take(peer, false, &guest).filter(|seat| !seat.stands())?))
        };
        std::iter::from_fn(take).take(count).collect()
    }

    fn standing(seats: &Seats, peer: &Peer) -> Seat {
        seats.take(peer, false, &guest()).filter(Seat::stands).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_its_part_leaves_places_to_others() {
        let seats = seats(1000, 0);
        let many = peer(1);
        let all = taken(&seats, &many, 1000);
        assert_eq!(all.len(), 750);
        let busy: Vec<_> = all.iter().map(|(guest, _)| guest.exchange.begin(Some(0))).collect();
        assert!(taken(&seats, &peer(2), 1000).len() >= 180);
        // who stands is told to come back
        let stands = standing(&seats, &many);
        let refused = seats.admit(&stands).await.map(drop);
        assert_eq!(refused.map_err(|problem| problem.name()), Err("busy"));
        drop((all, stands, busy));
        assert_eq!(taken(&seats, &peer(3), 1000).len(), 750);
    }

    /// Of a few places as of many, and of one client as of several.
    #[test]
    fn who_has_few_takes_idle_places_of_who_has_most() {
        for (max, clients) in [(1000, 8), (1000, 1), (10, 1), (10, 30)] {
            let seats = seats(max, 0);
            let mut all: Vec<_> = (0..clients).flat_map(|id| taken(&seats, &peer(id), max)).collect();
            all.retain(|(guest, _)| !guest.leave.is_cancelled());
            let others: Vec<_> = (100..110).flat_map(|id| taken(&seats, &peer(id), 1)).collect();
            assert_eq!(others.len(), 10, "{max} places, {clients} clients");
            let left = all.iter().filter(|(guest, _)| !guest.leave.is_cancelled()).count();
            assert!(left + others.len() <= max, "{left}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_taken_one_is_waited_for() {
        let seats = seats(2, 0);
        let mut all = taken(&seats, &peer(1), 2);
        let mut busy: Vec<_> = all.iter().map(|(guest, _)| guest.exchange.begin(Some(0))).collect();
        let stands = standing(&seats, &peer(2));
        let waits = seats.admit(&stands);
        let frees = async {
            sleep(Duration::from_secs(9)).await;
            all.pop();
        };
        let (admitted, ()) = tokio::join!(waits, frees);
        assert!(admitted.is_ok_and(|place| place.is_some()));
        let late = seats.admit(&stands).await.map(drop);
        assert_eq!(late, Ok(()), "the place was given back");
        let (other, _place) = taken(&seats, &peer(3), 2).pop().unwrap();
        busy.push(other.exchange.begin(Some(0)));
        assert!(seats.admit(&stands).await.is_err(), "nobody goes");
        // somebody becomes idle
        busy.pop();
        assert!(seats.admit(&stands).await.is_ok() && other.leave.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_leave_room_for_probes() {
        let seats = seats(1, 0);
        let all = taken(&seats, &peer(0), 1);
        let _busy = all[0].0.exchange.begin(Some(0));
        let waits: Vec<_> = (0..WAITING_MAX).map(|at| standing(&seats, &peer(1 + at as u64 / 8))).collect();
        let waiting = futures_util::future::join_all(waits.iter().map(|seat| seats.admit(seat)));
        let beside = async {
            tokio::task::yield_now().await;
            let (one, other) = (standing(&seats, &peer(1)), standing(&seats, &peer(9)));
            // whatever else stands
            for _ in 0..10 * STANDING_MAX {
                drop(seats.take(&peer(1), false, &guest()));
            }
            (seats.admit(&one).await.is_err(), seats.admit(&other).await.is_err())
        };
        let (refused, beside) = tokio::join!(waiting, beside);
        assert_eq!(beside, (true, true));
        assert!(refused.iter().all(Result::is_err));
    }

    /// Of one client, or of as many as there are.
    #[tokio::test(start_paused = true)]
    async fn probes_find_room_beside_whoever_stands() {
        for clients in [1, 1000] {
            let seats = seats(1, 0);
            let all = taken(&seats, &peer(0), 1);
            let _busy = all[0].0.exchange.begin(Some(0));
            let mut silent = Vec::new();
            for number in 0..500 {
                let guest = guest();
                let seat = seats.take(&peer(1 + number % clients), false, &guest).unwrap();
                silent.push((guest, seat));
                silent.retain(|(guest, _)| !guest.leave.is_cancelled());
            }
            let stand = if clients == 1 { STANDING_OF_ONE_MAX } else { STANDING_MAX };
            assert_eq!(silent.len(), stand);
            let probe = guest();
            let _seat = seats.take(&peer(1), false, &probe).unwrap();
            // it is the last to go
            for _ in 1..STANDING_OF_ONE_MAX {
                drop(seats.take(&peer(1), false, &guest()));
            }
            assert!(!probe.leave.is_cancelled());
        }
    }

    #[test]
    fn each_client_has_as_many_as_configured() {
        let seats = seats(100, 3);
        let one = peer(1);
        let mut all = taken(&seats, &one, 10);
        assert_eq!(all.len(), 3);
        assert!(seats.take(&one, false, &guest()).is_none(), "it does not stand");
        assert!(seats.take(&one, true, &guest()).is_some_and(|seat| !seat.stands()), "a proxy has more");
        all.pop();
        assert_eq!(taken(&seats, &one, 10).len(), 1);
    }
}
