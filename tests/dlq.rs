//! Dead letters are listed, shown and replayed, by the command and on the operators' listener.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;

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
use support::topic::Found;
use support::world::{DRAINED, READY, Servers, World, run};

fn origin_of(letter: &Value) -> String {
    let origin = &letter["origin"];
    format!("{}/{}/{}", origin["topic"].as_str().unwrap_or_default(), origin["partition"], origin["offset"])
}

fn marked(letters: &[Found]) -> usize {
    letters.iter().filter(|letter| letter.header("floodgate-dlq-replayed-at").is_some()).count()
}

/// The records of a topic that were replayed, by the origin they tell.
fn replays(records: Vec<Found>) -> BTreeMap<String, Vec<Found>> {
    let mut replays: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for record in records {
        if let Some(origin) = record.header("floodgate-replay-of") {
            replays.entry(origin).or_default().push(record);
        }
    }
    replays
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
        ensure!(told.contains("1 records on the topic are no dead letters"), "{told}");
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

#[test]
fn a_replay_brings_back_what_can_be_applied_now() {
    let house = House::new();
    run(|| {
        let poison = house.put(LIKES, "star\u{1f}poison", b"no avro")?;
        let likers: Vec<String> = (0..3).map(|number| format!("forbidden-{number}")).collect();
        let mut origins = Vec::new();
        for (number, liker) in (1..).zip(&likers) {
            origins.push(house.origin(LIKES, house.put_like(number, liker)?));
        }
        house.put_like(9, "ann")?;
        house.consume()?;
        let records = house.topic(LIKES)?;
        ensure!(house.list(&[])?.len() == 4);

        let dry = house.dlq(&["replay", "--all", "--dry-run"])?;
        ensure!(
            dry.starts_with("3 dead letters would be replayed; 0 were replayed before; 0 failed 5 times")
                && dry.contains("; 1 cannot be decoded and are left alone (--undecodable)"),
            "{dry}"
        );
        ensure!(house.topic(LIKES)?.len() == records.len() && marked(&house.topic(DEAD_LETTERS)?) == 0);

        // the rule still stands: they fail again, and the new letters say so
        let replayed = house.dlq(&["replay", "--reason", "bad-row"])?;
        ensure!(replayed.starts_with("3 dead letters replayed"), "{replayed}");
        check_replayed(&house, &records, &origins, "1")?;
        house.consume()?;
        let again: Vec<_> = house.list(&[])?.into_iter().filter(|letter| letter["attempts"] == 2).collect();
        ensure!(
            again.len() == 3 && again.iter().all(|letter| letter.get("replayedAt").is_none()),
            "{again:?}"
        );
        let counts = house.dlq(&["list"])?;
        ensure!(counts.contains("4 open (3 bad-row, 1 not-avro); 3 replayed, 0 dismissed"), "{counts}");
        let capped = house.dlq(&["replay", "--reason", "bad-row", "--attempts-max", "2"])?;
        ensure!(
            capped.starts_with("0 dead letters replayed; 3 were replayed before; 3 failed 2 times"),
            "{capped}"
        );

        house.drop_rules();
        let one = ["replay", "--type", "like", "--origin", &origin_of(&again[0])];
        ensure!(house.dlq(&one)?.starts_with("1 dead letter replayed"));
        let rest = house.dlq(&["replay", "--reason", "bad-row"])?;
        ensure!(rest.starts_with("2 dead letters replayed; 4 were replayed before"), "{rest}");
        // headers of the first replay are not carried on
        let second: Vec<String> = again.iter().map(origin_of).collect();
        check_replayed(&house, &house.topic(LIKES)?, &second, "2")?;
        house.consume()?;
        let (rows, count) = house.stars_likers();
        ensure!(
            rows == ["ann", "forbidden-0", "forbidden-1", "forbidden-2"] && count == "4",
            "{rows:?} {count}"
        );

        let nothing = house.dlq(&["replay", "--reason", "bad-row"])?;
        ensure!(
            nothing.starts_with("0 dead letters replayed; 6 were replayed before; 0 failed"),
            "{nothing}"
        );
        // a mistake looks otherwise
        let none = house.dlq(&["replay", "--reason", "badrow"])?;
        ensure!(none.starts_with("no dead letter is meant by this: none was replayed"), "{none}");
        let shown: Value = serde_json::from_str(&house.dlq(&["show", "--json", &origins[0]])?)?;
        ensure!(shown["replayedAt"].is_string(), "{shown}");
        let left = house.dlq(&["replay", "--all", "--undecodable", "--dry-run"])?;
        ensure!(left.starts_with("1 dead letter would be replayed"), "{left}");
        ensure!(house.list(&["--origin", &house.origin(LIKES, poison)])?[0].get("replayedAt").is_none());
        Ok(())
    });
}

/// Each of these is on the topic again, once: key, value and headers as they were, and two headers of the replay.
fn check_replayed(house: &House, before: &[Found], origins: &[String], attempts: &str) -> Result<()> {
    let replays = replays(house.topic(LIKES)?);
    for origin in origins {
        let [record] = &replays.get(origin).with_context(|| format!("{origin} was not replayed"))?[..] else {
            anyhow::bail!("{origin} was replayed more than once: {replays:?}");
        };
        let [trace, of, count] = &record.headers[..] else { anyhow::bail!("{record:?}") };
        let text = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        ensure!(*trace == text("trace", "a\tb") && *of == text("floodgate-replay-of", origin), "{record:?}");
        ensure!(*count == text("floodgate-replay-attempts", attempts), "{record:?}");
        let same = before.iter().any(|found| found.key == record.key && found.value == record.value);
        ensure!(same, "other bytes: {record:?}");
    }
    Ok(())
}

#[test]
fn a_replay_that_is_killed_goes_on_where_it_was() {
    let house = House::new();
    run(|| {
        let likers: Vec<String> = (0..8).map(|number| format!("forbidden-{number}")).collect();
        for (number, liker) in (1..).zip(&likers) {
            house.put_like(number, liker)?;
        }
        house.consume()?;
        house.drop_rules();

        let replay = house.world.launch(&["dlq", "replay", "--all", "--rate", "1"])?;
        wait::until("the first marker", READY, || {
            (marked(&house.topic(DEAD_LETTERS).ok()?) > 0).then_some(())
        })?;
        replay.kill()?;
        let done = marked(&house.topic(DEAD_LETTERS)?);
        ensure!(done < likers.len(), "it was over before it was killed");

        let rest = house.dlq(&["replay", "--all"])?;
        let wanted = format!("{} dead letters replayed; {done} were replayed before", likers.len() - done);
        ensure!(rest.starts_with(&wanted), "{rest} and not {wanted}");
        let nothing = house.dlq(&["replay", "--all"])?;
        ensure!(nothing.starts_with("0 dead letters replayed; 8 were replayed before"), "{nothing}");
        let replays = replays(house.topic(LIKES)?);
        let copies: usize = replays.values().map(Vec::len).sum();
        // one record a second is one record a batch
        ensure!(replays.len() == likers.len() && copies <= likers.len() + 1, "{copies} of {}", replays.len());

        house.consume()?;
        let (rows, count) = house.stars_likers();
        ensure!(rows == likers && count == "8", "{rows:?} {count}");
        ensure!(house.list(&[])?.len() == likers.len(), "nothing failed again");
        Ok(())
    });
}

/// A replay says what came of it, and fails when nothing did; what is given up is dismissed, and no longer open for anybody.
#[test]
fn a_replay_tells_what_became_of_its_records() {
    let house = House::new();
    house.world.set("lag.dead_letters_refresh_ms", "1000");
    run(|| {
        for number in 1..=6 {
            house.put_like(number, &format!("forbidden-{number}"))?;
        }
        let poison = house.put(LIKES, "star\u{1f}poison", b"no avro")?;
        let serve = house.world.start(&["serve"])?;
        let open = |wanted: f64| {
            wait::until(&format!("{wanted} open letters to be counted"), READY, || {
                let metrics = serve.metrics().ok()?;
                let group = house.world.named("floodgate.like");
                let of = |name: &str| metrics.sum(name, &[("group", &group)]);
                let ages = of("floodgate_dead_letters_oldest_open_seconds") > 0.0;
                (of("floodgate_dead_letters_open") == wanted && ages == (wanted > 0.0)).then_some(())
            })
        };
        let consume = house.world.start(&["consume"])?;
        house.world.wait_drained(DRAINED)?;
        open(7.0)?;

        // the rule still stands
        let failed = house.world.command(&["dlq", "replay", "--all", "--wait"])?;
        ensure!(failed.code == 1, "{failed:?}");
        ensure!(failed.stdout.ends_with("\n6 replayed: 0 applied, 6 failed again\n"), "{failed:?}");
        ensure!(failed.stderr.contains("6 failed again: `floodgate dlq list` says why"), "{failed:?}");
        house.drop_rules();
        let applied = house.dlq(&["replay", "--reason", "bad-row", "--wait=120"])?;
        ensure!(applied.ends_with("\n6 replayed: 6 applied, 0 failed again\n"), "{applied}");
        open(1.0)?;

        // nobody consumes: it cannot tell, and says why
        consume.stop()?;
        let silent = house.world.command(&["dlq", "replay", "--all", "--undecodable", "--wait=1"])?;
        ensure!(silent.code == 3, "{silent:?}");
        ensure!(silent.stdout.ends_with("1 replayed: 0 failed again, 1 not known yet\n"), "{silent:?}");
        ensure!(silent.stderr.contains("has no members, has 1 records to read"), "{silent:?}");

        // it is no event any more often it is tried
        house.consume()?;
        let again = &house.list(&["--limit", "1"])?[0];
        ensure!(again["state"] == "open" && again["attempts"] == 2, "{again}");
        let dry = house.dlq(&["dismiss", "--all", "--because", "a test of the tests", "--dry-run"])?;
        ensure!(dry.starts_with("1 dead letter would be dismissed; 13 were replayed before"), "{dry}");
        let told = house.dlq(&["dismiss", "--all", "--because", "a test of the tests"])?;
        ensure!(told.starts_with("1 dead letter dismissed; 13 were replayed before"), "{told}");
        open(0.0)?;
        let shown = house.dlq(&["show", &origin_of(again)])?;
        ensure!(shown.contains("dismissed") && shown.contains("a test of the tests"), "{shown}");
        let listed = house.dlq(&["list", "--limit", "1"])?;
        ensure!(listed.contains("0 open; 13 replayed, 1 dismissed; 1 are listed"), "{listed}");
        let page = serve.ask_admin("/dlq?type=like")?.json();
        let letters = page["letters"].as_array().context("no letters")?;
        let states = |state: &str| letters.iter().filter(|letter| letter["state"] == state).count();
        ensure!((states("open"), states("replayed"), states("dismissed")) == (0, 13, 1), "{page}");
        ensure!(house.list(&["--origin", &house.origin(LIKES, poison)])?[0]["state"] == "replayed");
        serve.stop()
    });
}

/// More letters of one key, hence in one partition, than are read and published at once.
#[test]
fn many_letters_come_back_in_their_order() {
    const LETTERS: usize = 500;
    let house = House::new();
    // all of them really are to be dead letters
    house.world.set("consumers.dead_letter_share_max", "1");
    run(|| {
        let serve = house.world.start(&["serve"])?;
        let event = |number: usize| {
            let action = if number.is_multiple_of(2) { "LIKE" } else { "UNLIKE" };
            json!({"type": "like", "targetOcid": "star", "likerAccountId": "forbidden", "action": action})
        };
        let events: Vec<Value> = (0..=LETTERS).map(event).collect();
        let answer = serve.ask(&Ask::new("POST", "/api/v6/events").json(json!(events).to_string()))?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        let sent = house.topic(LIKES)?;
        house.consume()?;
        let told = house.dlq(&["list"])?;
        ensure!(told.contains("501 open (501 bad-row)") && told.contains("100 are listed"), "{told}");

        house.drop_rules();
        let replayed = house.dlq(&["replay", "--all"])?;
        ensure!(replayed.starts_with("501 dead letters replayed"), "{replayed}");
        let values = |found: Vec<Found>| found.into_iter().map(|record| record.value).collect::<Vec<_>>();
        let (sent, stands) = (values(sent), values(house.topic(LIKES)?));
        ensure!(sent.len() == LETTERS + 1 && stands == [&sent[..], &sent[..]].concat(), "another order");
        house.consume()?;
        ensure!(house.stars_likers() == (vec!["forbidden".to_owned()], "1".to_owned()));
        ensure!(house.dlq(&["list", "--limit", "0"])?.contains("0 open; 501 replayed"));
        serve.stop()
    });
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
