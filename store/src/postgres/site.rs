//! What makes a PostgreSQL database unfit, and whether it is still the one it was.

use std::collections::BTreeMap;
use std::path::PathBuf;

use floodgate_schemas::EventType;
use sqlx::Error;
use tokio::time::timeout;

use super::session::Session;
use super::{PostgresStore, applied};
use crate::dialect::Dialect;
use crate::migrations::IDENTITY_SINCE;
use crate::transaction;
use crate::{BoxFuture, Pool, ReadError, Site};

/// Of the session that `url` in the section `store` opens.
const SERVER: &str = "
SELECT current_setting('server_encoding'), current_setting('default_transaction_isolation'), pg_is_in_recovery(),
    current_setting('transaction_read_only')::boolean, current_schema()::text, current_user::text";

/// Of the tables that are there: their schemas, and what may be done to them.
const TABLES: &str = "
SELECT name, found.relnamespace::regnamespace::text,
    has_any_column_privilege(found.oid, 'SELECT'), has_any_column_privilege(found.oid, 'INSERT'),
    has_any_column_privilege(found.oid, 'UPDATE')
FROM unnest($1) AS name JOIN pg_class AS found ON found.oid = to_regclass(name)
ORDER BY name";

/// Who asks, and whether it may; nobody can say of a table that is not there.
const MAY_DELETE: &str = "
SELECT current_user::text, has_table_privilege(to_regclass('coupon_requests'), 'DELETE')";

type Server = (String, String, bool, bool, Option<String>, String);
type Table = (String, String, bool, bool, bool);

const READ: &str = "SELECT";
const ADD: &str = "SELECT, INSERT";
const CHANGE: &str = "SELECT, INSERT, UPDATE";

/// What consumers do to tables.
fn needs(of: EventType) -> &'static [(&'static str, &'static str)] {
    match of {
        EventType::Expectation => &[("expectations", CHANGE)],
        EventType::Coupon => {
            &[("coupons", "SELECT, UPDATE"), ("coupon_issues", ADD), ("coupon_requests", CHANGE)]
        }
        EventType::Like => &[("likes", CHANGE), ("like_counts", CHANGE)],
    }
}

impl Site for PostgresStore {
    fn private_files(&self) -> Vec<PathBuf> {
        self.key_file.iter().cloned().collect()
    }

    fn pools(&self) -> Vec<Pool> {
        vec![self.batches.pool("batches"), self.requests.pool("requests")]
    }

    fn unfit<'a>(&'a self, of: &'a [EventType]) -> BoxFuture<'a, Result<Vec<String>, ReadError>> {
        let own = [("floodgate_identity", READ), ("floodgate_migrations", READ)];
        let needed: BTreeMap<_, _> = of.iter().flat_map(|of| needs(*of)).copied().chain(own).collect();
        let look = async move |connection: &mut Session| {
            let server: Server = sqlx::query_as(SERVER).fetch_one(&mut *connection).await?;
            let names: Vec<&str> = needed.keys().copied().collect();
            let tables: Vec<Table> = sqlx::query_as(TABLES).bind(names).fetch_all(connection).await?;
            Ok([unfit_server(&server), unfit_tables(&tables, &needed, &server.5)].concat())
        };
        Box::pin(async move {
            if let Some(unfit) = self.unfit_way().await {
                return Ok(vec![unfit]);
            }
            let unfit = transaction::request(&self.requests, self.request_timeout, look).await?;
            // what was changed since is for the next session to see
            self.requests.forget_idle();
            Ok(unfit)
        })
    }

    fn keeps_decisions(&self) -> BoxFuture<'_, Result<Option<String>, ReadError>> {
        let look = async |connection: &mut Session| {
            let (user, may): (String, Option<bool>) =
                sqlx::query_as(MAY_DELETE).fetch_one(connection).await?;
            Ok((may == Some(false)).then(|| {
                format!(
                    "the role {user} may not DELETE on coupon_requests, which coupon.decisions_retention_days needs: GRANT DELETE \
                     ON coupon_requests TO {user}"
                )
            }))
        };
        Box::pin(async move {
            let told = transaction::request(&self.requests, self.request_timeout, look).await?;
            self.requests.forget_idle();
            Ok(told)
        })
    }

    fn moved(&self) -> BoxFuture<'_, Result<Option<String>, ReadError>> {
        let look = async |connection: &mut Session| {
            if applied(connection).await?.is_none_or(|version| version < IDENTITY_SINCE) {
                return Ok(None);
            }
            connection.place().await.map(Some)
        };
        Box::pin(async move {
            let place = transaction::request(&self.requests, self.request_timeout, look).await?;
            Ok(self.ground.moved(place.as_ref()))
        })
    }
}

impl PostgresStore {
    /// What is wrong with the way to the server, whatever the server is.
    async fn unfit_way(&self) -> Option<String> {
        let leased = timeout(self.request_timeout, self.requests.lease()).await.ok()?;
        match leased {
            Ok(lease) => lease.give_back(),
            Err(Error::Configuration(unfit)) => return Some(unfit.to_string()),
            // whoever asks next is told
            Err(_) => {}
        }
        None
    }
}

