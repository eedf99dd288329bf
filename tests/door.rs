//! The door of coupons, at two ingresses that know nothing of each other: who is refused has nothing to lose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::json;
use support::answers::{pending, problem};
use support::client::{Ask, Client, runtime};
use support::node::Node;
use support::world::{DRAINED, READY, Servers, World, run};
use uuid::Uuid;

const STOCK: usize = 300;
const USERS: usize = 2400;
/// Requests at once.
const AT_ONCE: usize = 150;

fn issue(coupon: &str, user: usize) -> Ask {
    Ask::new("POST", format!("/api/v6/coupons/{coupon}/issues"))
        .json(json!({"userId": user.to_string()}).to_string())
}

fn of_user(user: usize) -> Ask {
    issue("c", user).key(format!("key-of-user-{user}"))
}

/// What each user is told, at one ingress or the other: the request's id, or that the coupon is sold out.
fn told(nodes: [&Node; 2], users: impl Iterator<Item = usize>) -> Result<HashMap<usize, Option<Uuid>>> {
    let clients = nodes.map(|node| Arc::new(Client::new(node.http)));
    let mut told = HashMap::new();
    for users in users.collect::<Vec<_>>().chunks(AT_ONCE) {
        let asked: Vec<_> = users
            .iter()
            .map(|user| {
                let (client, ask) = (Arc::clone(&clients[user % 2]), of_user(*user));
                runtime().spawn(async move { client.send(&ask).await })
            })
            .collect();
        for (user, asked) in users.iter().zip(asked) {
            let answer = runtime().block_on(asked)?.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
            let id = match answer.status {
                409 => problem(&answer, 409, "sold-out", None).map(|_| None)?,
                _ => Some(pending(&answer)?),
            };
            told.insert(*user, id);
        }
    }
    Ok(told)
}

#[test]
fn what_remains_is_never_refused_and_winners_are_known() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    world.set("coupon.refuse_sold_out", "true");
    world.set("coupon.watch_ms", "50");
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        let consume = world.start(&["consume"])?;
        let nodes = [&left, &right];
        let terms = json!({"couponId": "c", "stock": STOCK}).to_string();
        ensure!(left.ask(&Ask::new("POST", "/api/v6/coupons").json(terms))?.status == 201);
        let first = told(nodes, 0..USERS)?;
        world.wait_drained(DRAINED)?;
        for node in nodes {
            wait::until("the door", READY, || node.ask(&issue("c", USERS)).ok().filter(|a| a.status == 409))?;
        }
        let url = world.setting("store.url");
        let winners = postgres.psql(&url, "SELECT user_id, request_id FROM coupon_issues")?;
        let winners = winners.lines().map(|line| line.split_once('|').context("no pair"));
        let winners: HashMap<usize, Uuid> = winners
            .map(|pair| pair.and_then(|(user, request)| Ok((user.parse()?, request.parse()?))))
            .collect::<Result<_>>()?;
        ensure!(winners.len() == STOCK, "{} of {STOCK} were given out", winners.len());

        let again = told([&right, &left], 0..USERS)?;
        for (user, request) in &winners {
            ensure!(first[user] == Some(*request), "user {user} was told {:?} first", first[user]);
            ensure!(again[user] == Some(*request), "user {user} was told {:?} again", again[user]);
        }
        // whoever was decided is told so, and nobody else gets in any more
        ensure!(again == first, "others were told something else");
        let one_of_them = winners.keys().next().context("no winner")?;
        problem(&right.ask(&issue("c", *one_of_them).key("another-key"))?, 409, "sold-out", None)?;
        [&left, &right, &consume].into_iter().try_for_each(Node::stop)
    });
}

/// Created here, asked for there at once.
#[test]
fn a_coupon_is_known_everywhere_once_it_is_created() {
    let Servers { kafka, postgres } = Servers::shared();
    let world = World::ready(kafka, postgres).unwrap().hurried();
    run(|| {
        let (left, right) = (world.start(&["serve"])?, world.start(&["serve"])?);
        for number in 0..20 {
            let coupon = format!("c-{number}");
            problem(&right.ask(&issue(&coupon, 1))?, 404, "unknown-coupon", None)?;
            let terms = json!({"couponId": coupon, "stock": 1}).to_string();
            ensure!(left.ask(&Ask::new("POST", "/api/v6/coupons").json(terms))?.status == 201);
            pending(&right.ask(&issue(&coupon, 1))?)?;
        }
        left.stop()?;
        right.stop()
    });
}
