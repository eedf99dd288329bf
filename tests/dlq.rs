//! Dead letters are listed, shown and replayed, by the command and on the operators' listener.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "dlq/replay.rs"]
mod replay;
mod support;

use anyhow::{Context, Result, ensure};
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::{at, expectation};
use floodgate_testkit::{Postgres, wait};
use serde_json::{Value, json};
use support::answers::{keys, problem};
use support::client::Ask;
use support::house::{DEAD_LETTERS, House, LIKES};
use support::node::Node;
use support::rule::refuse;
use support::world::{DRAINED, READY, Servers, World, run};

fn origin_of(letter: &Value) -> String {
    let origin = &letter["origin"];
    format!("{}/{}/{}", origin["topic"].as_str().unwrap_or_default(), origin["partition"], origin["offset"])
}

#[test]
fn letters_are_listed_and_shown_wherever_one_asks() {
    let house = House::new();
    run(|| {
        let forbidden = house.put_like(1, "forbidden")?;
        let poison = house.put(LIKES, "star\u{1f}ann", b"\x00no event\x1b[2J")?;
        house.put_like(2, "ann")?;
        house.put("floodgate.coupon.v1", "summer", b"no avro")?;
        let mut value = Vec::new();
        encode(&expectation(3, 666, 1, 1), &mut value);
        house.put("floodgate.expectation.v1", "666", &value)?;
        let consume = house.world.start(&["consume"])?;
        house.world.wait_drained(DRAINED)?;

        let letters = house.list(&[])?;
        let failed_at = |letter: &Value| letter["failedAt"].as_str().unwrap_or_default().to_owned();
        ensure!(letters.len() == 4 && letters.iter().rev().is_sorted_by_key(failed_at), "{letters:?}");
        check_filters(&house, &letters, &house.origin(LIKES, forbidden))?;
        check_table(&house)?;
        check_shown(&house, &house.origin(LIKES, forbidden), &house.origin(LIKES, poison))?;
        check_listener(&house, &consume, &letters)?;

        // what is no letter stops nobody
        house.put(DEAD_LETTERS, "k", b"stray")?;
        ensure!(house.list(&[])? == letters);
        let told = house.dlq(&["list"])?;
        ensure!(told.contains("1 record on the topic is no dead letter, "), "{told}");
        ensure!(consume.ask_admin("/dlq")?.json()["unreadable"] == 1);
        consume.stop()
    });
}

fn check_filters(house: &House, letters: &[Value], forbidden: &str) -> Result<()> {
    let third = letters[1]["failedAt"].as_str().context("no failedAt")?;
    let cases: &[(&[&str], usize)] = &[
        (&["--type", "like"], 2),
        (&["--type", "coupon"], 1),
        (&["--type", "expectation", "--reason", "bad-row"], 1),
        (&["--type", "coupon", "--reason", "bad-row"], 0),
        (&["--reason", "not-avro"], 2),
        (&["--since", third], letters.iter().filter(|l| l["failedAt"].as_str() >= Some(third)).count()),
        (&["--until", third], letters.iter().filter(|l| l["failedAt"].as_str() < Some(third)).count()),
        (&["--key", "summer"], 1),
        (&["--key", "star\u{1f}forbidden"], 1),
        (&["--key", "star\\x1fforbidden"], 1),
        (&["--origin", forbidden], 1),
        (&["--limit", "3"], 3),
    ];
    for (args, wanted) in cases {
        let found = house.list(args)?.len();
        ensure!(found == *wanted, "{args:?}: {found} and not {wanted} of {letters:?}");
    }
    let newest = house.list(&["--limit", "1"])?;
    ensure!(newest == letters[..1], "{newest:?}");
    for (args, needle) in [
        (["--type", "likes"], "[possible values: expectation, coupon, like]"),
        (["--since", "monday"], "--since monday"),
        (["--origin", "star"], "--origin star"),
        (["--limit", "few"], "--limit"),
    ] {
        let ended = house.world.command(&[&["dlq", "list"], &args[..]].concat())?;
        ensure!(ended.code == 2 && ended.stderr.contains(needle), "{args:?}: {ended:?}");
    }
    Ok(())
}

