//! What errors become.

use floodgate_listener::Fault;

use super::*;

/// What was asked for and not answered may have happened; what was not asked for has not.
#[test]
fn a_coupon_that_may_exist_is_unknown() {
    let of = |error| Problem::coupon_not_created(error);
    let unanswered = of(ReadError::Unanswered("late".to_owned()));
    assert_eq!((unanswered.name(), unanswered.effect()), ("outcome-unknown", Effect::Unknown));
    let away = of(ReadError::Unavailable("away".to_owned()));
    assert_eq!((away.name(), away.effect()), ("database-unavailable", Effect::NotYet));
    // a read that is not answered has no effect to be unsure of
    let read = Problem::from(ReadError::Unanswered("late".to_owned()));
    assert_eq!((read.name(), read.effect()), ("database-unavailable", Effect::NotYet));
}

/// What is wrong with a head is told by its name.
#[test]
fn heads_that_are_refused_are_told_by_name() {
    let faults = [Fault::NoRequest, Fault::Target(None), Fault::Size, Fault::NoRoom];
    let names = faults.map(|fault| Problem::from(fault).name());
    assert_eq!(names, ["invalid-request", "target-too-long", "head-too-large", "busy"]);
}
