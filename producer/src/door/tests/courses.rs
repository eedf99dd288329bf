//! Whatever comes in between, at several instances: who is refused has nothing to lose.

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;

/// What happens next.
#[derive(Debug, Clone)]
enum Happens {
    /// One request alone, or several in one batch.
    Asked {
        door: usize,
        client: u64,
        requests: Vec<Asking>,
    },
    /// Somebody reads a coupon, by whose row an instance learns of it.
    Read {
        door: usize,
        coupon: u8,
    },
    Created {
        door: usize,
        coupon: u8,
        stock: i32,
    },
    /// So many of those that wait are decided.
    Decided(usize),
    /// Decisions that gave nothing have become old.
    Deleted,
    Restarted(usize),
    Passes(u64),
}

#[derive(Debug, Clone)]
struct Asking {
    coupon: u8,
    user: u8,
    key: Option<u8>,
}

const DOORS: usize = 3;
const COUPONS: u8 = 3;

fn any_happening() -> impl Strategy<Value = Happens> {
    let asking = (0..COUPONS, 0u8..4, prop::option::weighted(0.6, 0u8..2))
        .prop_map(|(coupon, user, key)| Asking { coupon, user, key });
    let requests =
        prop_oneof![3 => prop::collection::vec(asking.clone(), 1), 1 => prop::collection::vec(asking, 2..6)];
    prop_oneof![
        12 => (0..DOORS, 0u64..2, requests)
            .prop_map(|(door, client, requests)| Happens::Asked { door, client, requests }),
        2 => (0..DOORS, 0..COUPONS).prop_map(|(door, coupon)| Happens::Read { door, coupon }),
        1 => (0..DOORS, 0..COUPONS, 0i32..4)
            .prop_map(|(door, coupon, stock)| Happens::Created { door, coupon, stock }),
        5 => (1usize..5).prop_map(Happens::Decided),
        1 => Just(Happens::Deleted),
        1 => (0..DOORS).prop_map(Happens::Restarted),
        8 => prop_oneof![3 => 1u64..60, 1 => 100u64..900].prop_map(Happens::Passes),
    ]
}

fn any_course() -> impl Strategy<Value = Course> {
    let ms = || prop_oneof![4 => 0u64..40, 1 => 40u64..400, 1 => Just(20_000)];
    (ms(), ms(), prop::bool::weighted(0.1)).prop_map(|(before_ms, after_ms, fails)| Course {
        before_ms,
        after_ms,
        fails,
    })
}

/// Either rule, with room for all that comes or for nearly nothing.
fn any_config() -> impl Strategy<Value = DoorConfig> {
    let rules = prop_oneof![3 => Just((true, true)), 2 => Just((false, true)), 1 => Just((true, false))];
    let remembered = prop_oneof![Just(1), Just(2), Just(100)];
    (rules, remembered, prop_oneof![1 => 1usize..5, 2 => Just(100)]).prop_map(
        |((refuse_unknown, refuse_sold_out), remembered_max, lookups_max)| DoorConfig {
            refuse_unknown,
            refuse_sold_out,
            remembered_max,
            lookups_max,
            ..DoorConfig::OPEN
        },
    )
}

/// What all instances have in common.
#[derive(Default)]
struct Town {
    database: Arc<Database>,
    log: Mutex<Vec<CouponIssue>>,
    /// Requests whose decision was deleted at some time: of these nobody knows any more.
    deleted: Mutex<BTreeSet<EventId>>,
    /// How often each thing was told.
    told: Mutex<BTreeMap<&'static str, usize>>,
}

impl Town {
    /// A request that came when these rows stood there is told this.
    fn is_told(&self, request: &CouponIssue, before: &Rows, told: Result<(), Problem>) {
        let name = told.map_or_else(|problem| problem.name(), |()| "goes on");
        *self.told.lock().entry(name).or_default() += 1;
        let rows = self.database.rows.lock();
        match name {
            "goes on" => self.log.lock().push(request.clone()),
            "unknown-coupon" => assert!(!before.coupons.contains_key(&request.coupon_id), "there was one"),
            "sold-out" => {
                let (stock, issued) = rows.coupons[&request.coupon_id];
                assert_eq!(stock, issued, "a piece remained");
                let is_known = before.decided.contains_key(&request.event_id);
                assert!(
                    !is_known || self.deleted.lock().contains(&request.event_id),
                    "it was decided before"
                );
                // nor could it have got one: what is decided by now is all there is to give out
                assert_ne!(
                    rows.decided.get(&request.event_id),
                    Some(&DecisionStatus::Issued),
                    "it is a winner's"
                );
            }
            // there was no room to ask
            "busy" => {}
            other => unreachable!("{other}"),
        }
    }

