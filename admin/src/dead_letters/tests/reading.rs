//! Which letters there are, and what they tell.

use std::time::Instant;

use floodgate_buffer::Header;
use floodgate_schemas::LikeAction;
use floodgate_schemas::codec::encode;
use floodgate_schemas::examples::like;

use super::*;

#[test]
fn every_filter_picks_its_letters() {
    let world = World::new();
    let coupons = "w.floodgate.coupon.v1";
    world.put(&Write { topic: coupons, offset: 1, failed_at: 10, key: b"summer", ..Write::default() });
    world.put(&Write { offset: 2, failed_at: 20, reason: "not-avro", key: b"a\xff", ..Write::default() });
    world.put(&Write { offset: 3, failed_at: 30, ..Write::default() });
    for (filter, offsets) in [
        (&[][..], &[3, 2, 1][..]),
        (&[("type", "coupon")], &[1]),
        (&[("type", "expectation")], &[]),
        (&[("reason", "not-avro")], &[2]),
        (&[("since", "2026-11-21T10:00:20Z")], &[3, 2]),
        (&[("until", "2026-11-21T19:00:20+09:00")], &[1]),
        (&[("key", "summer")], &[1]),
        (&[("key", "summ")], &[]),
        (&[("key", "target\u{1f}liker")], &[3]),
        (&[("key", "target\\x1fliker")], &[3]),
        (&[("key", "a\\xff")], &[2]),
        (&[("origin", "w.floodgate.coupon.v1/0/1")], &[1]),
        (&[("origin", "floodgate.like.v1/0/1")], &[]),
        (&[("type", "like"), ("reason", "bad-row")], &[3]),
    ] {
        assert_eq!(world.offsets(filter), offsets, "{filter:?}");
    }
}

#[test]
fn copies_are_one_letter_and_the_newest_are_told() {
    let world = World::new();
    for (offset, failed_at, reason) in
        [(1, 50, "bad-row"), (2, 20, "not-avro"), (3, 40, "bad-row"), (4, 30, "bad-row")]
    {
        world.put(&Write { offset, failed_at, reason, ..Write::default() });
    }
    // written again after a crash, later and in other words: the first copy speaks for the letter
    world.put(&Write { offset: 2, failed_at: 99, reason: "undecodable", ..Write::default() });
    let marker = (&b"floodgate-dlq-replayed-at"[..], Some(&b"2026-11-21T11:00:00Z"[..]));
    for offset in [1, 2] {
        world.put(&Write { offset, failed_at: 50, behind: vec![marker], ..Write::default() });
    }
    let survey = world.survey(&[], 3);
    assert_eq!((survey.total, survey.replayed, survey.truncated), (4, 2, true));
    assert_eq!(
        survey.by_reason.into_iter().collect::<Vec<_>>(),
        [("bad-row".into(), 3), ("not-avro".into(), 1)]
    );
    let letters: Vec<_> =
        survey.letters.iter().map(|l| (l.origin.offset, l.replayed_at.as_deref())).collect();
    // 3 and 4 are open
    assert_eq!(letters, [(3, None), (4, None), (1, Some("2026-11-21T11:00:00.000000Z"))]);
    assert_eq!(survey.as_of, at(3_600_000_000).to_string());
    let counted = world.survey(&[], 0);
    assert!(counted.total == 4 && counted.letters.is_empty() && counted.truncated);
    assert!(!world.survey(&[], 4).truncated);
}

/// Only our block counts: the last headers of their names, and a marker behind them.
#[test]
fn headers_of_other_letters_are_the_originals_own() {
    let world = World::new();
    let copied: Vec<Header<'_>> = vec![
        (b"floodgate-dlq-offset", Some(b"77")),
        (b"trace", None),
        (b"floodgate-dlq-replayed-at", Some(b"2026-11-21T11:00:00Z")),
    ];
    world.put(&Write { offset: 5, headers: copied, ..Write::default() });
    let survey = world.survey(&[], 10);
    assert_eq!((survey.total, survey.replayed, survey.letters[0].origin.offset), (1, 0, 5));
    let origin = world.strategy.names().read("w.floodgate.like.v1/0/5").unwrap();
    let detail = find(&world.topic, origin).unwrap().detail.unwrap();
    let headers: Vec<_> = detail.headers.iter().map(|h| (h.name.as_str(), h.value.as_deref())).collect();
    assert_eq!(
        headers,
        [
            ("floodgate-dlq-offset", Some("77")),
            ("trace", None),
            ("floodgate-dlq-replayed-at", Some("2026-11-21T11:00:00Z"))
        ]
    );
    assert_eq!(world.replay(&[]), 1);
    let copied = world.likes().remove(0).headers;
    assert_eq!(copied.len(), 3 + 2, "{copied:?}");
}

