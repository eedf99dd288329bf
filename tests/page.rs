//! The operators' page in a real browser, against a running pipeline: what it shows is what `/lag` and the database say, troubles are
//! named soon, and the browser has nothing to complain of.
//!
//! `tests/page/check.mjs` drives Chromium and fails on any error in its console, any violation of the content security policy and
//! any request to another host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::answers::accepted;
use support::browser::Browser;
use support::client::Ask;
use support::house::{House, LIKES};
use support::node::Node;
use support::world::{DRAINED, READY, World, run};

/// From a change to its being on the page: readings every 200 ms here, on a machine that may be slow.
const SOON_SECONDS: &str = "60";

fn like(serve: &Node, target: &str, liker: &str) -> Result<String> {
    let path = format!("/api/v6/characters/{target}/likes/{liker}");
    Ok(accepted(&serve.ask(&Ask::new("PUT", path))?)?.to_string())
}

fn accepted_issue(serve: &Node, body: &str) -> Result<()> {
    let answer = serve.ask(&Ask::new("POST", "/api/v6/coupons/summer/issues").json(body))?;
    ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
    Ok(())
}

/// The group of the likes, as the page shows it.
fn likes_of(shown: &Value, world: &World) -> Result<Value> {
    let name = world.named("floodgate.like");
    let groups = shown["groups"].as_array().context("no groups")?;
    Ok(groups.iter().find(|group| group["group"] == json!(name)).context("not the likes")?.clone())
}

