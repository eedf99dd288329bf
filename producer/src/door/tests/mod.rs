//! The door over a database that takes its time, fails, and goes on deciding meanwhile.

mod courses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use floodgate_observe::Metrics;
use floodgate_schemas::examples::{at, event_id};
use floodgate_schemas::{Accept, CharacterId, EventIdSource, IdempotencyKey, LikerAccountId, TargetOcid};
use floodgate_store::{
    BoxFuture, Coupon, CouponCreated, Decision, DecisionStatus, ExpectationRow, NewCoupon, ReadError,
    SchemaState,
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::*;

const ALL: DoorConfig = DoorConfig { refuse_unknown: true, refuse_sold_out: true, ..DoorConfig::OPEN };
const LOOKUP: Duration = Duration::from_millis(ALL.lookup_ms);
const WATCH: Duration = Duration::from_millis(ALL.watch_ms);

/// How a query goes: what passes before and after it sees what stands there, and whether anybody hears of it.
#[derive(Debug, Clone, Copy)]
struct Course {
    before_ms: u64,
    after_ms: u64,
    fails: bool,
}

const AT_ONCE: Course = Course { before_ms: 0, after_ms: 0, fails: false };

/// What stands in the database, and what waits to be decided.
#[derive(Debug, Default, Clone)]
struct Rows {
    coupons: BTreeMap<CouponId, (i32, i32)>,
    holders: BTreeSet<(CouponId, String)>,
    decided: BTreeMap<EventId, DecisionStatus>,
}

impl Rows {
    /// By the rules of `floodgate_store`, without opening hours.
    fn decide(&mut self, request: &CouponIssue) {
        if self.decided.contains_key(&request.event_id) {
            return;
        }
        let holder = (request.coupon_id.clone(), request.user_id.to_string());
        let status = match self.coupons.get_mut(&request.coupon_id) {
            None => DecisionStatus::UnknownCoupon,
            Some(_) if self.holders.contains(&holder) => DecisionStatus::Duplicate,
            Some((stock, issued)) if issued == stock => DecisionStatus::SoldOut,
            Some((_, issued)) => {
                *issued += 1;
                self.holders.insert(holder);
                DecisionStatus::Issued
            }
        };
        self.decided.insert(request.event_id, status);
    }
}

#[derive(Default)]
struct Database {
    rows: Mutex<Rows>,
    /// How the next queries go, over and over; at once without any.
    courses: Vec<Course>,
    queries: AtomicUsize,
    /// How many coupons were asked for in each query.
    asked: Mutex<Vec<usize>>,
}

impl Database {
    async fn answer<T>(&self, look: impl FnOnce(&Rows) -> T) -> Result<T, ReadError> {
        let number = self.queries.fetch_add(1, Ordering::Relaxed);
        let course = self.courses.get(number % self.courses.len().max(1)).copied().unwrap_or(AT_ONCE);
        sleep(Duration::from_millis(course.before_ms)).await;
        let found = look(&self.rows.lock());
        sleep(Duration::from_millis(course.after_ms)).await;
        if course.fails { Err(ReadError::Unavailable("planted".to_owned())) } else { Ok(found) }
    }

    fn create(&self, coupon: &str, stock: i32) {
        self.rows.lock().coupons.insert(id(coupon), (stock, 0));
    }

    fn decide(&self, requests: &[CouponIssue]) {
        let mut rows = self.rows.lock();
        requests.iter().for_each(|request| rows.decide(request));
    }
}

fn nobody_asks<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, ReadError>> {
    Box::pin(async { unreachable!("the door does not ask for this") })
}

impl Reads for Database {
    fn coupons_named<'a>(&'a self, ids: &'a [CouponId]) -> BoxFuture<'a, Result<Vec<Coupon>, ReadError>> {
        self.asked.lock().push(ids.len());
        let coupon = |(id, (stock, issued)): (&CouponId, &(i32, i32))| Coupon {
            terms: NewCoupon {
                coupon_id: id.clone(),
                stock: i64::from(*stock).try_into().unwrap(),
                opens_at: None,
                closes_at: None,
            },
            issued: i64::from(*issued).try_into().unwrap(),
        };
        Box::pin(
            self.answer(move |rows| {
                rows.coupons.iter().filter(|(id, _)| ids.contains(id)).map(coupon).collect()
            }),
        )
    }

    fn decisions<'a>(&'a self, requests: &'a [EventId]) -> BoxFuture<'a, Result<Vec<Decision>, ReadError>> {
        let decision = |(request_id, status): (&EventId, &DecisionStatus)| Decision {
            request_id: *request_id,
            coupon_id: id("c"),
            user_id: "u".to_owned().try_into().unwrap(),
            status: *status,
            rank: None,
            decided_at: at(0),
        };
        Box::pin(self.answer(move |rows| {
            rows.decided.iter().filter(|(id, _)| requests.contains(id)).map(decision).collect()
        }))
    }

    fn expectations(&self, _: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>> {
        nobody_asks()
    }

    fn coupon<'a>(&'a self, _: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>> {
        nobody_asks()
    }

    fn coupons(&self, _: u32) -> BoxFuture<'_, Result<Vec<Coupon>, ReadError>> {
        nobody_asks()
    }

    fn create_coupon<'a>(&'a self, _: &'a NewCoupon) -> BoxFuture<'a, Result<CouponCreated, ReadError>> {
        nobody_asks()
    }

    fn like_count<'a>(&'a self, _: &'a TargetOcid) -> BoxFuture<'a, Result<u64, ReadError>> {
        nobody_asks()
    }

    fn liked<'a>(
        &'a self,
        _: &'a TargetOcid,
        _: &'a LikerAccountId,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        nobody_asks()
    }

    fn schema_state(&self) -> BoxFuture<'_, Result<SchemaState, ReadError>> {
        nobody_asks()
    }
}