fn unfit_server((encoding, isolation, is_standby, is_read_only, schema, user): &Server) -> Vec<String> {
    let mut unfit = Vec::new();
    if encoding != "UTF8" {
        unfit.push(format!(
            "the database's encoding is {encoding}, and ids may be any text: create it with ENCODING 'UTF8'"
        ));
    }
    if isolation != "read committed" {
        unfit.push(format!(
            "default_transaction_isolation is {isolation}, under which statements that meet fail: set it to read committed \
             (ALTER ROLE {user} SET default_transaction_isolation = 'read committed')"
        ));
    }
    if *is_standby {
        unfit.push(
            "the server is a standby, which takes no writes: name the primary in [store] url".to_owned(),
        );
    } else if *is_read_only {
        unfit.push(format!(
            "the server takes no writes: default_transaction_read_only is on for the database or the role {user}"
        ));
    }
    if schema.is_none() {
        unfit.push(format!(
            "search_path names no schema that exists and that the role {user} may use: create or grant it, or set search_path"
        ));
    }
    unfit
}

fn unfit_tables(tables: &[Table], needed: &BTreeMap<&str, &str>, user: &str) -> Vec<String> {
    let mut unfit = Vec::new();
    if let [(first, schema, ..), others @ ..] = tables
        && let Some((other, elsewhere, ..)) = others.iter().find(|(_, other, ..)| other != schema)
    {
        unfit.push(format!(
            "by search_path the table {first} is found in the schema {schema} and {other} in {elsewhere}: they must be in one"
        ));
    }
    for (table, _, may_select, may_insert, may_update) in tables {
        let needed = needed.get(table.as_str()).copied().unwrap_or_default();
        let may = [("SELECT", may_select), ("INSERT", may_insert), ("UPDATE", may_update)];
        let denied = may.iter().filter(|(what, may)| !**may && needed.contains(what));
        let denied: Vec<_> = denied.map(|(what, _)| *what).collect();
        if !denied.is_empty() {
            let denied = denied.join(", ");
            unfit.push(format!(
                "the role {user} may not {denied} on {table}: GRANT {needed} ON {table} TO {user}"
            ));
        }
    }
    unfit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        ("UTF8".into(), "read committed".into(), false, false, Some("public".into()), "ann".into())
    }

    #[test]
    fn what_is_wrong_with_a_server_is_told_in_words() {
        assert_eq!(unfit_server(&server()), Vec::<String>::new());
        let told = |change: fn(&mut Server)| {
            let mut server = server();
            change(&mut server);
            unfit_server(&server).join("; ")
        };
        assert!(told(|server| server.0 = "SQL_ASCII".into()).contains("encoding is SQL_ASCII"));
        assert!(
            told(|server| server.1 = "serializable".into())
                .contains("ALTER ROLE ann SET default_transaction")
        );
        // a standby is read-only, too
        let standby = told(|server| (server.2, server.3) = (true, true));
        assert!(standby.contains("a standby") && !standby.contains("read_only"), "{standby}");
        assert!(told(|server| server.3 = true).contains("default_transaction_read_only"));
        assert!(told(|server| server.4 = None).contains("search_path"));
    }

    /// Whoever makes a role that may do no more than it must reads it there.
    #[test]
    fn the_reference_says_what_a_role_has_to_be_granted() {
        let needed: BTreeMap<_, _> = EventType::ALL.into_iter().flat_map(needs).copied().collect();
        let on = |right: &str| {
            let without = needed.iter().filter(|(_, needs)| !needs.contains(right));
            match without.map(|(table, _)| format!("`{table}`")).collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => format!("{right} on all"),
                some => format!("{right} on all but {some}"),
            }
        };
        let sentence = ["SELECT", "INSERT", "UPDATE"].map(on).join(", ");
        let reference = include_str!("../../../docs/reference.md");
        let words = reference.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("what consumers do: {sentence} (")), "{sentence}");
    }

    #[test]
    fn tables_have_to_be_in_one_place_and_granted() {
        let table = |name: &str, schema: &str, may: [bool; 3]| {
            (name.to_owned(), schema.to_owned(), may[0], may[1], may[2])
        };
        let needed: BTreeMap<_, _> = needs(EventType::Coupon).iter().copied().collect();
        let fine =
            [table("coupon_issues", "s", [true, true, false]), table("coupons", "s", [true, false, true])];
        assert_eq!(unfit_tables(&fine, &needed, "ann"), Vec::<String>::new());
        let denied =
            [table("coupon_issues", "s", [true, false, false]), table("coupons", "t", [false, true, false])];
        assert_eq!(
            unfit_tables(&denied, &needed, "ann"),
            [
                "by search_path the table coupon_issues is found in the schema s and coupons in t: they must be in one",
                "the role ann may not INSERT on coupon_issues: GRANT SELECT, INSERT ON coupon_issues TO ann",
                "the role ann may not SELECT, UPDATE on coupons: GRANT SELECT, UPDATE ON coupons TO ann",
            ]
        );
    }
}
