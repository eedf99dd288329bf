//! Rows that somebody deletes or changes.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::scenario::{Pace, Round, scenario, servers};
use crate::support::load::LoadOptions;
use crate::support::world::{DRAINED, World};

/// Deletes a share of the rows, and changes the values of as many, as the seed chooses them. Counters follow, as they would
/// if somebody restored a part from a backup: consumers go on with them meanwhile.
fn spoil(round: &Round<'_>, world: &World) -> Result<()> {
    let (seed, of_256) = (round.seed, (256.0 * round.between(0.1, 0.5)) as u8);
    let chosen = |key: &str| format!("get_byte(decode(md5({key} || '{seed}'), 'hex'), 0) < {of_256}");
    let (like, character) = (chosen("target_ocid || liker_account_id"), chosen("character_id::text"));
    let request = chosen("request_id::text");
    let spoils = [
        "BEGIN",
        "LOCK TABLE expectations, coupon_requests, likes, like_counts IN EXCLUSIVE MODE",
        &format!(
            "WITH gone AS (DELETE FROM likes WHERE {like} RETURNING target_ocid, liked),
                sums AS (SELECT target_ocid, count(*) FILTER (WHERE liked) AS liked FROM gone GROUP BY target_ocid)
            UPDATE like_counts SET count = count - sums.liked FROM sums
            WHERE like_counts.target_ocid = sums.target_ocid"
        ),
        &format!("DELETE FROM expectations WHERE {character} AND preset_no = 1"),
        &format!("UPDATE expectations SET total_expected_cost = 999999 WHERE {character}"),
        // what was not granted is decided the same way again: stocks never grow
        &format!("DELETE FROM coupon_requests WHERE {request} AND outcome <> 'ISSUED'"),
        "COMMIT",
    ];
    round.postgres.psql(&world.setting("store.url"), &spoils.join(";\n")).map(drop)
}

/// Brings back whatever is missing or differs, and says how much.
fn reapply(world: &World) -> Result<u64> {
    let report: Value =
        serde_json::from_str(&world.succeed(&["reapply", "--missing", "--values", "--json"])?)?;
    Ok(report["outcomes"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum())
}

/// Rows that are deleted or changed while writes go on come back from the log, also while writes go on, and once: nothing
/// that is right is written again.
#[test]
fn spoilt_rows_come_back_from_the_log() {
    scenario("rows", "spoilt_rows_come_back_from_the_log", Pace::Quick, servers, |round| {
        let world = round.world()?;
        let serve = world.start(&["serve"])?;
        let _consume = world.start(&["consume"])?;
        // more than is sent: writes go on until they are told to stop
        let plan = round.plan(60_000);
        world.create_coupons(&serve, &plan)?;
        let load = world.load(&plan, &[&serve], LoadOptions { rate: 500, ..LoadOptions::default() });
        load.wait_for(round.between(0.02, 0.03))?;
        spoil(round, &world)?;
        ensure!(reapply(&world)? > 0, "nothing was missing");
        load.is_running()?;
        spoil(round, &world)?;
        load.stop();
        let recording = load.finish()?;
        world.wait_drained(DRAINED)?;
        let ended = world.command(&["verify", "--values"])?;
        ensure!(ended.code == 1 && ended.stdout.contains("mend: `floodgate reapply"), "{ended:?}");
        ensure!(reapply(&world)? > 0, "nothing was missing");
        round.judge(&world, &recording)?;
        let rows = world.rows(round.postgres)?;
        ensure!(reapply(&world)? == 0, "brought back twice");
        ensure!(world.rows(round.postgres)? == rows, "rows were written again");
        let ended = world.command(&["verify", "--values"])?;
        ensure!(ended.code == 0, "{ended:?}");
        Ok(())
    });
}
