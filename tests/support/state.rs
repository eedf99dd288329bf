//! What the database holds, read as text through SQL, or through the HTTP reads where there is no server to ask.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use floodgate_testkit::Postgres;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::client::{Answer, Ask, Client, runtime};
use super::plan::{Plan, Write, coupon_id, liker_account_id, target_ocid};

/// Requests at once while the state is read over HTTP.
const READERS: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    pub version: i64,
    pub event_id: Uuid,
    pub costs: [String; 5],
    /// In microseconds.
    pub calculated_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Like {
    pub liked: bool,
    /// Time and event id; the HTTP reads do not tell them.
    pub rank: Option<(i64, Uuid)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub coupon: String,
    pub user: String,
    pub outcome: String,
    pub rank: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub coupon: String,
    pub user: String,
    pub request: Uuid,
    pub rank: i32,
}

#[derive(Debug, Default)]
pub struct State {
    /// By character and preset.
    pub expectations: HashMap<(i64, u8), Expectation>,
    /// By target and liker.
    pub likes: HashMap<(String, String), Like>,
    /// By target.
    pub counts: HashMap<String, i64>,
    /// Stock and issued.
    pub coupons: HashMap<String, (i32, i32)>,
    /// By request.
    pub decisions: HashMap<Uuid, Decision>,
    /// The HTTP reads do not tell them.
    pub issues: Option<Vec<Issue>>,
}

impl State {
    /// Everything in all tables.
    pub fn from_postgres(postgres: &Postgres, url: &str) -> Result<State> {
        let rows = |columns: &str, table: &str| {
            postgres.psql(url, &format!("COPY (SELECT {columns} FROM {table}) TO STDOUT"))
        };
        let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
        let mut state = State::default();

        let columns = "character_id, preset_no, version, event_id, total_expected_cost, black_cube_cost, \
                       red_cube_cost, additional_cube_cost, starforce_cost, ";
        for line in rows(&(columns.to_owned() + &micros("calculated_at")), "expectations")?.lines() {
            let [character, preset, version, id, costs @ .., calculated_at] = fields::<10>(line)?;
            let row = Expectation {
                version: version.parse()?,
                event_id: id.parse()?,
                costs: costs.map(str::to_owned),
                calculated_at: calculated_at.parse()?,
            };
            state.expectations.insert((character.parse()?, preset.parse()?), row);
        }

        let columns = "target_ocid, liker_account_id, liked, event_id, ".to_owned() + &micros("occurred_at");
        for line in rows(&columns, "likes")?.lines() {
            let [target, liker, liked, id, occurred_at] = fields(line)?;
            let like = Like { liked: liked == "t", rank: Some((occurred_at.parse()?, id.parse()?)) };
            state.likes.insert((target.to_owned(), liker.to_owned()), like);
        }
        for line in rows("target_ocid, count", "like_counts")?.lines() {
            let [target, count] = fields(line)?;
            state.counts.insert(target.to_owned(), count.parse()?);
        }
        for line in rows("coupon_id, stock, issued", "coupons")?.lines() {
            let [coupon, stock, issued] = fields(line)?;
            state.coupons.insert(coupon.to_owned(), (stock.parse()?, issued.parse()?));
        }
        for line in rows("request_id, coupon_id, user_id, outcome, rank", "coupon_requests")?.lines() {
            let [request, coupon, user, outcome, rank] = fields(line)?;
            let rank = if rank == "\\N" { None } else { Some(rank.parse()?) };
            let (coupon, user, outcome) = (coupon.to_owned(), user.to_owned(), outcome.to_owned());
            state.decisions.insert(request.parse()?, Decision { coupon, user, outcome, rank });
        }
        let mut issues = Vec::new();
        for line in rows("coupon_id, user_id, request_id, rank", "coupon_issues")?.lines() {
            let [coupon, user, request, rank] = fields(line)?;
            let (coupon, user) = (coupon.to_owned(), user.to_owned());
            issues.push(Issue { coupon, user, request: request.parse()?, rank: rank.parse()? });
        }
        state.issues = Some(issues);
        Ok(state)
    }