#[test]
fn what_the_page_shows_is_what_is_so() {
    let house = House::new();
    let world = &house.world;
    run(|| {
        let browser = Browser::new()?;
        world.set("topics.partitions", "10");
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        let coupon = Ask::new("POST", "/api/v6/coupons").json(r#"{"couponId":"summer","stock":1000}"#);
        ensure!(serve.ask(&coupon)?.status == 201);
        let applied = like(&serve, "star", "ann")?;
        like(&serve, "star", "forbidden-1")?;
        house.put(LIKES, "star\u{1f}bob", b"no event")?;
        world.wait_drained(DRAINED)?;

        // as /lag and the database
        let shown = browser.asks(&serve, &["verdicts"])?;
        let lag = serve.ask_admin("/lag")?.json();
        for group in lag["groups"].as_array().context("no groups")? {
            let groups = shown["groups"].as_array().context("no cards")?;
            let card = groups.iter().find(|card| card["group"] == group["group"]).context("no card")?;
            ensure!(card["status"] == group["status"] && card["waiting"] == 0, "{card} and {group}");
            ensure!(card["members"] == group["members"], "{card} and {group}");
        }
        let rows = browser.asks(&serve, &["partitions"])?;
        let rows = rows["rows"].as_array().context("no rows")?;
        ensure!(
            rows.len() == 30 && rows.iter().all(|row| row["lag"] == 0 && row["member"].is_string()),
            "{rows:?}"
        );
        let found = browser.asks(&serve, &["where", &applied])?;
        ensure!(found["found"][0]["state"] == "current", "{found}");
        let letters = browser.asks(&serve, &["dead-letters"])?;
        ensure!(letters["total"] == 2, "{letters}");
        ensure!(letters["byReason"] == json!({"bad-row": 1, "not-avro": 1}), "{letters}");
        browser.asks(&serve, &["a11y"])?;

        // dry first, then for good: the row that was refused is there once nothing refuses it
        house.drop_rules();
        let replayed = browser.asks(&serve, &["replay", "bad-row"])?;
        let says =
            |told: &Value, what: &str| told["says"].as_str().is_some_and(|says| says.starts_with(what));
        ensure!(replayed["state"] == "done" && says(&replayed, "1 dead letter replayed; "), "{replayed}");
        ensure!(replayed["title"] == "Replay dead letters?" && replayed["asksWhy"] == false, "{replayed}");
        world.wait_drained(DRAINED)?;
        let (likers, count) = house.stars_likers();
        ensure!(likers == ["ann", "forbidden-1"] && count == "2", "{likers:?} {count}");
        let dismissed = browser.asks(&serve, &["dismiss", "not-avro", "sent by hand"])?;
        ensure!(dismissed["state"] == "done" && says(&dismissed, "1 dead letter dismissed; "), "{dismissed}");
        ensure!(dismissed["title"] == "Dismiss dead letters?" && dismissed["asksWhy"] == true, "{dismissed}");
        let letters = serve.ask_admin("/dlq")?.json();
        ensure!([&letters["open"], &letters["replayed"], &letters["dismissed"]] == [0, 1, 1], "{letters}");
        let because = |letter: &Value| letter["dismissedBecause"] == "sent by hand";
        ensure!(letters["letters"].as_array().is_some_and(|all| all.iter().any(because)), "{letters}");

        // a group that stops is named, and what comes then is counted
        let watching = browser.watches(&serve, &["wait-status", "like", "EMPTY", SOON_SECONDS])?;
        consume.stop()?;
        let seen = likes_of(&watching.has_seen()?, world)?;
        ensure!(seen["reason"] == "No members, and nothing waits", "{seen}");
        for number in 0..20 {
            like(&serve, "star", &format!("later-{number}"))?;
        }
        let lag_of_20 = || {
            let shown = browser.asks(&serve, &["verdicts"]).ok()?;
            (likes_of(&shown, world).ok()?["waiting"] == 20).then_some(())
        };
        floodgate_testkit::wait::until("the lag to be on the page", READY, lag_of_20)?;
        let watching = browser.watches(&serve, &["wait-status", "like", "OK", SOON_SECONDS])?;
        let consume = world.start(&["consume"])?;
        let seen = likes_of(&watching.has_seen()?, world)?;
        ensure!(seen["waiting"] == 0, "{seen}");

        // what is issued in a second, of each coupon
        let watching = browser.watches(&serve, &["coupons", SOON_SECONDS])?;
        let mut users = 0;
        let coupons = loop {
            users += 1;
            accepted_issue(&serve, &json!({ "userId": format!("early-{users}") }).to_string())?;
            if let Some(seen) = watching.has_seen_by_now()? {
                break seen;
            }
        };
        ensure!(coupons["rows"][0][0] == "summer" && coupons["rows"][0][1] == "1,000", "{coupons}");
        ensure!(coupons["note"].as_str().is_some_and(|note| note.contains("decided")), "{coupons}");

        pictures(&browser, &serve)?;

        // a process that is gone is told, and so is one that is back
        let mut serve = serve;
        let stale = browser.watches(&serve, &["wait-stale", SOON_SECONDS])?;
        let back = browser.watches(&serve, &["wait-restarted", SOON_SECONDS])?;
        serve.stop()?;
        stale.has_seen()?;
        serve.start_again(world)?;
        back.has_seen()?;
        consume.stop()?;
        serve.stop()
    });
}

/// Those in `docs/` are made by this test, with `FLOODGATE_UPDATE=1`.
fn pictures(browser: &Browser, serve: &Node) -> Result<()> {
    let is_update = std::env::var_os("FLOODGATE_UPDATE").is_some();
    let folder = match is_update {
        true => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures"),
        false => browser.logs.path().to_path_buf(),
    };
    // something to be seen
    for number in 0..if is_update { 20_000 } else { 200 } {
        like(serve, &format!("star-{}", number % 500), &format!("account-{number}"))?;
        if number % 10 == 0 {
            let issue = json!({ "userId": format!("user-{number}") }).to_string();
            accepted_issue(serve, &issue)?;
        }
    }
    std::fs::create_dir_all(&folder)?;
    let dark = browser.logs.path().join("page-dark.png");
    let pictures = [
        (folder.join("page-light.png"), "1360", "light"),
        (folder.join("page-phone.png"), "360", "light"),
        (dark, "1360", "dark"),
    ];
    for (file, width, scheme) in pictures {
        browser.asks(serve, &["screenshot", &file.display().to_string(), width, scheme])?;
    }
    Ok(())
}
