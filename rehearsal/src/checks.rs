//! What has to hold of every load: checks of what was found against what was answered.
//!
//! Only what is certain fails. What could not be read may be either: if it would make the difference, the check is `unknown`.
//! What only the whole load can tell (that every rank is there, how many pieces there have to be) is looked at where all of it is judged.

mod coupon;
mod effects;
mod expected;
mod promised;
mod ranks;
mod stock;
mod words;

pub(crate) use expected::expected;
pub(crate) use ranks::Ranks;
pub(crate) use stock::over_issued;

use crate::observed::Observed;
use crate::plan::Kind;
use crate::report::{Check, Verdict};
use crate::told::slow_readers;

/// All of them, as far as the load has what they are about.
pub(crate) fn always(observed: &Observed<'_>) -> Vec<Check> {
    let mut checks =
        vec![promised::accepted(observed), promised::refused(observed), promised::unanswered(observed)];
    if observed.shape.slow_readers > 0 {
        checks.push(readers(observed));
    }
    if observed.load.asks_for_coupon() {
        checks.extend([
            coupon::decided(observed),
            coupon::open(observed),
            stock::pieces(observed),
            coupon::second_pieces(observed),
            ranks::ranks(observed),
            stock::sold_out(observed),
            coupon::order(observed),
        ]);
        if observed.load.judges_whole {
            checks.extend([
                stock::as_many(observed),
                stock::own_count(observed),
                coupon::duplicates(observed),
            ]);
        }
    }
    let asks = |is: fn(Kind) -> bool| {
        observed.load.records.iter().any(|record| is(observed.load.plan.kind(record.number)))
    };
    if asks(effects::is_like) {
        checks.extend([effects::likes(observed), effects::counters(observed)]);
    }
    if asks(|kind| kind == Kind::Expectation) {
        checks.push(effects::expectations(observed));
    }
    checks
}

/// Without them the load was another one than the shape's.
fn readers(observed: &Observed<'_>) -> Check {
    let is_there = observed.readers.answered > 0;
    Check {
        name: "some connections hardly read".to_owned(),
        aim: "one at least, as the shape has them".to_owned(),
        found: slow_readers(observed.readers),
        verdict: if is_there { Verdict::Pass } else { Verdict::Unknown },
    }
}
