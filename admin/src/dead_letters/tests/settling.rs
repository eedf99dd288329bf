//! What becomes of letters: open, replayed or dismissed, and in which order they are told.

use super::*;

/// The offsets of those that are told, and how they stand.
fn told(survey: &Survey) -> Vec<(i64, &'static str)> {
    survey.letters.iter().map(|letter| (letter.origin.offset, letter.state.name())).collect()
}

#[test]
fn a_dismissed_letter_is_open_no_longer_and_says_why() {
    let world = World::new();
    (1..4).for_each(|offset| world.put(&Write { offset, failed_at: offset, ..Write::default() }));
    assert_eq!(world.dismiss(" a test ", &[("origin", "w.floodgate.like.v1/0/2")]), 1);
    assert!(world.likes().is_empty(), "nothing is published");

    let survey = world.survey(&[], 10);
    assert_eq!((survey.total, survey.open, survey.replayed, survey.dismissed), (3, 2, 0, 1));
    assert_eq!((&survey.by_reason["bad-row"], &survey.open_by_reason["bad-row"]), (&3, &2));
    assert_eq!(told(&survey), [(3, "open"), (1, "open"), (2, "dismissed")]);
    let dismissed = &survey.letters[2];
    assert_eq!(dismissed.dismissed_because.as_deref(), Some("a test"));
    assert_eq!(dismissed.dismissed_at.as_deref(), Some("2026-11-21T11:00:00.000000Z"));
    let origin = world.strategy.names().read("w.floodgate.like.v1/0/2").unwrap();
    let shown = find(&world.topic, origin).unwrap().detail.unwrap().letter;
    assert_eq!(
        (shown.state, shown.dismissed_because.as_deref()),
        (LetterStanding::Dismissed, Some("a test"))
    );

    // the marker is the letter with two headers more
    let stands = world.stands(Topic::DeadLetters);
    let (letter, marker) = (&stands[1], &stands[3]);
    assert_eq!((&marker.key, &marker.value), (&letter.key, &letter.value));
    assert_eq!(marker.headers[..letter.headers.len()], letter.headers);
    let names: Vec<_> =
        marker.headers[letter.headers.len()..].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["floodgate-dlq-dismissed-at", "floodgate-dlq-dismissed-because"]);

    // it is passed over, and by a second dismissal, too; whoever names it brings it back all the same
    let counts = world.plan(&[]).counts();
    assert_eq!((counts.due, counts.dismissed), (2, 1));
    assert_eq!(world.dismiss("again", &[]), 2);
    assert_eq!(world.replay(&[]), 0);
    assert_eq!(world.replay(&[("origin", "w.floodgate.like.v1/0/2")]), 1);
    let survey = world.survey(&[], 10);
    assert_eq!((survey.open, survey.replayed, survey.dismissed), (0, 1, 2));
    assert!(survey.open_by_reason.is_empty());
}

/// Also those that no replay takes.
#[test]
fn whatever_is_open_can_be_dismissed() {
    let world = World::new();
    world.put(&Write { offset: 1, attempts: "9", ..Write::default() });
    world.put(&Write {
        offset: 2,
        value: b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08newer",
        ..Write::default()
    });
    world.put(&Write { offset: 3, reason: "row-reset", ..Write::default() });
    assert_eq!(world.replay(&[]), 0);
    assert_eq!(world.dismiss("too old", &[]), 3);
    assert_eq!(world.survey(&[], 10).open, 0);
}

#[test]
fn a_dismissal_says_something_that_can_be_shown() {
    for because in ["", "  ", "a\nb", &"x".repeat(501)] {
        assert_eq!(Deed::dismiss(because).unwrap_err().field, "because", "{because:?}");
    }
    assert!(Deed::dismiss(&"\u{e9}".repeat(500)).is_ok());
}

/// What is no event would only fail again.
#[test]
fn what_cannot_be_decoded_is_replayed_only_when_that_is_asked_for() {
    let world = World::new();
    let mut value = Vec::new();
    floodgate_schemas::codec::encode(
        &floodgate_schemas::examples::like(7, "target", "liker", floodgate_schemas::LikeAction::Like, 5),
        &mut value,
    );
    world.put(&Write { offset: 1, value: &value, ..Write::default() });
    world.put(&Write { offset: 2, reason: "not-avro", ..Write::default() });
    let careful = Deed::Replay { attempts_max: 5, undecodable: false };
    let mut settle = world.plan_to(careful.clone(), &[]);
    let counts = settle.counts();
    assert_eq!((counts.due, counts.undecodable, counts.left_alone(), counts.open()), (1, 1, 1, 2));
    assert_eq!(settle.run(&*world.publisher(), |_| {}).unwrap().done, 1);
    // not even by its name
    assert_eq!(world.plan_to(careful, &[("reason", "not-avro")]).counts().due, 0);
    assert_eq!(world.replay(&[("reason", "not-avro")]), 1);
}

/// Which letters are open is known at the end of a reading: those that made room for others come back.
#[test]
fn open_letters_come_first_however_old_they_are() {
    let world = World::new();
    (0..5).for_each(|offset| world.put(&Write { offset, failed_at: offset, ..Write::default() }));
    // a copy of the oldest, later and in other words
    world.put(&Write { offset: 0, failed_at: 99, reason: "other", ..Write::default() });
    (2..5).for_each(|offset| {
        assert_eq!(world.replay(&[("origin", &format!("w.floodgate.like.v1/0/{offset}"))]), 1);
    });
    let survey = world.survey(&[], 3);
    assert_eq!((survey.total, survey.open, survey.truncated), (5, 2, true));
    assert_eq!(told(&survey), [(1, "open"), (0, "open"), (4, "replayed")]);
    assert!(survey.letters[2].replayed_at.is_some());
    assert_eq!(told(&world.survey(&[], 1)), [(1, "open")]);
    assert_eq!(told(&world.survey(&[], 2)), [(1, "open"), (0, "open")]);
    assert_eq!(told(&world.survey(&[], 100)).len(), 5);
}

#[test]
fn nothing_is_known_of_a_replay_before_its_group_has_read_it() {
    let world = World::new();
    world.put(&Write { offset: 1, ..Write::default() });
    let mut settle = world.plan(&[]);
    assert_eq!(settle.run(&*world.publisher(), |_| {}).unwrap().done, 1);
    let outcome = settle.outcome(Duration::ZERO).unwrap();
    assert_eq!(outcome.failed_again, 0);
    assert!(outcome.open.is_some_and(|why| why.contains("has 1 records to read")), "it was not read");
    // a letter that came of it counts at once
    let headers = vec![
        (&b"floodgate-replay-of"[..], Some(&b"w.floodgate.like.v1/0/1"[..])),
        (b"floodgate-replay-attempts", Some(b"1")),
    ];
    world.put(&Write { offset: 0, attempts: "2", headers: headers.clone(), ..Write::default() });
    world.put(&Write { offset: 0, attempts: "2", headers, ..Write::default() });
    assert_eq!(settle.outcome(Duration::ZERO).unwrap().failed_again, 1);
}