    /// What the HTTP reads tell of everything a plan could have touched.
    pub fn from_http(address: SocketAddr, plan: &Plan) -> Result<State> {
        let questions = Arc::new(questions(plan));
        let next = Arc::new(AtomicUsize::new(0));
        let client = Arc::new(Client::new(address));
        let read = |_| {
            let (questions, next, client) = (Arc::clone(&questions), Arc::clone(&next), Arc::clone(&client));
            runtime().spawn(async move {
                let mut answers = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(question) = questions.get(index) else { return answers };
                    answers.push((index, client.send(&Ask::get(question.path())).await));
                }
            })
        };
        let readers: Vec<_> = (0..READERS).map(read).collect();
        let mut state = State::default();
        for reader in readers {
            for (index, answer) in runtime().block_on(reader)? {
                let question = &questions[index];
                let answer = answer.map_err(|failure| anyhow::anyhow!("{}: {failure:?}", question.path()))?;
                state
                    .note(question, &answer)
                    .with_context(|| format!("{}: {} {}", question.path(), answer.status, answer.text()))?;
            }
        }
        Ok(state)
    }

    fn note(&mut self, question: &Question, answer: &Answer) -> Result<()> {
        if answer.status == 404 && matches!(question, Question::Character(_)) {
            return Ok(());
        }
        ensure!(answer.status == 200, "not 200");
        let body = answer.json();
        match question {
            Question::Character(character) => {
                for preset in body["presets"].as_array().context("no presets")? {
                    let number = u8::try_from(preset["presetNo"].as_i64().context("no presetNo")?)?;
                    self.expectations.insert((*character, number), expectation(preset)?);
                }
            }
            Question::Pair(target, liker) => {
                let liked = body["liked"].as_bool().context("no liked")?;
                self.likes.insert((target.clone(), liker.clone()), Like { liked, rank: None });
            }
            Question::Target(target) => {
                self.counts.insert(target.clone(), body["count"].as_i64().context("no count")?);
            }
            Question::Coupon(coupon) => {
                let number = |name: &str| -> Result<i32> {
                    Ok(i32::try_from(body[name].as_i64().with_context(|| format!("no {name}"))?)?)
                };
                let (stock, issued) = (number("stock")?, number("issued")?);
                ensure!(number("remaining")? == stock - issued, "remaining is not stock less issued");
                self.coupons.insert(coupon.clone(), (stock, issued));
            }
            Question::Request(request) => {
                let outcome = text(&body, "status")?;
                if outcome != "PENDING" {
                    let rank = body["rank"].as_i64().map(i32::try_from).transpose()?;
                    let (coupon, user) = (text(&body, "couponId")?, text(&body, "userId")?);
                    self.decisions.insert(*request, Decision { coupon, user, outcome, rank });
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Character(i64),
    Pair(String, String),
    Target(String),
    Coupon(String),
    Request(Uuid),
}

impl Question {
    fn path(&self) -> String {
        match self {
            Self::Character(character) => format!("/api/v6/characters/{character}/expectations"),
            Self::Pair(target, liker) => format!("/api/v6/characters/{target}/likes/{liker}"),
            Self::Target(target) => format!("/api/v6/characters/{target}/likes"),
            Self::Coupon(coupon) => format!("/api/v6/coupons/{coupon}"),
            Self::Request(request) => format!("/api/v6/coupon-requests/{request}"),
        }
    }
}

fn questions(plan: &Plan) -> Vec<Question> {
    let mut questions = BTreeSet::new();
    for (index, write) in plan.writes.iter().enumerate() {
        match *write {
            Write::Expectation { character, .. } => {
                questions.insert(Question::Character(i64::from(character)));
            }
            Write::Like { target, liker, .. } => {
                questions.insert(Question::Pair(target_ocid(target), liker_account_id(liker)));
                questions.insert(Question::Target(target_ocid(target)));
            }
            Write::Coupon { coupon, .. } => {
                questions.insert(Question::Coupon(coupon_id(coupon)));
                questions.insert(Question::Request(plan.event_id(index)));
            }
        }
    }
    questions.into_iter().collect()
}

fn expectation(preset: &Value) -> Result<Expectation> {
    let cost = |name: &str| text(preset, name);
    Ok(Expectation {
        version: preset["version"].as_i64().context("no version")?,
        event_id: text(preset, "eventId")?.parse()?,
        costs: [
            cost("totalExpectedCost")?,
            cost("blackCubeCost")?,
            cost("redCubeCost")?,
            cost("additionalCubeCost")?,
            cost("starforceCost")?,
        ],
        calculated_at: text(preset, "calculatedAt")?.parse::<Timestamp>()?.as_microsecond(),
    })
}

fn text(body: &Value, name: &str) -> Result<String> {
    Ok(body[name].as_str().with_context(|| format!("no {name}"))?.to_owned())
}

/// The columns of one line of COPY's text format. No id in a plan holds what COPY would escape.
fn fields<const N: usize>(line: &str) -> Result<[&str; N]> {
    let found: Vec<&str> = line.split('\t').collect();
    match found.try_into() {
        Ok(fields) => Ok(fields),
        Err(found) => bail!("{} columns and not {N}: {found:?}", found.len()),
    }
}
