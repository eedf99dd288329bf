//! What became of what was accepted, by the rows.

use std::collections::HashSet;

use anyhow::Result;
use uuid::Uuid;

use crate::page::Toll;
use crate::site::Site;
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
    // what was doubled is what the oracle would tell
    if toll.doubled == 0 {
        model::check(&recording, &state, &HashSet::new())?;
    }
    Ok(toll)
}

/// Rows cannot be there twice: counters that moved further than their rows, and pieces given out without one.
fn doubled(state: &State) -> usize {
    let liked = state.likes.values().filter(|like| like.liked).count() as i64;
    let counted: i64 = state.counts.values().sum();
    let issued: i64 = state.coupons.values().map(|(_, issued)| i64::from(*issued)).sum();
    let issues = state.issues.as_deref().unwrap_or_default();
    let users: HashSet<(&str, &str)> =
        issues.iter().map(|issue| (issue.coupon.as_str(), issue.user.as_str())).collect();
    let too_many = |count: i64, of: usize| usize::try_from(count - of as i64).unwrap_or_default();
    too_many(counted, liked as usize) + too_many(issued, users.len())
}
