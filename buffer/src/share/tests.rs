//! Thousands of courses of a member's life.

mod world;

use proptest::prelude::*;

use self::world::{Event, PARTITIONS, World, event, partition};
use super::commits::Commit;
use super::place::{Finding, Place};
use super::*;
use crate::Word;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing is committed that was not applied, nothing is skipped, and in the end nothing is left.
    #[test]
    fn whatever_happens_to_a_member(events in prop::collection::vec(event(), 1..150)) {
        let mut world = World::new();
        (0..PARTITIONS).for_each(|p| world.come(p, true));
        for event in &events {
            world.play(event);
            world.check();
        }
        world.settle();
    }
}

/// A client that goes on behind what is to be read again would pass over it.
#[test]
fn a_partition_that_goes_on_behind_its_place_fails_the_member() {
    let mut world = World::new();
    world.come(0, true);
    (0..3).for_each(|_| world.play(&Event::Append(0, true)));
    (0..2).for_each(|_| world.deliver(0));
    world.play(&Event::Wait(10));
    world.take();
    world.play(&Event::Hold(0, 0));
    (0..2).for_each(|_| world.serve(true, false));
    assert_eq!(world.fetches[0].unwrap().at, 0);
    world.fetches[0].as_mut().unwrap().at = 2;
    world.deliver(0);
    let failed = world.share.failed.clone().unwrap();
    assert!(failed.contains("went on at 2 instead of before 2"), "{failed}");
    assert!(matches!(world.share.take(world.now), Taken::Failed(_)));
}

#[test]
fn a_member_that_stops_takes_nothing_and_still_gives_back() {
    let mut world = World::new();
    world.come(0, true);
    (0..3).for_each(|_| world.play(&Event::Append(0, true)));
    world.deliver(0);
    world.play(&Event::Wait(10));
    world.take();
    world.deliver(0);
    world.share.enter(Phase::Stopping);
    world.deliver(0);
    // nothing more comes, and the end that is reached behind what was not kept makes none of it done
    world.deliver(0);
    assert!(matches!(world.share.take(world.now), Taken::Ended));
    assert!(world.share.are_in_work(&[partition(0)]));
    world.give_back();
    assert_eq!(
        world.share.commits_to_settle(|_| true).iter().map(|commit| commit.next).collect::<Vec<_>>(),
        [Offset(1)]
    );
}

#[test]
fn a_batch_is_handed_out_when_it_is_full_or_has_waited() {
    let mut world = World::new();
    world.come(0, true);
    (0..5).for_each(|_| world.play(&Event::Append(0, true)));
    assert!(matches!(world.share.take(world.now), Taken::Wait(None)));
    world.deliver(0);
    let Taken::Wait(Some(until)) = world.share.take(world.now) else { panic!("it waits for company") };
    assert_eq!(until, world.now + Duration::from_millis(10));
    (0..3).for_each(|_| world.deliver(0));
    world.take();
    assert_eq!(world.in_hand.as_ref().map(Batch::len), Some(4), "full");
    world.give_back();
    world.deliver(0);
    world.play(&Event::Wait(10));
    world.take();
    assert_eq!(world.in_hand.as_ref().map(Batch::len), Some(1), "it has waited");
}

#[test]
fn what_a_position_was_found_to_be_is_seen_until_something_else_is_committed() {
    let (mut share, now) = (World::new().share, Instant::now());
    let (finding, words) = (Some(Finding::SetByOthers), ["the first", "the second"].map(Word::held));
    let place = Place { offset: Offset(3), leader_epoch: None, finding, has_word: false };
    share.comes(partition(0), &place, now);
    share.leave_word(partition(0), Some(&words[0]));
    assert!(share.commits_to_send(now).is_empty(), "the word alone would hide it");
    let told = |share: &mut Share| {
        let commits = share.commits_to_send(now).into_iter().map(|commit| (commit.next, commit.word));
        commits.collect::<Vec<_>>()
    };
    share.reaches(partition(0), Offset(5));
    assert_eq!(
        told(&mut share),
        [(Offset(5), Some(words[0].clone()))],
        "markers, and what could not be said"
    );
    share.leave_word(partition(0), Some(&words[1]));
    assert_eq!(told(&mut share), [], "the one before may come after it");
    share.answered(partition(0), Some(Offset(5)));
    assert_eq!(told(&mut share), [(Offset(5), Some(words[1].clone()))], "a word alone");
    assert!(told(&mut share).is_empty());
}

/// Nothing comes after it, so that no later commit takes its place.
#[test]
fn a_commit_whose_answer_never_comes_is_sent_again() {
    let mut world = World::new();
    world.come(0, true);
    (0..3).for_each(|_| world.play(&Event::Append(0, true)));
    (0..3).for_each(|_| world.deliver(0));
    world.play(&Event::Wait(10));
    world.take();
    world.give_back();
    let ends = |commits: Vec<Commit>| commits.iter().map(|commit| commit.next).collect::<Vec<_>>();
    let (share, sent_at) = (&mut world.share, world.now);
    assert_eq!(ends(share.commits_to_send(sent_at)), [Offset(3)]);
    share.reaches(partition(0), Offset(5));
    assert_eq!(ends(share.commits_to_send(sent_at + Duration::from_secs(59))), [], "it is waited for");
    assert_eq!(ends(share.commits_to_send(sent_at + Duration::from_secs(60))), [Offset(5)]);
    // the first answer after all, and then the second
    share.answered(partition(0), Some(Offset(3)));
    share.answered(partition(0), Some(Offset(5)));
    assert_eq!(ends(share.commits_to_send(sent_at + Duration::from_secs(600))), [], "it is answered");
}
