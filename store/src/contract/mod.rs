//! What every database must do, as plain functions: each takes a database of its own and panics where the
//! promise is broken.
//!
//! The heart is a comparison with a model that holds everything in a map and applies one event after the
//! other ([`expectations`], [`likes`], [`coupons`]). Events are made up from a small set of keys, delivered
//! with repeats, cut into any batches, and after any batch delivery may start again from an earlier point, as
//! it does after a crash. Outcomes, rows and counters must equal the model's.

#![expect(clippy::expect_used, reason = "a suite for tests, which fail by panicking")]

pub mod audit;
pub mod concurrency;
pub mod coupons;
pub mod delivery;
pub mod expectations;
pub mod likes;
pub mod reset;
pub mod schema;
mod subject;
pub mod values;

use floodgate_schemas::{ExpectationWrite, Like};

pub use self::subject::{Subject, nothing_contradicts};
use crate::compaction::Compacted;

/// How many rows a batch wants to write once it is reduced: that step alone, for benches.
pub fn rows_of_likes(events: &[Like]) -> usize {
    Compacted::new(events).len()
}

/// See [`rows_of_likes`].
pub fn rows_of_expectations(events: &[ExpectationWrite]) -> usize {
    Compacted::new(events).len()
}

/// Makes a test of every part of the suite. `migrated` and `empty` are async functions that return a
/// [`Subject`] of their own, with the schema and without; `cases` says how many the comparisons with a model
/// try; `forbid_bad_liker` is SQL that makes the database refuse the liker `bad`.
#[macro_export]
macro_rules! store_contract {
    (migrated: $migrated:ident, empty: $empty:ident, cases: $cases:expr, forbid_bad_liker: $forbid:expr) => {
        $crate::store_contract!(@models $migrated, $cases;
            expectations_follow_the_model = expectations,
            likes_follow_the_model = likes,
            coupons_follow_the_model = coupons,
        );
        $crate::store_contract!(@examples $migrated;
            one_preset_many_times_in_a_batch = expectations::one_row_many_times_in_a_batch,
            versions_tie_by_event_id = expectations::ties_break_by_event_id,
            extreme_expectations_survive = expectations::extremes_survive,
            one_like_twice = likes::one_event_twice,
            an_older_unlike_changes_nothing = likes::an_older_unlike_changes_nothing,
            likes_tie_by_event_id = likes::ties_break_by_event_id,
            counters_move_with_the_state_only = likes::counters_move_with_the_state_only,
            creating_a_coupon_twice = coupons::creating_twice,
            the_first_decision_is_final = coupons::the_first_decision_is_final,
            old_decisions_are_forgotten = coupons::old_decisions_are_forgotten,
            any_text_is_an_id = values::any_text_is_an_id,
            an_event_id_on_two_rows = values::an_event_id_on_two_rows,
            an_empty_database = values::an_empty_database,
            standings_are_told = audit::standings,
            lesser_pairs_are_absent = audit::lesser_pairs,
            values_are_compared_and_set = audit::values_are_compared_and_set,
            likes_are_set_right_with_their_counters = audit::likes_are_set_right_with_their_counters,
            rows_are_there_or_not = audit::rows_are_there_or_not,
            a_sound_database_recounts = audit::nothing_to_find,
            every_hole_is_found = audit::holes,
            answers_are_cut_and_counted = audit::answers_are_cut,
            expectations_are_set_back = reset::expectations,
            likes_are_set_back = reset::likes,
            likes_at_once = concurrency::likes,
            expectations_at_once = concurrency::expectations,
            coupons_at_once = concurrency::coupons,
            registered_schemas_stay = schema::registered_schemas,
            unknown_coupons_at_once = concurrency::unknown_coupons,
        );
        $crate::store_contract!(@examples $empty;
            schema_states_and_migrations = schema::states_and_migrations,
        );

        #[tokio::test(flavor = "multi_thread")]
        async fn a_bad_row_undoes_its_batch() {
            $crate::contract::likes::a_bad_row_undoes_its_batch(&$migrated().await, $forbid).await;
        }
    };
    (@models $migrated:ident, $cases:expr; $($name:ident = $module:ident,)*) => {
        $(#[test]
        fn $name() {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let subject = runtime.block_on($migrated());
            $crate::contract::$module::follow_the_model(runtime.handle(), &subject, $cases);
        })*
    };
    (@examples $fresh:ident; $($name:ident = $module:ident :: $function:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $crate::contract::$module::$function(&$fresh().await).await;
        })*
    };
}