/// For people: nothing in it moves their cursor.
fn check_table(house: &House) -> Result<()> {
    let table = house.dlq(&["list"])?;
    let lines: Vec<_> = table.lines().collect();
    let [head, letters @ .., counts] = &lines[..] else { anyhow::bail!("{table}") };
    ensure!(head.starts_with("ORIGIN") && letters.len() == 8, "{table}");
    ensure!(lines.iter().all(|line| line.chars().count() <= 80), "{table}");
    let forbidden = letters.chunks(2).find(|letter| letter[1].contains("star\\x1fforbidden"));
    let [place, why] = forbidden.context("no key")? else { anyhow::bail!("{table}") };
    for needle in [LIKES, "open", "1  20"] {
        ensure!(place.contains(needle), "no {needle}: {place}");
    }
    ensure!(why.starts_with("  bad-row  ") && why.contains("house_rule"), "{why}");
    ensure!(*counts == "4 open (2 bad-row, 2 not-avro); 0 replayed, 0 dismissed", "{counts}");
    let short = house.dlq(&["list", "--limit", "1", "--type", "like"])?;
    ensure!(
        short.contains("2 open (1 bad-row, 1 not-avro); 0 replayed, 0 dismissed; 1 are listed"),
        "{short}"
    );
    ensure!(!table.chars().any(|char| char.is_control() && char != '\n'), "{table:?}");
    Ok(())
}

fn check_shown(house: &House, forbidden: &str, poison: &str) -> Result<()> {
    let event: Value = serde_json::from_str(&house.dlq(&["show", "--json", forbidden])?)?;
    let wanted = [("/event/likerAccountId", "forbidden"), ("/event/action", "LIKE"), ("/reason", "bad-row")];
    for (path, wanted) in wanted {
        ensure!(event.pointer(path).is_some_and(|found| found == wanted), "{path}: {event}");
    }
    ensure!(event["event"]["occurredAt"] == at(0).to_string(), "{event}");
    ensure!(event["headers"][0]["name"] == "trace" && event["headers"][0]["value"] == "a\tb", "{event}");
    ensure!(event["key"] == "star\u{1f}forbidden" && event["attempts"] == 1, "{event}");
    let told = house.dlq(&["show", forbidden])?;
    for needle in
        ["\"likerAccountId\": \"forbidden\"", "trace: a\\x09b", "open", "house_rule", "star\\x1fforbidden"]
    {
        ensure!(told.contains(needle), "no {needle}: {told}");
    }

    let bytes: Value = serde_json::from_str(&house.dlq(&["show", "--json", poison])?)?;
    ensure!(bytes["valueStart"] == "\\x00no event\\x1b[2J" && bytes["valueBytes"] == 13, "{bytes}");
    ensure!(bytes["undecodable"].as_str().is_some_and(|why| why.contains("Avro")), "{bytes}");
    ensure!(bytes.get("event").is_none(), "{bytes}");
    let told = house.dlq(&["show", poison])?;
    ensure!(told.contains("\\x00no event\\x1b[2J") && told.contains("not Avro"), "{told}");

    let nowhere = house.origin(LIKES, (0, 1_000_000));
    for (origin, code) in [(nowhere.as_str(), 1), ("star", 2), ("floodgate.dlq.v1/0/0", 2)] {
        let ended = house.world.command(&["dlq", "show", origin])?;
        ensure!(ended.code == code && ended.stderr.contains(origin), "{ended:?}");
    }
    Ok(())
}

/// The listener tells the same letters, and refuses what it does not understand by name.
fn check_listener(house: &House, node: &Node, letters: &[Value]) -> Result<()> {
    let answer = node.ask_admin("/dlq")?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let told = answer.json();
    let names = [
        "asOf",
        "byReason",
        "dismissed",
        "letters",
        "open",
        "openByReason",
        "replayed",
        "total",
        "truncated",
        "unread",
        "unreadable",
    ];
    ensure!(keys(&told) == names.into(), "{told}");
    ensure!(told["letters"].as_array().is_some_and(|told| told == letters), "{told} and not {letters:?}");
    ensure!(told["total"] == 4 && told["replayed"] == 0 && told["unreadable"] == 0, "{told}");
    ensure!(told["byReason"] == json!({"bad-row": 2, "not-avro": 2}), "{told}");
    ensure!(told["open"] == 4 && told["openByReason"] == told["byReason"], "{told}");
    ensure!(told["letters"][0]["state"] == "open" && told["dismissed"] == 0, "{told}");
    ensure!(told["truncated"] == false, "{told}");

    let narrow = node.ask_admin("/dlq?type=like&limit=1&key=star%1fforbidden")?.json();
    ensure!(
        narrow["total"] == 1 && narrow["letters"][0]["event"]["likerAccountId"] == "forbidden",
        "{narrow}"
    );
    let short = node.ask_admin("/dlq?limit=1")?.json();
    ensure!(short["truncated"] == true && short["total"] == 4, "{short}");
    ensure!(short["letters"].as_array().is_some_and(|told| told == &letters[..1]), "{short}");
    let path = format!("/dlq?origin={}&reason=bad-row", origin_of(&letters[0]));
    let one = node.ask_admin(&path)?.json();
    ensure!(one["total"] == i32::from(letters[0]["reason"] == "bad-row"), "{one}");

    for (query, field) in
        [("types=like", "types"), ("type=likes", "type"), ("since=monday", "since"), ("limit=1001", "limit")]
    {
        problem(&node.ask_admin(&format!("/dlq?{query}"))?, 400, "invalid-request", Some(field))?;
    }
    let lost = problem(&node.ask_admin("/dlqs")?, 404, "not-found", None)?;
    ensure!(lost["detail"].as_str().is_some_and(|detail| detail.contains("/dlq")), "{lost}");
    // what the command says is what the process has
    ensure!(house.list(&["--type", "like"])?.len() == 2);
    Ok(())
}

