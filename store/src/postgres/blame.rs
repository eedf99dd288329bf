//! Whose fault an error of PostgreSQL is: the row's, or the database's.
//!
//! Events check themselves when they are made, and our tables take every event that exists. So what the server says of a
//! value is about *this row* only where no database with our tables would take it: text with a NUL, or a value that breaks a
//! rule of ours. A column somebody narrowed, a rule or trigger somebody added, a partition that is not there, an encoding
//! that lacks a character: all of that is about *this database*. It is mended there, and until then its events wait.
//!
//! Codes are listed one by one; what is not listed is the database's.

use crate::dialect::Blame;

/// Checks on values that come from events, as the migrations make them, by their tables.
const OURS: [(&str, &str); 7] = [
    ("expectations", "expectations_character_id_check"),
    ("expectations", "expectations_preset_no_check"),
    ("expectations", "expectations_total_expected_cost_check"),
    ("expectations", "expectations_black_cube_cost_check"),
    ("expectations", "expectations_red_cube_cost_check"),
    ("expectations", "expectations_additional_cube_cost_check"),
    ("expectations", "expectations_starforce_cost_check"),
];

/// A listed code.
enum Listed {
    /// This row.
    Row,
    /// This row if it breaks a rule of ours, else the database, with what helps.
    RowByOurRule(&'static str),
    /// Too much at once, perhaps.
    Slowness(&'static str),
    /// This database, with what helps.
    Database(&'static str),
}

const NARROWED: &str =
    "a column is narrower than `floodgate migrate` made it, or a trigger refuses the row: restore it";
const FOREIGN_RULE: &str = "floodgate made no such rule: drop it from the table, or mend what it refers to";

/// By SQLSTATE.
const CODES: &[(&str, Listed)] = &[
    // a NUL in a text; everything else that we send is UTF-8
    ("22021", Listed::Row),
    (
        "23514",
        Listed::RowByOurRule(
            "floodgate made no such rule: drop the check, or add the partition that takes the row",
        ),
    ),
    ("57014", Listed::Slowness("a statement took longer than [store] statement_timeout_ms")),
    ("22P05", Listed::Database("the database must have the encoding UTF8")),
    ("22001", Listed::Database(NARROWED)),
    ("22003", Listed::Database(NARROWED)),
    ("22007", Listed::Database(NARROWED)),
    ("22008", Listed::Database(NARROWED)),
    ("22P02", Listed::Database(NARROWED)),
    ("22P03", Listed::Database(NARROWED)),
    ("23000", Listed::Database(FOREIGN_RULE)),
    ("23001", Listed::Database(FOREIGN_RULE)),
    (
        "23502",
        Listed::Database(
            "floodgate fills every column that it made: drop the others, or give them a default",
        ),
    ),
    ("23503", Listed::Database(FOREIGN_RULE)),
    ("23P01", Listed::Database(FOREIGN_RULE)),
    ("P0001", Listed::Database("a trigger that floodgate did not make refuses the row: drop or mend it")),
    ("42P01", Listed::Database("the schema is missing or older: run `floodgate migrate`")),
    ("42703", Listed::Database("the schema is missing or older: run `floodgate migrate`")),
    ("42P10", Listed::Database("the schema is missing or older: run `floodgate migrate`")),
    ("42501", Listed::Database("grant the user of [store] url SELECT, INSERT and UPDATE on the tables")),
    ("25006", Listed::Database("the server takes no writes (a standby, or read-only by setting)")),
    ("28P01", Listed::Database("check user and password of [store] url")),
    ("28000", Listed::Database("check user and password of [store] url")),
    ("3D000", Listed::Database("create the database first")),
    ("3F000", Listed::Database("search_path names no schema that exists")),
    (
        "53300",
        Listed::Database(
            "the server has no free connection: lower [store] max_connections or raise the server's",
        ),
    ),
    ("53100", Listed::Database("the server's disk is full")),
    ("55P03", Listed::Database("a lock was held for longer than [store] lock_timeout_ms")),
];

/// Whose fault an error with this code is, on this table and constraint where the server names them.
pub(super) fn blame(code: &str, table: Option<&str>, constraint: Option<&str>) -> Blame {
    match (code, table) {
        // another consumer applied the same a moment ago; the next try finds what it wrote
        ("23505", Some("coupon_requests" | "coupon_issues" | "likes")) => {
            return Blame::Elsewhere(Some("another consumer wrote the same row"));
        }
        ("23505", _) => return Blame::Elsewhere(Some(FOREIGN_RULE)),
        // computed here, not taken from the event
        (violated, Some("coupons" | "like_counts")) if violated.starts_with("23") => {
            return Blame::Elsewhere(Some("stock or counters were changed by someone else"));
        }
        _ => {}
    }
    let is_ours = || table.zip(constraint).is_some_and(|rule| OURS.contains(&rule));
    match CODES.iter().find(|(listed, _)| *listed == code) {
        Some((_, Listed::Row)) => Blame::Row,
        Some((_, Listed::RowByOurRule(_))) if is_ours() => Blame::Row,
        Some((_, Listed::Slowness(help))) => Blame::Slowness(help),
        Some((_, Listed::RowByOurRule(help) | Listed::Database(help))) => Blame::Elsewhere(Some(help)),
        None => Blame::Elsewhere(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_database_takes_is_the_rows_fault() {
        fn is_row(code: &str, table: Option<&str>, constraint: Option<&str>) -> bool {
            blame(code, table, constraint) == Blame::Row
        }
        assert!(is_row("22021", None, None));
        for (table, constraint) in OURS {
            assert!(is_row("23514", Some(table), Some(constraint)), "{constraint}");
            assert!(!is_row("23502", Some(table), Some(constraint)), "{constraint}");
        }
        for (code, table, constraint) in [
            // no partition takes it
            ("23514", Some("expectations"), None),
            ("23514", Some("expectations"), Some("house_rule")),
            // ours by name, and on another table
            ("23514", Some("likes"), Some("expectations_preset_no_check")),
            ("23514", Some("coupons"), Some("coupons_issued_check")),
            ("23514", None, None),
            ("23503", Some("likes"), Some("likes_target_ocid_fkey")),
            ("23505", Some("likes"), Some("likes_pkey")),
            ("23505", Some("expectations"), Some("one_event_once")),
        ] {
            assert!(!is_row(code, table, constraint), "{code} {table:?} {constraint:?}");
        }
        // whatever comes in a class that is known, and in one that is not
        for class in ["08", "22", "23", "40", "42", "53", "57", "58", "P0", "XX"] {
            for code in ["000", "001", "002", "003", "008", "012", "P02", "P05", "P06", "503", "P01", "Z99"] {
                let code = format!("{class}{code}");
                assert!(!is_row(&code, Some("likes"), Some("likes_pkey")), "{code}");
            }
        }
        assert_eq!(blame("XX999", None, None), Blame::Elsewhere(None));
        assert!(matches!(blame("57014", None, None), Blame::Slowness(_)));
        for (code, help) in
            [("22P05", "UTF8"), ("23514", "partition"), ("42501", "grant"), ("25006", "no writes")]
        {
            assert!(
                matches!(blame(code, None, None), Blame::Elsewhere(Some(told)) if told.contains(help)),
                "{code}"
            );
        }
    }

    /// Each is named after its table and column, as PostgreSQL does where a check is not named.
    #[test]
    fn rules_of_ours_stand_in_the_migrations() {
        let tables = super::super::MIGRATIONS[0].2;
        for (table, rule) in OURS {
            let column =
                rule.strip_prefix(table).and_then(|rest| rest.strip_suffix("_check")).map(|c| &c[1..]);
            let line = tables.lines().find(|line| column.is_some_and(|c| line.trim().starts_with(c)));
            assert!(line.is_some_and(|line| line.contains("CHECK")), "{rule}");
        }
        let checks = tables.split("CREATE TABLE coupons").next().map(|own| own.matches("CHECK (").count());
        assert_eq!(checks, Some(OURS.len()));
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<_> = CODES.iter().map(|(code, _)| *code).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