fn id(coupon: &str) -> CouponId {
    coupon.to_owned().try_into().unwrap()
}

/// One that comes with a key, or with the id of a number.
fn request(coupon: &str, user: &str, source: Result<&str, u64>) -> CouponIssue {
    let key = source.map(|key| IdempotencyKey::new(key).unwrap());
    let id = match &key {
        Ok(key) => EventIdSource::Key(key),
        Err(number) => EventIdSource::Fresh(event_id(*number)),
    };
    let accept = Accept { id, accepted_at: at(0), latest: at(0) };
    CouponIssue::new(self::id(coupon), user.to_owned().try_into().unwrap(), &accept)
}

fn door(database: &Arc<Database>, config: DoorConfig) -> Arc<Door> {
    let reads = Arc::clone(database) as Arc<dyn Reads>;
    Arc::new(Door::new(&reads, config, &Metrics::new().unwrap().door))
}

/// What a request is told, as routes ask.
async fn told(door: &Door, request: &CouponIssue) -> &'static str {
    let told = match door.at_once(request) {
        Some(told) => told,
        None => door.ask_for_one(request, 1).await,
    };
    told.map_or_else(|problem| problem.name(), |()| "goes on")
}

fn fresh(number: u64) -> CouponIssue {
    request("c", &format!("user-{number}"), Err(number))
}