/// Nothing is skipped because its letter has no room: the partition waits, and readiness says what to raise.
#[test]
fn a_letter_without_room_holds_its_partition_and_says_so() {
    let house = House::new();
    run(|| {
        let poison = house.put(LIKES, "star\u{1f}ann", &[b'x'; 2000])?;
        house.world.set("buffer.kafka.client.message_max_bytes", "1500");
        let consume = house.world.launch(&["consume"])?;
        consume.wait_unready("max.message.bytes")?;
        let (_, detail) = consume.readiness()?;
        ensure!(detail.contains("message size limit") && detail.contains("a dead letter has 2"), "{detail}");
        ensure!(house.topic(DEAD_LETTERS)?.is_empty());
        consume.stop()?;
        house.world.set("buffer.kafka.client.message_max_bytes", "1064000");
        house.consume()?;
        ensure!(house.list(&["--origin", &house.origin(LIKES, poison)])?.len() == 1);
        Ok(())
    });
}

/// What one process holds is seen through that process.
#[test]
fn letters_in_memory_are_seen_on_the_listener() {
    let postgres: &Postgres = &Servers::shared().postgres;
    let world = World::empty().unwrap();
    run(|| {
        let url = postgres.create_database()?;
        world.set("store.url", &url);
        let node = world.start(&[])?;
        ensure!(node.ask_admin("/dlq")?.json()["total"] == 0);
        postgres.psql(&url, &refuse("house_rule", "likes", "new.liker_account_id = 'ben'"))?;
        for liker in ["ann", "ben"] {
            let answer = node.ask(&Ask::new("PUT", format!("/api/v6/characters/star/likes/{liker}")))?;
            ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
        }
        let told = wait::until("the dead letter", READY, || {
            let told = node.ask_admin("/dlq?reason=bad-row").ok()?.json();
            (told["total"] == 1).then_some(told)
        })?;
        let letter = &told["letters"][0];
        ensure!(letter["event"]["likerAccountId"] == "ben" && letter["key"] == "star\u{1f}ben", "{letter}");
        ensure!(letter["origin"]["topic"] == LIKES && letter["group"] == "floodgate.like", "{letter}");

        // there it is settled, too
        let ask = |path: &str, confirm: &str, body: Value| {
            let ask = Ask::new("POST", path).header("floodgate-confirm", confirm);
            node.ask_operators(&ask.json(body.to_string()))
        };
        let because = json!({"type": "like", "because": "a test", "dryRun": false});
        for (confirm, body, status) in [
            ("replay", because.clone(), 403),
            ("dismiss", json!({"because": "a test", "dryRun": false}), 400),
            ("dismiss", json!({"all": true, "dryRun": false}), 400),
            ("dismiss", json!({"all": true, "type": "like", "because": "a test", "dryRun": false}), 400),
            ("dismiss", json!({"all": true, "because": "a test", "undecodable": true, "dryRun": false}), 400),
        ] {
            let refused = ask("/dlq/dismiss", confirm, body)?;
            ensure!(refused.status == status, "{} {}", refused.status, refused.text());
        }
        let all = problem(
            &ask("/dlq/replay", "replay", json!({"dryRun": true}))?,
            400,
            "invalid-request",
            Some("all"),
        )?;
        ensure!(all["detail"].as_str().is_some_and(|detail| detail.contains("no filter")), "{all}");
        let dismissed = ask("/dlq/dismiss", "dismiss", because)?;
        ensure!(dismissed.status == 200 && dismissed.json()["dismissed"] == 1, "{}", dismissed.text());
        let told = node.ask_admin("/dlq")?.json();
        ensure!(told["open"] == 0 && told["letters"][0]["dismissedBecause"] == "a test", "{told}");

        for command in [&["dlq", "list"][..], &["dlq", "show", "floodgate.like.v1/0/0"], &["dlq", "replay"]] {
            let ended = world.command(command)?;
            let names_it = ended.stderr.contains("http://127.0.0.1:9600/dlq");
            ensure!(ended.code == 2 && names_it, "{command:?}: {ended:?}");
        }
        node.stop()
    });
}