/// A topic that was made anew has other records at the same offsets: each letter stands for its own.
#[test]
fn letters_of_a_log_that_is_gone_hide_no_later_ones() {
    let world = World::new();
    for (log, reason) in [(None, "oldest"), (Some("one"), "older"), (Some("two"), "newest")] {
        world.put(&Write { offset: 5, log, reason, ..Write::default() });
    }
    // copies
    world.put(&Write { offset: 5, log: Some("one"), reason: "older", ..Write::default() });
    let survey = world.survey(&[], 10);
    assert_eq!((survey.total, survey.letters.len(), survey.by_reason.len()), (3, 3, 3));
    let origin = world.strategy.names().read("w.floodgate.like.v1/0/5").unwrap();
    let found = || find(&world.topic, origin).unwrap().detail.unwrap().letter;
    assert_eq!((found().reason.as_str(), found().replayed_at), ("newest", None));
    assert_eq!(world.replay(&[("reason", "older")]), 1);
    let survey = world.survey(&[], 10);
    assert_eq!((survey.total, survey.replayed), (3, 1));
    assert_eq!(found().replayed_at, None);
    assert_eq!(world.replay(&[("reason", "newest")]), 1);
    assert!(found().replayed_at.is_some());
}

#[test]
fn broken_letters_are_counted_and_stop_nothing() {
    let world = World::new();
    world.put_raw(None, b"no headers", &[]);
    for broken in [
        Write { topic: "other.floodgate.like.v1", ..Write::default() },
        Write { attempts: "often", ..Write::default() },
        Write { behind: vec![(b"floodgate-dlq-replayed-at", Some(b"yesterday"))], ..Write::default() },
        Write { behind: vec![(b"floodgate-dlq-failed-at", Some(b"yesterday"))], ..Write::default() },
    ] {
        world.put(&broken);
    }
    world.put(&Write { offset: 9, ..Write::default() });
    let survey = world.survey(&[], 10);
    assert_eq!((survey.total, survey.unreadable.count), (1, 5));
    let first = survey.unreadable.first.unwrap();
    assert_eq!(first, "w.floodgate.dlq.v1/0/0: no header floodgate-dlq-topic");
    let replay = world.plan(&[]);
    assert_eq!((replay.counts().due, replay.unreadable().count), (1, 5));
}

#[test]
fn letters_show_what_their_bytes_stand_for() {
    let world = World::new();
    let mut value = Vec::new();
    encode(&like(7, "target", "liker", LikeAction::Unlike, 5), &mut value);
    world.put(&Write { offset: 1, value: &value, ..Write::default() });
    world.put(&Write { offset: 2, value: b"\x00poison\\", key: b"\xff", ..Write::default() });
    let show = |offset| {
        let topics = world.strategy.names().clone();
        let origin = topics.read(&format!("{LIKES}/0/{offset}")).unwrap();
        find(&world.topic, origin).unwrap().detail.map(|detail| serde_json::to_value(detail).unwrap())
    };
    let event = show(1).unwrap();
    assert_eq!(event["event"]["targetOcid"], "target");
    assert_eq!(event["event"]["action"], "UNLIKE");
    assert_eq!(event["key"], "target\u{1f}liker");
    assert_eq!(event["valueBytes"], value.len());
    assert!(event.get("undecodable").is_none() && event.get("valueStart").is_none(), "{event}");
    let poison = show(2).unwrap();
    assert_eq!(poison["valueStart"], "\\x00poison\\\\");
    assert_eq!(poison["key"], "\\xff");
    assert!(poison["undecodable"].as_str().is_some_and(|why| why.contains("Avro")), "{poison}");
    assert!(poison.get("event").is_none(), "{poison}");
    assert!(show(3).is_none());
}

/// All are counted, also those that only a newer build can read, and the newest are told.
#[test]
fn all_letters_are_counted_and_the_newest_are_told() {
    let world = World::new();
    for (offset, failed_at) in (0..).zip([3, 1, 4, 2, 5]) {
        world.put(&Write { offset, failed_at, ..Write::default() });
    }
    world.put(&Write { offset: 5, reason: "other", value: b"\xc3\x01newer builds", ..Write::default() });
    let replayed = (&b"floodgate-dlq-replayed-at"[..], Some(&b"2026-11-21T11:00:00Z"[..]));
    world.put(&Write { offset: 0, failed_at: 3, behind: vec![replayed], ..Write::default() });
    for (limit, told) in [(6, &[4, 2, 3, 1, 5, 0][..]), (7, &[4, 2, 3, 1, 5, 0]), (3, &[4, 2, 3]), (0, &[])] {
        let survey = world.survey(&[], limit);
        assert_eq!((survey.total, survey.replayed, survey.truncated), (6, 1, limit < 6), "{survey:?}");
        assert_eq!(survey.by_reason, [("bad-row".to_owned(), 5), ("other".to_owned(), 1)].into());
        let letters =
            survey.letters.iter().map(|letter| (letter.origin.to_string(), letter.replayed_at.is_some()));
        let wanted = told.iter().map(|offset| (format!("{LIKES}/0/{offset}"), *offset == 0));
        assert_eq!(letters.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}

#[test]
fn a_reading_keeps_its_limits() {
    let world = World::new();
    (0..3).for_each(|offset| world.put(&Write { offset, ..Write::default() }));
    let take = |limits: ScanLimits| Survey::take(&world.topic, &Filter::default(), 10, &limits);
    let few = take(ScanLimits { letters_max: 2, ..ScanLimits::NONE });
    assert!(matches!(few, Err(ScanError::TooMany(2))), "{few:?}");
    assert!(take(ScanLimits { letters_max: 3, ..ScanLimits::NONE }).is_ok());
    let late = take(ScanLimits { until: Some(Instant::now()), ..ScanLimits::NONE });
    assert!(matches!(late, Err(ScanError::TooSlow)), "{late:?}");
}
