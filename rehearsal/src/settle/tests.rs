//! Against a server that says what a test wants, in tokio's time.

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::client::{Answer, NoAnswer};
use crate::record::Unanswered;
use crate::shape::Shape;

const BEGAN_UNIX_US: i64 = 1_767_225_600_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// What is answered to a path, so long after the load began.
type Answers = Box<dyn Fn(&str, Duration) -> Option<Value> + Send + Sync>;

struct Server {
    began: Instant,
    answers: Answers,
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn new(answers: impl Fn(&str, Duration) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self { began: Instant::now(), answers: Box::new(answers), asked: Mutex::default() }
    }

    /// Where something was first asked for.
    fn place(&self, of: &str) -> usize {
        self.asked.lock().iter().position(|path| path.contains(of)).unwrap()
    }
}

impl Ask for Server {
    async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.asked.lock().push(path.to_owned());
        sleep(Duration::from_millis(1)).await;
        let Some(body) = (self.answers)(path, self.began.elapsed()) else {
            return Err(NoAnswer::NotSent("away".to_owned()));
        };
        if body["status"] == "PENDING" {
            sleep(Duration::from_millis(100)).await;
        }
        let status = body["problem"].as_u64().unwrap_or(200) as u16;
        Ok(Answer { status, retry_after: None, body: Bytes::from(body.to_string()) })
    }
}

fn plan(mix: &str) -> Plan {
    let shape = format!("title = \"\"\nevery_s = 1.0\n[[stages]]\nseconds = 1.0\nusers = 1.0\n[mix]\n{mix}");
    Plan::new(&Shape::parse(&shape).unwrap(), 5, "summer".to_owned())
}

/// All of them answered in the first second, the last at its end.
fn records(fates: &[Fate]) -> Vec<Record> {
    let records = (0..).zip(fates).map(|(number, fate)| Record {
        number,
        due_us: 0,
        asked_us: u64::from(number),
        answered_us: 1_000_000 - (fates.len() as u64 - 1 - u64::from(number)) * 100,
        tries: 1,
        instance: 0,
        fate: *fate,
    });
    records.collect()
}

fn path(plan: &Plan, number: u32) -> String {
    plan.coupon_request(number).unwrap().to_string()
}

fn issued(at: Duration) -> Value {
    let at = jiff::Timestamp::from_microsecond(BEGAN_UNIX_US + at.as_micros() as i64).unwrap();
    json!({ "status": "ISSUED", "rank": 1, "decidedAt": at.to_string() })
}

fn pending() -> Value {
    json!({ "status": "PENDING" })
}

fn on_any_thread<F: Future + Send>(future: F) -> F {
    future
}

/// After a load that lasted for a second.
async fn settled(plan: &Plan, records: &[Record], servers: &[Server]) -> Settled {
    settled_whole(plan, records, servers, 0..0).await
}

