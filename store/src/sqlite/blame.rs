//! Whose fault an error of SQLite is: the row's, or the database's. As with PostgreSQL, events check themselves and our
//! tables take all of them: only a check of ours that is broken makes a bad row. Rules, triggers and columns that somebody
//! else made are mended in the file, and until then its events wait.

use sqlx::error::DatabaseError;

use crate::dialect::Blame;

/// SQLite's result codes, under its names. The lowest byte of an extended code is its kind.
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const NOTADB: i32 = 26;
    pub(super) const CONSTRAINT_CHECK: i32 = 275;
    pub(super) const CONSTRAINT_PRIMARYKEY: i32 = 1555;
    pub(super) const CONSTRAINT_TRIGGER: i32 = 1811;
    pub(super) const CONSTRAINT_UNIQUE: i32 = 2067;
}

/// Checks on values that come from events, as the migrations make them: SQLite names a check by its text.
const OURS: [&str; 3] = ["character_id >= 1", "preset_no BETWEEN 1 AND 3", "liked IN (0, 1)"];

/// What SQLite says before the name of a check.
const CHECK_FAILED: &str = "CHECK constraint failed: ";

/// By extended code first, then by kind: what helps.
const HELP: &[(i32, &str)] = &[
    // we looked before we wrote, and nobody writes in between
    (code::CONSTRAINT_PRIMARYKEY, "the tables contradict each other: someone else wrote to them"),
    (code::CONSTRAINT_UNIQUE, "the tables contradict each other: someone else wrote to them"),
    (code::CONSTRAINT_TRIGGER, "a trigger that floodgate did not make refuses the row: drop or mend it"),
    (code::CONSTRAINT, "floodgate made no such rule: make the table anew without it"),
    (code::MISMATCH, "a column has another type than `floodgate migrate` gave it"),
    (code::BUSY, "another process held the database for longer than [store] lock_timeout_ms"),
    (code::LOCKED, "another process held the database for longer than [store] lock_timeout_ms"),
    (code::READONLY, "the file, or its folder, is not writable"),
    (code::FULL, "the disk is full"),
    (
        code::CANTOPEN,
        "there is no such file, or it may not be opened: look whether the folder exists, then run `floodgate migrate`",
    ),
    (code::NOTADB, "the file is no SQLite database"),
];

/// Whose fault an error with this extended code and message is.
pub(super) fn blame(extended: i32, message: &str) -> Blame {
    let rule = message.strip_prefix(CHECK_FAILED);
    if extended == code::CONSTRAINT_CHECK && rule.is_some_and(|rule| OURS.contains(&rule)) {
        return Blame::Row;
    }
    if extended == code::ERROR && message.starts_with("no such") {
        return Blame::Elsewhere(Some("the schema is missing or older: run `floodgate migrate`"));
    }
    let listed = |wanted: i32| HELP.iter().find(|(code, _)| *code == wanted).map(|(_, help)| *help);
    Blame::Elsewhere(listed(extended).or_else(|| listed(extended & 0xff)))
}

/// SQLite's extended result code.
pub(super) fn result_code(error: &dyn DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// Whether another connection holds the database.
pub(super) fn is_busy(error: &dyn DatabaseError) -> bool {
    result_code(error) & 0xff == code::BUSY
}

/// Whether the file takes no writes.
pub(super) fn is_read_only(error: &dyn DatabaseError) -> bool {
    result_code(error) & 0xff == code::READONLY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_check_of_ours_is_the_rows_fault() {
        for rule in OURS {
            assert_eq!(blame(code::CONSTRAINT_CHECK, &format!("{CHECK_FAILED}{rule}")), Blame::Row);
            assert!(blame(code::CONSTRAINT_TRIGGER, &format!("{CHECK_FAILED}{rule}")) != Blame::Row);
            assert!(crate::sqlite::MIGRATIONS[0].2.contains(&format!("CHECK ({rule})")), "{rule}");
        }
        for (code, message, help) in [
            (code::CONSTRAINT_CHECK, "CHECK constraint failed: issued BETWEEN 0 AND stock", "no such rule"),
            (code::CONSTRAINT_CHECK, "CHECK constraint failed: house_rule", "no such rule"),
            (code::CONSTRAINT_TRIGGER, "forbidden", "a trigger"),
            (code::CONSTRAINT_UNIQUE, "UNIQUE constraint failed: likes.event_id", "contradict"),
            // foreign key, not null, and strict tables
            (787, "FOREIGN KEY constraint failed", "no such rule"),
            (1299, "NOT NULL constraint failed: likes.mood", "no such rule"),
            (3091, "cannot store TEXT value in INTEGER column likes.target_ocid", "no such rule"),
            (code::MISMATCH, "datatype mismatch", "another type"),
            (code::ERROR, "no such table: likes", "floodgate migrate"),
            (8 | 4 << 8, "attempt to write a readonly database", "not writable"),
            (5 | 2 << 8, "database is locked", "lock_timeout_ms"),
        ] {
            let blamed = blame(code, message);
            assert!(
                matches!(blamed, Blame::Elsewhere(Some(told)) if told.contains(help)),
                "{code} {blamed:?}"
            );
        }
        for unknown in [code::ERROR, 2, 10, 11, 18, 9999] {
            assert_eq!(blame(unknown, "whatever"), Blame::Elsewhere(None), "{unknown}");
        }
    }
}
