//! Whatever comes in between, at several instances: who is refused has nothing to lose.

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;

/// What happens next.
#[derive(Debug, Clone)]
enum Happens {
    Asked {
        door: usize,
        coupon: u8,
        user: u8,
        key: Option<u8>,
    },
    Created {
        coupon: u8,
        stock: i32,
    },
    /// So many of those that wait are decided.
    Decided(usize),
    Restarted(usize),
    Passes(u64),
}

const DOORS: usize = 3;

fn any_happening() -> impl Strategy<Value = Happens> {
    prop_oneof![
        12 => (0..DOORS, 0u8..2, 0u8..4, prop::option::weighted(0.6, 0u8..2))
            .prop_map(|(door, coupon, user, key)| Happens::Asked { door, coupon, user, key }),
        1 => (0u8..2, 0i32..4).prop_map(|(coupon, stock)| Happens::Created { coupon, stock }),
        5 => (1usize..5).prop_map(Happens::Decided),
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

/// A request on its way, held against what stood there when it came and stands there when it is answered.
async fn is_told_what_is_true(
    door: Arc<Door>,
    database: Arc<Database>,
    log: Arc<Mutex<Vec<CouponIssue>>>,
    request: CouponIssue,
) -> bool {
    let before = database.rows.lock().clone();
    let told = told(&door, &request).await;
    let rows = database.rows.lock();
    match told {
        "goes on" => log.lock().push(request),
        "unknown-coupon" => assert!(!before.coupons.contains_key(&request.coupon_id), "there was one"),
        "sold-out" => {
            let (stock, issued) = rows.coupons[&request.coupon_id];
            assert_eq!(stock, issued, "a piece remained");
            assert!(!before.decided.contains_key(&request.event_id), "it was decided before");
            // nor could it have got one: what is decided by now is all there is to give out
            assert_ne!(
                rows.decided.get(&request.event_id),
                Some(&DecisionStatus::Issued),
                "it is a winner's"
            );
        }
        other => unreachable!("{other}"),
    }
    told == "sold-out"
}

async fn lives(happenings: Vec<Happens>, courses: Vec<Course>) -> usize {
    let database = Arc::new(Database { courses, ..Database::default() });
    let log = Arc::<Mutex<Vec<CouponIssue>>>::default();
    let mut doors = [(); DOORS].map(|()| door(&database, ALL));
    let mut asked = Vec::new();
    for (number, happening) in (1000..).zip(happenings) {
        match happening {
            Happens::Asked { door, coupon, user, key } => {
                let key = key.map(|key| format!("key-number-{key}"));
                let source = key.as_deref().ok_or(number);
                let request = request(&format!("coupon-{coupon}"), &format!("user-{user}"), source);
                let (door, database) = (Arc::clone(&doors[door]), Arc::clone(&database));
                asked.push(tokio::spawn(is_told_what_is_true(door, database, Arc::clone(&log), request)));
            }
            Happens::Created { coupon, stock } => {
                let mut rows = database.rows.lock();
                rows.coupons.entry(id(&format!("coupon-{coupon}"))).or_insert((stock, 0));
            }
            Happens::Decided(count) => {
                let mut log = log.lock();
                let count = count.min(log.len());
                database.decide(&log.drain(..count).collect::<Vec<_>>());
            }
            Happens::Restarted(number) => doors[number] = door(&database, ALL),
            Happens::Passes(ms) => sleep(Duration::from_millis(ms)).await,
        }
    }
    let mut refused = 0;
    for asked in asked {
        refused += usize::from(asked.await.unwrap());
    }
    refused
}

/// Whatever comes in between, late, lost or out of order, at whichever instance: a piece that remains is never refused,
/// nor is a request that was decided before, nor one for a coupon that there was.
#[test]
fn nobody_is_refused_who_might_be_given_something() {
    let mut refused = 0;
    let strategy =
        (prop::collection::vec(any_happening(), 20..120), prop::collection::vec(any_course(), 1..12));
    let mut runner = proptest::test_runner::TestRunner::default();
    for _ in 0..400 {
        let tree = strategy.new_tree(&mut runner).unwrap();
        let (happenings, courses) = proptest::strategy::ValueTree::current(&tree);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        refused += runtime.block_on(lives(happenings, courses));
    }
    assert!(refused > 400, "only {refused} were refused: the rest says little");
}