    /// Asks as routes do.
    async fn ask(self: Arc<Self>, door: Arc<Door>, client: u64, requests: Vec<CouponIssue>) {
        let before = self.database.rows.lock().clone();
        if let [request] = &*requests {
            let told = match door.at_once(request) {
                _ if !request.event_id.is_from_key() && door.is_sold_out(&request.coupon_id) => {
                    Err(Problem::sold_out())
                }
                Some(told) => told,
                None => door.ask_for_one(request, client).await,
            };
            return self.is_told(request, &before, told);
        }
        let mut at_door = Vec::new();
        for request in &requests {
            match door.at_once(request) {
                Some(Ok(())) if at_door.is_empty() => self.is_told(request, &before, Ok(())),
                Some(Err(problem)) => self.is_told(request, &before, Err(problem)),
                _ => at_door.push(request),
            }
        }
        for (request, told) in at_door.iter().zip(door.ask(&at_door, client).await) {
            self.is_told(request, &before, told);
        }
    }

    async fn read(self: Arc<Self>, door: Arc<Door>, coupon: CouponId) {
        let row = self.database.answer(|rows| rows.coupons.get(&coupon).copied()).await;
        if let Ok(Some((stock, issued))) = row {
            door.saw(&coupon, issued == stock);
        }
    }

    /// Whoever creates one hears of it later than it may be asked for.
    async fn create(self: Arc<Self>, door: Arc<Door>, coupon: CouponId, stock: i32) {
        let is_new = !self.database.rows.lock().coupons.contains_key(&coupon);
        self.database.rows.lock().coupons.entry(coupon.clone()).or_insert((stock, 0));
        if self.database.answer(|_| ()).await.is_ok() {
            door.saw(&coupon, is_new && stock == 0);
        }
    }

    fn delete_old(&self) {
        self.database.rows.lock().decided.retain(|request, status| {
            let stays = *status == DecisionStatus::Issued;
            if !stays {
                self.deleted.lock().insert(*request);
            }
            stays
        });
    }
}

async fn lives(happenings: Vec<Happens>, courses: Vec<Course>, config: DoorConfig) -> Arc<Town> {
    let database = Arc::new(Database { courses, ..Database::default() });
    let town = Arc::new(Town { database: Arc::clone(&database), ..Town::default() });
    let mut doors = [(); DOORS].map(|()| door(&database, config));
    let mut tasks = Vec::new();
    let mut numbers = 1000..;
    let named = |coupon: u8| id(&format!("coupon-{coupon}"));
    for happening in happenings {
        match happening {
            Happens::Asked { door, client, requests } => {
                let requests = requests.into_iter().map(|Asking { coupon, user, key }| {
                    let key = key.map(|key| format!("key-number-{key}"));
                    let source = key.as_deref().ok_or(numbers.next().unwrap_or_default());
                    request(&format!("coupon-{coupon}"), &format!("user-{user}"), source)
                });
                let (town, requests) = (Arc::clone(&town), requests.collect());
                tasks.push(tokio::spawn(town.ask(Arc::clone(&doors[door]), client, requests)));
            }
            Happens::Read { door, coupon } => {
                let read = Arc::clone(&town).read(Arc::clone(&doors[door]), named(coupon));
                tasks.push(tokio::spawn(read));
            }
            Happens::Created { door, coupon, stock } => {
                let create = Arc::clone(&town).create(Arc::clone(&doors[door]), named(coupon), stock);
                tasks.push(tokio::spawn(create));
            }
            Happens::Decided(count) => {
                let mut log = town.log.lock();
                let count = count.min(log.len());
                database.decide(&log.drain(..count).collect::<Vec<_>>());
            }
            Happens::Deleted => town.delete_old(),
            Happens::Restarted(number) => doors[number] = door(&database, config),
            Happens::Passes(ms) => sleep(Duration::from_millis(ms)).await,
        }
    }
    join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
    town
}

/// Whatever comes in between, late, lost or out of order, at whichever instance and with whichever rule: a piece that remains is
/// never refused, nor is a request that was decided before and is known still, nor one for a coupon that there was.
#[test]
fn nobody_is_refused_who_might_be_given_something() {
    let mut told = BTreeMap::<_, usize>::new();
    let strategy = (
        prop::collection::vec(any_happening(), 20..120),
        prop::collection::vec(any_course(), 1..12),
        any_config(),
    );
    let mut runner = proptest::test_runner::TestRunner::default();
    for _ in 0..400 {
        let tree = strategy.new_tree(&mut runner).unwrap();
        let (happenings, courses, config) = proptest::strategy::ValueTree::current(&tree);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let town = runtime.block_on(lives(happenings, courses, config));
        for (name, count) in &*town.told.lock() {
            *told.entry(*name).or_default() += count;
        }
    }
    for (name, least) in [("goes on", 4000), ("sold-out", 400), ("unknown-coupon", 400), ("busy", 20)] {
        let count = told.get(name).copied().unwrap_or_default();
        assert!(count > least, "only {count} were told {name}: the rest says little of {told:?}");
    }
}
