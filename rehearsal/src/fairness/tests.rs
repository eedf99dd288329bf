use proptest::prelude::*;

use super::*;

fn turn(number: u32, user: u32, asked_us: u64, stood_us: Option<u64>, got: Got) -> Turn {
    Turn { number, user, asked_us, stood_us, got }
}

#[test]
fn who_was_answered_first_is_served_first() {
    let first = turn(0, 0, 0, Some(5), Got::Rank(2));
    let then = turn(1, 1, 6, Some(9), Got::Rank(1));
    assert_eq!(inversions(&[first, then]), [Inversion { served: 1, before: 0 }]);
    // asked while the first one waited, or at the moment of its answer: nothing is certain
    for asked_us in [0, 4, 5] {
        assert_eq!(inversions(&[first, Turn { asked_us, ..then }]), []);
    }
    // nor is it if nobody answered the first one
    assert_eq!(inversions(&[Turn { stood_us: None, ..first }, then]), []);
    // but whoever has a piece was served, whatever the answer was
    assert_eq!(inversions(&[first, Turn { stood_us: None, ..then }]).len(), 1);
}

#[test]
fn who_got_nothing_was_not_before_somebody_who_came_later() {
    let first = turn(0, 0, 0, Some(5), Got::Nothing);
    let then = turn(1, 1, 6, Some(9), Got::Rank(1000));
    assert_eq!(inversions(&[first, then]).len(), 1);
    assert_eq!(inversions(&[first, Turn { got: Got::Nothing, ..then }]), []);
    assert_eq!(inversions(&[first, Turn { user: 0, ..then }]), [], "nobody is compared with themselves");
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let got = prop_oneof![3 => (1..20i64).prop_map(Got::Rank), 1 => Just(Got::Nothing)];
    let turn = (0..6u32, 0..50u64, prop::option::weighted(0.8, 0..20u64), got);
    prop::collection::vec(turn, 0..40).prop_map(|turns| {
        let made = |(number, (user, asked_us, took, got))| turn_of(number, user, asked_us, took, got);
        (0..).zip(turns).map(made).collect()
    })
}

fn turn_of(number: u32, user: u32, asked_us: u64, took: Option<u64>, got: Got) -> Turn {
    turn(number, user, asked_us, took.map(|took| asked_us + took), got)
}

proptest! {
    /// As comparing each with each finds them.
    #[test]
    fn all_are_found(turns in turns()) {
        let came_first = |one: &Turn, then: &Turn| {
            one.user != then.user
                && one.stood_us.is_some_and(|stood_us| stood_us < then.asked_us)
                && matches!(then.got, Got::Rank(_))
                && one.got > then.got
        };
        let slow: BTreeSet<u32> = turns
            .iter()
            .filter(|then| turns.iter().any(|one| came_first(one, then)))
            .map(|then| then.number)
            .collect();
        let found = inversions(&turns);
        prop_assert!(found.iter().all(|found| came_first(&turns[found.before as usize], &turns[found.served as usize])));
        prop_assert_eq!(found.iter().map(|found| found.served).collect::<BTreeSet<_>>(), slow);
    }
}
