//! Rows that the database refuses as none would take them. What a text with a NUL is told, a trigger tells here of rows that
//! a test wants to be bad; a check of the test's own would be trouble of the database.

/// Makes rows for which a condition on `new` holds bad ones, under a name that the error tells.
pub fn refuse(name: &str, table: &str, condition: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {name}_of_{table}() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''{name}'' USING ERRCODE = ''22021''; END'; \
         CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN ({condition}) \
         EXECUTE FUNCTION {name}_of_{table}()"
    )
}

/// Takes them again.
pub fn take(name: &str, table: &str) -> String {
    format!("DROP TRIGGER {name} ON {table}")
}
