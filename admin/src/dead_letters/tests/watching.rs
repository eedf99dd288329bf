//! How many letters are open, and for how long.

use floodgate_observe::Metrics;

use super::*;

/// The values of the group of likes, as they are exported.
fn exported(metrics: &Metrics, name: &str) -> Option<f64> {
    let text = metrics.render();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = format!("floodgate_dead_letters_{name}{{group=\"w.floodgate.like\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
}

fn shown(metrics: &Metrics) -> (Option<f64>, Option<f64>) {
    (exported(metrics, "open"), exported(metrics, "oldest_open_seconds"))
}

#[test]
fn open_letters_and_their_age_are_told() {
    let world = World::new();
    let metrics = Metrics::new().unwrap();
    let watch = LetterWatch::new(world.topic.clone(), metrics.letters.clone());
    assert_eq!(shown(&metrics), (None, None), "nobody has looked");
    watch.look().unwrap();
    assert_eq!(shown(&metrics), (Some(0.0), Some(0.0)));

    (0..3).for_each(|offset| world.put(&Write { offset, failed_at: 60 * offset, ..Write::default() }));
    // a copy is no other letter, and its time is not the first one's
    world.put(&Write { offset: 1, failed_at: -600, ..Write::default() });
    watch.look().unwrap();
    // the clock stands an hour after the first
    assert_eq!(shown(&metrics), (Some(3.0), Some(3600.0)));

    assert_eq!(world.dismiss("a test", &[("origin", "w.floodgate.like.v1/0/0")]), 1);
    watch.look().unwrap();
    assert_eq!(shown(&metrics), (Some(2.0), Some(3540.0)));
    // what was marked stays so, whatever copies come
    world.put(&Write { offset: 0, ..Write::default() });
    assert_eq!(world.replay(&[]), 2);
    watch.look().unwrap();
    assert_eq!(shown(&metrics), (Some(0.0), Some(0.0)));
    // others have the same from the beginning
    let later = Metrics::new().unwrap();
    LetterWatch::new(world.topic.clone(), later.letters.clone()).look().unwrap();
    assert_eq!(shown(&later), (Some(0.0), Some(0.0)));
}

/// In memory only ten letters are kept here.
#[test]
fn letters_that_expire_are_open_no_longer() {
    let world = World::new();
    let metrics = Metrics::new().unwrap();
    let watch = LetterWatch::new(world.topic.clone(), metrics.letters.clone());
    for offset in 0..25 {
        world.put(&Write { offset, failed_at: offset, ..Write::default() });
        if offset % 4 == 0 {
            watch.look().unwrap();
        }
    }
    watch.look().unwrap();
    assert_eq!(shown(&metrics), (Some(10.0), Some(3600.0 - 15.0)));
}
