//! The public API in memory: honest, with all the trouble that honest servers have, or with one lie.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

/// Of ids that are made of keys.
const NAMESPACE: Uuid = Uuid::from_u128(0xcc65_2746_3b09_5df9_8fae_5088_0845_ac37);
/// From when a request is accepted until it is decided.
const LAG: Duration = Duration::from_millis(50);
/// How many come before who is overtaken does.
const OVERTAKEN_BY: usize = 20;
/// The rank that is given again in the place of the next.
const DOUBLED: usize = 9;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing; some requests are answered 503 or 504, once or always, and some are told at once that nothing is left.
    None,
    /// A piece more than there are is given out, and the coupon does not count it.
    OverIssue,
    /// A request is answered 202, and forgotten.
    Lost,
    /// A rank is given twice.
    DoubledRank,
    /// A request that is answered 202 stands in line behind others that come later.
    Unfair,
    /// Some requests are stored, and answered 503.
    Stored503,
    /// Some requests are stored, and answered 422.
    StoredRejection,
    /// Every request is answered 403.
    Forbidden,
    /// Nothing can be read.
    Unreadable,
    /// Decisions cannot be read.
    UnreadableDecisions,
    /// A like is answered 202, and forgotten.
    LostLike,
    /// The same, and another of that target is counted twice.
    LostAndDoubledLike,
    /// An expectation is answered 202, and forgotten.
    LostExpectation,
    /// An expectation is stored with another cost.
    AlteredExpectation,
    /// What groups are behind is what it was once, and is said over and over.
    StaleLag,
}

/// A server that is running, for as long as its runtime.
pub struct Server {
    /// Where.
    pub address: SocketAddr,
}

impl Server {
    /// On a port of its own. Who is lost or overtaken is the request that the plan has this number for.
    pub async fn start(lie: Lie, about: u32) -> Self {
        let world = Arc::new(Mutex::new(World::new(lie, about)));
        let routes = Router::new()
            .route("/api/v6/coupons", post(create))
            .route("/api/v6/coupons/{coupon}", get(coupon))
            .route("/api/v6/coupons/{coupon}/issues", post(issue))
            .route("/api/v6/coupon-requests/{request}", get(decision))
            .route("/api/v6/expectations", post(write))
            .route("/api/v6/characters/{character}/expectations", get(expectations))
            .route("/api/v6/characters/{target}/likes", get(likes))
            .route("/api/v6/characters/{target}/likes/{liker}", put(like).get(liked))
            .route("/readyz", get(|| async {}))
            .route("/lag", get(lag))
            .with_state(world);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address }
    }
}

type Shared = State<Arc<Mutex<World>>>;

struct World {
    lie: Lie,
    about: u32,
    coupon: String,
    stock: usize,
    /// Requests for the coupon in the order in which they are decided, with whose they are and since when they wait.
    line: Vec<(Uuid, String, Instant)>,
    stood: HashSet<Uuid>,
    overtaken: Option<(Uuid, String, Instant)>,
    /// How long the line is when who is overtaken comes into it.
    comes_at: usize,
    decided: HashMap<Uuid, Value>,
    holders: HashSet<String>,
    over_issued: bool,
    likes: HashMap<String, HashSet<String>>,
    /// Whose like was lost.
    lost_like: Option<String>,
    expectations: HashMap<u64, Value>,
    tries: HashMap<String, u32>,
}

/// What becomes of a try.
enum Outcome {
    Accepted,
    NotStored,
    RejectedIn,
    Forbidden,
    UnknownIn,
    UnknownOut,
}

