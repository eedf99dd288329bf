//! Dead letters go back to where they came from, once, and their replay says what came of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use serde_json::{Value, json};

use crate::origin_of;
use crate::support::client::Ask;
use crate::support::house::{DEAD_LETTERS, House, LIKES};
use crate::support::topic::Found;
use crate::support::world::{DRAINED, READY, run};

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
