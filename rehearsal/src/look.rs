//! Looks at one thing that a load asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::ask::{Ask, Asked};
use crate::client::Answer;
use crate::found::{Coupon, Decision, Effect, Found, Status};
use crate::plan::{Kind, Plan, count_path};

/// How long the server may hold an answer until there is a decision, in ms. Requests that wait are looked up together there, and soon
/// if they wait but shortly: that costs the server less than if each were looked up by itself, and those that are decided are
/// told at once.
const WAIT_MS: u32 = 100;
/// The same, after a request that was still open: most others will be, and who has to catch up is not to be kept from it.
const PATIENT_WAIT_MS: u32 = 1000;

/// Something that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// The decision on a request for the coupon.
    Request(u32),
    /// Whether a like or an expectation took effect.
    Effect(u32),
    /// The count of the target that is the n-th.
    Counter(usize),
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    Request(u32, Found),
    /// With when it was written, if that is told, in microseconds since 1970.
    Effect(u32, Effect, Option<i64>),
    Count(usize, Option<u64>),
}

/// Looks, as long as there is time.
pub(crate) struct Looker<'a, A> {
    asked: Asked<'a, A>,
    plan: &'a Plan,
    targets: Vec<String>,
    /// Whether the last request was still open.
    is_behind: AtomicBool,
}

impl<'a, A: Ask> Looker<'a, A> {
    pub(crate) fn new(addresses: &'a [A], plan: &'a Plan, targets: Vec<String>) -> Self {
        Self { asked: Asked::new(addresses), plan, targets, is_behind: AtomicBool::new(false) }
    }

    /// Why something could not be read, the last time.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.asked.trouble()
    }

    /// `is_last`: what is open now stays so, and nobody waits for it.
    pub(crate) async fn look(&self, thing: Thing, until: Instant, is_last: bool) -> Sight {
        match thing {
            Thing::Request(number) => Sight::Request(number, self.request(number, until, is_last).await),
            Thing::Effect(number) => {
                let (effect, written_us) = self.effect(number, until).await;
                Sight::Effect(number, effect, written_us)
            }
            Thing::Counter(index) => Sight::Count(index, self.count(index, until).await),
        }
    }

    /// The coupon itself.
    pub(crate) async fn coupon(&self, until: Instant) -> Option<Coupon> {
        let path = self.plan.coupon_path();
        let body: CouponBody = self.asked.read(&path, until, json).await?;
        Some(Coupon { stock: body.stock, issued: body.issued })
    }

    async fn request(&self, number: u32, until: Instant, is_last: bool) -> Found {
        let Some(id) = self.plan.coupon_request(number) else { return Found::Unread };
        let wait_ms = match self.is_behind.load(Ordering::Relaxed) {
            _ if is_last => 0,
            true => PATIENT_WAIT_MS,
            false => WAIT_MS,
        };
        let path = format!("/api/v6/coupon-requests/{id}?waitMs={wait_ms}");
        let found = self.asked.read(&path, until, |answer| found(json(answer)?)).await;
        self.is_behind.store(found == Some(Found::Open), Ordering::Relaxed);
        found.unwrap_or(Found::Unread)
    }

    async fn effect(&self, number: u32, until: Instant) -> (Effect, Option<i64>) {
        let found = match self.plan.kind(number) {
            Kind::Like { .. } | Kind::Hot => self.like(number, until).await.map(|found| (found, None)),
            Kind::Expectation => self.expectation(number, until).await,
            Kind::Coupon { .. } => None,
        };
        found.unwrap_or((Effect::Unread, None))
    }

    async fn like(&self, number: u32, until: Instant) -> Option<Effect> {
        let path = self.plan.effect_path(number)?;
        let body: LikeBody = self.asked.read(&path, until, json).await?;
        Some(if body.liked { Effect::There } else { Effect::Absent })
    }

    async fn expectation(&self, number: u32, until: Instant) -> Option<(Effect, Option<i64>)> {
        let path = self.plan.effect_path(number)?;
        let presets = |answer: &Answer| match answer.status {
            404 => Some(Vec::new()),
            _ => json(answer).map(|body: ExpectationsBody| body.presets),
        };
        let presets = self.asked.read(&path, until, presets).await?;
        let Some(first) = presets.into_iter().find(|preset| preset.preset_no == 1) else {
            return Some((Effect::Absent, None));
        };
        let found = match first.total_expected_cost {
            cost if cost == self.plan.cost(number) => Effect::There,
            cost => Effect::Altered(cost.into()),
        };
        Some((found, Some(micros(&first.updated_at)?)))
    }

    async fn count(&self, index: usize, until: Instant) -> Option<u64> {
        let path = count_path(self.targets.get(index)?);
        let body: CountBody = self.asked.read(&path, until, json).await?;
        Some(body.count)
    }
}

fn json<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    (answer.status == 200).then(|| serde_json::from_slice(&answer.body).ok()).flatten()
}

fn micros(time: &str) -> Option<i64> {
    time.parse().ok().map(jiff::Timestamp::as_microsecond)
}

fn found(body: RequestBody) -> Option<Found> {
    if body.status == "PENDING" {
        return Some(Found::Open);
    }
    let (status, decided_us) = (Status::named(&body.status)?, micros(body.decided_at.as_deref()?)?);
    Some(Found::Decided(Decision { status, rank: body.rank, decided_us }))
}

#[derive(Deserialize)]
struct CouponBody {
    stock: u64,
    issued: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody {
    status: String,
    rank: Option<i64>,
    decided_at: Option<String>,
}

#[derive(Deserialize)]
struct LikeBody {
    liked: bool,
}

#[derive(Deserialize)]
struct CountBody {
    count: u64,
}

#[derive(Deserialize)]
struct ExpectationsBody {
    presets: Vec<Preset>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preset {
    preset_no: u8,
    total_expected_cost: String,
    updated_at: String,
}