impl Outcome {
    fn is_in(&self) -> bool {
        matches!(self, Self::Accepted | Self::UnknownIn | Self::RejectedIn)
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Accepted => StatusCode::ACCEPTED,
            Self::NotStored => StatusCode::SERVICE_UNAVAILABLE,
            Self::RejectedIn => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::UnknownIn | Self::UnknownOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl World {
    fn new(lie: Lie, about: u32) -> Self {
        Self {
            lie,
            about,
            coupon: String::new(),
            stock: 0,
            line: Vec::new(),
            stood: HashSet::new(),
            overtaken: None,
            comes_at: 0,
            decided: HashMap::new(),
            holders: HashSet::new(),
            over_issued: false,
            likes: HashMap::new(),
            lost_like: None,
            expectations: HashMap::new(),
            tries: HashMap::new(),
        }
    }

    /// The number at the end of a key says what trouble there is.
    fn outcome(&mut self, key: &str) -> Outcome {
        let tries = self.tries.entry(key.to_owned()).or_default();
        *tries += 1;
        let number = number(key);
        match (number % 20, *tries) {
            (3, _) if self.lie == Lie::Stored503 => Outcome::NotStored,
            (3, _) if self.lie == Lie::StoredRejection => Outcome::RejectedIn,
            _ if self.lie == Lie::Forbidden => Outcome::Forbidden,
            _ if self.lie != Lie::None => Outcome::Accepted,
            (3, _) | (5, 1) => Outcome::NotStored,
            (7, _) | (11, 1) => Outcome::UnknownIn,
            (9, _) | (13, 1) => Outcome::UnknownOut,
            _ => Outcome::Accepted,
        }
    }

    /// Puts a request into the line, once.
    fn stand(&mut self, request: Uuid, user: String, key: &str) {
        if !self.stood.insert(request) {
            return;
        }
        let entry = (request, user, Instant::now());
        match self.lie {
            Lie::Lost if number(key) == self.about => {}
            Lie::Unfair if number(key) == self.about => {
                self.overtaken = Some(entry);
                self.comes_at = self.stood.len() + OVERTAKEN_BY;
            }
            _ => self.line.push(entry),
        }
        if self.stood.len() == self.comes_at {
            self.line.extend(self.overtaken.take());
        }
    }

    /// Decides whatever has waited for long enough.
    fn decide(&mut self) {
        let ready = self.line.iter().take_while(|(.., since)| since.elapsed() >= LAG).count();
        for (request, user, _) in self.line.drain(..ready).collect::<Vec<_>>() {
            let mut decision = json!({
                "requestId": request,
                "couponId": self.coupon,
                "userId": user,
                "decidedAt": jiff::Timestamp::now().to_string(),
            });
            let is_left = self.holders.len() < self.stock;
            if self.holders.contains(&user) {
                decision["status"] = "DUPLICATE".into();
            } else if is_left {
                self.holders.insert(user);
                let rank = self.holders.len();
                let is_doubled = self.lie == Lie::DoubledRank && rank == DOUBLED + 1;
                decision["status"] = "ISSUED".into();
                decision["rank"] = if is_doubled { DOUBLED } else { rank }.into();
            } else if self.lie == Lie::OverIssue && !self.over_issued {
                self.over_issued = true;
                decision["status"] = "ISSUED".into();
                decision["rank"] = (self.stock + 1).into();
            } else {
                decision["status"] = "SOLD_OUT".into();
            }
            self.decided.insert(request, decision);
        }
    }
}

/// The request's in its plan, which keys end with.
fn number(key: &str) -> u32 {
    key.rsplit('-').next().unwrap().parse().unwrap()
}

fn key(headers: &HeaderMap) -> &str {
    headers["idempotency-key"].to_str().unwrap()
}

async fn create(State(world): Shared, Json(body): Json<Value>) -> StatusCode {
    let mut world = world.lock();
    let (coupon, stock) = (body["couponId"].as_str().unwrap(), body["stock"].as_u64().unwrap() as usize);
    if (world.coupon.as_str(), world.stock) == (coupon, stock) {
        return StatusCode::OK;
    }
    (world.coupon, world.stock) = (coupon.to_owned(), stock);
    world.holders.clear();
    StatusCode::CREATED
}

async fn coupon(State(world): Shared, Path(coupon): Path<String>) -> Response {
    let mut world = world.lock();
    world.decide();
    if world.lie == Lie::Unreadable {
        return StatusCode::FORBIDDEN.into_response();
    }
    if coupon != world.coupon {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (stock, issued) = (world.stock, world.holders.len());
    Json(json!({ "couponId": coupon, "stock": stock, "issued": issued, "remaining": stock - issued }))
        .into_response()
}

async fn issue(
    State(world): Shared,
    Path(coupon): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let (user, key) = (body["userId"].as_str().unwrap(), key(&headers));
    let name = format!("coupon\u{1f}{coupon}\u{1f}{user}\u{1f}{key}");
    let request = Uuid::new_v5(&NAMESPACE, name.as_bytes());
    let mut world = world.lock();
    world.decide();
    let is_new = !world.stood.contains(&request);
    let is_sold_out = world.holders.len() == world.stock;
    if is_new && is_sold_out && world.lie == Lie::None && number(key).is_multiple_of(2) {
        return StatusCode::CONFLICT.into_response();
    }
    let outcome = world.outcome(key);
    if outcome.is_in() || world.lie == Lie::Stored503 {
        world.stand(request, user.to_owned(), key);
    }
    (outcome.status(), Json(json!({ "requestId": request, "status": "PENDING" }))).into_response()
}

async fn decision(State(world): Shared, Path(request): Path<Uuid>) -> Response {
    let mut world = world.lock();
    world.decide();
    if world.lie == Lie::UnreadableDecisions {
        return StatusCode::FORBIDDEN.into_response();
    }
    let pending = || json!({ "requestId": request, "status": "PENDING" });
    Json(world.decided.get(&request).cloned().unwrap_or_else(pending)).into_response()
}

async fn write(State(world): Shared, headers: HeaderMap, Json(mut body): Json<Value>) -> StatusCode {
    let mut world = world.lock();
    let outcome = world.outcome(key(&headers));
    if outcome.is_in() {
        body["updatedAt"] = jiff::Timestamp::now().to_string().into();
        let is_first = world.expectations.is_empty();
        if is_first && world.lie == Lie::AlteredExpectation {
            body["totalExpectedCost"] = "7.77".into();
        }
        if is_first && world.lie == Lie::LostExpectation {
            body["presetNo"] = 3.into();
        }
        world.expectations.insert(body["characterId"].as_u64().unwrap(), body);
    }
    outcome.status()
}

async fn expectations(State(world): Shared, Path(character): Path<u64>) -> Response {
    match world.lock().expectations.get(&character) {
        Some(preset) => Json(json!({ "characterId": character, "presets": [preset] })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn like(
    State(world): Shared,
    Path((target, liker)): Path<(String, String)>,
    headers: HeaderMap,
) -> StatusCode {
    let mut world = world.lock();
    let outcome = world.outcome(key(&headers));
    let is_lost = matches!(world.lie, Lie::LostLike | Lie::LostAndDoubledLike) && world.lost_like.is_none();
    if is_lost && target.ends_with("-hot") {
        world.lost_like = Some(target);
    } else if outcome.is_in() {
        world.likes.entry(target).or_default().insert(liker);
    }
    outcome.status()
}

async fn liked(State(world): Shared, Path((target, liker)): Path<(String, String)>) -> Json<Value> {
    let liked = world.lock().likes.get(&target).is_some_and(|likers| likers.contains(&liker));
    Json(json!({ "liked": liked }))
}

async fn likes(State(world): Shared, Path(target): Path<String>) -> Json<Value> {
    let world = world.lock();
    let is_doubled = world.lie == Lie::LostAndDoubledLike && world.lost_like.as_ref() == Some(&target);
    let count = world.likes.get(&target).map_or(0, HashSet::len) + usize::from(is_doubled);
    Json(json!({ "targetOcid": target, "count": count }))
}

async fn lag(State(world): Shared) -> Json<Value> {
    let mut world = world.lock();
    world.decide();
    let (as_of, lag) = match world.lie {
        Lie::StaleLag => ("2026-01-01T00:00:00Z".to_owned(), 0),
        _ => (jiff::Timestamp::now().to_string(), world.line.len()),
    };
    let topics = json!([{ "topic": "coupon", "partitions": [{ "partition": 0, "lag": lag }] }]);
    let group =
        json!({ "group": "coupon", "asOf": as_of, "status": "LAGGING", "reason": "", "topics": topics });
    Json(json!({ "asOf": as_of, "groups": [group] }))
}