async fn settled_whole(plan: &Plan, records: &[Record], servers: &[Server], whole: Range<u32>) -> Settled {
    let began = servers[0].began;
    tokio::time::sleep_until(began + SECOND).await;
    let load = Load { plan, records, whole, judges_whole: true, began, began_unix_us: BEGAN_UNIX_US };
    let limits = Limits { drain: 30 * SECOND, ..Limits::default() };
    let mut last = Progress { settled: 0, of: 0 };
    let mut progress = |progress: Progress| {
        assert!(progress.settled >= last.settled && progress.settled <= progress.of);
        last = progress;
    };
    let settled = on_any_thread(settle(&load, servers, &limits, &mut progress)).await;
    assert!(last.of == 0 || settled.drained.is_none() || last.settled == last.of, "{last:?}");
    settled
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_open_took_effect_when_it_was_seen_to() {
    let plan = plan("coupon = 1.0");
    let server =
        Server::new(|_, since| Some(if since < 3 * SECOND { pending() } else { issued(Duration::ZERO) }));
    let settled = settled(&plan, &records(&[Fate::Accepted; 200]), &[server]).await;
    assert_eq!(settled.decisions().count(), 200);
    let drained = settled.drained.unwrap();
    assert!((2 * SECOND..3 * SECOND).contains(&drained), "{drained:?}");
}

/// Much takes long to be looked at, and so does starting to look.
#[tokio::test(start_paused = true)]
async fn what_took_effect_before_it_was_looked_at_did_so_when_the_server_says() {
    let plan = plan("coupon = 1.0");
    let server = Server::new(|_, _| Some(issued(Duration::from_millis(1500))));
    tokio::time::advance(9 * SECOND).await;
    let settled = settled(&plan, &records(&[Fate::Accepted; 200]), &[server]).await;
    assert_eq!(settled.drained, Some(Duration::from_millis(500)));
    // nor does it matter that there was no time to look
    let server = Server::new(|_, _| Some(issued(Duration::from_millis(1500))));
    tokio::time::advance(60 * SECOND).await;
    let settled = self::settled(&plan, &records(&[Fate::Accepted; 200]), &[server]).await;
    assert_eq!(settled.drained, Some(Duration::from_millis(500)));
    // a clock that is ahead is not believed
    let server = Server::new(|_, _| Some(issued(100 * SECOND)));
    let settled = self::settled(&plan, &records(&[Fate::Accepted; 200]), &[server]).await;
    assert!(settled.drained.unwrap() < SECOND);
}

/// However many are open the others are seen.
#[tokio::test(start_paused = true)]
async fn what_never_takes_effect_is_told_as_open() {
    let plan = plan("coupon = 1.0");
    let lost: Vec<String> = (100..200).map(|number| path(&plan, number)).collect();
    let server = Server::new(move |path, _| {
        Some(if lost.iter().any(|lost| path.contains(lost)) { pending() } else { issued(SECOND) })
    });
    let settled = settled(&plan, &records(&[Fate::Accepted; 200]), &[server]).await;
    assert_eq!((settled.decisions().count(), settled.drained, settled.unread()), (100, None, 0));
    assert_eq!(settled.requests.get(&150), Some(&Found::Open));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_as_unread() {
    let plan = plan("coupon = 0.5\nexpectation = 0.25\nhot = 0.25");
    let server = Server::new(|_, _| None);
    let began = server.began;
    let records = records(&[Fate::Accepted; 200]);
    let settled = settled(&plan, &records, &[server]).await;
    assert_eq!((settled.unread(), settled.drained, settled.coupon), (settled.requests.len(), None, None));
    assert!(settled.unread() > 50 && settled.effects.values().all(|effect| *effect == Effect::Unread));
    assert_eq!(settled.counters.iter().map(|counter| counter.count).collect::<Vec<_>>(), [None]);
    assert!(began.elapsed() < 120 * SECOND);
}

/// One is away, another busy.
#[tokio::test(start_paused = true)]
async fn addresses_are_asked_in_turn() {
    let plan = plan("coupon = 1.0");
    let away = Server::new(|_, _| None);
    let busy = Server::new(|_, _| Some(json!({ "problem": 503 })));
    let server = Server::new(|_, _| Some(issued(SECOND)));
    let settled = settled(&plan, &records(&[Fate::Accepted; 50]), &[away, busy, server]).await;
    assert_eq!(settled.decisions().count(), 50);
}

/// What was read once stays, whatever becomes of the server.
#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_takes_nothing_with_it() {
    let plan = plan("coupon = 1.0");
    let decided = path(&plan, 1);
    let server = Server::new(move |path, since| {
        (since < 2 * SECOND).then(|| if path.contains(&decided) { issued(SECOND) } else { pending() })
    });
    let settled = settled(&plan, &records(&[Fate::Accepted; 2]), &[server]).await;
    assert_eq!(settled.requests[&0], Found::Open);
    assert!(settled.requests[&1].decision().is_some());
}

/// First what was accepted, then what nobody answered, as long as it may come, then what was refused.
#[tokio::test(start_paused = true)]
async fn what_was_not_accepted_is_looked_at_afterwards() {
    let plan = plan("coupon = 1.0");
    let unknown = Fate::Unknown(Unanswered::Status(504));
    let records = records(&[
        Fate::NotStored(503),
        unknown,
        unknown,
        Fate::SoldOut,
        Fate::Rejected(422),
        Fate::Accepted,
    ]);
    let (late, accepted) = (path(&plan, 1), path(&plan, 5));
    let server = Server::new(move |path, since| {
        let is_decided =
            path.contains(&late) && since > 8 * SECOND || path.contains(&accepted) && since > 4 * SECOND;
        let coupon = path.ends_with("/summer").then(|| json!({ "stock": 10, "issued": 2 }));
        coupon.or_else(|| Some(if is_decided { issued(SECOND) } else { pending() }))
    });
    let servers = [server];
    let settled = settled(&plan, &records, &servers).await;
    let is_decided = |number| settled.requests.get(&number).map(|found| found.decision().is_some());
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(is_decided),
        [Some(false), Some(true), Some(false), Some(false), Some(false), Some(true)]
    );
    let places = [5, 2, 0].map(|number| servers[0].place(&path(&plan, number)));
    assert!(places.is_sorted() && places[0] == 0, "{places:?}");
    assert!(settled.drained.is_some_and(|drained| drained < 4 * SECOND), "what nobody answered is no drain");
    assert!((11 * SECOND..13 * SECOND).contains(&servers[0].began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn likes_and_expectations_are_read_until_they_fit() {
    let plan = plan("expectation = 0.5\nhot = 0.5");
    let mut records = records(&[Fate::Accepted; 100]);
    let likes: Vec<u32> = (0..100).filter(|number| plan.kind(*number) == Kind::Hot).collect();
    // the first is in, the next is not
    for number in &likes[..2] {
        records[*number as usize].fate = Fate::Unknown(Unanswered::Time);
    }
    let (outside, count) = (plan.request(likes[1]).path, likes.len() as u64 - 1);
    let costs: BTreeMap<String, String> =
        (0..100).map(|number| (format!("/{}/", plan.character(number)), plan.cost(number))).collect();
    let server = Server::new(move |path, since| {
        let is_late = since > 3 * SECOND;
        if path.ends_with("/expectations") {
            let (_, cost) = costs.iter().find(|(character, _)| path.contains(*character)).unwrap();
            let preset =
                json!({ "presetNo": 1, "totalExpectedCost": cost, "updatedAt": "2026-01-01T00:00:01Z" });
            return Some(if is_late { json!({ "presets": [preset] }) } else { json!({ "problem": 404 }) });
        }
        let count = if since > 5 * SECOND { count } else { 3 };
        Some(if path.ends_with("/likes") {
            json!({ "count": count })
        } else {
            json!({ "liked": path != outside })
        })
    });
    let settled = settled(&plan, &records, &[server]).await;
    let [counter] = &settled.counters[..] else { panic!("{settled:?}") };
    assert_eq!((counter.accepted, counter.count), (count - 1, Some(count)));
    let read_back = settled.effects.values().filter(|effect| **effect == Effect::There).count();
    assert_eq!(read_back, 99);
    let likes = [likes[0], likes[1]].map(|number| settled.effects[&number].clone());
    assert_eq!(likes, [Effect::There, Effect::Absent]);
    assert!((4 * SECOND..5 * SECOND).contains(&settled.drained.unwrap()));
}

/// Until the coupon has given out no piece that nobody is known to have.
#[tokio::test(start_paused = true)]
async fn what_others_sent_is_waited_for() {
    let plan = plan("coupon = 1.0");
    let late = path(&plan, 7);
    let server = Server::new(move |path, since| {
        Some(match path {
            "/api/v6/coupons/summer" => json!({ "stock": 10, "issued": 10 }),
            path if path.contains(&late) && since < 20 * SECOND => pending(),
            _ => issued(SECOND),
        })
    });
    let settled = settled_whole(&plan, &records(&[Fate::Accepted; 5]), &[server], 0..10).await;
    assert_eq!(settled.decisions().count(), 10);
    assert_eq!(settled.coupon.map(|coupon| coupon.issued), Some(10));
}

/// However many were accepted, each is read.
#[tokio::test(start_paused = true)]
async fn every_expectation_is_read() {
    let plan = plan("expectation = 1.0");
    let (absent, altered) = (plan.character(4321), plan.character(1234));
    let server = Server::new(move |path, _| {
        let character: u64 = path.split('/').nth(4).unwrap().parse().unwrap();
        let number = character as u32;
        let cost = if character == altered {
            "7.77".to_owned()
        } else {
            self::plan("expectation = 1.0").cost(number)
        };
        let preset = json!({ "presetNo": 1, "totalExpectedCost": cost, "updatedAt": "2026-01-01T00:00:01Z" });
        Some(if character == absent { json!({ "problem": 404 }) } else { json!({ "presets": [preset] }) })
    });
    let settled = settled(&plan, &records(&[Fate::Accepted; 5000]), &[server]).await;
    let others: Vec<_> = settled.effects.iter().filter(|(_, effect)| **effect != Effect::There).collect();
    assert_eq!(others, [(&1234, &Effect::Altered("7.77".into())), (&4321, &Effect::Absent)]);
    assert_eq!((settled.effects.len(), settled.drained), (5000, None));
}

/// One that is refused to the end is answered long after the others.
#[tokio::test(start_paused = true)]
async fn a_drain_counts_from_the_last_202() {
    let plan = plan("coupon = 1.0");
    let mut records = records(&[Fate::Accepted, Fate::NotStored(503)]);
    records[0].answered_us = 200_000;
    let accepted = path(&plan, 0);
    let server = Server::new(move |path, _| {
        Some(if path.contains(&accepted) { issued(Duration::from_millis(900)) } else { pending() })
    });
    let settled = settled(&plan, &records, &[server]).await;
    assert_eq!(settled.drained, Some(Duration::from_millis(700)));
}