#[tokio::test(start_paused = true)]
async fn a_coupon_that_there_is_not_is_looked_for_whenever_it_is_asked_for() {
    let database = Arc::<Database>::default();
    let door = door(&database, ALL);
    assert_eq!(told(&door, &fresh(1)).await, "unknown-coupon");
    database.create("c", 1);
    assert_eq!(told(&door, &fresh(2)).await, "goes on");
    let queries = database.asked.lock().len();
    assert_eq!(told(&door, &fresh(3)).await, "goes on");
    assert_eq!(queries, 2, "the one that there is is known from here on");
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_a_query_at_a_time() {
    let slow = Course { before_ms: 10, ..AT_ONCE };
    let database = Arc::new(Database { courses: vec![slow], ..Database::default() });
    let door = door(&database, DoorConfig { lookups_max: 1000, ..ALL });
    let first = request("coupon-0", "user", Err(0));
    let flood: Vec<_> = (1..1000).map(|n| request(&format!("coupon-{}", n % 500), "user", Err(n))).collect();
    let (first, all) = tokio::join!(
        told(&door, &first),
        futures_util::future::join_all(flood.iter().map(|request| told(&door, request)))
    );
    assert!(first == "unknown-coupon" && all.iter().all(|told| *told == "unknown-coupon"));
    // what comes before the first query begins is part of it
    assert_eq!(*database.asked.lock(), [500]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_began_before_is_not_enough() {
    let slow = Course { before_ms: 0, after_ms: 100, fails: false };
    let database = Arc::new(Database { courses: vec![slow], ..Database::default() });
    let door = door(&database, ALL);
    let one = fresh(1);
    let before = told(&door, &one);
    let after = async {
        sleep(Duration::from_millis(50)).await;
        database.create("c", 1);
        told(&door, &fresh(2)).await
    };
    assert_eq!(tokio::join!(before, after), ("unknown-coupon", "goes on"));
}

/// Neither does it wait longer than configured, nor is it refused; and while the database is late nobody else waits.
#[tokio::test(start_paused = true)]
async fn whoever_nobody_tells_anything_goes_on() {
    let never = Course { before_ms: 20_000, ..AT_ONCE };
    let database = Arc::new(Database { courses: vec![never], ..Database::default() });
    let door = door(&database, ALL);
    let begun = tokio::time::Instant::now();
    assert_eq!(told(&door, &fresh(1)).await, "goes on");
    assert_eq!(begun.elapsed(), LOOKUP);
    assert_eq!(told(&door, &fresh(2)).await, "goes on");
    assert_eq!(begun.elapsed(), LOOKUP);

    let fails = Course { fails: true, ..AT_ONCE };
    let database = Arc::new(Database { courses: vec![fails], ..Database::default() });
    assert_eq!(told(&self::door(&database, ALL), &fresh(1)).await, "goes on");
}

/// What never fits takes no room, and where there is none left others come again.
#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_goes_on() {
    let database = Arc::<Database>::default();
    let door = door(&database, DoorConfig { lookups_max: 3, ..ALL });
    let ask = |range: std::ops::Range<u64>| {
        let requests: Vec<_> = range.map(|n| request(&format!("coupon-{n}"), "user", Err(n))).collect();
        let door = Arc::clone(&door);
        async move {
            let told = door.ask(&requests.iter().collect::<Vec<_>>(), 1).await;
            told.iter().map(|told| told.as_ref().err().map_or("goes on", |problem| problem.name())).collect()
        }
    };
    assert_eq!(ask(0..3).await, vec!["unknown-coupon"; 3]);
    for _ in 0..2 {
        assert_eq!(ask(0..4).await, vec!["goes on"; 4]);
        assert_eq!(ask(4..7).await, vec!["unknown-coupon"; 3]);
    }
    assert_eq!(*database.asked.lock(), [3; 3]);
    // one by one, while others wait
    let (some, more, all) = tokio::join!(ask(0..2), ask(2..4), ask(1..3));
    assert_eq!((some, more), (vec!["unknown-coupon"; 2], vec!["busy"; 2]));
    assert_eq!(all, ["unknown-coupon"; 2]);
}

/// Batches of coupons that there are not, of one client and as many as it likes, leave room to whoever asks for others.
#[tokio::test(start_paused = true)]
async fn made_up_coupons_of_one_client_leave_room_to_others() {
    let slow = Course { before_ms: 10, ..AT_ONCE };
    let database = Arc::new(Database { courses: vec![slow], ..Database::default() });
    (0..94).for_each(|number| database.create(&format!("real-{number}"), 1));
    let door = door(&database, DoorConfig { lookups_max: 2000, ..ALL });
    let batch = async |client: u64, number: u64| {
        let made_up = |at: u64| request(&format!("made-up-{client}-{number}-{at}"), "user", Err(at));
        let requests: Vec<_> = (0..1000).map(made_up).collect();
        let told = door.ask(&requests.iter().collect::<Vec<_>>(), client).await;
        told.iter().all(|told| told.as_ref().is_err_and(|problem| problem.name() == "unknown-coupon"))
    };
    let other = async |number: u64| {
        let request = request(&format!("real-{number}"), "user", Err(number));
        door.ask_for_one(&request, 2).await.is_ok()
    };
    let (batches, others) = tokio::join!(
        futures_util::future::join_all((0..12).map(|number| batch(1, number))),
        futures_util::future::join_all((0..94).map(other)),
    );
    assert_eq!(batches.iter().filter(|told| **told).count(), 1, "the others are told to come again");
    assert!(others.iter().all(|told| *told), "somebody else was refused");
    assert!(batch(1, 12).await, "its part is free again");
}

/// Every instance learns it; winners go on, others do not, and one who was told SOLD_OUT is told so again as ever.
#[tokio::test(start_paused = true)]
async fn once_every_piece_is_given_out_only_retries_go_on() {
    let database = Arc::<Database>::default();
    database.create("c", 1);
    let doors = [door(&database, ALL), door(&database, ALL)];
    let (winner, loser) = (request("c", "ann", Ok("key-of-ann")), request("c", "ben", Ok("key-of-ben")));
    for door in &doors {
        assert_eq!(told(door, &winner).await, "goes on");
    }
    database.decide(&[winner.clone(), loser.clone()]);
    for door in &doors {
        assert_eq!(told(door, &fresh(1)).await, "goes on", "nobody has looked yet");
        sleep(WATCH * 2).await;
        assert_eq!(told(door, &fresh(2)).await, "sold-out");
        assert!(door.is_sold_out(&id("c")));
        assert_eq!(told(door, &winner).await, "goes on");
        assert_eq!(told(door, &loser).await, "goes on");
        assert_eq!(told(door, &request("c", "ann", Ok("another-key"))).await, "sold-out");
        assert_eq!(told(door, &request("c", "cid", Ok("key-of-ann"))).await, "sold-out");
    }
    // one that comes to know it now knows it at once
    let newcomer = door(&database, ALL);
    assert_eq!(told(&newcomer, &fresh(3)).await, "sold-out");
    assert_eq!(told(&newcomer, &winner).await, "goes on");
    let unconcerned = door(&database, DoorConfig { refuse_sold_out: false, ..ALL });
    assert_eq!(told(&unconcerned, &fresh(4)).await, "goes on");
    assert!(!unconcerned.is_sold_out(&id("c")));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_nobody_looks_up_in_time_goes_on() {
    let late = Course { before_ms: ALL.lookup_ms + 1, ..AT_ONCE };
    let database = Arc::new(Database { courses: vec![AT_ONCE, late, late], ..Database::default() });
    database.create("c", 0);
    let door = door(&database, ALL);
    assert_eq!(told(&door, &fresh(1)).await, "sold-out");
    assert_eq!(told(&door, &request("c", "ann", Ok("key-of-ann"))).await, "goes on");
}

/// Without the one rule the other knows what it needs.
#[tokio::test(start_paused = true)]
async fn sold_out_is_learnt_without_looking_for_unknown_ones() {
    let database = Arc::<Database>::default();
    let door = door(&database, DoorConfig { refuse_unknown: false, ..ALL });
    assert_eq!(told(&door, &fresh(1)).await, "goes on", "there is none");
    database.create("c", 0);
    assert_eq!(told(&door, &fresh(2)).await, "goes on");
    sleep(WATCH * 2).await;
    assert_eq!(told(&door, &fresh(3)).await, "sold-out");
}

/// Nor is it forgotten to look at those that there are while somebody asks for others.
#[tokio::test(start_paused = true)]
async fn sold_out_is_learnt_beside_made_up_coupons() {
    let database = Arc::<Database>::default();
    database.create("c", 1);
    let door = door(&database, DoorConfig { refuse_unknown: false, lookups_max: 4, ..ALL });
    assert_eq!(told(&door, &fresh(1)).await, "goes on");
    sleep(WATCH * 2).await;
    database.decide(&[fresh(1)]);
    for number in 0..10 {
        let made_up = request(&format!("made-up-{number}"), "user", Err(number));
        assert_eq!(told(&door, &made_up).await, "goes on");
    }
    assert_eq!(told(&door, &fresh(2)).await, "goes on");
    sleep(WATCH * 2).await;
    assert_eq!(told(&door, &fresh(3)).await, "sold-out");
}

/// An older copy in which pieces remain, or a database without the coupon: what was known of the former is over.
#[tokio::test(start_paused = true)]
async fn another_database_is_noticed() {
    let database = Arc::<Database>::default();
    database.create("c", 1);
    let older = database.rows.lock().clone();
    database.decide(&[fresh(1)]);
    for (rows, wanted) in [(older, "goes on"), (Rows::default(), "unknown-coupon")] {
        let door = door(&database, ALL);
        assert_eq!(told(&door, &fresh(2)).await, "sold-out");
        let now = std::mem::replace(&mut *database.rows.lock(), rows);
        assert_eq!(told(&door, &fresh(3)).await, "sold-out");
        sleep(WATCH * 2).await;
        assert_eq!(told(&door, &fresh(4)).await, wanted);
        *database.rows.lock() = now;
    }
}
