//! What became of what was accepted, by the rows.
//!
//! A count that is always zero says nothing, so it is tried before it is relied on: [`try_out`] plants losses and doubles.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use uuid::Uuid;

use crate::cases::CASES;
use crate::fleet::Fleet;
use crate::page::Toll;
use crate::site::{Site, plan};
use crate::support::load::{Recording, Verdict};
use crate::support::model;
use crate::support::state::State;

/// Counts what was lost and what was applied twice, of a plan whose writes have a row each.
pub fn toll(site: &Site<'_>, recording: &Recording) -> Result<(Toll, State, HashSet<Uuid>)> {
    site.wait_drained()?;
    let state = State::from_postgres(&site.fleet.postgres, &site.world.setting("store.url"))?;
    let expectations = state.expectations.values().map(|row| row.event_id);
    let likes = state.likes.values().filter_map(|row| row.rank.map(|(_, id)| id));
    let there: HashSet<Uuid> = expectations.chain(likes).chain(state.decisions.keys().copied()).collect();
    let mut lost = recording.ids(Verdict::Accepted);
    let accepted = lost.len();
    lost.retain(|id| !there.contains(id));
    let toll = Toll { accepted, lost: lost.len(), doubled: doubled(&state) };
    Ok((toll, state, lost))
}

/// The same, and all else must be as the oracle says.
pub fn judge(site: &Site<'_>, mut recording: Recording) -> Result<Toll> {
    let (toll, state, lost) = toll(site, &recording)?;
    recording.excuse(&lost);
    match model::check(&recording, &state, &HashSet::new()) {
        // what was doubled the oracle tells as well
        Err(error) if toll.doubled > 0 => println!("{error:#}"),
        checked => checked?,
    }
    Ok(toll)
}

/// Rows cannot be there twice: counters that moved further than their rows, and pieces given out without one. One that moved too
/// little makes up for no other.
fn doubled(state: &State) -> usize {
    let mut likes: HashMap<&str, i64> = HashMap::new();
    for ((target, _), _) in state.likes.iter().filter(|(_, like)| like.liked) {
        *likes.entry(target).or_default() += 1;
    }
    let mut issues: HashMap<&str, HashSet<&str>> = HashMap::new();
    for issue in state.issues.iter().flatten() {
        issues.entry(&issue.coupon).or_default().insert(&issue.user);
    }
    let too_many = |count: i64, of: i64| usize::try_from(count - of).unwrap_or_default();
    let counted = state
        .counts
        .iter()
        .map(|(target, count)| too_many(*count, likes.get(target.as_str()).copied().unwrap_or_default()));
    let issued = state.coupons.iter().map(|(coupon, (_, issued))| {
        let users = issues.get(coupon.as_str()).map_or(0, HashSet::len);
        too_many(i64::from(*issued), users as i64)
    });
    counted.chain(issued).sum()
}

/// Fails unless what is planted is counted: two rows that are lost, and two counters that moved once too far, beside one that
/// moved too little.
pub fn try_out(fleet: &Fleet) -> Result<()> {
    let site = Site::open(fleet, &CASES[0])?;
    let recording = site.load(&plan(0, 2500), None).finish()?;
    let (before, ..) = toll(&site, &recording)?;
    ensure!((before.lost, before.doubled) == (0, 0), "before anything was planted: {before:?}");
    let planted = "DELETE FROM expectations WHERE character_id IN (SELECT min(character_id) FROM expectations); \
                   DELETE FROM coupon_requests WHERE request_id IN (SELECT max(request_id::text)::uuid FROM coupon_requests); \
                   UPDATE coupons SET issued = issued + 1; \
                   UPDATE like_counts SET count = count + 1 WHERE target_ocid = (SELECT min(target_ocid) FROM like_counts); \
                   UPDATE like_counts SET count = count - 1 WHERE target_ocid = (SELECT max(target_ocid) FROM like_counts)";
    fleet.postgres.psql(&site.world.setting("store.url"), planted)?;
    let (told, ..) = toll(&site, &recording)?;
    ensure!((told.lost, told.doubled) == (2, 2), "two of each were planted: {told:?}");
    site.close()
}
